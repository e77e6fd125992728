//! Signals, cancelled jobs and dead nodes under Slurm.

use std::fs;
use std::process::{Child, Stdio};

use spinney::tree::{Shape, Shard};

use super::world::{NODES, Tracking, World, field, shell, succeed, words};
use crate::scene::{eventually, finish, kill, output, text};

/// A step on four nodes that runs `lines` and is under way on all of them.
fn begin(world: &World, flags: &[&str], lines: &str) -> Child {
    let view = world.scene.env.to_str().unwrap();
    let script = shell(world, &format!("touch here.$(hostname); {lines}"));
    let flags = [&["-q", "--view", view][..], flags].concat();
    let mut step = world.srun(&["-N4"], &flags, &words(&script));
    let step = step.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("all tasks", || (1..=NODES).all(|n| world.scene.home.join(format!("here.node{n}")).exists()));
    step
}

#[test]
fn a_signal_of_scancel_reaches_each_task_once() {
    let world = World::start();
    let lines = "trap 'echo signal >>got.$(hostname)' USR1; touch ready.$(hostname); \
                 until [ -e gate ]; do sleep 0.02; done";
    let step = begin(&world, &[], lines);
    let at = |name: &str, n: usize| world.scene.home.join(format!("{name}.node{n}"));
    eventually("all traps", || (1..=NODES).all(|n| at("ready", n).exists()));
    succeed(&mut world.user(&["scancel", "--signal=USR1", "1.0"]));
    eventually("a signal on each node", || (1..=NODES).all(|n| at("got", n).exists()));
    // A second one would come with the first; this waits for a whole round through Slurm.
    succeed(&mut world.user(&["srun", "--overlap", "--jobid=1", "-N4", "true"]));
    fs::write(world.scene.home.join("gate"), "").unwrap();
    let ended = finish(step);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    for n in 1..=NODES {
        assert_eq!(fs::read_to_string(at("got", n)).unwrap(), "signal\n", "node {n}");
    }
    world.assert_nothing_left();
}

fn cancelled(tracking: Tracking) {
    // One ends with the first signal, the other is killed after a while.
    for lines in ["exec sleep 1000", "trap '' TERM; while :; do sleep 0.1; done"] {
        let Some(world) = World::tracking(tracking) else { return no_cgroups() };
        let step = begin(&world, &[], lines);
        succeed(&mut world.user(&["scancel", "1"]));
        finish(step); // srun says what it likes
        world.assert_nothing_left();
    }
}

#[test]
fn a_job_that_is_cancelled_leaves_nothing() {
    cancelled(Tracking::Parents);
}

fn no_cgroups() {
    eprintln!(
        "no cgroups of version 1 with a freezer here, which Slurm needs to track processes without systemd"
    );
}

#[test]
fn a_job_in_cgroups_that_is_cancelled_leaves_nothing() {
    cancelled(Tracking::Cgroups);
}

/// Slurm looks every half minute; a limit is a minute at least, so this one is set when it is over.
#[test]
fn a_job_that_hits_its_time_limit_leaves_nothing() {
    let world = World::start();
    let step = begin(&world, &[], "trap '' TERM; while :; do sleep 0.1; done");
    // Not in the second in which it has begun.
    eventually("an end", || {
        output(&mut world.root(&["scontrol", "update", "JobId=1", "EndTime=now"])).status.success()
    });
    let said = text(&finish(step).stderr);
    assert!(said.contains("DUE TO TIME LIMIT"), "{said}");
    world.assert_nothing_left();
}

#[test]
fn no_task_notices_that_all_daemons_or_all_holders_are_killed_and_nothing_is_left() {
    let world = World::start();
    let import = world.import().map(|word| format!("'{word}'")).join(" ");
    for (role, gate) in [("daemon-process", "first"), ("holder-process", "second")] {
        let step = begin(&world, &[], &format!("until [ -e {gate} ]; do sleep 0.02; done; {import}"));
        let mut killed = Vec::new();
        eventually("one of each node", || {
            killed = world.scene.processes().into_iter().filter(|(_, line)| line.contains(role)).collect();
            killed.len() == NODES
        });
        killed.iter().for_each(|(pid, _)| kill(*pid, libc::SIGKILL));
        fs::write(world.scene.home.join(gate), "").unwrap();
        let ended = finish(step);
        assert!(ended.status.success(), "{role}: {}", text(&ended.stderr));
        assert_eq!(text(&ended.stderr), "", "{role}");
        world.assert_nothing_left();
        for n in 1..=NODES {
            fs::remove_file(world.scene.home.join(format!("here.node{n}"))).unwrap();
        }
    }
}

#[test]
fn in_cgroups_a_daemon_that_ends_with_the_tasks_of_its_node_is_missed_by_nobody() {
    let Some(world) = World::tracking(Tracking::Cgroups) else { return no_cgroups() };
    let import = world.import().map(|word| format!("'{word}'")).join(" ");
    // The tasks of the first nodes end at once, and Slurm kills whatever they have left; the last node reads on.
    let lines = format!("[ $SLURM_PROCID != 3 ] || until [ -e gate ]; do sleep 0.02; done; {import}");
    let step = begin(&world, &["--report", "report"], &lines);
    assert!(world.uses_cgroups());
    eventually("the others have left", || {
        world.scene.processes().iter().filter(|(_, line)| line.contains("daemon-process")).count() == 1
    });
    fs::write(world.scene.home.join("gate"), "").unwrap();
    let ended = finish(step);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    assert_eq!(field(&world.report("report"), "tasks.ended").len(), NODES);
    world.assert_nothing_left();
}

#[test]
fn a_node_that_dies_costs_the_others_time_only() {
    let world = World::start();
    let shape = Shape::chosen(NODES as u32, None, Some(1));
    // In a chain the second node stands between the root and all others.
    let victim = shape.at(Shard::new(0), 1).get() as usize + 1;
    let import = world.import().map(|word| format!("'{word}'")).join(" ");
    let lines = format!("until [ -e gate ]; do sleep 0.02; done; {import} && touch done.$(hostname)");
    let step = begin(&world, &["--fan-out", "1"], &lines);
    world.kill(victim);
    fs::write(world.scene.home.join("gate"), "").unwrap();
    let living: Vec<usize> = (1..=NODES).filter(|n| *n != victim).collect();
    eventually("the others have imported", || {
        living.iter().all(|n| world.scene.home.join(format!("done.node{n}")).exists())
    });
    succeed(&mut world.user(&["scancel", "1"]));
    finish(step);
    world.assert_nothing_left_on(&living);
}
