//! Programs of Open MPI and MPICH, started by their own launchers and by `srun`.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::world::{World, field, succeed};
use crate::scene::{output, text};

/// Says its place, with Open MPI once all tasks have met. Programs of MPICH 4.0.2 as Debian 12 has it hang in `MPI_Finalize`
/// every third time if they have sent anything, without Spinney too, under `mpiexec` and under `srun`: the last to take down its
/// connections waits in UCX for peers that wait in PMI already, and read nothing there.
const HELLO: &str = r#"
#include <mpi.h>
#include <stdio.h>
int main(int argc, char **argv) {
    int rank, size, length;
    char host[MPI_MAX_PROCESSOR_NAME];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Get_processor_name(host, &length);
#ifdef OPEN_MPI
    MPI_Barrier(MPI_COMM_WORLD);
#endif
    printf("rank %d of %d on %s\n", rank, size, host);
    MPI_Finalize();
    return 0;
}
"#;

/// Builds the program into the environment, and says what runs it.
fn build(world: &World, library: &str) -> String {
    let source = world.scene.home.join("hello.c");
    fs::write(&source, HELLO).unwrap();
    let program = world.scene.env.join("bin").join(library);
    let mut compiler = Command::new(format!("mpicc.{library}"));
    let built = output(compiler.arg(&source).arg("-o").arg(&program));
    assert!(built.status.success(), "scripts/prepare-tests.sh installs MPI: {}", text(&built.stderr));
    format!("--view {} -- {}", world.scene.env.display(), program.display())
}

/// What tasks on nodes 1 to `size`, one on each, say.
fn want(size: usize) -> Vec<String> {
    (0..size).map(|rank| format!("rank {rank} of {size} on node{}", rank + 1)).collect()
}

fn sorted(said: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn programs_of_mpi_in_an_allocation_run_as_one_job_whoever_launches_them() {
    let world = World::start();
    let (open_mpi, mpich) = (build(&world, "openmpi"), build(&world, "mpich"));
    let spinney = world.scene.binary.display();
    let run = |launcher: &str, name: &str, program: &str| {
        format!(
            "{launcher} {spinney} run -q --require --shared --report {name} {program} >said.{name} 2>err.{name}"
        )
    };
    // The nodes are small: a slot for each task is enough for Open MPI, if it may use TCP alone.
    let mpirun = "mpiexec.openmpi --mca btl self,tcp --mca btl_tcp_if_include eth0 -n 4 --map-by node";
    let lines = [
        "export TMPDIR=$HOME".to_owned(),
        run(mpirun, "openmpi", &open_mpi),
        run("mpiexec.mpich -n 4 -ppn 1", "mpich", &mpich),
        run("srun --mpi=pmi2 -n 4", "srun", &mpich),
        "export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=eth0".to_owned(),
        run("srun --mpi=pmix -n 4", "pmix", &open_mpi),
    ];
    world.batch("script", &["-n4"], &lines);
    for name in ["openmpi", "mpich", "srun", "pmix"] {
        let read = |kind: &str| fs::read_to_string(world.scene.home.join(format!("{kind}.{name}"))).unwrap();
        assert_eq!(sorted(&read("said")), want(4), "{name}: {}", read("err"));
        let report = world.report(name);
        assert_eq!(field(&report, "host"), ["node1", "node2", "node3", "node4"], "{name}");
        assert_eq!(report["missing_nodes"], json!([]), "{name}");
        let asked = field(&report, "answers.parent").into_iter().filter(|count| count.as_u64() > Some(0));
        assert_eq!(asked.count(), 3, "{name}: {report:#}");
    }
    world.assert_nothing_left();
}

#[test]
fn a_launcher_that_does_not_say_who_the_nodes_are_gets_one_line_and_a_remedy_that_works() {
    let world = World::start();
    let program = build(&world, "mpich");
    let program: Vec<&str> = program.split(' ').collect();
    // In the place of ssh: a shell on that host, in which nothing is left of Slurm.
    let shell = world.script(
        "shell",
        "[ $1 != -x ] || shift\nhost=$1; shift\nexec srun -Q -N1 -n1 -w \"$host\" env -i PATH=\"$PATH\" HOME=\"$HOME\" sh -c \"$*\"",
    );
    let launcher =
        ["mpiexec.mpich", "-launcher", "ssh", "-launcher-exec", &shell, "-hosts", "node1,node2", "-n", "2"];
    let spinney = world.scene.binary.to_str().unwrap();
    let run = [spinney, "run", "--require", "--shared", "--report", "report"];
    for (hosts, nodes) in [(&[][..], 1), (&["--hosts", "node[1-2]"], 2)] {
        let ended = succeed(&mut world.user(&[&launcher[..], &run, hosts, &program].concat()));
        let said = text(&ended.stderr);
        assert_eq!(sorted(&text(&ended.stdout)), want(2), "{said}");
        assert_eq!(
            said.matches("warning: MPICH mpiexec does not say who the nodes are").count(),
            2 - nodes,
            "{said}"
        );
        assert_eq!(field(&world.report("report"), "rank").len(), nodes, "{said}");
    }
    world.assert_nothing_left();
}
