#!/bin/bash
# Training on four nodes: `sbatch examples/torchrun/job.sh train.py ARGUMENT...`
#
# One spinney on each node, around torchrun; its workers are inside.
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --output=spinney-%j.out
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun spinney run --report "report-$SLURM_JOB_ID" -- \
    torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "${WORKERS:-8}" \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$first:29500" "$@"
