//! `spinney up` in an allocation: a step of its own, which later steps use.

use serde_json::Value;

use super::world::{NODES, World, succeed};
use crate::scene::{eventually, output, text};

/// A script for the whole allocation, and what it has written.
/// `spinney` with these words, and what becomes of it on a line of its own.
fn line(world: &World, before: &str, words: &str) -> String {
    format!("{before} {} {words}; echo \"exit code $?\"", world.scene.binary.display())
}

fn import(world: &World) -> String {
    world.import().map(|word| format!("'{word}'")).join(" ")
}

#[test]
fn steps_after_up_share_what_is_kept_until_down() {
    let world = World::start();
    let env = world.scene.env.display();
    let run = |flags: &str| {
        line(&world, &format!("srun {flags}"), &format!("run -v --require -- {}", import(&world)))
    };
    let said = world.batch(
        "script",
        &["-n8"],
        &[
            line(&world, "", &format!("up --shared --view {env}")),
            run("-N4 -n8"),
            run("-N2 -n2 --nodelist=node3,node4"),
            line(&world, "", "status --json > status"),
            line(&world, "", &format!("up --shared --view {env}")),
            line(&world, "", "down"),
        ],
    );
    assert!(said.contains("spinney: 4 nodes are ready after "), "{said}");
    assert!(said.contains("the service is up already"), "{said}");
    assert_eq!(said.matches("exit code 0").count(), 6, "{said}");
    assert_eq!(said.matches("joined the view of job").count(), 10, "every task is in the service: {said}");
    let status: Value =
        serde_json::from_slice(&std::fs::read(world.scene.home.join("status")).unwrap()).unwrap();
    let first = &status["services"][0];
    assert_eq!((&first["kept"], &first["tree"]["n_nodes"]), (&Value::from(true), &Value::from(NODES)));
    world.assert_nothing_left();
}

#[test]
fn a_shell_beside_the_allocation_ends_and_asks_what_it_started() {
    let world = World::start();
    let env = world.scene.env.display();
    let other = world.scene.env.with_file_name("other");
    std::fs::create_dir(&other).unwrap();
    let lines = [
        line(&world, "", &format!("up --shared --view {env}")),
        line(&world, "", &format!("up --shared --view {env}")),
        line(&world, "", &format!("up --shared --view {}", other.display())),
        line(&world, "srun -n4", &format!("run -v --require -- {}", import(&world))),
        line(&world, "", "status --json >status"),
        line(&world, "", "refresh"),
        line(&world, "", "down"),
        line(&world, "", "down"),
    ];
    let script = world.script("shell", &lines.join("\n"));
    let said = output(&mut world.user(&["salloc", "-Q", "-N4", "-n4", &script]));
    let (said, troubles) = (text(&said.stdout), text(&said.stderr));
    assert_eq!(said.matches("exit code 0").count(), 6, "{said}{troubles}");
    assert_eq!(troubles.matches("4 nodes are ready").count(), 1, "the first is found, not ended: {troubles}");
    assert_eq!(troubles.matches("the service is up already").count(), 1, "{troubles}");
    assert_eq!(troubles.matches("error: another service").count(), 1, "{troubles}");
    assert_eq!(said.matches("exit code 125").count(), 1, "{said}");
    assert_eq!(troubles.matches("joined the view of job").count(), 4, "{troubles}");
    assert!(
        troubles.contains("no service of `spinney up` is here"),
        "the last has nothing to end: {troubles}"
    );
    let status: Value =
        serde_json::from_slice(&std::fs::read(world.scene.home.join("status")).unwrap()).unwrap();
    assert_eq!(status["services"][0]["tree"]["n_nodes"], NODES, "{status}");
    world.assert_nothing_left();
}

#[test]
fn a_node_that_cannot_show_views_is_named_and_all_others_are_ready() {
    for victim in [1, 3] {
        let world = World::start();
        world.change(victim, "touch /mnt/none; chmod 0 /mnt/none; mount --bind /mnt/none /dev/fuse");
        let env = world.scene.env.display();
        let said = world.batch(
            "script",
            &["-n8"],
            &[
                line(&world, "", &format!("up --shared --view {env}")),
                line(&world, "srun -N4 --ntasks-per-node=2", &format!("run -v -- {}", import(&world))),
                line(&world, "", "status --json > status"),
                line(&world, "", "down"),
            ],
        );
        let named: Vec<&str> = said.lines().filter(|line| line.contains("no way to show a view")).collect();
        assert_eq!(named.len(), 1, "{said}");
        assert!(named[0].contains(&format!("warning: node `node{victim}`: ")), "{said}");
        assert!(said.contains("4 nodes are ready after "), "{said}");
        assert_eq!(said.matches("exit code 0").count(), 4, "{said}");
        assert_eq!(said.matches("joined the view of job").count(), 8, "every task is in the service: {said}");
        let there = said.matches(&format!("node {} of 4, told by", victim - 1)).count();
        assert!(there > 0, "{said}");
        assert_eq!(said.matches("way in: direct").count(), there, "{said}");
        world.assert_nothing_left();
    }
}

#[test]
fn what_is_left_after_a_node_has_died_is_ended_by_the_next_up() {
    let world = World::start();
    let env = world.scene.env.display();
    let gate = world.scene.home.join("gate");
    let script = [
        line(&world, "", &format!("up --shared --view {env}")),
        "touch is-up; until [ -e gate ]; do sleep 0.05; done".to_owned(),
        line(
            &world,
            "",
            &format!(
                "up --shared --view {env} --hosts node[1-3] --job rest --with 'srun --overlap -N3 -n3 -w node[1-3]'"
            ),
        ),
        line(
            &world,
            "srun --overlap -N3 -n3 -w node[1-3]",
            &format!("run --job rest -v --require -- {}", import(&world)),
        ),
        line(&world, "", "down --job rest"),
        line(&world, "", "down"),
    ];
    let script = world.script("script", &script.join("\n"));
    succeed(&mut world.user(&["sbatch", "--no-kill", "-N4", "-n4", "-o", "said", &script]));
    eventually("up", || world.scene.home.join("is-up").exists());
    world.kill(4);
    std::fs::write(&gate, "").unwrap();
    let said = || std::fs::read_to_string(world.scene.home.join("said")).unwrap_or_default();
    eventually("the end of the script", || said().matches("exit code").count() == 5);
    let said = said();
    assert!(said.contains("3 nodes are ready"), "{said}");
    assert_eq!(said.matches("joined the view of job").count(), 3, "{said}");
    world.assert_nothing_left_on(&[1, 2, 3]);
}

#[test]
fn a_service_goes_with_its_allocation() {
    let world = World::start();
    let env = world.scene.env.display();
    let said = world.batch("script", &["-n8"], &[line(&world, "", &format!("up --shared --view {env}"))]);
    assert!(said.contains("4 nodes are ready"), "{said}");
    // The script has ended, and Slurm ends what it left.
    world.assert_nothing_left();
    let none = output(&mut world.user(&[world.scene.binary.to_str().unwrap(), "down"]));
    assert_eq!(none.status.code(), Some(1), "{}", text(&none.stderr));
}
