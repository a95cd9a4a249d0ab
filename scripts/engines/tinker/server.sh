#!/usr/bin/env bash
# Starts SkyRL 0.3.0's Tinker server on the CPU, on a port of this machine, until it is interrupted.
#
#   scripts/engines/tinker/server.sh [PORT [MODEL]]      # 8000; makes target/tinker-python with Python 3.11 the first time (6 GB)
#
# MODEL is a Hugging Face folder, such as the final/ of a run; without it, a tiny random Llama is made and served. With MODEL, the server
# knows the checkpoints of an earlier start. TINKER_PYTHON names another folder of the Python environment.
set -euo pipefail
cd "$(dirname "$0")/../../.."
port=${1:-8000}
venv=${TINKER_PYTHON:-$PWD/target/tinker-python}
work=$PWD/target/tinker
if [ ! -x "$venv/bin/python" ]; then
    python3.11 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r scripts/engines/tinker/requirements.txt
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps skyrl==0.3.0 peft==0.18.1
    # Two faults of 0.3.0 before Python 3.12: pydantic wants its own TypedDict, and the server starts its engine by `uv run`.
    sed -i 's/^from typing import Annotated, Any, Literal, TypedDict$/from typing import Annotated, Any, Literal\nfrom typing_extensions import TypedDict/' \
        "$venv"/lib/python3.11/site-packages/skyrl/tinker/types.py
    printf '#!/bin/bash\nwhile [ "$1" != -m ]; do shift; done\n"%s/bin/python" "$@"\n' "$venv" >"$venv/bin/uv"
    chmod +x "$venv/bin/uv"
fi
if [ -n "${2:-}" ]; then
    model=$(cd "$2" && pwd)
    work=$work-model
    # Numbers of sequences that differ from pass to pass would be compiled anew each time.
    backend='{"max_lora_adapters":4,"max_lora_rank":16,"train_micro_batch_size":4,"sample_max_num_sequences":32}'
else
    model=tiny-llama
    rm -rf "$work"
    backend='{"max_lora_adapters":4,"max_lora_rank":16}'
fi
mkdir -p "$work"
[ -n "${2:-}" ] || "$venv/bin/python" scripts/engines/tiny_model.py "$work/tiny-llama"
cd "$work"
export PATH=$venv/bin:$PATH JAX_PLATFORMS=cpu HF_HUB_OFFLINE=1 CUDA_VISIBLE_DEVICES=
exec uv run -m skyrl.tinker.api --base-model "$model" --backend jax --backend-config "$backend" --host 127.0.0.1 --port "$port" \
    --database-url "sqlite:///$work/tinker.db" --checkpoints-base "$work/checkpoints"
