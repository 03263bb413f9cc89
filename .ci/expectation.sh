#!/bin/sh
# What `make repro` will do and how long it takes (before), and what to look at (after).
set -u
case $1 in
    before)
        echo "make repro runs the stages of dvc.yaml that are not up to date with params.yaml." \
            "All of the committed demo takes about 10 minutes on two cores; it needs no data and" \
            "no GPU. Ctrl-C stops it, and the same command goes on."
        [ -e .venv/.ready ] || echo "First .venv gets the pinned packages, 7 GB on disk: minutes," \
            "this once."
        ;;
    after)
        echo
        echo "Done. Look at"
        echo "  metrics/fusion.json       Rank-k and mAP of the fusion and of each branch"
        echo "  plots/pyramid.png         queries and their restored images"
        echo "  plots/evaluation/cmc.png  the cumulative matching curves"
        echo "Next, with the environment activated (source .venv/bin/activate):"
        echo "  dvc exp run -S fusion.w_ori=0.4 && dvc metrics diff   # an experiment, compared"
        echo "  pyramid-reid pack --start msmt17 --out model          # a model for your own crops"
        ;;
esac
