#!/usr/bin/env bash
# Long checks, for about half an hour: ten rounds of every test that depends on timing, 50 kills of runs of every kind (10 of
# one without checkpoints), all attacks on every Python of the machine, 100,000 verdicts in a row, a million mutated GGUF files, a
# million replies scored by one server. Prints the commit first.
#
#     scripts/thorough.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
echo "commit $(git rev-parse HEAD)$(git diff --quiet HEAD || echo ' with local changes')"
for round in $(seq "${1:-10}"); do
  echo "round $round"
  cargo test --release --workspace --quiet -- ctrl_c hard broken_call deadline dead_fork_server
done
RLAR_KILLS="${RLAR_KILLS:-50}" cargo test --release --workspace --quiet -- kills --nocapture
RLAR_THOROUGH=1 cargo test --release --workspace --quiet -- every_python
RLAR_SOAK=100000 cargo test --release --workspace --quiet -- many_verdicts --nocapture
RLAR_MUTATIONS=1000000 cargo test --release -p rlar-policy --quiet -- mutated_file
cargo build --release --quiet && cargo build --release --quiet --example load
scripts/soak-serve.py
