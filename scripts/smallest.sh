#!/usr/bin/env bash
# Runs every script that needs no package beside Python with its smallest setting, to see that it works; the numbers that it
# prints mean little. Scripts that need packages are compiled only. About a minute after
# `cargo build --release --workspace --examples`.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/release
rlar=$(realpath "$target/rlar")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONPYCACHEPREFIX=$scratch/pycache

echo "== every script compiles"
python3 -m py_compile scripts/*.py scripts/oracles/*.py
for script in scripts/*.sh; do bash -n "$script"; done

echo "== the data sets are what their generators write"
for generator in scripts/make-*.py; do python3 "$generator" "$scratch/datasets"; done
diff --recursive --brief --exclude README.md --exclude origins.yaml datasets "$scratch/datasets"

echo "== scripts/results.py"
for experiment in math failures; do
    scripts/results.py "$experiment" --smallest --rlar "$rlar" --runs "$scratch/results"
done

echo "== scripts/bench-start.py"
scripts/bench-start.py --rlar "$rlar" --rounds 1
echo "== scripts/bench-train.py"
scripts/bench-train.py --rlar "$rlar" --alone --shape s --rounds 1 --steps 1
echo "== scripts/bench-policy.py"
scripts/bench-policy.py --bench "$target/examples/bench" --alone --only s --rounds 1
echo "== scripts/bench-sandbox.sh"
scripts/bench-sandbox.sh --smallest
echo "== scripts/gpu-check.sh"
scripts/gpu-check.sh --rlar "$rlar" --out "$scratch/gpu-check" --device cpu
