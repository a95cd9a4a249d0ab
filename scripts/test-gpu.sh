#!/usr/bin/env bash
# Runs the parity tests of the policy crate on the first NVIDIA GPU. Without a GPU, it says so and tests nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -e /dev/nvidiactl ]; then
    echo "there is no NVIDIA driver (/dev/nvidiactl is missing), so nothing was tested on a GPU"
    exit 0
fi
RLAR_TEST_DEVICE=cuda:0 cargo test --release -p rlar-policy --features cuda --target-dir target/cuda -- parity sampling::greedy
