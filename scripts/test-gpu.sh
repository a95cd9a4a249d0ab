#!/usr/bin/env bash
# The parity tests of the policy crate on the first NVIDIA GPU; says so where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -e /dev/nvidiactl ]; then
    echo "no NVIDIA driver answers here (/dev/nvidiactl is missing): nothing was tested on a GPU"
    exit 0
fi
RLAR_TEST_DEVICE=cuda:0 cargo test --release -p rlar-policy --features cuda --target-dir target/cuda -- parity sampling::greedy
