#!/bin/bash
# Four nodes, two tasks on each, one tree: `sbatch examples/slurm/job.sh COMMAND...`
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --output=spinney-%j.out
srun spinney run --report "report-$SLURM_JOB_ID" -- "$@"
