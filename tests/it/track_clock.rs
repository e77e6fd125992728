//! Clocks that are wrong: of the node that ran, and of the machine that ingested. Nothing is lost, one line says so, and
//! no package counts as seen before its time.
//!
//! Not here: a clock that jumps while a program runs (`track_python`), the spool's (`track_send`).

use std::fs;

use crate::scene::{output, text};
use crate::track_python::own_scene;

/// The first of January 2100.
const LATER: f64 = 4_102_444_800.0;

#[test]
fn a_run_that_is_still_to_come_is_counted_and_told_and_its_packages_are_seen_today() {
    let scene = own_scene();
    let (store, records) = (scene.home.join("track.db"), scene.home.join("records"));
    fs::create_dir(&records).unwrap();
    for (uuid, started) in [("ahead", LATER), ("behind", 0.0), ("long-ago", -5.0)] {
        let run = serde_json::json!(["run", { "uuid": uuid, "user": "ada", "host": "n1", "command": "python3",
            "nodes": 1, "tasks": 1, "started": started }]);
        let process = serde_json::json!(["proc", { "pid": 7, "started": started, "python": "3.11.7",
            "implementation": "cpython", "executable": "/e/bin/python3", "prefix": "/e", "base_prefix": "/e" }]);
        let import = serde_json::json!(["i", 1, uuid, null, "1.0", 5, 5, "pa", null]);
        let lines = format!("{run}\n{process}\n{import}\n[\"end\",{{\"seconds\":-60.0}}]\n");
        fs::write(records.join(format!("{uuid}.jsonl")), lines).unwrap();
    }
    let spinney = |words: &[&str]| {
        let done = output(scene.spinney(&["track"]).args(words));
        assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
        (text(&done.stdout), text(&done.stderr))
    };
    let store = store.to_str().unwrap();
    let ingest = ["ingest", "--store", store, records.to_str().unwrap()];
    let told = "spinney: the clock of 1 run was ahead of this machine's: taken as begun now\n";
    assert_eq!(
        spinney(&ingest),
        ("3 files read; new: 3 runs, 3 processes, 3 imports\n".to_owned(), told.to_owned())
    );
    assert_eq!(spinney(&ingest).1, "", "it is known by now");

    let unseen = ["report", "--store", store, "--format", "csv", "--unseen-days", "1", "unseen"];
    let is_sound =
        |said: &str| said.contains("behind,python,1,") && !said.contains("ahead") && !said.contains(",-");
    let (said, warned) = spinney(&unseen);
    assert!(is_sound(&said) && warned.is_empty(), "{said} {warned}");
    let packages = spinney(&["report", "--store", store, "--format", "csv", "packages"]).0;
    assert!(packages.contains("ahead,python,1,1,0.000\n"), "no time is negative: {packages}");

    // Ingested by a machine whose own clock was ahead.
    let database = rusqlite::Connection::open(store).unwrap();
    database.execute("UPDATE run SET started = ?1 WHERE uuid = 'ahead'", [LATER]).unwrap();
    drop(database);
    let (said, warned) = spinney(&unseen);
    assert!(is_sound(&said), "{said}");
    assert_eq!(warned, "spinney: 1 run began later than now by this machine's clock: taken as begun now\n");
}
