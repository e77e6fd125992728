#!/bin/bash
# Four nodes under PBS, with the mpiexec of PALS, Open MPI or MPICH: `qsub -- examples/pbs/job.sh COMMAND...`
#PBS -l select=4:mpiprocs=2
#PBS -l walltime=00:10:00
cd "${PBS_O_WORKDIR:-.}" || exit
mpiexec -n 8 spinney run --report "report-${PBS_JOBID%%.*}" -- "$@"
