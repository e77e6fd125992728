//! Under a real Slurm, on four hosts: `srun -N 4 spinney run -- COMMAND` with nothing configured.
//!
//! | file | what |
//! |---|---|
//! | `world` | the cluster, which is that of `tests/slurm` |
//! | `steps` | who is one job, what is shared, what passes through |
//! | `containers` | tasks that are containers |
//! | `ends` | signals, cancelled jobs, dead nodes |
//! | `examples` | the scripts in `examples/` |
//! | `kept` | `spinney up`: a service for many steps |
//! | `late` | tasks that start when all others have ended |
//! | `mpi` | programs of Open MPI and MPICH, within Slurm and without |
//! | `programs` | R, and what the loader puts together |
//! | `troubles` | nodes that lack what others have |

#[path = "../../slurm/mod.rs"]
mod cluster;
mod containers;
mod ends;
mod examples;
mod kept;
mod late;
mod mpi;
mod programs;
mod steps;
mod troubles;
mod world;
