//! The scripts in `examples/` do what their first lines say: under Slurm for real, else with a stand-in for the launcher
//! that sets what the real one does.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::world::{NODES, World, field, succeed};
use crate::scene::{eventually, text};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// Runs four tasks, one on each node, with nothing of Slurm but what `variables` says in terms of its numbers.
fn stand_in(variables: &str) -> String {
    let plain = "env -i HOME=\"$HOME\" PATH=\"$PATH\"";
    format!(
        "while [ \"$1\" != spinney ]; do shift; done\n\
         exec srun --overlap -N4 -n4 sh -c '{variables} exec {plain} $set \"$@\"' task \"$@\""
    )
}

/// A copy of an example that finds `spinney`, the launchers of `tools`, and views that all nodes see.
fn prepared(world: &World, name: &str, tools: &[(&str, String)]) -> String {
    let bin = world.scene.home.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let put = |name: &str, lines: String| {
        fs::write(bin.join(name), format!("#!/bin/bash\n{lines}\n")).unwrap();
        fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    };
    // On a cluster views lie on a network file system; here somebody must say that they are shared.
    put(
        "spinney",
        format!("verb=$1; shift\nexec {} $verb --require --shared \"$@\"", world.scene.binary.display()),
    );
    tools.iter().for_each(|(name, lines)| put(name, lines.clone()));
    let script = fs::read_to_string(format!("{EXAMPLES}/{name}")).expect("an example");
    let shebang = script.lines().next().unwrap();
    let path = format!("export PATH={}:{}/bin:$PATH", bin.display(), world.scene.env.display());
    let path = format!("{shebang}\n{}\n{path}\n", comments(&script));
    let copy = world.scene.home.join(name.replace('/', "-"));
    fs::write(&copy, path + &script).unwrap();
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    copy.to_str().unwrap().to_owned()
}

/// What `sbatch` reads, which must come before the first command.
fn comments(script: &str) -> String {
    script.lines().filter(|line| line.starts_with("#SBATCH")).map(|line| format!("{line}\n")).collect()
}

/// The one report in the home whose directory begins with `report`; takes it away.
fn report(world: &World) -> Value {
    let entries = fs::read_dir(&world.scene.home).unwrap().flatten();
    let mut found = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("report"));
    let directory = found.next().expect("a report").path();
    let report = serde_json::from_slice(&fs::read(directory.join("run.json")).unwrap()).unwrap();
    fs::remove_dir_all(directory).unwrap();
    report
}

fn assert_four_nodes(report: &Value, tasks: u64) {
    assert_eq!(field(report, "host"), ["node1", "node2", "node3", "node4"], "{report:#}");
    assert_eq!((&report["missing_nodes"], &report["totals"]["tasks"]["joined"]), (&json!([]), &json!(tasks)));
    let asks = field(report, "answers.parent").into_iter().filter(|count| count.as_u64() > Some(0)).count();
    assert_eq!(asks, NODES - 1, "{report:#}");
}

#[test]
fn the_examples_for_slurm_run_as_they_stand() {
    let world = World::start();
    let import = world.import();
    // In the place of torchrun, which takes a minute to install: a program of the environment that starts a script.
    let torchrun = world.scene.env.join("bin/torchrun");
    let start = "import os, sys\nos.execv(sys.executable, [sys.executable] + sys.argv[9:])";
    fs::write(&torchrun, format!("#!{}\n{start}\n", world.scene.shown("bin/python3"))).unwrap();
    fs::set_permissions(&torchrun, PermissionsExt::from_mode(0o755)).unwrap();
    let train = world.scene.home.join("train.py");
    fs::write(&train, "import json, wood\n").unwrap();
    let train = [train.to_str().unwrap()];
    let import = import.each_ref().map(String::as_str);
    let mpiexec = "exec mpiexec.openmpi --mca btl self,tcp --mca btl_tcp_if_include eth0 \"$@\"".to_owned();
    let tools = [("mpiexec", mpiexec)];
    for (name, command, tasks) in
        [("slurm/job.sh", &import[..], 8), ("slurm/mpi.sh", &import, 8), ("torchrun/job.sh", &train, 4)]
    {
        let script = prepared(&world, name, &tools);
        let out = ["-o", "said", "--export=ALL"];
        let submit = [&["sbatch"][..], &out, &[&script], command].concat();
        succeed(&mut world.user(&submit));
        eventually("the end of the job", || {
            text(&succeed(&mut world.user(&["squeue", "-h"])).stdout).is_empty()
        });
        let said = fs::read_to_string(world.scene.home.join("said")).unwrap();
        assert!(said.contains("view ready") && !said.contains("warning"), "{name}: {said}");
        assert_four_nodes(&report(&world), tasks);
    }
    world.assert_nothing_left();
}

#[test]
fn the_examples_for_other_launchers_run_with_what_those_set() {
    let world = World::start();
    let import = world.import();
    let nodefile = world.scene.home.join("nodefile");
    fs::write(&nodefile, "node1\nnode1\nnode2\nnode2\nnode3\nnode3\nnode4\nnode4\n").unwrap();
    let pals = format!(
        "set=\"PBS_JOBID=9.server PBS_NODEFILE={} PALS_APID=x PALS_RANKID=$SLURM_PROCID PALS_NODEID=$SLURM_NODEID \
         PALS_LOCAL_RANKID=0 PALS_LOCAL_SIZE=1\";",
        nodefile.display()
    );
    let flux = "set=\"FLUX_JOB_ID=f1 FLUX_JOB_NNODES=4 FLUX_JOB_SIZE=4 FLUX_TASK_RANK=$SLURM_PROCID \
                FLUX_TASK_LOCAL_ID=0\";";
    let resources = r#"{"version": 1, "execution": {"nodelist": ["node[1-4]"]}}"#;
    let flux = format!("if [ \"$1\" = job ]; then echo '{resources}'; exit; fi\n{}", stand_in(flux));
    for (name, tool, lines, job) in [
        ("pbs/job.sh", "mpiexec", stand_in(&pals), "pbs=9.server,pals=x"),
        ("flux/job.sh", "flux", flux, "flux=f1"),
    ] {
        let script = prepared(&world, name, &[(tool, lines)]);
        succeed(&mut world.user(&[&[&*script][..], &import.each_ref().map(String::as_str)].concat()));
        let report = report(&world);
        assert_four_nodes(&report, 4);
        assert_eq!(report["job"], job);
    }
    let script = prepared(&world, "local/job.sh", &[]);
    succeed(&mut world.user(&[&[&*script][..], &import.each_ref().map(String::as_str)].concat()));
    assert_eq!(report(&world)["totals"]["tasks"]["joined"], 8);
    world.assert_nothing_left();
}
