//! Where the records of `spinney run --track` go: files, syslog, collectors that fail, and what waits in the spool.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::collector::{Collector, Does, nobody};
use crate::scene::{Scene, output, scenes, text};

/// The system's, which an ordinary user can execute too.
const PYTHON: &str = "/usr/bin/python3";

/// One package to import, and a spool.
fn furnish(scene: &Scene) -> PathBuf {
    let site = scene.home.join("lib/site-packages");
    fs::create_dir_all(site.join("first")).unwrap();
    fs::write(site.join("first/__init__.py"), "").unwrap();
    fs::create_dir_all(site.join("first-1.5.dist-info")).unwrap();
    site
}

/// `spinney run --track TO FLAGS -- python -c SOURCE`.
fn tracked(scene: &Scene, to: &str, flags: &[&str], source: &str) -> Command {
    let mut command = scene.spinney(&["run", "-q", "--way", "direct", "--track", to]);
    command
        .args(["--track-spool", spool(scene).to_str().unwrap()])
        .args(flags)
        .args(["--", PYTHON, "-c", source]);
    command.env("PYTHONPATH", furnish(scene)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn spool(scene: &Scene) -> PathBuf {
    scene.home.join("spool")
}

/// Messages that wait.
fn waiting(scene: &Scene) -> Vec<PathBuf> {
    fs::read_dir(spool(scene)).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Files beneath `directory`, by name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// What the run said: nothing, and COMMAND's exit code.
fn ended_as_the_command(command: &mut Command) {
    let output = output(command);
    assert_eq!(
        (output.status.code(), text(&output.stderr), text(&output.stdout)),
        (Some(7), String::new(), String::new())
    );
}

/// The versions that a store has of what is in `paths`.
fn versions(scene: &Scene, paths: &[&Path]) -> String {
    let store = scene.home.join("track.db");
    let store = store.to_str().unwrap();
    for _ in 0..2 {
        let mut ingest = scene.spinney(&["track", "ingest", "--store", store]);
        let done = output(ingest.args(paths));
        assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    }
    let mut report = scene.spinney(&["track", "report", "--store", store, "--format", "csv", "versions"]);
    text(&output(&mut report).stdout)
}

const IMPORT: &str = "import first, sys; sys.exit(7)";
const VERSIONS: &str = "package,program,version,runs,users\nfirst,python,1.5,1,1\n";

#[test]
fn a_collector_that_fails_and_then_works_gets_each_message_under_one_key() {
    for scene in scenes() {
        let collector = Collector::start(&[Does::Close, Does::Answer(500), Does::Answer(429)]);
        ended_as_the_command(&mut tracked(&scene, &collector.address(), &[], IMPORT));
        let heard = collector.heard();
        assert_eq!(heard.iter().map(|request| request.status).collect::<Vec<_>>(), [500, 429, 200]);
        assert!(heard[2].head.starts_with("post /records?site=x http/1.1"), "{}", heard[2].head);
        assert!(
            heard[2].body.contains("\"first\"") && heard[2].body.starts_with("[\"run\""),
            "{}",
            heard[2].body
        );
        let key = |number: usize| {
            heard[number].head.lines().find(|line| line.starts_with("idempotency-key")).unwrap()
        };
        assert_eq!((key(0), &heard[0].body), (key(2), &heard[2].body));
        assert!(waiting(&scene).is_empty());
    }
}

#[test]
fn what_a_collector_did_not_take_waits_and_is_sent_later() {
    for scene in scenes() {
        let collector = Collector::start(&[Does::Hang]);
        ended_as_the_command(&mut tracked(&scene, &collector.address(), &[], IMPORT));
        collector.change(&[Does::Answer(404)]);
        ended_as_the_command(&mut tracked(&scene, &collector.address(), &[], IMPORT));
        assert_eq!(collector.heard().len(), 1, "404 is not asked again");
        ended_as_the_command(&mut tracked(&scene, &nobody(), &[], IMPORT));
        let waiting_now = waiting(&scene);
        assert_eq!(waiting_now.len(), 3);
        for file in &waiting_now {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let spool = spool(&scene);
        let mut send =
            scene.spinney(&["track", "send", "--spool", spool.to_str().unwrap(), "--within", "20s"]);
        let sent = output(&mut send);
        assert_eq!(sent.status.code(), Some(1), "nobody listens for the third");
        assert!(text(&sent.stdout).contains("2 sent, 1 left"), "{}", text(&sent.stdout));
        assert_eq!(collector.heard().len(), 2);
        assert_eq!(waiting(&scene).len(), 1);
    }
}

#[test]
fn a_run_that_can_send_also_sends_what_waits() {
    let scene = scenes().swap_remove(0);
    let collector = Collector::start(&[Does::Answer(403)]);
    ended_as_the_command(&mut tracked(&scene, &collector.address(), &[], IMPORT));
    assert_eq!(waiting(&scene).len(), 1);
    ended_as_the_command(&mut tracked(&scene, &collector.address(), &[], IMPORT));
    let bodies: Vec<String> = collector.heard().into_iter().map(|request| request.body).collect();
    assert_eq!((bodies.len(), waiting(&scene).len()), (3, 0));
    assert_eq!(bodies[0], bodies[2]);
}

#[test]
fn a_collector_over_tls_is_believed_only_with_an_authority_of_the_machine() {
    let scene = scenes().swap_remove(0);
    let authority = scene.home.join("authority.pem");
    fs::write(&authority, include_str!("certificates/authority.pem")).unwrap();
    let collector = Collector::sealed();
    ended_as_the_command(&mut tracked(&scene, &collector.sealed_address(), &[], IMPORT));
    assert_eq!((collector.heard().len(), waiting(&scene).len()), (0, 1), "nobody vouches for it");
    ended_as_the_command(
        tracked(&scene, &collector.sealed_address(), &[], IMPORT).env("SSL_CERT_FILE", &authority),
    );
    assert_eq!((collector.heard().len(), waiting(&scene).len()), (2, 0));
}

#[test]
fn lines_of_syslog_come_back_as_records_in_both_forms() {
    for scene in scenes() {
        for form in ["spinney", "xalt"] {
            let socket = scene.home.join(format!("log-{form}"));
            let daemon = UnixDatagram::bind(&socket).unwrap();
            fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
            daemon.set_nonblocking(true).unwrap();
            let to = format!("syslog:{}", socket.display());
            ended_as_the_command(&mut tracked(&scene, &to, &["--track-form", form], IMPORT));
            let (mut log, mut line) = (String::new(), vec![0; 4096]);
            while let Ok(length) = daemon.recv(&mut line) {
                let line = std::str::from_utf8(&line[..length]).unwrap();
                assert!(line.starts_with("<14>") && line.is_ascii() && !line.contains('\n'), "{line}");
                assert!(line.contains(" XALT_LOGGING_") && line.contains(": V:4 kind:"), "{line}");
                log += &format!("{line}\n");
            }
            assert_eq!(form == "xalt", log.contains(" kind:pkg ") && log.contains(" kind:run "), "{log}");
            let file = scene.home.join(format!("{form}.log"));
            fs::write(&file, log).unwrap();
            let _ = fs::remove_file(scene.home.join("track.db"));
            // XALT tells the interpreter's version, not the package's.
            let expected = if form == "xalt" { VERSIONS.replace("1.5", "-") } else { VERSIONS.to_owned() };
            assert_eq!(versions(&scene, &[&file]), expected, "{form}");
        }
        assert!(waiting(&scene).is_empty());
        let to = format!("syslog:{}", scene.home.join("nobody").display());
        ended_as_the_command(&mut tracked(&scene, &to, &[], IMPORT));
        assert_eq!(waiting(&scene).len(), 1);
    }
}

#[test]
fn a_syslog_daemon_that_does_not_read_holds_up_nobody() {
    let scene = scenes().swap_remove(0);
    let socket = scene.home.join("log");
    let _daemon = UnixDatagram::bind(&socket).unwrap();
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.send_to(b"x", &socket).is_ok() {}
    ended_as_the_command(&mut tracked(&scene, &format!("syslog:{}", socket.display()), &[], IMPORT));
    assert_eq!(waiting(&scene).len(), 1);
}

#[test]
fn xalts_files_lie_where_xalt_reads_them_and_say_what_an_export_says() {
    for scene in scenes() {
        let (own, xalts, exported) =
            (scene.home.join("own"), scene.home.join("xalt"), scene.home.join("exported"));
        let to = format!("file_separate_dirs:{}", xalts.display());
        ended_as_the_command(&mut tracked(&scene, &to, &["--track-form", "xalt"], IMPORT));
        let names: Vec<PathBuf> = files(&xalts);
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0].starts_with(xalts.join("pkg")) && names[1].starts_with(xalts.join("run")));
        for name in &names {
            assert_eq!(fs::metadata(name).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(versions(&scene, &[&xalts]), VERSIONS.replace("1.5", "-"));

        ended_as_the_command(&mut tracked(&scene, own.to_str().unwrap(), &[], IMPORT));
        for _ in 0..2 {
            let mut export = scene.spinney(&["track", "export", "--format", "xalt", "--to"]);
            let done = output(export.args([&exported, &own]));
            assert_eq!(text(&done.stdout), "1 runs passed on\n", "{}", text(&done.stderr));
        }
        let contents = |files: &[PathBuf]| {
            files.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<_>>()
        };
        let (direct, passed_on) = (contents(&names), contents(&files(&exported)));
        assert_eq!(passed_on.len(), 2, "again in the same files");
        // Runs differ in their identity, and so does the checksum.
        let shape = |text: &str| {
            let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
            for key in ["crc", "xalt_run_uuid"] {
                value[key].take();
            }
            value
        };
        assert_eq!(shape(&direct[0]), shape(&passed_on[0]));
        assert!(direct[0].starts_with("{\"crc\":\"0x") && direct[0].ends_with("}\n"));
    }
}

/// `sh -c "PREPARE; exec COMMAND"` as root of namespaces of its own.
fn in_namespaces(scene: &Scene, prepare: &str, command: &Command) -> Command {
    let mut inside = scene.native("/usr/bin/unshare");
    inside.args(["-r", "-m", "/bin/sh", "-c", &format!("{prepare} && exec \"$@\""), "sh"]);
    inside.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        inside.env(name, value.unwrap_or_default());
    }
    inside
}

#[test]
fn a_full_or_read_only_disk_is_not_the_commands_business() {
    for scene in scenes() {
        let place = scene.home.join("disk");
        fs::create_dir(&place).unwrap();
        if let Some(uid) = scene.uid {
            std::os::unix::fs::chown(&place, Some(uid), Some(uid)).unwrap();
        }
        let to = place.join("records");
        let command = tracked(&scene, to.to_str().unwrap(), &[], IMPORT);
        let full = format!(
            "mount -t tmpfs -o size=4k none {0} && cat /bin/sh >{0}/x 2>/dev/null; true",
            place.display()
        );
        ended_as_the_command(&mut in_namespaces(&scene, &full, &command));
        assert_eq!(waiting(&scene).len(), 1, "into the spool");
        let read_only = format!("mount -t tmpfs -o ro none {}", place.display());
        ended_as_the_command(&mut in_namespaces(&scene, &read_only, &command));
        assert_eq!(waiting(&scene).len(), 2);
        let mut send = scene.spinney(&["track", "send", "--spool", spool(&scene).to_str().unwrap()]);
        let sent = output(&mut send);
        assert!(
            text(&sent.stdout).contains("2 sent, 0 left"),
            "{}{}",
            text(&sent.stdout),
            text(&sent.stderr)
        );
        assert_eq!(files(&to).len(), 2);
    }
}

#[test]
fn without_shared_memory_the_command_runs_untracked() {
    let scene = scenes().swap_remove(0);
    let to = scene.home.join("records");
    let command = tracked(&scene, to.to_str().unwrap(), &[], IMPORT);
    for options in ["ro", "size=4k,nr_inodes=2", "size=12k,nr_inodes=10"] {
        let mount = format!("mount -t tmpfs -o {options} none /dev/shm");
        ended_as_the_command(&mut in_namespaces(&scene, &mount, &command));
    }
    assert!(files(&to).is_empty());
    let fills =
        "f = open('/dev/shm/x', 'wb', 0)\ntry:\n while True: f.write(b'x' * 4096)\nexcept OSError: pass\n";
    let command = tracked(&scene, to.to_str().unwrap(), &[], &format!("{fills}{IMPORT}"));
    let mount = "mount -t tmpfs -o size=128k none /dev/shm";
    ended_as_the_command(&mut in_namespaces(&scene, mount, &command));
}

#[test]
fn logger_is_given_lines_and_nothing_else() {
    let scene = scenes().swap_remove(0);
    let (fake, said) = (scene.home.join("logger"), scene.home.join("said"));
    let script = format!("#!/bin/sh\nexec >{}\necho \"$@\"\nenv\ncat\n", said.display());
    fs::write(&fake, script).unwrap();
    fs::set_permissions(&fake, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = tracked(&scene, "logger", &[], IMPORT);
    command.env("LD_PRELOAD", "").env("SECRET_OF_USER", "x");
    let mount = format!("mount --bind {} /usr/bin/logger", fake.display());
    ended_as_the_command(&mut in_namespaces(&scene, &mount, &command));
    let said = fs::read_to_string(said).unwrap();
    assert!(said.starts_with("-p user.info -t XALT_LOGGING_"), "{said}");
    assert!(said.contains("\nV:4 kind:spinney ") && !said.contains("SECRET_OF_USER"), "{said}");
    let slow = "#!/bin/sh\nexec sleep 600\n";
    fs::write(&fake, slow).unwrap();
    ended_as_the_command(&mut in_namespaces(&scene, &mount, &command));
    assert_eq!(waiting(&scene).len(), 1, "it is not waited for");
}

#[test]
fn a_wrapper_that_is_killed_leaves_its_records_to_the_next_run() {
    let scene = scenes().pop().unwrap();
    let to = scene.home.join("records");
    let source =
        "import first, os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time; time.sleep(60)";
    let killed = output(&mut tracked(&scene, to.to_str().unwrap(), &[], source));
    assert!(!killed.status.success());
    assert!(files(&to).is_empty());
    crate::scene::eventually("the next run collects it", || {
        output(&mut tracked(&scene, to.to_str().unwrap(), &[], "pass"));
        files(&to).iter().any(|file| fs::read_to_string(file).unwrap().contains("\"first\""))
    });
}

#[test]
fn nowhere_is_a_place_and_what_is_none_is_told() {
    let scene = scenes().swap_remove(0);
    ended_as_the_command(&mut tracked(&scene, "none", &[], IMPORT));
    assert!(waiting(&scene).is_empty());
    let wrong = output(&mut tracked(&scene, "kafka://nowhere", &[], IMPORT));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("kafka://HOST:PORT/TOPIC"), "{}", text(&wrong.stderr));
    assert_eq!(text(&wrong.stderr).lines().count(), 1, "{}", text(&wrong.stderr));
}
