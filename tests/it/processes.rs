//! The processes around COMMAND: founding, joining, ending, dying.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};

use crate::scene::{
    CONTENT, Lines, Scene, eventually, finish, kill, ordinary, output, pid_of, scenes, text, with_a_name,
};

/// A command inside that says `ready`, waits for a line on its standard input, then says what the file of
/// the view holds and ends with 5.
const WAITING: &str = "echo ready; read line; cat \"$0\"; exit 5";

/// Starts [`WAITING`] with more flags and waits until it is inside.
fn waiting(scene: &Scene, flags: &[&str]) -> (Child, Lines) {
    begin(scene.run(flags, &["sh", "-c", WAITING, &scene.shown("file")]), scene)
}

/// Starts a command that runs [`WAITING`], and waits until it is inside.
fn begin(mut command: std::process::Command, scene: &Scene) -> (Child, Lines) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = Lines::of(child.stdout.take().unwrap());
    if lines.next().as_deref() != Some("ready") {
        panic!("{}: {}", scene.who(), text(&finish(child).stderr));
    }
    (child, lines)
}

/// Lets a waiting command go on, and checks that it reads the file and ends as it should.
fn let_go(scene: &Scene, mut child: Child, lines: &Lines) -> String {
    writeln!(child.stdin.as_mut().unwrap()).unwrap();
    assert_eq!(lines.next().as_deref(), Some(CONTENT.trim_end()), "{}", scene.who());
    let output = finish(child);
    assert_eq!(output.status.code(), Some(5), "{}: {}", scene.who(), text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn the_view_is_at_its_own_path_for_the_command_and_for_nobody_else() {
    for scene in scenes() {
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        let output =
            output(&mut scene.run(&["--require"], &["cat", &scene.shown("file"), "/proc/self/mountinfo"]));
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(stdout.starts_with(CONTENT));
        let shown = format!(" {} ", scene.env.display());
        let mount = stdout.lines().rfind(|line| line.contains(&shown)).expect("the view is mounted");
        assert!(mount.contains("fuse.spinney") && mount.contains(" ro,"), "{mount}");
        assert_eq!(before, mounts());
        scene.assert_nothing_left();
    }
}

#[test]
fn several_views_are_each_at_their_own_path() {
    for scene in scenes() {
        let bin = scene.shown("bin");
        let other = scene.home.join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("file"), "other\n").unwrap();
        let other = other.to_str().unwrap();
        let command = ["sh", "-c", "ls $0; cat $1/file; stat -f -c %t $0 $1", &bin, other];
        let flags = ["--require", "--view", &bin, "--view", other, "--"];
        let output = output(scene.spinney(&["run"]).args(flags).args(command));
        assert_eq!(
            text(&output.stdout),
            "cat\nsh\nsleep\nother\n65735546\n65735546\n",
            "{}",
            text(&output.stderr)
        );
        scene.assert_nothing_left();
    }
}

#[test]
fn with_mount_under_the_views_are_shown_there_and_not_in_place() {
    for scene in scenes() {
        let under = scene.home.join("under");
        std::fs::create_dir(&under).unwrap();
        let shown = under.join(scene.env.strip_prefix("/").unwrap());
        let command = ["sh", "-c", "stat -f -c %t $0; stat -f -c %t $1; cat $0/file"];
        let mut command = scene.run(&["--require", "--mount-under", under.to_str().unwrap()], &command);
        let output = output(command.arg(&shown).arg(&scene.env));
        let stdout = text(&output.stdout);
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(lines[0], "65735546", "{stdout} {}", text(&output.stderr));
        assert_ne!(lines[1], "65735546");
        assert_eq!(lines[2], CONTENT.trim_end());
        assert!(std::fs::read_dir(&under).unwrap().next().is_none());
        scene.assert_nothing_left();
    }
}

#[test]
fn what_the_command_is_given_is_what_it_would_be_given_without_spinney() {
    // Signal mask and dispositions, descriptors, directory, umask, limits, environment, priority.
    let script = "grep -E '^(Sig(Blk|Ign|Cgt)|Umask|NoNewPrivs|CapEff)' /proc/self/status; ls /proc/self/fd; pwd -P; \
        ulimit -a; env | grep -v '^_='; cat /proc/self/oom_score_adj; nice; ps -o pgid=,sid=,tty= -p $$ | tr -d ' '";
    for scene in scenes() {
        for prelude in ["", "trap '' PIPE HUP; umask 027;", "exec 0<&-; exec 7</dev/null;"] {
            let wrapped = format!(
                "{prelude} exec {} run -q --require --view {} -- sh -c \"$0\"",
                scene.binary.display(),
                scene.env.display()
            );
            let direct = format!("{prelude} exec sh -c \"$0\"");
            let seen = |line: &str| {
                let mut command = scene.native("sh");
                command.args(["-c", line, script]).process_group(0);
                let output = output(&mut command);
                assert!(output.stderr.is_empty(), "{prelude}: {}", text(&output.stderr));
                // The group and session are those of the process that is started here.
                text(&output.stdout)
            };
            let strip = |text: String| -> Vec<String> {
                text.lines()
                    .take_while(|line| !line.starts_with(char::is_numeric) || line.len() < 4)
                    .map(str::to_owned)
                    .collect()
            };
            assert_eq!(strip(seen(&wrapped)), strip(seen(&direct)), "{}, {prelude}", scene.who());
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn a_command_started_in_the_view_is_in_the_view() {
    for scene in scenes() {
        let mut command = scene.run(&["--require"], &["sh", "-c", "stat -f -c %t .; pwd; cat ../file"]);
        let output = output(command.current_dir(scene.env.join("bin")));
        let want = format!("65735546\n{}\n{CONTENT}", scene.shown("bin"));
        assert_eq!(text(&output.stdout), want, "{}", text(&output.stderr));
        scene.assert_nothing_left();
    }
}

#[test]
fn a_script_without_an_interpreter_line_runs_as_a_shell_would_run_it() {
    let scene = ordinary();
    let script = scene.home.join("script");
    std::fs::write(&script, "echo \"$0 $1\"\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = output(&mut scene.run(&["-q"], &["./script", "word"]));
    assert_eq!(text(&output.stdout), "./script word\n", "{}", text(&output.stderr));
}

#[test]
fn a_script_whose_interpreter_is_missing_is_told_from_a_missing_command() {
    for scene in scenes() {
        let script = scene.home.join("script");
        std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let output = output(&mut scene.run(&["-q"], &["./script"]));
        assert_eq!(output.status.code(), Some(127));
        assert!(text(&output.stderr).contains("interpreter"), "{}", text(&output.stderr));
        scene.assert_nothing_left();
    }
}

#[test]
fn spinney_inside_spinney_uses_the_view_that_is_there() {
    for scene in scenes() {
        let inner = format!("{} run -v --require --view \"$0\" -- cat \"$0/file\"", scene.binary.display());
        let mut command = scene.run(&["-q", "--require"], &["sh", "-c", &inner]);
        let output = output(command.arg(&scene.env));
        let stderr = text(&output.stderr);
        assert_eq!(text(&output.stdout), CONTENT, "{stderr}");
        assert!(stderr.contains("already shown") && !stderr.contains("requests"), "{stderr}");
        scene.assert_nothing_left();
    }
}

#[test]
fn a_name_that_another_user_holds_is_passed_over() {
    let scene = ordinary();
    let Some(uid) = scene.uid else { return eprintln!("not root: nobody to hold the name") };
    let (child, lines) = waiting(&scene, &["--job", "squatted"]);
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let start = sockets.find(&format!("@spinney-{uid}-")).expect("a name") + 1;
    let name = sockets[start..].lines().next().unwrap();
    let_go(&scene, child, &lines);
    scene.assert_nothing_left();
    let squat = || spinney::enter::election::elect(name, 0);
    let held = squat().unwrap();
    let (first, first_lines) = waiting(&scene, &["--job", "squatted", "--require"]);
    let (second, second_lines) = waiting(&scene, &["--job", "squatted", "--require"]);
    scene.process("holder-process"); // one for both
    let_go(&scene, first, &first_lines);
    let_go(&scene, second, &second_lines);
    drop(held);
    scene.assert_nothing_left();
}

#[test]
fn the_commands_end_is_spinneys_end() {
    for scene in scenes() {
        for (script, code, signal) in [
            ("exit 0", Some(0), None),
            ("exit 7", Some(7), None),
            ("exit 255", Some(255), None),
            ("kill -TERM $$", None, Some(libc::SIGTERM)),
            ("kill -KILL $$", None, Some(libc::SIGKILL)),
            ("kill -SEGV $$", None, Some(libc::SIGSEGV)),
            ("kill -PIPE $$", None, Some(libc::SIGPIPE)),
        ] {
            let status = output(&mut scene.run(&["-q"], &["sh", "-c", script])).status;
            assert_eq!((status.code(), status.signal()), (code, signal), "{}: {script}", scene.who());
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn a_pipeline_works_in_both_directions() {
    for scene in scenes() {
        let run = format!("{} run -q --view {} --", scene.binary.display(), scene.env.display());
        let line = format!("set -o pipefail; yes | {run} head -n 3 | {run} cat; echo ${{PIPESTATUS[*]}}");
        let output = output(scene.native("bash").args(["-c", &line]));
        assert_eq!(text(&output.stdout), "y\ny\ny\n141 0 0\n", "{}", text(&output.stderr));
        scene.assert_nothing_left();
    }
}

#[test]
fn nobody_but_the_command_holds_its_pipes() {
    for scene in scenes() {
        // Closes its standard output and goes on: the reader must see the end although Spinney goes on too.
        let script = "exec 1>&-; read line";
        let mut child = scene
            .run(&["-q"], &["sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        assert_eq!(lines.next(), None, "{}", scene.who());
        assert!(child.try_wait().unwrap().is_none());
        assert!(!finish(child).status.success()); // `read` at the end of its input
        scene.assert_nothing_left();
    }
}

#[test]
fn tasks_of_one_job_elect_one_founder_and_the_rest_join() {
    for scene in scenes() {
        let script = "readlink /proc/self/ns/mnt; cat \"$0\"; read line";
        let file = scene.shown("file");
        let start = |_| {
            let mut command = scene.run(&["--job", "of-eight", "--require"], &["sh", "-c", script, &file]);
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let lines = Lines::of(child.stdout.take().unwrap());
            (child, lines)
        };
        let tasks: Vec<_> = (0..8).map(start).collect();
        let namespaces: Vec<_> = tasks.iter().map(|(_, lines)| lines.next().expect("a namespace")).collect();
        assert!(namespaces.iter().all(|namespace| *namespace == namespaces[0]), "{namespaces:?}");
        for (_, lines) in &tasks {
            assert_eq!(lines.next().as_deref(), Some(CONTENT.trim_end()));
        }
        scene.process("holder-process");
        scene.process("daemon-process");
        let said: Vec<String> = tasks.into_iter().map(|(child, _)| text(&finish(child).stderr)).collect();
        let summaries: Vec<_> = said.iter().filter(|said| said.contains("requests")).collect();
        assert_eq!(summaries.len(), 1, "the last one sums up, and only that one: {said:?}");
        assert!(summaries[0].contains("8 tasks"), "{summaries:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn tasks_with_other_views_or_another_job_have_a_service_of_their_own() {
    let scene = ordinary();
    let first = waiting(&scene, &["--job", "one"]);
    let second = waiting(&scene, &["--job", "two"]);
    let third = waiting(&scene, &["--job", "one", "--view", scene.home.to_str().unwrap()]);
    let holders = scene.processes().iter().filter(|(_, line)| line.contains("holder-process")).count();
    assert_eq!(holders, 3);
    for (child, lines) in [first, second, third] {
        let_go(&scene, child, &lines);
    }
    scene.assert_nothing_left();
}

#[test]
fn one_run_after_another_of_the_same_job_founds_anew_each_time() {
    for scene in scenes() {
        for _ in 0..10 {
            let output =
                output(&mut scene.run(&["--job", "again", "--require"], &["cat", &scene.shown("file")]));
            assert_eq!(text(&output.stdout), CONTENT, "{}", text(&output.stderr));
        }
        scene.assert_nothing_left();
    }
}

#[test]
fn the_view_outlives_the_command_for_its_background_children() {
    for scene in scenes() {
        let (gate, out) = (scene.home.join("gate"), scene.home.join("out"));
        assert!(output(scene.native("mkfifo").arg(&gate)).status.success());
        let script = "( read line < \"$1\"; cat \"$0\" > \"$2.part\"; mv \"$2.part\" \"$2\" ) > /dev/null 2>&1 & exit 3";
        let mut command = scene.run(&["--job", "background"], &["sh", "-c", script, &scene.shown("file")]);
        let ended = output(command.arg(&gate).arg(&out));
        assert_eq!(ended.status.code(), Some(3), "{}", text(&ended.stderr));
        let daemon = scene.process("daemon-process");
        // Whoever comes now joins the child that is still inside.
        let (child, lines) = waiting(&scene, &["--job", "background"]);
        assert_eq!(scene.process("daemon-process"), daemon);
        let_go(&scene, child, &lines);
        std::fs::write(&gate, "go\n").unwrap();
        eventually("the background child reads the view", || out.exists());
        assert_eq!(std::fs::read_to_string(&out).unwrap(), CONTENT);
        scene.assert_nothing_left();
    }
}

#[test]
fn killing_the_wrapper_kills_the_command_and_leaves_nothing() {
    for scene in scenes() {
        let (mut child, lines) = waiting(&scene, &[]);
        kill(pid_of(&child), libc::SIGKILL);
        assert_eq!(lines.next(), None, "the command lived on");
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        scene.assert_nothing_left();
    }
}

#[test]
fn the_death_of_the_holder_is_not_seen_by_the_task_and_others_can_still_join() {
    for scene in scenes() {
        let (child, lines) = waiting(&scene, &["--job", "holder"]);
        for _ in 0..3 {
            let holder = scene.process("holder-process");
            kill(holder, libc::SIGKILL);
            eventually("another holder", || scene.process("holder-process") != holder);
            let (other, other_lines) = waiting(&scene, &["--job", "holder"]);
            let_go(&scene, other, &other_lines);
        }
        let stderr = let_go(&scene, child, &lines);
        assert!(stderr.contains("restart"), "{stderr}");
        scene.assert_nothing_left();
    }
}

#[test]
fn the_death_of_the_daemon_is_not_seen_by_the_task() {
    for scene in scenes() {
        let (child, lines) = waiting(&scene, &[]);
        for _ in 0..3 {
            let daemon = scene.process("daemon-process");
            kill(daemon, libc::SIGKILL);
            eventually("another daemon", || scene.process("daemon-process") != daemon);
        }
        let_go(&scene, child, &lines);
        scene.assert_nothing_left();
    }
}

#[test]
fn if_holder_and_daemon_die_at_once_the_command_is_stopped_loudly() {
    for scene in scenes() {
        let (child, lines) = waiting(&scene, &[]);
        let (holder, daemon) = (scene.process("holder-process"), scene.process("daemon-process"));
        for signal in [libc::SIGSTOP, libc::SIGKILL] {
            for pid in [holder, daemon] {
                kill(pid, signal); // stopped first, so that neither notices the other's death
            }
        }
        assert_eq!(lines.next(), None, "the command lived on");
        let output = finish(child);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{stderr}");
        assert!(stderr.contains("spinney: error: "), "{stderr}");
        scene.assert_nothing_left();
    }
}

#[test]
fn a_founder_that_is_killed_on_its_way_leaves_nothing_and_the_next_one_founds() {
    let scene = ordinary();
    for delay_us in (0..8000).step_by(400) {
        let mut child = scene.run(&["--job", "killed"], &["sleep", "60"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(delay_us)); // sweeps over the steps; asserts nothing
        let _ = child.kill();
        child.wait().unwrap();
    }
    let output = output(&mut scene.run(&["--job", "killed", "--require"], &["cat", &scene.shown("file")]));
    assert_eq!(text(&output.stdout), CONTENT, "{}", text(&output.stderr));
    scene.assert_nothing_left();
}

#[test]
fn a_task_with_another_group_is_refused_with_a_remedy() {
    let scene = ordinary();
    let Some(uid) = scene.uid else { return eprintln!("not root: cannot make a process of another group") };
    let (child, lines) = waiting(&scene, &["--job", "groups"]);
    let mut other = scene.run(&["--job", "groups"], &["echo", "started"]);
    let output = output(other.gid(uid + 100_000));
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    assert!(stderr.contains("group") && stderr.contains("hint: "), "{stderr}");
    assert!(output.stdout.is_empty());
    let_go(&scene, child, &lines);
    scene.assert_nothing_left();
}

#[test]
fn where_no_way_works_the_command_runs_directly_unless_a_view_is_required() {
    let scene = ordinary();
    for (flags, code, lines) in
        [(&[][..], 5, 1), (&["--require"], 125, 2), (&["--way", "user-namespace"], 5, 1)]
    {
        let mut command = scene.run(flags, &["sh", "-c", "exit 5"]);
        forbid_namespaces(&mut command);
        let output = output(&mut command);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {stderr}");
        assert!(stderr.contains("cannot make a namespace"), "{flags:?}: {stderr}");
        assert_eq!(stderr.lines().count(), lines, "{flags:?}: {stderr}");
    }
    scene.assert_nothing_left();
}

#[test]
fn fusermount_serves_where_the_user_owns_the_directory() {
    if !std::path::Path::new("/usr/bin/fusermount3").exists() {
        return eprintln!("no fusermount3 here: the set-uid way is not tested");
    }
    let scene = with_a_name();
    let flags = ["--way", "fusermount", "--require", "--job", "set-uid"];
    let (child, lines) = waiting(&scene, &flags);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(mounts.contains(scene.env.to_str().unwrap()), "mounted for the whole node");
    let (other, other_lines) = waiting(&scene, &flags);
    let_go(&scene, other, &other_lines);
    let_go(&scene, child, &lines);
    scene.assert_nothing_left();

    let (mut child, lines) = waiting(&scene, &flags);
    kill(pid_of(&child), libc::SIGKILL);
    assert_eq!(lines.next(), None);
    child.wait().unwrap();
    scene.assert_nothing_left();

    let (child, lines) = waiting(&scene, &flags);
    let (holder, daemon) = (scene.process("holder-process"), scene.process("daemon-process"));
    for pid in [holder, daemon] {
        kill(pid, libc::SIGSTOP);
    }
    for pid in [holder, daemon] {
        kill(pid, libc::SIGKILL);
    }
    assert_eq!(lines.next(), None, "the command lived on");
    assert_eq!(finish(child).status.code(), Some(125));
    scene.assert_nothing_left();
}

/// Makes `unshare` fail with EPERM for this command, and set-uid programs harmless, as on a machine that allows
/// users no namespaces and has no `fusermount3`.
fn forbid_namespaces(command: &mut std::process::Command) {
    let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let program = [
        filter(0x20, 0, 0, 0), // load the number of the call
        filter(0x15, 0, 1, u32::try_from(libc::SYS_unshare).unwrap()), // is it unshare?
        filter(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()), // then refuse
        filter(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: two calls that read a program which is moved into the closure and alive meanwhile.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: 4, filter: program.as_ptr().cast_mut() };
            let refused = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
            if refused == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

/// `Cpus_allowed_list` of a process, all its threads being the same.
fn processors(pid: &str) -> String {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let status = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    let mut lists: Vec<String> = status
        .filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:").map(str::to_owned))
        })
        .collect();
    lists.dedup();
    assert_eq!(lists.len(), 1, "{pid}: {lists:?}");
    lists[0].trim().to_owned()
}

#[test]
fn the_service_runs_on_all_processors_of_the_job_or_on_those_that_are_named() {
    let all = processors("self");
    let one = all.split([',', '-']).next_back().unwrap();
    for scene in scenes() {
        for (flags, want) in [(&[][..], all.as_str()), (&["--daemon-cpus", one], one)] {
            // As a launcher does, the wrapper is bound to one processor: another than is named, if there are two.
            let bound: usize = all.split([',', '-']).next().unwrap().parse().unwrap();
            let mut command = scene.run(flags, &["sh", "-c", WAITING, &scene.shown("file")]);
            // SAFETY: one system call between fork and exec, on a set made there.
            unsafe {
                command.pre_exec(move || {
                    let mut set = rustix::thread::CpuSet::new();
                    set.set(bound);
                    Ok(rustix::thread::sched_setaffinity(None, &set)?)
                });
            }
            let (mut child, lines) = begin(command, &scene);
            for role in ["holder-process", "daemon-process"] {
                let process = scene.process(role).to_string();
                assert_eq!(processors(&process), want, "{}: {role} {flags:?}", scene.who());
            }
            assert_eq!(processors(&child.id().to_string()), bound.to_string(), "the wrapper stays");
            child = restarted(&scene, child, want);
            let_go(&scene, child, &lines);
            scene.assert_nothing_left();
        }
    }
}

/// Kills the daemon; its successor is on the same processors.
fn restarted(scene: &Scene, child: Child, want: &str) -> Child {
    let dead = scene.process("daemon-process");
    kill(dead, libc::SIGKILL);
    eventually("another daemon", || scene.process("daemon-process") != dead);
    let successor = scene.process("daemon-process").to_string();
    eventually("it is on the processors named", || processors(&successor) == want);
    child
}
