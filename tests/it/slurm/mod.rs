//! Under a real Slurm, on four hosts: `srun -N 4 spinney run -- COMMAND` with nothing configured.
//!
//! | file | what |
//! |---|---|
//! | `world` | the cluster |
//! | `steps` | who is one job, what is shared, what passes through |
//! | `ends` | signals, cancelled jobs, dead nodes |
//! | `examples` | the scripts in `examples/` |
//! | `mpi` | programs of Open MPI and MPICH, within Slurm and without |

mod ends;
mod examples;
mod mpi;
mod steps;
mod world;
