//! Steps of `srun` and `sbatch`: who is one job, what is shared, what passes through.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::world::{NODES, World, assert_one_tree, field, shell, succeed, words};
use crate::scene::{eventually, finish, output, text};

#[test]
fn a_step_on_four_nodes_is_one_job_that_reads_storage_once_and_leaves_nothing() {
    let world = World::start();
    let import = world.import();
    let ended = succeed(&mut world.srun(&["-N4"], &["--report", "report"], &words(&import)));
    assert_eq!(text(&ended.stdout), "");
    let said = text(&ended.stderr);
    assert_eq!(said.lines().count(), 1, "one line for all nodes: {said}");
    let report = world.report("report");
    assert_eq!((&report["job"], &report["exit_code"]), (&json!("slurm=1,step=0"), &json!(0)));
    assert_eq!(field(&report, "host"), ["node1", "node2", "node3", "node4"]);
    assert_eq!(field(&report, "way_in"), ["user-namespace"; NODES]);
    assert_one_tree(&report, NODES);
    world.assert_nothing_left();
}

#[test]
fn the_tasks_of_a_node_share_one_daemon_however_many_each_node_has() {
    let world = World::start();
    let import = world.import();
    // Slurm fills the first node when it is free to.
    for (flags, tasks) in [(["-N4", "--ntasks-per-node=2"], vec![2; 4]), (["-N4", "-n8"], vec![5, 1, 1, 1])] {
        succeed(&mut world.srun(&flags, &["-q", "--report", "report"], &words(&import)));
        let report = world.report("report");
        assert_eq!(field(&report, "tasks.joined"), tasks);
        assert_one_tree(&report, tasks.len());
    }
    world.assert_nothing_left();
}

#[test]
fn steps_of_a_batch_script_after_one_another_and_at_once_are_jobs_of_their_own() {
    let world = World::start();
    let import = world.import().map(|word| format!("'{word}'")).join(" ");
    let spinney = world.scene.binary.display().to_string();
    let step = |flags: &str, name: &str| {
        format!("srun {flags} {spinney} run -q --require --shared --report {name} -- {import}")
    };
    let lines = [
        step("-N4", "first"),
        step("-N4", "second"),
        format!("{} &\n{} &\nwait", step("-N4 --overlap", "third"), step("-N4 --overlap", "fourth")),
        // The script itself runs on one node, whatever the allocation has.
        format!("{spinney} run -q --require --shared --report fifth -- {import}"),
    ];
    world.batch("script", &["-n4"], &lines);
    let mut jobs = Vec::new();
    for name in ["first", "second", "third", "fourth"] {
        let report = world.report(name);
        assert_one_tree(&report, NODES);
        jobs.push(report["job"].as_str().unwrap().to_owned());
    }
    jobs[2..].sort(); // whoever came first
    assert_eq!(jobs, ["slurm=1,step=0", "slurm=1,step=1", "slurm=1,step=2", "slurm=1,step=3"]);
    assert_eq!(field(&world.report("fifth"), "host"), ["node1"]);
    world.assert_nothing_left();
}

#[test]
fn exit_code_labels_and_standard_input_are_those_of_srun_alone() {
    let world = World::start();
    let view = world.scene.env.to_str().unwrap();
    let view = ["-q", "--view", view];
    let exits = shell(&world, "exit $((SLURM_PROCID == 2 ? 7 : 0))");
    let ended = output(&mut world.srun(&["-N4"], &view, &words(&exits)));
    assert_eq!(ended.status.code(), Some(7), "{}", text(&ended.stderr));

    let cat = world.scene.shown("bin/cat");
    for (flags, want) in [
        (["-N4", "--label", "--input=0"], &["0: wood"][..]),
        (["-N4", "--label", "--input=all"], &["0: wood", "1: wood", "2: wood", "3: wood"]),
    ] {
        let mut step = world.srun(&flags, &view, &[&cat]);
        let mut step =
            step.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        step.stdin.take().unwrap().write_all(b"wood\n").unwrap();
        let ended = finish(step);
        let said = text(&ended.stdout);
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, want, "{}", text(&ended.stderr));
    }
    world.assert_nothing_left();
}

#[test]
fn a_step_across_the_components_of_a_heterogeneous_job_is_one_job() {
    let world = World::start();
    let import = world.import().map(|word| format!("'{word}'")).join(" ");
    let spinney = world.scene.binary.display().to_string();
    let step = |groups: &str, name: &str| {
        format!("srun --het-group={groups} {spinney} run -q --require --shared --report {name} -- {import}")
    };
    let script = world.script("script", &format!("{}\n{}", step("0,1", "both"), step("1", "second")));
    succeed(&mut world.user(&["salloc", "-Q", "-N1", ":", "-N2", &script]));
    let both = world.report("both");
    assert_eq!(field(&both, "host"), ["node1", "node2", "node3"]);
    assert_one_tree(&both, 3);
    let second = world.report("second");
    assert_eq!(field(&second, "host"), ["node2", "node3"]);
    assert_ne!(both["job"], second["job"]);
    world.assert_nothing_left();
}

/// What the sockets of one user on the first host say to somebody who asks them how they are; a line for each.
fn told_by_sockets(world: &World, owner: u32, asking: u32) -> String {
    let script = "
import socket, sys
for line in open('/proc/net/unix'):
    words = line.split()
    if words[-1].startswith('@spinney-' + sys.argv[1] + '-') and words[3] == '00010000':
        one = socket.socket(socket.AF_UNIX, int(words[4], 16))
        one.settimeout(60)
        try:
            one.connect(chr(0) + words[-1][1:])
            one.send(b'{\"ask\":\"status\"}')
            print(one.recv(4096))
        except ConnectionError:
            print(b'')
";
    let number = asking.to_string();
    let as_user = ["setpriv", "--reuid", &number, "--regid", &number, "--clear-groups"];
    let ask = ["/usr/bin/python3", "-c", script, &owner.to_string()];
    text(&succeed(&mut world.on(1, &[&as_user[..], &ask].concat())).stdout)
}

#[test]
fn two_users_at_once_do_not_see_each_others_services_or_files() {
    let world = World::start();
    let (one, other) = (world.scene.uid.unwrap(), world.other_user());
    let secret = world.scene.env.join("secret");
    fs::write(&secret, "of one user\n").unwrap();
    std::os::unix::fs::chown(&secret, Some(one), Some(one)).unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let script = world.script(
        "script",
        &format!(
            "cat {} >read.$(hostname) 2>&1\ntouch here.$(hostname)\nuntil [ -e gate ]; do sleep 0.02; done",
            secret.display()
        ),
    );
    let users = [(one, world.scene.home.clone()), other.clone()];
    let steps = users.each_ref().map(|(uid, home)| {
        let view = world.scene.env.to_str().unwrap();
        let spinney = world.scene.binary.to_str().unwrap();
        let run = ["srun", "-N4", spinney, "run", "-q", "--require", "--shared", "--report", "report"];
        let mut step = world.user_with(*uid, home, &[&run[..], &["--view", view, "--", &script]].concat());
        let step = step.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("all tasks of a user", || {
            (1..=NODES).all(|n| home.join(format!("here.node{n}")).exists())
        });
        step
    });
    for (owner, stranger) in [(one, other.0), (other.0, one)] {
        assert_eq!(told_by_sockets(&world, owner, owner), "b'\"told\"'\n");
        assert_eq!(told_by_sockets(&world, owner, stranger), "b''\n");
    }
    for (nth, (uid, home)) in users.iter().enumerate() {
        let number = uid.to_string();
        let status = [world.scene.binary.to_str().unwrap(), "status", "--json"];
        let as_user = [&["setpriv", "--reuid", &number, "--regid", &number, "--clear-groups"], &status[..]];
        let said = succeed(&mut world.on(1, &as_user.concat()));
        let status: Value = serde_json::from_slice(&said.stdout).unwrap();
        let jobs: Vec<&Value> =
            status["services"].as_array().unwrap().iter().map(|one| &one["job"]).collect();
        assert_eq!(jobs, [&json!(format!("slurm={},step=0", nth + 1))]);
        let read = fs::read_to_string(home.join("read.node3")).unwrap();
        assert_eq!(read == "of one user\n", *uid == one, "{read}");
    }
    users.iter().for_each(|(_, home)| fs::write(home.join("gate"), "").unwrap());
    for (step, (_, home)) in steps.into_iter().zip(&users) {
        let ended = finish(step);
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        let report: Value = serde_json::from_slice(&fs::read(home.join("report/run.json")).unwrap()).unwrap();
        assert_eq!((field(&report, "rank").len(), &report["missing_nodes"]), (NODES, &json!([])));
    }
    world.assert_nothing_left();
}

#[test]
fn doctor_and_addresses_tell_under_srun_what_a_step_there_would_find() {
    let world = World::start();
    let spinney = world.scene.binary.to_str().unwrap();
    let script = world.script("script", &format!("{spinney} doctor --json >doctor.$SLURM_PROCID"));
    succeed(&mut world.user(&["srun", "-N4", "-n4", &script]));
    for rank in 0..NODES {
        let report = fs::read(world.scene.home.join(format!("doctor.{rank}"))).unwrap();
        let node = &serde_json::from_slice::<Value>(&report).unwrap()["nodes"];
        assert_eq!(node["host"], format!("node{}", rank + 1));
        assert_eq!((&node["told_by"], &node["count"]), (&json!("SLURM_STEP_NODELIST"), &json!(NODES)));
        assert_eq!((&node["job"], &node["allocation"]), (&json!("slurm=1,step=0"), &json!("slurm=1")));
        assert_eq!(node["trouble"], Value::Null);
        assert_eq!(node["interfaces"][0]["name"], "eth0");
    }

    let addresses = ["srun", "-N4", "--ntasks-per-node=2", spinney, "addresses"];
    let book = text(&succeed(&mut world.user(&addresses)).stdout);
    let mut lines: Vec<Vec<&str>> = book.lines().map(|line| line.split(' ').collect()).collect();
    lines.sort_unstable();
    let told: Vec<[&str; 3]> = lines.iter().map(|line| [line[0], line[1], line[3]]).collect();
    let want: Vec<[String; 3]> =
        (1..=NODES).map(|n| [format!("node{n}"), "eth0".to_owned(), format!("10.77.0.{n}")]).collect();
    assert_eq!(told, want, "once for each node");
    fs::write(world.scene.home.join("book"), book).unwrap();
    let import = world.import();
    let flags = ["-q", "--report", "report", "--address-book", "book", "--interface", "eth0"];
    succeed(&mut world.srun(&["-N2"], &flags, &words(&import)));
    assert_one_tree(&world.report("report"), 2);
    world.assert_nothing_left();
}

#[test]
fn what_does_not_fit_costs_sharing_and_never_the_job() {
    let world = World::start();
    let import = world.import();
    // Contradictions as a wrapper script might make them.
    for (change, flags, words_said, nodes) in [
        ("SLURM_STEP_NODELIST=node[5-8]", &[][..], "node `node4`: `SLURM_STEP_NODELIST`", 1),
        ("SLURM_STEP_NODELIST=node[1-4],node2", &[], "host `node2` is listed twice", 1),
        ("SLURM_STEP_NUM_NODES=5", &[], "lists 4 nodes, but srun says 5", 1),
        ("SLURM_NODEID=0", &["--interface", "hsn0"], "has no interface `hsn0`", NODES),
    ] {
        let spinney = world.scene.binary.to_str().unwrap();
        let run = ["srun", "-N4", "env", "-u", "SLURM_JOB_NODELIST", change, spinney, "run", "--require"];
        let more = ["--shared", "--report", "report"];
        let line = [&run[..], &more, flags, &["--"], &words(&import)].concat();
        let ended = succeed(&mut world.user(&line));
        let said = text(&ended.stderr);
        assert!(said.lines().any(|line| line.contains("warning: ") && line.contains(words_said)), "{said}");
        let told = field(&world.report("report"), "rank").len();
        assert!(told >= nodes, "{change}: {told}");
        fs::remove_dir_all(world.scene.home.join("report")).unwrap();
    }
    world.assert_nothing_left();
}
