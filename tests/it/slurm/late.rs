//! Tasks that start after all others of their step have ended: they wait for nobody.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::world::{NODES, World};
use crate::scene::{eventually, finish, text};

/// What a late task may take more than without Spinney, on a machine that does other things besides: 6 s. Waiting for
/// nodes that are gone took 15 to 18.
const MOMENT: Duration = Duration::from_secs(6);

/// A step of two tasks on each node; the one of this number waits for `gate`, and all say when they have ended.
fn begin(world: &World, late: usize, flags: &[&str]) -> Child {
    let spinney = world.scene.binary.display();
    let import = world.import().map(|word| format!("'{word}'")).join(" ");
    let lines = format!(
        "[ $SLURM_PROCID != {late} ] || until [ -e gate ]; do sleep 0.02; done\n\
         {spinney} run -q --require --shared {} -- {import} || exit\n\
         touch ended.$SLURM_PROCID",
        flags.join(" ")
    );
    let script = world.script("script", &lines);
    let mut step = world.user(&["srun", "-N4", "--ntasks-per-node=2", &script]);
    let step = step.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the end of all others", || {
        (0..2 * NODES).filter(|n| *n != late).all(|n| world.scene.home.join(format!("ended.{n}")).exists())
    });
    step
}

/// Lets the late task begin, and returns how long the step then takes.
fn let_go(world: &World, step: Child) -> Duration {
    let began = Instant::now();
    fs::write(world.scene.home.join("gate"), "").unwrap();
    let ended = finish(step);
    let took = began.elapsed();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    assert_eq!(text(&ended.stderr), "");
    took
}

fn a_late_task_takes_no_longer_than_a_moment(flags: &[&str]) {
    let world = World::start();
    let mut took = Vec::new();
    // On each of some nodes, the root's among them, while its service lingers and when there is none.
    for late in [1, 3, 7] {
        for waits in [false, true] {
            let step = begin(&world, late, flags);
            if waits {
                eventually("no service", || {
                    world.scene.processes().iter().all(|(_, line)| !line.contains("daemon-process"))
                });
            }
            took.push((late, waits, let_go(&world, step)));
            world.assert_nothing_left();
            for file in fs::read_dir(&world.scene.home).unwrap().flatten() {
                if file.file_name().to_string_lossy().starts_with("ended.") || file.file_name() == "gate" {
                    fs::remove_file(file.path()).unwrap();
                }
            }
        }
    }
    eprintln!("{flags:?}: {took:?}");
    assert!(took.iter().all(|(_, _, took)| *took < MOMENT), "{took:?}");
}

#[test]
fn a_task_that_starts_after_all_others_have_ended_waits_for_nobody() {
    a_late_task_takes_no_longer_than_a_moment(&[]);
}

#[test]
fn nor_does_one_whose_step_writes_a_report() {
    a_late_task_takes_no_longer_than_a_moment(&["--report", "report"]);
}
