#!/bin/sh
# A part of an experiment that machines without a shared folder do together, in a clone of its own:
#
#   sh docs/cluster/job.sh restore SPLIT [PARAM=VALUE ...]   data, restorer and pyramid of a split
#   sh docs/cluster/job.sh branch SPLIT BRANCH               network and distances of a branch
#   sh docs/cluster/job.sh fuse SPLIT                        all branches together
#
# Outs lie in the DVC remote, params and dvc.lock in the Git branch `split-SPLIT` of `origin`: that
# is where the next part finds them. docs/scale.md says more.
set -eu
part=$1 split=$2
shift 2
case $part in
restore)
    for setting; do
        set -- "$@" -S "$setting"
        shift
    done
    git checkout -q -b "split-$split"
    dvc exp run -S data.splits=1 -S "data.first_split=$split" "$@" generate_pyramid
    dvc push --run-cache
    ;;
branch)
    git fetch -q origin && git checkout -q "split-$split"
    dvc repro --pull --allow-missing "distances@$1"
    dvc push --run-cache "train_reid@$1" "distances@$1"
    exit
    ;;
fuse)
    git fetch -q origin && git checkout -q "split-$split"
    dvc repro --pull
    dvc push
    ;;
*)
    echo "job.sh: $part is none of restore, branch and fuse" >&2
    exit 2
    ;;
esac
git add -A
git commit -q -m "Split $split: $part"
git push -q origin "split-$split"
