#!/usr/bin/env bash
# Runs the scripts that need no package beside Python with their smallest settings, to see that they work; the numbers that
# they print mean little. Scripts that need packages are compiled only. About a minute after
# `cargo build --release --workspace --examples --bins`.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/release
rlar=$(realpath "$target/rlar")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONPYCACHEPREFIX=$scratch/pycache
# A script that hangs is a failure.
limited() { timeout --kill-after 10 600 "$@"; }

echo "== every script compiles"
python3 -m py_compile scripts/*.py scripts/*/*.py scripts/engines/*/*.py crates/rlar/python/*/*.py
for script in scripts/*.sh scripts/engines/*.sh scripts/engines/*/*.sh; do bash -n "$script"; done

echo "== the data sets are what their generators write"
for generator in scripts/make-*.py; do python3 "$generator" "$scratch/datasets"; done
diff --recursive --brief --exclude README.md --exclude origins.yaml datasets "$scratch/datasets"

echo "== what scripts/four_domains calls true"
limited scripts/test_four_domains.py

echo "== what scripts/bench.py refuses and merges"
limited scripts/test_bench.py

echo "== the tutorials, in their short form"
limited scripts/check-docs.py --run "$rlar"

echo "== scripts/results.py"
for experiment in math failures; do
    limited scripts/results.py "$experiment" --smallest --rlar "$rlar" --runs "$scratch/results"
done

echo "== scripts/sample-texts.py"
limited scripts/sample-texts.py --seed 1 >/dev/null
echo "== scripts/bench.py and the scripts that it runs"
bench=(--smallest --alone --rlar "$rlar" --examples "$target/examples" --out "$scratch/bench")
# Its items are those of RLAR_ORACLES.
if [ -z "${RLAR_ORACLES:-}" ]; then bench+=(--leave-out serve); fi
limited scripts/bench.py "${bench[@]}"
cat "$scratch/bench/bench.md"
echo "== scripts/soak-serve.py"
limited scripts/soak-serve.py --rlar "$rlar" --load "$target/examples/load" --items 10000
echo "== scripts/gpu-check.sh"
limited scripts/gpu-check.sh --rlar "$rlar" --out "$scratch/gpu-check" --device cpu
