#!/bin/bash
# The same for a program of MPI that `mpiexec` starts: `sbatch examples/slurm/mpi.sh COMMAND...`
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --output=spinney-%j.out
mpiexec spinney run --report "report-$SLURM_JOB_ID" -- "$@"
