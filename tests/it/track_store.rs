//! `spinney track ingest` and `report` from outside, with SQLite and with PostgreSQL.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use spinney::track::xalt::{Package, checked};

use crate::postgres::Server;
use crate::scene::{Scene, eventually, finish, kill, output, pid_of, scenes, text};

/// All questions.
const QUESTIONS: &[&str] =
    &["packages", "versions", "interpreters", "slowest", "asked", "unseen", "libraries", "users", "projects"];

/// Whoever runs the tests, and an address of an empty store of each kind.
fn stores(server: &Server) -> (Scene, [String; 2]) {
    let scene = scenes().swap_remove(0);
    let file = format!("sqlite:{}", scene.home.join("track.db").display());
    (scene, [file, server.database("track")])
}

/// A run as `spinney run` leaves it.
struct Run<'text> {
    uuid: &'text str,
    user: &'text str,
    probability: f64,
    /// Name, version, path, own microseconds, flags.
    imports: &'text [(&'text str, &'text str, &'text str, u64, &'text str)],
}

impl Run<'_> {
    fn text(&self) -> String {
        let Run { uuid, user, probability, imports } = self;
        let run = serde_json::json!(["run", { "uuid": uuid, "user": user, "project": "chem", "host": "n1",
            "command": "python3", "nodes": 2, "tasks": 1, "started": 1_700_000_000.0, "probability": probability }]);
        let process = serde_json::json!(["proc", { "pid": 7, "started": 1_700_000_000.5, "python": "3.11.7",
            "implementation": "cpython", "executable": "/e/bin/python3", "prefix": "/e", "base_prefix": "/e",
            "conda": true }]);
        let mut text = format!("{run}\n{process}\n");
        for (number, (name, version, path, own_us, flags)) in imports.iter().enumerate() {
            let line = serde_json::json!(["i", number, name, path, version, own_us, own_us * 2, flags, null]);
            text += &format!("{line}\n");
        }
        text + "[\"lib\",\"/usr/lib/libm.so.6\",\"libc6\",1]\n[\"end\",{\"seconds\":1800.0}]\n"
    }
}

fn write(scene: &Scene, name: &str, runs: &[Run<'_>]) -> PathBuf {
    let records = scene.home.join(name);
    fs::create_dir_all(&records).unwrap();
    for run in runs {
        fs::write(records.join(format!("{}.jsonl", run.uuid)), run.text()).unwrap();
    }
    records
}

const TWO_RUNS: &[Run<'static>] = &[
    Run {
        uuid: "a",
        user: "ada",
        probability: 1.0,
        imports: &[
            ("numpy", "2.0", "/e/numpy", 500_000, "pa"),
            ("six", "1.0", "/h/.local/lib/six", 1_000, "p"),
        ],
    },
    Run { uuid: "b", user: "bob", probability: 0.01, imports: &[("numpy", "1.9", "/f/numpy", 250_000, "p")] },
];

fn ingest(scene: &Scene, store: &str, records: &std::path::Path) -> Output {
    output(&mut scene.spinney(&["track", "ingest", "--store", store, records.to_str().unwrap()]))
}

fn report(scene: &Scene, store: &str, words: &[&str]) -> String {
    report_as(scene, store, "csv", words)
}

fn report_as(scene: &Scene, store: &str, format: &str, words: &[&str]) -> String {
    let mut command = scene.spinney(&["track", "report", "--store", store, "--format", format]);
    let report = output(command.args(words));
    assert!(report.status.success(), "{store} {words:?}: {}", text(&report.stderr));
    text(&report.stdout)
}

#[test]
fn both_stores_answer_alike_and_count_once_what_is_ingested_twice() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    let records = write(&scene, "records", TWO_RUNS);
    for store in &stores {
        for said in ["new: 2 runs, 2 processes, 3 imports", "new: 0 runs, 0 processes, 0 imports"] {
            let done = ingest(&scene, store, &records);
            assert!(done.status.success() && text(&done.stdout).contains(said), "{store}: {done:?}");
        }
        let want = [
            // One run of a hundred was kept: it stands for all of them.
            (
                "packages",
                "package,program,runs,users,node_hours\nnumpy,python,101,2,101.000\nsix,python,1,1,1.000\n",
            ),
            (
                "versions",
                "package,program,version,runs,users\nnumpy,python,1.9,100,1\nnumpy,python,2.0,1,1\nsix,python,1.0,1,1\n",
            ),
            (
                "interpreters",
                "python,version,runs,users,node_hours\nconda,3.11.7,101,2,101.000\n~/.local,-,1,1,1.000\n",
            ),
            ("asked", "package,program,runs,asked_for,pulled_in\nnumpy,python,101,1,100\nsix,python,1,1,0\n"),
            (
                "users",
                "user,runs,packages,node_hours,import_seconds\nbob,100,1,100.000,25.000\nada,1,2,1.000,0.501\n",
            ),
            ("libraries", "library,package,runs,users,node_hours\n/usr/lib/libm.so.6,libc6,101,2,101.000\n"),
            ("projects", "project,runs,packages,node_hours,import_seconds\nchem,101,2,101.000,25.501\n"),
        ];
        for (question, table) in want {
            let table = if question == "asked" { table.replace("1,1,0", "1,0,1") } else { table.to_owned() };
            assert_eq!(report(&scene, store, &[question]), table, "{store}");
        }
        assert_eq!(
            report(&scene, store, &["packages", "--per", "user"]),
            "user,package,program,runs,users,node_hours\nbob,numpy,python,100,1,100.000\nada,numpy,python,1,1,1.000\n\
             ada,six,python,1,1,1.000\n"
        );
        assert_eq!(report(&scene, store, &["packages", "--user", "nobody"]).lines().count(), 1);
    }
    for question in QUESTIONS {
        let [one, other] =
            stores.each_ref().map(|store| report(&scene, store, &[question, "--unseen-days", "3"]));
        assert_eq!(one, other);
    }
}

#[test]
fn several_questions_are_answered_at_once_each_under_its_name() {
    let scene = scenes().swap_remove(0);
    let (records, store) = (write(&scene, "records", TWO_RUNS), scene.home.join("track.db"));
    let store = store.to_str().unwrap();
    assert!(ingest(&scene, store, &records).status.success());
    let json = report_as(&scene, store, "json", &["users", "projects"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["users"][0]["user"], &json["projects"][0]["runs"]), (&"bob".into(), &101.into()));
    let shown = report_as(&scene, store, "text", &["users", "projects"]);
    assert!(shown.starts_with("users\nuser ") && shown.contains("\n\nprojects\nproject "), "{shown}");
    let page = report_as(&scene, store, "html", &["--anonymous", "--user", "ada"]);
    assert!(page.contains("Only runs of user-") && !page.contains("ada"), "{page}");
}

#[test]
fn sites_queries_for_xalts_tables_are_answered() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    let records = write(&scene, "records", TWO_RUNS);
    stores.iter().for_each(|store| assert!(ingest(&scene, store, &records).status.success()));
    let query = "SELECT pkg_name, pkg_version, pkg_path, account, num_nodes FROM xalt_pkg JOIN xalt_run USING (run_id) \
        WHERE program = 'python' AND \"user\" = 'ada' AND date >= '2023-11-14' AND run_time = 1800 ORDER BY pkg_name";
    let want = [["numpy", "2.0", "/e/numpy", "chem"], ["six", "1.0", "/h/.local/lib/six", "chem"]];
    let file = rusqlite::Connection::open(scene.home.join("track.db")).unwrap();
    let mut statement = file.prepare(query).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok([row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
    let rows: Vec<_> = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, want);
    let mut server = server.connect("track").unwrap();
    let rows = server.query(query, &[]).unwrap();
    let rows: Vec<[String; 4]> = rows.iter().map(|row| [0, 1, 2, 3].map(|at| row.get(at))).collect();
    assert_eq!(rows, want);
    let ids = server.query_one("SELECT count(DISTINCT pkg_id) FROM xalt_pkg", &[]).unwrap();
    assert_eq!(ids.get::<_, i64>(0), 3);
}

#[test]
fn xalts_packages_count_for_their_user_though_their_run_is_told_of_later() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    let packages = scene.home.join("xalt");
    fs::create_dir(&packages).unwrap();
    for (name, hex) in [("numpy", "000000000001"), ("scipy", "000000000002")] {
        let package = Package {
            program: "python".to_owned(),
            xalt_run_uuid: "u-1".to_owned(),
            package_version: "3.11.7".to_owned(),
            package_name: name.to_owned(),
            package_path: format!("/e/{name}"),
        };
        let file = format!("pkg.host.2026_01_02_03_04_05_0000.e_e.u-1.{hex}.json");
        fs::write(packages.join(file), package.to_json()).unwrap();
    }
    let run = r#"{"crc":"0x1234","userT":{"run_uuid":"u-1","user":"eve","account":"bio","syshost":"host","exec_path":"/usr/bin/python3"},
        "userDT":{"start_time":1700000000.0,"run_time":3600.0,"end_time":1700003600.0,"probability":0.01,"num_nodes":2,"num_cores":8}}"#;
    let later = scene.home.join("later");
    fs::create_dir(&later).unwrap();
    let record = checked(&run.replace(['\n', ' '], "").replace("0x1234", "0xFFFF"));
    fs::write(later.join("run.host.2026_01_02_03_04_05_0000.eve.zzz.u-1.json"), record).unwrap();
    for store in &stores {
        assert!(ingest(&scene, store, &packages).status.success());
        let done = ingest(&scene, store, &later);
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(text(&ingest(&scene, store, &packages).stdout).contains("0 runs, 0 processes, 0 imports"));
        let want = "user,runs,packages,node_hours,import_seconds\neve,100,2,200.000,0.000\n";
        assert_eq!(report(&scene, store, &["users"]), want, "{store}");
    }
}

#[test]
fn ingests_at_the_same_moment_into_a_new_store_count_everything_once() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    let uuids: Vec<String> = (0..50).map(|number| format!("run{number}")).collect();
    let imports = &[("numpy", "2.0", "/e/numpy", 1, "p")];
    let runs: Vec<_> =
        uuids.iter().map(|uuid| Run { uuid, user: "ada", probability: 1.0, imports }).collect();
    let records = write(&scene, "records", &runs);
    for store in &stores {
        let begin = |_| {
            let mut command =
                scene.spinney(&["track", "ingest", "--store", store, records.to_str().unwrap()]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = (0..4).map(begin).collect();
        for done in children.into_iter().map(finish) {
            assert!(done.status.success(), "{store}: {}", text(&done.stderr));
        }
        assert_eq!(
            report(&scene, store, &["packages"]),
            "package,program,runs,users,node_hours\nnumpy,python,50,1,50.000\n"
        );
    }
}

/// The other end of a pipe that an ingest reads: it opens it when all before has been added, and then waits.
fn held(pipe: &std::path::Path) -> fs::File {
    use std::os::unix::fs::OpenOptionsExt;
    let mut writer = None;
    eventually("the pipe is being read", || {
        // Nobody can open it to write before somebody reads.
        writer = fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(pipe).ok();
        writer.is_some()
    });
    writer.expect("it is there")
}

#[test]
fn an_ingest_that_is_killed_leaves_the_store_as_it_was_and_the_files_where_they_are() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    let (first, second) = (write(&scene, "first", &TWO_RUNS[..1]), write(&scene, "second", &TWO_RUNS[1..]));
    let pipe = scene.home.join("pipe");
    assert!(output(scene.native("mkfifo").arg(&pipe)).status.success());
    for store in &stores {
        assert!(ingest(&scene, store, &first).status.success());
        let before = report(&scene, store, &["packages"]);
        let words = ["track", "ingest", "--remove", "--store", store, second.to_str().unwrap()];
        let mut child = scene.spinney(&words).arg(&pipe).stdout(Stdio::null()).spawn().unwrap();
        std::mem::forget(held(&pipe)); // So that the pipe does not end.
        kill(pid_of(&child), libc::SIGKILL);
        child.wait().unwrap();
        assert_eq!(report(&scene, store, &["packages"]), before, "{store}");
        assert!(
            text(&ingest(&scene, store, &second).stdout).contains("new: 1 runs, 1 processes, 1 imports"),
            "{store}"
        );
    }
}

#[test]
fn files_are_removed_once_what_they_say_is_kept_and_not_if_a_line_of_theirs_could_not_be_read() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    for store in &stores {
        let records = write(&scene, "records", TWO_RUNS);
        fs::write(records.join("c.jsonl"), TWO_RUNS[0].text() + "[\"i\",no\n").unwrap();
        let words = ["track", "ingest", "--remove", "--store", store, records.to_str().unwrap()];
        let done = output(&mut scene.spinney(&words));
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(text(&done.stderr).contains("1 line could not be read"), "{}", text(&done.stderr));
        let left: Vec<_> = fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["c.jsonl"], "{store}");
    }
}

#[test]
fn names_are_only_names_whatever_they_say() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    let long = format!("/{}", "é/".repeat(333_000));
    let odd = [
        "a'; DROP TABLE run; --",
        "$(touch /tmp/pwned);`id`|&<>",
        "quote\"comma,line\nend\r",
        "\u{1b}[31mred",
        "nul\0nul",
        "snow\u{2603}\u{1F600}",
        "<script>alert(1)</script>",
        "",
    ];
    let imports: Vec<_> = odd.iter().map(|name| (*name, "1'\"\0", long.as_str(), 1, "p")).collect();
    let hostile = Run { uuid: "'\"\0;", user: "u'\";\n--", probability: 1.0, imports: &imports };
    let records = write(&scene, "records", &[]);
    fs::write(records.join("x.jsonl"), hostile.text()).unwrap();
    for store in &stores {
        let done = ingest(&scene, store, &records);
        assert!(text(&done.stdout).contains("1 runs, 1 processes, 8 imports"), "{store}: {done:?}");
        assert!(
            text(&ingest(&scene, store, &records).stdout).contains("0 runs, 0 processes, 0 imports"),
            "{store}"
        );
        let shown = output(&mut scene.spinney(&["track", "report", "--store", store]));
        assert_eq!(text(&shown.stdout).lines().count(), 1 + odd.len(), "each stays in its line");
        assert!(!text(&shown.stdout).contains('\u{1b}'));
        let page = report_as(&scene, store, "html", &[]);
        assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"), "{page}");
        assert!(
            page.contains("<svg") && !page.contains("http://") && !page.contains(" src="),
            "it loads nothing"
        );
        let words = ["track", "report", "--store", store, "--format", "json", "packages"];
        let json: serde_json::Value =
            serde_json::from_slice(&output(&mut scene.spinney(&words)).stdout).unwrap();
        let mut names: Vec<&str> =
            json.as_array().unwrap().iter().map(|row| row["package"].as_str().unwrap()).collect();
        names.sort_unstable();
        let mut want: Vec<String> = odd.iter().map(|name| name.replace('\0', "\u{fffd}")).collect();
        want.sort_unstable();
        assert_eq!(names, want, "{store}");
    }
}

#[test]
fn a_clock_that_jumps_makes_no_run_of_tomorrow_and_none_of_negative_length() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    let records = write(&scene, "records", &[]);
    let ahead = TWO_RUNS[0].text().replace("1700000000.0", "9e17").replace("1800.0", "-5.0");
    assert!(ahead.contains("9e17") && ahead.contains("-5.0"));
    fs::write(records.join("a.jsonl"), ahead).unwrap();
    for store in &stores {
        assert!(ingest(&scene, store, &records).status.success());
        assert_eq!(
            report(&scene, store, &["packages", "--last-days", "1"]),
            "package,program,runs,users,node_hours\nnumpy,python,1,1,0.000\nsix,python,1,1,0.000\n"
        );
        assert_eq!(report(&scene, store, &["unseen", "--unseen-days", "0"]).lines().count(), 3, "{store}");
    }
}

#[test]
fn pseudonyms_are_the_same_every_day_and_others_in_another_store() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    let records = write(&scene, "records", TWO_RUNS);
    let mut told = Vec::new();
    for store in &stores {
        assert!(ingest(&scene, store, &records).status.success());
        let before = report(&scene, store, &["users", "--anonymous"]);
        let more = write(
            &scene,
            "more",
            &[Run { uuid: "c", user: "aaa", probability: 1.0, imports: TWO_RUNS[1].imports }],
        );
        assert!(ingest(&scene, store, &more).status.success());
        let after = report(&scene, store, &["users", "--anonymous"]);
        let names = |text: &str| -> Vec<String> {
            text.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect()
        };
        assert!(
            names(&before).iter().all(|name| name.starts_with("user-") && names(&after).contains(name)),
            "{after}"
        );
        assert!(!["ada", "bob", "aaa"].iter().any(|name| after.contains(name)));
        assert!(report(&scene, store, &["projects", "--anonymous"]).contains("\nproject-"));
        told.extend(names(&before));
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 4, "no name is known by another store's: {told:?}");
}

#[test]
fn a_store_that_cannot_be_used_is_told_in_one_line() {
    let server = Server::start();
    let (scene, [file, address]) = stores(&server);
    let records = write(&scene, "records", TWO_RUNS);
    [&file, &address].iter().for_each(|store| assert!(ingest(&scene, store, &records).status.success()));
    let path = scene.home.join("track.db");
    // From a newer version.
    let newer = "INSERT INTO refinery_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')";
    let (ahead, ahead_address) = (scene.home.join("ahead.db"), server.database("ahead"));
    fs::copy(&path, &ahead).unwrap();
    rusqlite::Connection::open(&ahead).unwrap().execute_batch(newer).unwrap();
    assert!(ingest(&scene, &ahead_address, &records).status.success());
    server.connect("ahead").unwrap().batch_execute(newer).unwrap();
    // Somebody else's, and none at all.
    let (theirs, text_file) = (scene.home.join("theirs.db"), scene.home.join("text"));
    rusqlite::Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    fs::write(&text_file, "not a database, but long enough to be taken for one\n".repeat(50)).unwrap();
    let damaged = scene.home.join("damaged.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(&damaged, bytes).unwrap();
    // Locked.
    let locker = rusqlite::Connection::open(&path).unwrap();
    locker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut writer = server.connect("track").unwrap();
    writer.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(7305803012479149)").unwrap();
    let show = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let cases = [
        (show(&ahead), "newer version"),
        (ahead_address, "newer version"),
        (show(&theirs), "no store of Spinney's"),
        (show(&text_file), "no store of Spinney's"),
        (show(&damaged), "damaged"),
        (file, "locked by another process"),
        (address, "locked by another process"),
        (server.address("nowhere"), "database \"nowhere\" does not exist"),
        ("postgresql:///x?host=/nowhere&user=u".to_owned(), "No such file"),
        ("postgresql://u:secret@127.0.0.1:1/x".to_owned(), "Connection refused"),
        ("/nowhere/track.db".to_owned(), "cannot be opened: No such file"),
    ];
    for (store, said) in cases {
        let words = ["track", "ingest", "--wait", "50ms", "--store", &store, records.to_str().unwrap()];
        let done = output(&mut scene.spinney(&words));
        let told = text(&done.stderr);
        assert_eq!((done.status.code(), told.lines().count()), (Some(1), 1), "{store}: {told}");
        assert!(told.contains(said) && !told.contains("secret"), "{store}: {told}");
        assert!(done.stdout.is_empty());
    }
    let words = ["track", "report", "--store", "postgresql://u:secret@h/d?sslmode=on"];
    let done = output(&mut scene.spinney(&words));
    let told = text(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{told}");
    assert!(told.contains("`sslmode` is") && !told.contains("secret"), "{told}");
    // Whoever reads does not wait for PostgreSQL's writers, and makes nothing.
    assert_eq!(report(&scene, &server.address("track"), &["packages"]).lines().count(), 3);
    let missing = scene.home.join("missing.db");
    let done = output(&mut scene.spinney(&["track", "report", "--store", missing.to_str().unwrap()]));
    assert_eq!((done.status.code(), text(&done.stderr).lines().count()), (Some(1), 1));
    assert!(
        text(&done.stderr)
            .ends_with("missing.db: cannot be opened: No such file or directory (os error 2)\n")
    );
    assert!(!missing.exists());
    // Nor is a name that nobody has an answer without a word.
    let words = ["track", "report", "--store", &server.address("track"), "--user", "nobody"];
    assert!(text(&output(&mut scene.spinney(&words)).stderr).contains("no such runs"));
    assert!(records.join("a.jsonl").exists());
}

#[test]
fn a_full_disk_costs_nothing_that_was_kept() {
    let scene = scenes().swap_remove(0);
    let (small, large) = (write(&scene, "small", TWO_RUNS), scene.home.join("large"));
    fs::create_dir(&large).unwrap();
    let path = "/e/".repeat(1000);
    let names: Vec<String> = (0..1000).map(|number| format!("package{number}")).collect();
    let imports: Vec<_> = names.iter().map(|name| (name.as_str(), "1", path.as_str(), 1, "p")).collect();
    fs::write(
        large.join("l.jsonl"),
        Run { uuid: "l", user: "u", probability: 1.0, imports: &imports }.text(),
    )
    .unwrap();
    let disk = scene.home.join("disk");
    fs::create_dir(&disk).unwrap();
    // A file system of 1 MB in namespaces of its own; the records need three.
    let script = "set -e; mount -t tmpfs -o size=1m none \"$1\"; spinney=$2; store=$1/track.db\n\
        $spinney track ingest --store $store \"$3\"; $spinney track ingest --store $store \"$4\" || echo code $?\n\
        $spinney track report --store $store --format csv; $spinney track ingest --store $store \"$3\"";
    let mut command = scene.native("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    let done = output(command.arg(&disk).arg(&scene.binary).arg(&small).arg(&large));
    let said = text(&done.stdout);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(
        text(&done.stderr).contains("no space is left where it lies") && said.contains("code 1"),
        "{done:?}"
    );
    assert!(said.contains("\nnumpy,python,101,2,101.000\nsix,python,1,1,1.000\n"), "{said}");
    assert!(said.ends_with("new: 0 runs, 0 processes, 0 imports\n"), "{said}");
}

#[test]
fn a_server_that_dies_loses_nothing_that_was_accepted_and_the_ingest_can_be_repeated() {
    let mut server = Server::start();
    let (scene, [_, store]) = stores(&server);
    let (first, second) = (write(&scene, "first", &TWO_RUNS[..1]), write(&scene, "second", &TWO_RUNS[1..]));
    assert!(ingest(&scene, &store, &first).status.success());
    let before = report(&scene, &store, &["packages"]);
    let pipe = scene.home.join("pipe");
    assert!(output(scene.native("mkfifo").arg(&pipe)).status.success());
    let words = ["track", "ingest", "--remove", "--store", &store, second.to_str().unwrap()];
    let mut command = scene.spinney(&words);
    let child = command.arg(&pipe).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let writer = held(&pipe);
    server.kill();
    drop(writer); // Now it goes on.
    let done = finish(child);
    let told = text(&done.stderr);
    assert_eq!((done.status.code(), told.lines().count()), (Some(1), 1), "{told}");
    assert!(told.contains("the connection to its server was lost; try again"), "{told}");
    assert!(second.join("b.jsonl").exists(), "what was not accepted stays");
    let done = ingest(&scene, &store, &second);
    let told = text(&done.stderr);
    assert_eq!((done.status.code(), told.lines().count()), (Some(1), 1), "nobody is there: {told}");
    server.restart();
    assert_eq!(report(&scene, &store, &["packages"]), before);
    let again = ingest(&scene, &store, &second);
    assert!(text(&again.stdout).contains("new: 1 runs, 1 processes, 1 imports"), "{again:?}");
    server.kill();
    server.restart();
    assert!(report(&scene, &store, &["packages"]).contains("numpy,python,101,2,"), "it was accepted");
}

#[test]
fn a_full_disk_of_a_server_costs_nothing_that_was_kept() {
    let server = Server::with_a_small_disk();
    let (scene, _) = stores(&server);
    let store = server.small_database("small");
    let small = write(&scene, "small", TWO_RUNS);
    let path = "/e/".repeat(1000);
    let names: Vec<String> = (0..10_000).map(|number| format!("package{number}")).collect();
    // Paths that cannot be packed, of more than the 16 MB.
    let paths: Vec<String> = names.iter().map(|name| hard_to_pack(name, &path)).collect();
    let imports: Vec<_> =
        names.iter().zip(&paths).map(|(name, path)| (name.as_str(), "1", path.as_str(), 1, "p")).collect();
    let large = write(&scene, "large", &[Run { uuid: "l", user: "u", probability: 1.0, imports: &imports }]);
    assert!(ingest(&scene, &store, &small).status.success());
    let before = report(&scene, &store, &["packages"]);
    let done = ingest(&scene, &store, &large);
    let told = text(&done.stderr);
    assert_eq!((done.status.code(), told.lines().count()), (Some(1), 1), "{told}");
    assert!(told.contains("no space is left where it lies"), "{told}");
    assert_eq!(report(&scene, &store, &["packages"]), before);
    assert!(text(&ingest(&scene, &store, &small).stdout).contains("new: 0 runs, 0 processes, 0 imports"));
}

/// A path as long as `like` of which PostgreSQL cannot make less.
fn hard_to_pack(name: &str, like: &str) -> String {
    use ring::digest::{SHA256, digest};
    let mut text = String::from("/");
    let mut state = digest(&SHA256, name.as_bytes());
    while text.len() < like.len() {
        text.extend(state.as_ref().iter().map(|byte| char::from(b'0' + byte % 75)));
        state = digest(&SHA256, state.as_ref());
    }
    text
}

#[test]
fn a_server_is_spoken_to_in_secret_if_that_is_asked_for_or_not_at_all() {
    let (server, port) = Server::sealed();
    let (scene, _) = stores(&server);
    let plain = Server::plain();
    plain.0.database("track");
    let records = write(&scene, "records", TWO_RUNS);
    let authority = scene.home.join("authority.pem");
    fs::write(&authority, include_str!("certificates/authority.pem")).unwrap();
    let empty = scene.home.join("empty.pem");
    fs::write(&empty, "").unwrap();
    let at = |host: &str, port: u16, words: &str| format!("postgresql://site@{host}:{port}/track?{words}");
    let known = format!("sslrootcert={}", authority.display());
    let refused = [
        (at("localhost", port, "sslmode=verify-full"), "certificate is not trusted"), // nobody known vouches for it
        (at("localhost", port, "sslmode=require"), "certificate is not trusted"),     // the same
        (at("127.0.0.1", port, &format!("sslmode=verify-full&{known}")), "certificate is not trusted"), // another name
        (
            at("localhost", port, &format!("sslmode=require&sslrootcert={}", empty.display())),
            "no certificate of an authority",
        ),
        (at("localhost", port, "sslmode=require&sslrootcert=/nowhere.pem"), "/nowhere.pem: No such file"),
        (at("localhost", plain.1, &format!("sslmode=require&{known}")), "server does not support TLS"),
        (at("localhost", plain.1, &format!("sslmode=verify-full&{known}")), "server does not support TLS"),
    ];
    for (store, said) in refused {
        let done = ingest(&scene, &store, &records);
        let told = text(&done.stderr);
        assert_eq!((done.status.code(), told.lines().count()), (Some(1), 1), "{store}: {told}");
        assert!(told.contains(said), "{store}: {told}");
    }
    let sealed =
        [("verify-full", &known), ("verify-ca", &known), ("require", &known), ("prefer", &String::new())];
    for (mode, more) in sealed {
        let store = at("localhost", port, &format!("sslmode={mode}&{more}"));
        let done = ingest(&scene, &store, &records);
        assert!(done.status.success(), "{store}: {}", text(&done.stderr));
    }
    // From now on the server itself lets nobody in who does not use TLS.
    server.sealed_only(port);
    assert!(
        report(&scene, &at("localhost", port, "sslmode=prefer"), &["packages"])
            .contains("numpy,python,101,2")
    );
    assert!(!ingest(&scene, &at("localhost", port, "sslmode=disable"), &records).status.success());
    // Where nothing is asked for, what the server offers is taken.
    assert!(ingest(&scene, &at("localhost", plain.1, ""), &records).status.success());
}

#[test]
fn packages_that_are_installed_and_that_nobody_imports_are_named() {
    let server = Server::start();
    let (scene, stores) = stores(&server);
    let prefix = scene.home.join("opt");
    let site = prefix.join("lib/python3.11/site-packages");
    let library = prefix.join("lib/R/library");
    for (info, name, module) in [
        ("numpy-2.0", "numpy", "numpy"),
        ("scikit_learn-1.5", "scikit-learn", "sklearn"),
        ("six-1.0", "six", "six"),
    ] {
        let info = site.join(format!("{info}.dist-info"));
        fs::create_dir_all(&info).unwrap();
        fs::write(info.join("METADATA"), format!("Name: {name}\n")).unwrap();
        fs::write(info.join("RECORD"), format!("{module}/__init__.py,,\n")).unwrap();
    }
    fs::create_dir_all(library.join("ggplot2")).unwrap();
    fs::write(library.join("ggplot2/DESCRIPTION"), "Package: ggplot2\nVersion: 3.4\nBuilt: R 4.2\n").unwrap();
    // By another path than the one that is named below: what counts is where it leads.
    std::os::unix::fs::symlink(&prefix, scene.home.join("link")).unwrap();
    let numpy = site.join("numpy/__init__.py").display().to_string();
    let run = Run {
        uuid: "a",
        user: "ada",
        probability: 1.0,
        imports: &[("numpy", "2.0", &numpy, 1, "p"), ("six", "1.0", "/h/ada/env/six.py", 1, "p")],
    };
    let records = write(&scene, "records", &[run]);
    let link = scene.home.join("link").display().to_string();
    for store in &stores {
        assert!(ingest(&scene, store, &records).status.success());
        let all = report(&scene, store, &["--installed-in", &link, "--unseen-days", "0"]);
        let rest = format!(
            "ggplot2,R,3.4,never,0,{link}\nscikit-learn,python,1.5,never,0,{link}\nsix,python,1.0,never,1,{link}\n"
        );
        let head = "package,program,version,last_import,runs_elsewhere,installed_in\n";
        assert_eq!(all, format!("{head}{rest}numpy,python,2.0,2023-11-14,0,{link}\n"), "{store}");
        let lately =
            report(&scene, store, &["installed", "--installed-in", &link, "--unseen-days", "100000"]);
        assert_eq!(lately, format!("{head}{rest}"), "{store}");
        let page = report_as(&scene, store, "html", &["--installed-in", &link]);
        assert!(
            page.contains("Installed and not imported") && page.contains("scikit-learn"),
            "it has all answers"
        );
        let page = report_as(&scene, store, "html", &[]);
        assert!(!page.contains("Installed and not imported"), "nobody said what is installed");
    }
    for (words, said) in [
        (vec!["installed"], "needs `--installed-in PREFIX`"),
        (vec!["--installed-in", "/nowhere"], "/nowhere: No such file"),
        (vec!["--installed-in", "/proc/self/fd"], "no packages of Python or R"),
    ] {
        let words = [vec!["track", "report", "--store", &stores[0]], words].concat();
        let done = output(&mut scene.spinney(&words));
        let told = text(&done.stderr);
        assert_eq!((done.status.code(), told.lines().count()), (Some(1), 1), "{told}");
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn a_store_is_its_owners_alone() {
    let scene = scenes().swap_remove(0);
    let records = write(&scene, "records", TWO_RUNS);
    let store = scene.home.join("new.db");
    let mut command = scene.native("sh");
    let script = "umask 000; exec \"$1\" track ingest --store \"$2\" \"$3\"";
    command.args(["-c", script, "sh"]).arg(&scene.binary).arg(&store).arg(&records);
    assert!(output(&mut command).status.success());
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o600);
}
