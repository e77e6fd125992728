//! What would slow or break a job though it is served.
//!
//! Each finding is one sentence with what follows from it and what helps. The walks here are bounded, and
//! say so when they were cut; a run itself never walks.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::machine::Machine;
use super::served::{CommandReport, ViewReport};
use crate::environment::bytecode::{MANY_UNCOMPILED, WalkLimit};
use crate::environment::mounts::Reach;

/// Where looking for bytecode stops: a torch environment has 3,400 directories.
pub const BYTECODE_WALK: WalkLimit = WalkLimit { directories_max: 20_000, time_max: Duration::from_secs(5) };

/// How many programs of one directory are looked at for set-uid bits.
const PROGRAMS_MAX: usize = 4_096;

/// Fewer descriptors than this are soon used up by files kept open for tasks.
///
/// A torch import opens some 2,000 files; twice that leaves room. The default of systemd is 524,288.
const DESCRIPTORS_WANTED: u64 = 4_096;

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hurt {
    /// What was found.
    pub what: String,
    /// What follows for a job.
    pub effect: String,
    /// What helps, where something does.
    pub remedy: Option<String>,
}

impl Hurt {
    fn new(what: String, effect: &str, remedy: Option<String>) -> Self {
        Self { what, effect: effect.to_owned(), remedy }
    }
}

/// Programs with a set-uid or set-gid bit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SetIds {
    /// Their paths.
    pub programs: Vec<String>,
    /// Whether there were too many programs to look at all.
    pub is_cut: bool,
}

/// Programs of a view whose set-uid or set-gid bit does nothing inside, in the places where programs are.
pub fn set_ids(view: &Path) -> SetIds {
    let mut found = SetIds::default();
    for directory in ["bin", "sbin", "libexec"].map(|name| view.join(name)) {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for (number, entry) in entries.enumerate() {
            if number == PROGRAMS_MAX {
                found.is_cut = true;
                break;
            }
            if entry.metadata().is_ok_and(|attributes| gains_rights(&attributes)) {
                found.programs.push(entry.path().display().to_string());
            }
        }
    }
    found
}

fn gains_rights(attributes: &Metadata) -> bool {
    // Set-gid without group execution means locking, not rights (chmod(2)).
    let mode = attributes.mode();
    attributes.is_file() && (mode & 0o4100 == 0o4100 || mode & 0o2010 == 0o2010)
}

/// All findings, the machine's first.
pub fn all(machine: &Machine, command: Option<&CommandReport>) -> Vec<Hurt> {
    let views = command.map(|command| command.views.as_slice()).unwrap_or_default();
    let of_machine = [few_descriptors(machine), request_timeout(machine)];
    let of_views =
        views.iter().flat_map(|view| [uncompiled(view), useless_set_ids(view), local(view), noexec(view)]);
    of_machine.into_iter().chain(of_views).flatten().collect()
}

fn few_descriptors(machine: &Machine) -> Option<Hurt> {
    // The soft limit does not matter: it is raised to the hard one.
    let hard = machine.open_files_hard.filter(|&hard| hard < DESCRIPTORS_WANTED)?;
    Some(Hurt::new(
        format!("at most {hard} open files per process (hard limit)"),
        "a large environment needs more; files that do not fit are opened again and again",
        Some(format!("set `* hard nofile {DESCRIPTORS_WANTED}` or more in /etc/security/limits.conf")),
    ))
}

/// Since Linux 6.15 the kernel may be told to end a FUSE connection whose request takes too long.
fn request_timeout(machine: &Machine) -> Option<Hurt> {
    let seconds = machine.fuse_request_timeout_seconds?;
    Some(Hurt::new(
        format!("the kernel ends a view after {seconds} s without an answer (`fs.fuse.max_request_timeout`)"),
        "if storage hangs for longer, tasks get an error that storage did not give, and the job is stopped",
        Some("sysctl -w fs.fuse.max_request_timeout=0".to_owned()),
    ))
}

fn uncompiled(view: &ViewReport) -> Option<Hurt> {
    let bytecode = view.bytecode;
    if bytecode.uncompiled < MANY_UNCOMPILED {
        return None;
    }
    let least = if bytecode.is_cut { "at least " } else { "" };
    let path = view.path.display();
    Some(Hurt::new(
        format!(
            "{least}{} of {} modules in `{path}` have no bytecode",
            bytecode.uncompiled, bytecode.modules
        ),
        "every process compiles them again and cannot keep the result",
        Some(format!("python3 -m compileall -q {path}")),
    ))
}

fn useless_set_ids(view: &ViewReport) -> Option<Hurt> {
    let first = view.set_ids.programs.first()?;
    let others = view.set_ids.programs.len() - 1;
    let and_others = if others == 0 { String::new() } else { format!(" and {others} more") };
    Some(Hurt::new(
        format!("`{}`{and_others} set user or group id", first),
        "inside a view they run with the rights of the caller only",
        None,
    ))
}

fn local(view: &ViewReport) -> Option<Hurt> {
    let file_system = view.file_system.as_deref().filter(|_| view.reach == Reach::Local)?;
    Some(Hurt::new(
        format!("`{}` lies on this node's own disk ({file_system})", view.path.display()),
        "serving it gains nothing over reading it directly",
        None,
    ))
}

fn noexec(view: &ViewReport) -> Option<Hurt> {
    let point = view.mount_point.as_deref().filter(|_| view.is_noexec)?;
    Some(Hurt::new(
        format!("`{}` is mounted noexec at `{}`", view.path.display(), point),
        "its programs and libraries cannot be run there",
        None,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::bytecode::Bytecode;
    use std::os::unix::fs::PermissionsExt;

    fn view() -> ViewReport {
        ViewReport {
            path: "/sw/env".into(),
            reason: "virtual environment".to_owned(),
            file_system: Some("nfs4".to_owned()),
            source: Some("filer:/sw".to_owned()),
            mount_point: Some("/sw".into()),
            reach: Reach::Network,
            is_noexec: false,
            is_served: Some(true),
            message: None,
            bytecode: Bytecode { modules: 9_000, uncompiled: 3, is_cut: false },
            set_ids: SetIds::default(),
        }
    }

    #[test]
    fn only_what_hurts_is_told() {
        type Change = fn(&mut ViewReport, &mut Machine);
        let cases: [(Change, &[&str]); 8] = [
            (|_, _| {}, &[]), // a good environment on a good machine, a few templates without bytecode
            (|v, _| v.bytecode.uncompiled = 8_000, &["8000 of 9000 modules"]), // installed by uv
            (
                |v, _| v.bytecode = Bytecode { modules: 500, uncompiled: 500, is_cut: true },
                &["at least 500 of 500"],
            ), // cut
            (
                |v, _| v.set_ids.programs = vec!["/sw/env/bin/a".into(), "/sw/env/bin/b".into()],
                &["and 1 more set user"],
            ),
            (|v, _| v.reach = Reach::Local, &["own disk (nfs4)"]), // nothing to gain
            (|v, _| v.is_noexec = true, &["mounted noexec at `/sw`"]), // it would not run at all
            (|_, m| m.fuse_request_timeout_seconds = Some(30), &["after 30 s"]), // a hardened kernel
            (|_, m| m.open_files_hard = Some(1_024), &["at most 1024 open files"]), // an old login.conf
        ];
        for (change, want) in cases {
            let (mut view, mut machine) =
                (view(), Machine { open_files_hard: Some(524_288), ..Machine::default() });
            change(&mut view, &mut machine);
            let command = CommandReport {
                name: "python3".to_owned(),
                found_at: None,
                views: vec![view],
                notes: Vec::new(),
            };
            let got: Vec<String> = all(&machine, Some(&command)).into_iter().map(|hurt| hurt.what).collect();
            assert_eq!(got.len(), want.len(), "{got:?}, not {want:?}");
            assert!(got.iter().zip(want).all(|(got, want)| got.contains(want)), "{got:?}, not {want:?}");
        }
    }

    #[test]
    fn set_id_programs_are_found_where_programs_are() {
        let view = tempfile::tempdir().unwrap();
        let cases = [
            ("bin/su", 0o4755, true),    // set-uid
            ("libexec/w", 0o2755, true), // set-gid
            ("bin/lock", 0o2644, false), // mandatory locking
            ("bin/plain", 0o755, false), // a program
            ("share/su", 0o4755, false), // not looked at
        ];
        for (path, mode, _) in cases {
            let path = view.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let found = set_ids(view.path()).programs;
        for (path, _, want) in cases {
            assert_eq!(found.contains(&view.path().join(path).display().to_string()), want, "{path}");
        }
    }
}
