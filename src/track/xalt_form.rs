//! A run as XALT has it: one record for the run, one for each package, with the names of files and the keys of XALT.
//!
//! XALT stores a package only if it knows the run, so the run's own record comes first. It has the fields that XALT's
//! reader needs, no variables and no arguments.
//!
//! Invariant: the same run gives the same records, names and keys, however often it is written.
//!
//! Not here: one package's record byte for byte (`xalt`), lines of syslog (`xalt_lines`), reading them (`xalt_read`).

use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use super::clock::xalt_date;
use super::record::{Import, Process, Run};
use super::send::Piece;
use super::store::Batch;
use super::xalt::{Package, UNKNOWN, ascii, checked};

/// The pieces that XALT would have sent for `batch`.
pub fn pieces(batch: &Batch) -> Vec<Piece> {
    let mut pieces = vec![of_run(batch)];
    for (process, imports) in &batch.processes {
        pieces.extend(imports.iter().map(|import| of_package(&batch.run, process, import)));
    }
    // Two processes that imported the same have the same record.
    let mut seen = std::collections::HashSet::new();
    pieces.retain(|piece| seen.insert(piece.key.clone()));
    pieces
}

/// The record of one package.
pub fn package(run: &Run, process: &Process, import: &Import) -> Package {
    let is_r = process.implementation == "R";
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.to_owned());
    Package {
        program: if is_r { "R".to_owned() } else { program(process).to_owned() },
        xalt_run_uuid: run.uuid.clone(),
        // XALT's meaning: of the interpreter for Python, of the package otherwise.
        package_version: if program(process) == "python" {
            process.python.clone()
        } else {
            known(&import.version)
        },
        package_name: import.name.clone(),
        package_path: known(&import.path),
    }
}

fn program(process: &Process) -> &str {
    match process.implementation.as_str() {
        "cpython" | "pypy" | "graalpy" => "python",
        other => other,
    }
}

fn of_package(run: &Run, process: &Process, import: &Import) -> Piece {
    let text = package(run, process, import).to_json();
    let hex = format!("{:012x}", xxh3_64(text.as_bytes()) & 0xFFFF_FFFF_FFFF);
    Piece { kind: "pkg", file: file_name("pkg", run, &hex), key: format!("pkg_{}_{hex}", run.uuid), text }
}

fn of_run(batch: &Batch) -> Piece {
    let Batch { run, end, processes, libraries } = batch;
    let executable = processes.iter().find_map(|(process, _)| process.executable.as_deref());
    let exec_path = executable.unwrap_or(&run.command);
    let system = system(run);
    let seconds = end.map_or(0.0, |end| end.seconds);
    let record = json!({
        "userT": {
            "account": run.project.as_deref().unwrap_or("unknown"),
            "cwd": "UNKNOWN",
            "exec_path": exec_path,
            "exec_type": "binary",
            "job_id": run.job.as_deref().unwrap_or("unknown"),
            "queue": "unknown",
            "run_uuid": run.uuid,
            "submit_host": run.host,
            "syshost": system,
            "user": run.user,
        },
        "userDT": {
            "end_time": if end.is_some() { run.started + seconds } else { 0.0 },
            "num_cores": run.tasks,
            "num_nodes": run.nodes,
            "probability": run.probability,
            "run_time": seconds,
            "start_time": run.started,
        },
        "cmdlineA": [run.command],
        "envT": {},
        "hash_id": "unknown",
        "libA": libraries.iter().map(|library| [library.path.as_str(), "unknown"]).collect::<Vec<_>>(),
        "xaltLinkT": {},
    });
    let text = record.to_string();
    let text = checked(&ascii(&format!("{{\"crc\":\"0xFFFF\",{}", &text[1..])));
    let hex = "run";
    Piece { kind: "run", file: file_name("run", run, hex), key: format!("run_fini_{}", run.uuid), text }
}

/// The cluster as XALT calls it: a host, if nobody says.
pub fn system(run: &Run) -> String {
    run.system.clone().unwrap_or_else(|| run.host.clone())
}

/// `pkg.<syshost>.<date>.<user>.<run uuid>.<12 hex>.json`.
fn file_name(kind: &str, run: &Run, hex: &str) -> String {
    // In a file name; dots separate the fields.
    let word = |text: &str| {
        let plain = |it: char| if it.is_ascii_alphanumeric() || it == '-' || it == '_' { it } else { '_' };
        text.chars().map(plain).collect::<String>()
    };
    let (system, user, date) = (word(&system(run)), word(&run.user), xalt_date(run.started));
    let uuid = word(&run.uuid);
    match kind {
        "run" => format!("run.{system}.{date}.{user}.zzz.{uuid}.json"),
        _ => format!("{kind}.{system}.{date}.{user}.{uuid}.{hex}.json"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::track::record::{End, Library};

    /// A run of Python and R.
    pub fn batch() -> Batch {
        let run = Run {
            uuid: "d20188d7-bbbb-4b91-9f5c-80672045c270".to_owned(),
            user: "o'b.c".to_owned(),
            project: Some("abc".to_owned()),
            system: Some("frontier".to_owned()),
            job: Some("17".to_owned()),
            host: "n1".to_owned(),
            command: "python3".to_owned(),
            nodes: 2,
            tasks: 16,
            started: 1_541_520_853.799_2,
            probability: 0.01,
        };
        let process = |implementation: &str, version: &str| Process {
            pid: 7,
            started: 1_541_520_854.0,
            python: version.to_owned(),
            implementation: implementation.to_owned(),
            executable: Some("/e/bin/x".to_owned()),
            prefix: "/e".to_owned(),
            base_prefix: "/e".to_owned(),
            conda: false,
        };
        let import = |name: &str, path: Option<&str>| Import {
            number: 1,
            name: name.to_owned(),
            path: path.map(str::to_owned),
            version: Some("2.5".to_owned()),
            own_us: 5,
            total_us: 9,
            flags: "pa".to_owned(),
            by: None,
        };
        let processes = vec![
            (process("cpython", "3.11.7"), vec![import("numpy", Some("/e/é.py")), import("a\"b\n", None)]),
            (process("cpython", "3.11.7"), vec![import("numpy", Some("/e/é.py"))]),
            (process("R", "4.2.2"), vec![import("Rcpp", Some("/r/Rcpp"))]),
        ];
        let libraries = vec![Library { path: "/e/x.so".to_owned(), package: None, processes: 2 }];
        Batch { run, end: Some(End { seconds: 2.5 }), processes, libraries }
    }

    #[test]
    fn packages_and_run_have_xalts_names_fields_and_versions() {
        let pieces = pieces(&batch());
        let kinds: Vec<&str> = pieces.iter().map(|piece| piece.kind).collect();
        assert_eq!(kinds, ["run", "pkg", "pkg", "pkg"], "the same import in two processes is one record");
        assert_eq!(pieces, super::pieces(&batch()), "the same again");
        let (start, end) = pieces[1].file.split_at("pkg.frontier.2018_11_".len());
        assert_eq!(start, "pkg.frontier.2018_11_");
        assert!(
            end.contains("_7992.o_b_c.d20188d7-bbbb-4b91-9f5c-80672045c270.") && end.ends_with(".json"),
            "{end}"
        );
        let hex = pieces[1].key.strip_prefix("pkg_d20188d7-bbbb-4b91-9f5c-80672045c270_").unwrap();
        assert!(hex.len() == 12 && pieces[1].file.ends_with(&format!(".{hex}.json")));
        let numpy = Package::parse(&pieces[1].text).unwrap();
        assert_eq!((numpy.package_version.as_str(), numpy.package_path.as_str()), ("3.11.7", "/e/é.py"));
        let odd = Package::parse(&pieces[2].text).unwrap();
        assert_eq!((odd.package_name.as_str(), odd.package_path.as_str()), ("a\"b\n", UNKNOWN));
        let r = Package::parse(&pieces[3].text).unwrap();
        assert_eq!((r.program.as_str(), r.package_version.as_str()), ("R", "2.5"));
        let run: serde_json::Value = serde_json::from_str(&pieces[0].text).unwrap();
        assert_eq!((&run["userT"]["user"], &run["userDT"]["run_time"]), (&json!("o'b.c"), &json!(2.5)));
        assert_eq!(run["userDT"]["probability"], json!(0.01));
        assert!(pieces.iter().all(|piece| piece.text.is_ascii() && !piece.text.contains('\n')));
    }
}
