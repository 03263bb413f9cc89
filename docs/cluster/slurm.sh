#!/bin/sh
# A job of a Slurm array: a clone of its own on the machine's disk, and docs/cluster/job.sh in it.
# docs/scale.md has the sbatch lines. ADDRESS is that of the Git repository, ENVIRONMENT the folder
# of a Python environment that every machine has.
#SBATCH --cpus-per-task=4
#SBATCH --output=%x-%A_%a.out
set -eu
. "$ENVIRONMENT/bin/activate"
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone -q "$ADDRESS" "$clone"
cd "$clone"
case $1 in
branch)  # four jobs per split
    branch=$(echo ori h1 h2 h3 | cut -d ' ' -f $((SLURM_ARRAY_TASK_ID % 4 + 1)))
    sh docs/cluster/job.sh branch $((SLURM_ARRAY_TASK_ID / 4)) "$branch"
    ;;
*)
    part=$1
    shift
    sh docs/cluster/job.sh "$part" "$SLURM_ARRAY_TASK_ID" "$@"
    ;;
esac
