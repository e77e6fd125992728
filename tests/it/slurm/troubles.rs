//! Nodes that lack what the others have: the job runs, one line says which node and what to do, and no byte is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::{Value, json};
use spinney::tree::{Shape, Shard};

use super::world::{NODES, World, assert_one_tree, field, shell, succeed, words};
use crate::scene::{output, text};

/// Hosts, counted from 1, in the order in which they ask each other in a chain: the root first.
fn chain() -> Vec<usize> {
    let shape = Shape::chosen(NODES as u32, None, Some(1));
    (0..NODES as u32).map(|place| shape.at(Shard::new(0), place).get() as usize + 1).collect()
}

/// An import on every node, in a chain, where the shell of each runs `first`.
fn import(world: &World, tasks: &[&str], first: &str, flags: &[&str]) -> Output {
    let spinney = world.scene.binary.display();
    let import = world.import().map(|word| format!("'{word}'")).join(" ");
    let flags = flags.join(" ");
    let run = format!("{spinney} run --shared --fan-out 1 --report report {flags} -- {import}");
    let script = world.script("script", &format!("host=$(hostname)\n{first}\nexec {run}"));
    succeed(&mut world.user(&[&["srun", "-N4"], tasks, &[&script]].concat()))
}

/// The report of it, which is taken away.
fn report(world: &World) -> Value {
    let report = world.report("report");
    fs::remove_dir_all(world.scene.home.join("report")).unwrap();
    report
}

/// The warnings, without what all begin with.
fn warnings(ended: &Output) -> Vec<String> {
    let said = text(&ended.stderr);
    said.lines().filter_map(|line| line.strip_prefix("spinney: warning: ").map(str::to_owned)).collect()
}

#[test]
fn a_node_that_cannot_show_views_reads_storage_itself_and_serves_those_beneath_it() {
    for place in [0, 1] {
        let world = World::start();
        let victim = chain()[place];
        world.change(victim, "touch /mnt/none; chmod 0 /mnt/none; mount --bind /mnt/none /dev/fuse");
        let ended = import(&world, &["--ntasks-per-node=2"], "", &[]);
        let told = warnings(&ended);
        assert_eq!(told.len(), 1, "once for both tasks: {}", text(&ended.stderr));
        let want =
            format!("node `node{victim}`: no way to show a view: user-namespace (cannot open `/dev/fuse`");
        assert!(told[0].starts_with(&want) && told[0].contains("doctor"), "{told:?}");
        let summaries: Vec<String> = text(&ended.stderr)
            .lines()
            .filter(|line| !line.contains("warning: "))
            .map(str::to_owned)
            .collect();
        let is_first = victim == 1;
        assert!(summaries.len() == 1, "one line for all nodes: {summaries:?}");
        assert_eq!(summaries[0].contains("not shown on this node; "), is_first, "{summaries:?}");
        let report = report(&world);
        // Its own tasks are told nothing, so what it asks is asked for others.
        let count = |name: &str| field(&report, name).into_iter().filter(|n| n.as_u64() > Some(0)).count();
        assert_eq!(count("wire.requests_out"), NODES - 1, "all but the root ask another: {report:#}");
        assert_eq!(count("storage.bytes_read"), 1, "only the root reads: {report:#}");
        assert_eq!(report["missing_nodes"], json!([]));
        let ways = field(&report, "way_in");
        assert_eq!(ways.iter().filter(|way| ***way == "direct").count(), 1);
        assert_eq!(ways[victim - 1], "direct");
        assert_eq!(field(&report, "tasks.joined"), [2; NODES]);
        assert!(field(&report, "wire.requests_in")[victim - 1].as_u64() > Some(0), "{report:#}");
        world.assert_nothing_left();
    }
}

#[test]
fn without_its_service_a_node_that_shows_nothing_goes_on() {
    let world = World::start();
    let victim = chain()[1];
    world.change(victim, "touch /mnt/none; chmod 0 /mnt/none; mount --bind /mnt/none /dev/fuse");
    let gate = "touch here.$(hostname); until [ -e gate ]; do sleep 0.02; done; exit 3";
    let spinney = world.scene.binary.to_str().unwrap();
    let view = world.scene.env.to_str().unwrap();
    let run = ["srun", "-N4", spinney, "run", "-q", "--shared", "--fan-out", "1", "--view", view, "--"];
    let line = shell(&world, gate);
    let mut step = world.user(&[&run[..], &words(&line)].concat());
    let step =
        step.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    crate::scene::eventually("all tasks", || {
        (1..=NODES).all(|n| world.scene.home.join(format!("here.node{n}")).exists())
    });
    // By their numbers, as that host sees them. One may end when the other does.
    let kill = "for process in /proc/[0-9]*; do case $(cat $process/comm) in spinney-holder|spinney-daemon) \
                kill -9 ${process#/proc/} || true;; esac; done";
    world.change(victim, kill);
    fs::write(world.scene.home.join("gate"), "").unwrap();
    let ended = crate::scene::finish(step);
    assert_eq!(ended.status.code(), Some(3), "{}", text(&ended.stderr));
    assert!(!text(&ended.stderr).contains("was lost"), "{}", text(&ended.stderr));
    world.assert_nothing_left();
}

#[test]
fn a_name_that_leads_nowhere_is_told_with_the_remedy_and_its_node_is_passed_by() {
    let world = World::start();
    let chain = chain();
    let (victim, child) = (chain[1], chain[2]);
    world.change(
        child,
        &format!("grep -v 'node{victim}$' /etc/hosts >/mnt/hosts; mount --bind /mnt/hosts /etc/hosts"),
    );
    let ended = import(&world, &[], "", &[]);
    let told = warnings(&ended);
    assert_eq!(told.len(), 1, "{}", text(&ended.stderr));
    let want = format!("node `node{child}`: node `node{victim}` has no address (");
    assert!(told[0].starts_with(&want) && told[0].contains("`--address-book`"), "{told:?}");
    assert_one_tree(&report(&world), NODES);
    world.assert_nothing_left();
}

#[test]
fn a_node_with_another_key_or_none_is_named_and_serves_itself() {
    let world = World::start();
    let last = chain()[3];
    fs::create_dir(world.scene.home.join("closed")).unwrap();
    fs::set_permissions(world.scene.home.join("closed"), PermissionsExt::from_mode(0o000)).unwrap();
    for (change, words) in [
        ("export HOME=$HOME/closed", format!("node `node{last}`: cannot use the key `")),
        ("export SPINNEY_KEY=0123456789abcdef0123456789abcdef", format!("node `node{last}`: node `node")),
    ] {
        let ended = import(&world, &[], &format!("[ $host != node{last} ] || {change}"), &[]);
        let told = warnings(&ended);
        assert_eq!(told.len(), 1, "{change}: {}", text(&ended.stderr));
        assert!(told[0].starts_with(&words) && told[0].contains("SPINNEY_KEY"), "{told:?}");
        let report = report(&world);
        assert_eq!(report["missing_nodes"], json!([last - 1]), "{change}");
        assert_eq!(field(&report, "way_in"), ["user-namespace"; NODES - 1]);
        world.assert_nothing_left();
    }
}

/// A copy of the program of another version of the wire: the text in which it stands is another one.
fn of_another_version(world: &World) -> String {
    let mut program = fs::read(&world.scene.binary).unwrap();
    let places: Vec<usize> =
        (0..program.len() - 4).filter(|at| program[*at..].starts_with(b"/v1/")).collect();
    assert!(!places.is_empty(), "the version stands in the program");
    places.into_iter().for_each(|at| program[at + 2] = b'2');
    let copy = world.scene.home.join("other-version");
    fs::write(&copy, program).unwrap();
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    copy.to_str().unwrap().to_owned()
}

#[test]
fn nodes_of_two_versions_do_not_share_say_so_and_read_what_storage_holds() {
    let world = World::start();
    let other = of_another_version(&world);
    let chain = chain();
    let (ours, file) = (world.scene.binary.display(), world.scene.shown("file"));
    // The last one is asked by nobody; the root is wanted by all others.
    for (strange, telling) in [(chain[3], &chain[3..]), (chain[0], &chain[1..])] {
        let lines = format!(
            "host=$(hostname); spinney={ours}; [ $host != node{strange} ] || spinney={other}\n\
             exec $spinney run --require --shared --fan-out 1 --report report -- {} -c \
             'import json, wood; print(open(\"{file}\").read(), end=\"\")'",
            world.scene.shown("bin/python3"),
        );
        let script = world.script("script", &lines);
        let ended = succeed(&mut world.user(&["srun", "-N4", &script]));
        assert_eq!(text(&ended.stdout), crate::scene::CONTENT.repeat(NODES));
        let told = warnings(&ended);
        assert!(!told.is_empty() && told.len() <= telling.len(), "one line of each at most: {told:?}");
        for line in &told {
            let teller =
                telling.iter().find(|host| line.starts_with(&format!("node `node{host}`: node `node")));
            let here = if teller == Some(&strange) { (1, 2) } else { (2, 1) };
            let words = format!(
                "` runs another version of Spinney (its wire is {}, here {}), so they",
                here.0, here.1
            );
            assert!(teller.is_some() && line.contains(&words), "{line}");
        }
        let report = report(&world);
        if strange != chain[0] {
            assert_eq!(report["missing_nodes"], json!([strange - 1]), "{report:#}");
        }
        world.assert_nothing_left();
    }
}

/// Programs without a way of their own to the name service ask `getent`; here the library knows none of the names.
#[test]
fn names_that_only_the_site_s_name_service_knows_are_found_through_getent() {
    let world = World::start();
    for host in 1..=NODES {
        world.change(host, "grep -v node /etc/hosts >/mnt/hosts; mount --bind /mnt/hosts /etc/hosts");
    }
    fs::create_dir(world.scene.home.join("bin")).unwrap();
    world
        .script("bin/getent", "[ \"$1 $2\" = 'ahosts --' ] || exit 2\necho \"10.77.0.${3#node}  STREAM $3\"");
    let ended = import(&world, &[], "export PATH=$HOME/bin:$PATH", &[]);
    assert_eq!(warnings(&ended), [""; 0]);
    assert_one_tree(&report(&world), NODES);
    world.assert_nothing_left();
}

#[test]
fn an_interface_that_only_some_nodes_have_is_used_by_those_that_can_and_cuts_nobody_off() {
    let world = World::start();
    let chain = chain();
    for host in &chain[..2] {
        world.change(
            *host,
            &format!(
                "ip link add hsn0 type veth peer name hsn9\nip addr add 10.78.0.{host}/24 dev hsn0\nip link set hsn0 up"
            ),
        );
    }
    let ended = import(&world, &[], "", &["--interface", "hsn0"]);
    let mut told = warnings(&ended);
    told.sort();
    let mut without = [chain[2], chain[3]];
    without.sort_unstable();
    assert_eq!(told.len(), 2, "{}", text(&ended.stderr));
    for (line, host) in told.iter().zip(without) {
        assert!(
            line.starts_with(&format!("node `node{host}`: this machine has no interface `hsn0`")),
            "{line}"
        );
    }
    assert_one_tree(&report(&world), NODES);
    world.assert_nothing_left();
}

#[test]
fn a_tmp_that_is_full_and_executes_nothing_is_not_needed() {
    let world = World::start();
    (1..=NODES).for_each(|host| world.fill_tmp(host));
    let ended = import(&world, &[], "! touch /tmp/one 2>/dev/null || ! echo no >/tmp/one || exit 9", &[]);
    assert_eq!(warnings(&ended), [""; 0]);
    assert_one_tree(&report(&world), NODES);
    world.assert_nothing_left();
}

#[test]
fn with_a_umask_of_0_others_may_write_and_read_nothing_of_ours() {
    let world = World::start();
    import(&world, &[], "umask 0", &["--log", "log"]);
    for (name, is_closed) in [(".config/spinney/key", true), ("log", true), ("report/run.json", false)] {
        let mode = fs::metadata(world.scene.home.join(name)).unwrap().permissions().mode();
        let others = if is_closed { 0o077 } else { 0o022 };
        assert_eq!(mode & others, 0, "{name}: {mode:o}");
    }
    let spinney = world.scene.binary.to_str().unwrap();
    let view = world.scene.env.to_str().unwrap();
    let line =
        format!("umask 0; exec {spinney} run -q --view {view} -- {} -c umask", world.scene.shown("bin/sh"));
    let ended = succeed(&mut world.user(&["srun", "-N1", "sh", "-c", &line]));
    assert_eq!(text(&ended.stdout), "0000\n", "that of COMMAND is its own");
    world.assert_nothing_left();
}

/// The clock that programs see, `SKEW` seconds away from the machine's.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    int answer = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME && getenv("SKEW")) time->tv_sec += atol(getenv("SKEW"));
    return answer;
}
"#;

#[test]
fn clocks_that_are_hours_apart_change_nothing() {
    let world = World::start();
    let (source, clock) = (world.scene.home.join("clock.c"), world.scene.home.join("clock.so"));
    fs::write(&source, CLOCK).unwrap();
    let built = output(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&clock).arg(&source));
    assert!(built.status.success(), "{}", text(&built.stderr));
    let chain = chain();
    for (behind, ahead) in [(chain[1], chain[2]), (chain[0], chain[1])] {
        let first = format!(
            "export LD_PRELOAD={}\ncase $host in node{behind}) export SKEW=-20000;; node{ahead}) export SKEW=20000;; esac\n\
             date +%s >date.$host",
            clock.display()
        );
        let ended = import(&world, &[], &first, &[]);
        assert_eq!(warnings(&ended), [""; 0]);
        let read = |host| fs::read_to_string(world.scene.home.join(format!("date.node{host}"))).unwrap();
        let [early, late]: [i64; 2] = [behind, ahead].map(|host| read(host).trim().parse().unwrap());
        assert!(late - early > 39_000, "the clocks are apart: {early} {late}");
        assert_one_tree(&report(&world), NODES);
    }
    world.assert_nothing_left();
}
