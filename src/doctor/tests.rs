//! Whole examinations: on this machine, and on ones made worse for the purpose.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::report::{State, WayReport};
use super::steps::{Step, walk};
use super::*;

/// Set in a process that a test has started from its own program, in worse surroundings.
const INSIDE: &str = "SPINNEY_TEST_INSIDE";

/// A stand-in for the product that can serve nothing and says `words`.
fn program_that_says(words: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("spinney");
    std::fs::write(&program, format!("#!/bin/sh\necho 'spinney: {words}' >&2\nexit 125\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

fn examined_with(program: &Path, command: &[&str]) -> report::Report {
    let command = command.iter().map(OsString::from).collect();
    examine(&Options { json: false, command, executable: program.join("spinney") }).unwrap()
}

/// What an ordinary user sees where AppArmor restricts namespaces, of an environment that uv made.
fn sample() -> report::Report {
    let machine = Machine {
        kernel: "6.8.0-45-generic".to_owned(),
        kernel_version: (6, 8),
        program: "/usr/local/bin/spinney".into(),
        max_user_namespaces: Some(127_000),
        max_mnt_namespaces: Some(127_000),
        apparmor_restrict_unprivileged_userns: Some(1),
        fuse_device: machine::FuseDevice::Present { mode: 0o666 },
        fuse_in_kernel: true,
        open_files_soft: Some(1_024),
        open_files_hard: Some(524_288),
        fusermount: Some(machine::Fusermount {
            path: "/usr/bin/fusermount3".into(),
            is_set_uid: true,
            is_on_nosuid: false,
        }),
        ..Machine::default()
    };
    let stop = Some(steps::Stop { step: Step::MapIds, errno: libc::EPERM });
    let message = "no user namespace: Operation not permitted".to_owned();
    let advice = advice::explain(WayIn::UserNamespace, stop, &message, &machine);
    let ways = vec![
        WayReport::not_for_you(
            WayIn::MountNamespace,
            not_for_this_user(WayIn::MountNamespace, &machine).unwrap(),
        ),
        WayReport::failed(WayIn::UserNamespace, stop, message, advice),
        WayReport::works_in(WayIn::Fusermount, 0.0625),
    ];
    let command = Some(sample_command());
    let hurts = hurts::all(&machine, command.as_ref());
    let features = features::of_this_kernel(machine.kernel_version);
    let nodes = nodes::NodesReport {
        host: "a02".to_owned(),
        launcher: Some("srun".to_owned()),
        job: Some("slurm=7,step=0".to_owned()),
        allocation: Some("slurm=7".to_owned()),
        count: 4,
        rank: Some(1),
        told_by: Some("SLURM_STEP_NODELIST".to_owned()),
        task: Some(nodes::TaskReport { rank: 8, size: 32 }),
        trouble: None,
        interfaces: vec![nodes::InterfaceReport {
            name: "hsn0".to_owned(),
            address: "10.0.0.2".to_owned(),
            speed_mbit: Some(200_000),
        }],
        ports: vec![32_177, 22_601, 25_793, 28_985],
        key: Some("/home/ada/.config/spinney/key".to_owned()),
        key_is_shared: Some(true),
    };
    let report = report::Report::new(ways, Some(WayIn::Fusermount), machine, features, command, hurts);
    report::Report { nodes, ..report }
}

fn sample_command() -> served::CommandReport {
    let network = |path: &str, reason: &str| served::ViewReport {
        path: path.into(),
        reason: reason.to_owned(),
        file_system: Some("nfs4".to_owned()),
        source: Some("filer:/sw".to_owned()),
        mount_point: Some("/sw".to_owned()),
        reach: crate::environment::mounts::Reach::Network,
        is_noexec: false,
        is_served: Some(true),
        message: None,
        bytecode: crate::environment::bytecode::Bytecode { modules: 1_600, uncompiled: 12, is_cut: false },
        set_ids: hurts::SetIds::default(),
    };
    let mut env = network("/sw/ada/env", "virtual environment");
    env.bytecode =
        crate::environment::bytecode::Bytecode { modules: 9_120, uncompiled: 9_120, is_cut: false };
    let mut base = network("/sw/python/3.11", "base of the virtual environment `/sw/ada/env`");
    base.is_served = Some(false);
    base.message = Some("`/sw/python/3.11` is not your own".to_owned());
    served::CommandReport {
        name: "python3".to_owned(),
        found_at: Some("/sw/ada/env/bin/python3".to_owned()),
        views: vec![env, base],
        notes: vec![
            "left out: `/home/ada/lib` in `PYTHONPATH` lies in no environment; `--view` serves it".to_owned(),
        ],
    }
}

/// The documentation shows the same report twice, as text and as JSON, so it cannot differ from the code.
#[test]
fn the_documentation_shows_what_is_printed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/DOCTOR.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let report = sample();
    let shown = [text::render(&report), serde_json::to_string_pretty(&report).unwrap()];
    for part in shown {
        assert!(page.contains(part.trim_end()), "{} must show:\n{part}", file.display());
    }
}

fn find(report: &report::Report, way: WayIn) -> &WayReport {
    report.ways.iter().find(|report| report.way == way).unwrap()
}

/// Runs the test of this name once more, in a process that `worsen` has changed.
fn again_inside(test: &str, mut command: Command) {
    let name = format!("doctor::tests::{test}");
    let words = ["--exact", &name, "--nocapture", "--test-threads=1"];
    let output = command.args(words).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{errors}");
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
fn no_step_is_refused_on_a_machine_that_serves() {
    let directory = tempfile::tempdir().unwrap();
    let stop = walk(WayIn::UserNamespace, directory.path()).unwrap();
    assert_eq!(
        stop, None,
        "this machine must allow user namespaces and /dev/fuse, as the tests of the view need"
    );
    assert_eq!(walk(WayIn::Fusermount, directory.path()).unwrap(), None);
}

#[test]
fn user_namespaces_that_are_switched_off_are_named_with_their_switch() {
    if !is_inside() {
        // The limit can be set for a namespace of one's own, where it holds for all beneath.
        let mut command = Command::new("unshare");
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
        command.args(["--user", "--map-root-user", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
        return again_inside("user_namespaces_that_are_switched_off_are_named_with_their_switch", command);
    }
    let program = program_that_says("cannot make a user namespace");
    let report = examined_with(program.path(), &[]);
    let user = find(&report, WayIn::UserNamespace);
    assert_eq!(
        (user.state, user.step, user.errno),
        (State::Fails, Some(Step::UnshareUser), Some(libc::ENOSPC))
    );
    assert!(user.cause.as_deref().unwrap().contains("`user.max_user_namespaces` is 0"), "{user:?}");
    assert!(report.ask.as_deref().unwrap().starts_with("sysctl -w user.max_user_namespaces="), "{report:?}");
    assert!(!report.works && report.best_way.is_none());
}

#[test]
fn a_filter_of_system_calls_is_named() {
    if !is_inside() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        // SAFETY: system calls only, on constants.
        unsafe { command.pre_exec(forbid_unshare) };
        return again_inside("a_filter_of_system_calls_is_named", command);
    }
    let program = program_that_says("cannot make a user namespace");
    let report = examined_with(program.path(), &[]);
    let user = find(&report, WayIn::UserNamespace);
    assert_eq!((user.step, user.errno), (Some(Step::UnshareUser), Some(libc::EPERM)));
    let cause = user.cause.as_deref().unwrap();
    assert!(cause.contains("seccomp") || report.machine.container.is_some(), "{cause}");
    assert!(report.machine.has_seccomp_filter && report.machine.no_new_privileges);
}

/// As container engines do: `unshare` ends with EPERM.
fn forbid_unshare() -> io::Result<()> {
    let number = libc::SYS_unshare as u32;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 }, // load the call's number
        libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: number }, // is it unshare?
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: refuse },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter lives until the kernel has copied it.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
        ]
    };
    if results == [0, 0] { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn a_machine_that_cannot_serve_ends_with_1_and_says_what_happens_then() {
    let program = program_that_says("out of luck");
    let report = examined_with(program.path(), &[]);
    let text = text::render(&report);
    assert!(text.starts_with("spinney cannot serve here"), "{text}");
    assert!(text.contains("out of luck"), "{text}");
    let options = Options { json: true, command: vec![], executable: program.path().join("spinney") };
    let mut output = Vec::new();
    let code = run(options, &mut output).unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
    let json: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(json["schema"], 1);
}

#[test]
fn the_environment_of_a_command_is_told_though_nothing_can_serve_it() {
    let program = program_that_says("no");
    let environment = tempfile::tempdir().unwrap();
    let prefix = environment.path().canonicalize().unwrap();
    for directory in ["bin", "lib/python3.11"] {
        std::fs::create_dir_all(prefix.join(directory)).unwrap();
    }
    std::fs::copy(program.path().join("spinney"), prefix.join("bin/python3.11")).unwrap();
    let report = examined_with(program.path(), &[prefix.join("bin/python3.11").to_str().unwrap(), "-s"]);
    let command = report.command.unwrap();
    assert_eq!(command.views.len(), 1, "{command:?}");
    let view = &command.views[0];
    assert_eq!((view.path.clone(), view.is_served), (prefix, None));
    assert!(view.file_system.is_some() && view.mount_point.is_some());
}

#[test]
fn a_command_that_is_nowhere_is_said_to_be() {
    let program = program_that_says("no");
    let report = examined_with(program.path(), &["no-command-of-this-name"]);
    let notes = report.command.unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("is not in PATH")), "{notes:?}");
}
