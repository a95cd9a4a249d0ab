#!/usr/bin/env bash
# Starts SkyRL 0.3.0's Tinker server on the CPU, on a port of this machine, until it is interrupted.
#
#   scripts/engines/tinker/server.sh [--processes N] [--ray] [PORT [MODEL]]
#
# Port 8000; makes target/tinker-python with Python 3.11 the first time (6 GB). MODEL is a Hugging Face folder, such as the final/ of a run;
# without it, a tiny random Llama is made and served. With MODEL, the server knows the checkpoints of an earlier start. With --processes,
# N processes of JAX hold a part of the weights and of each batch (FSDP) and speak over gloo; with --ray, Ray starts them, on a cluster of
# this machine that ends with the server. TINKER_PYTHON names another folder of the Python environment.
set -euo pipefail
cd "$(dirname "$0")/../../.."
processes=1 ray=
while [[ ${1:-} == --* ]]; do
    case $1 in
        --processes) processes=$2; shift 2 ;;
        --ray) ray=1; shift ;;
        *) echo "server.sh: $1 is not an option" >&2; exit 2 ;;
    esac
done
port=${1:-8000}
venv=${TINKER_PYTHON:-$PWD/target/tinker-python}
work=$PWD/target/tinker
if [ ! -x "$venv/bin/ray" ]; then
    python3.11 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r scripts/engines/tinker/requirements.txt
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps skyrl==0.3.0 peft==0.18.1
fi
# Two faults of 0.3.0 before Python 3.12: pydantic wants its own TypedDict, and the server starts its engine by `uv run`.
skyrl=$venv/lib/python3.11/site-packages/skyrl
sed -i 's/^from typing import Annotated, Any, Literal, TypedDict$/from typing import Annotated, Any, Literal\nfrom typing_extensions import TypedDict/' \
    "$skyrl/tinker/types.py"
printf '#!/bin/bash\nwhile [ "$1" != -m ]; do shift; done\n"%s/bin/python" "$@"\n' "$venv" >"$venv/bin/uv"
chmod +x "$venv/bin/uv"
# Two faults of 0.3.0 with several processes: the others keep a model that is unloaded, and Ray's backend does not know `model_role`.
grep -q '"delete_model"' "$skyrl/backends/jax.py" || sed -i '/^        self._broadcast_and_call("create_model"/a\
\
    def delete_model(self, model_id: str) -> None:\
        self._broadcast_and_call("delete_model", model_id=model_id)' "$skyrl/backends/jax.py"
sed -i -e 's/def create_model(self, model_id: str, lora_config: types.LoraConfig) -> None:/def create_model(self, model_id: str, lora_config: types.LoraConfig, model_role: str = "policy") -> None:/' \
    -e 's/create_model\(\.remote\)\?(model_id, lora_config)/create_model\1(model_id, lora_config, model_role)/' "$skyrl/backends/ray_jax.py"
if [ -n "${2:-}" ]; then
    model=$(cd "$2" && pwd)
    work=$work-model
else
    model=tiny-llama
    rm -rf "$work"
fi
backend='"max_lora_adapters":4,"max_lora_rank":16'
# Numbers of sequences that differ from pass to pass would be compiled anew each time. N processes share only multiples of N, and wait
# for each other at every layer, so they get more sequences at a time.
if [ "$processes" != 1 ]; then
    backend+=',"train_micro_batch_size":32,"sample_max_num_sequences":128'
elif [ -n "${2:-}" ]; then
    backend+=',"train_micro_batch_size":4,"sample_max_num_sequences":32'
fi
mkdir -p "$work"
[ -n "${2:-}" ] || "$venv/bin/python" scripts/engines/tiny_model.py "$work/tiny-llama"
cd "$work"
export PATH=$venv/bin:$PATH JAX_PLATFORMS=cpu HF_HUB_OFFLINE=1 CUDA_VISIBLE_DEVICES=
if [ "$processes" != 1 ] || [ -n "$ray" ]; then
    backend+=',"num_processes":'$processes',"fully_sharded_data_parallel_size":'$processes
    export OMP_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false
    if [ -n "$ray" ]; then
        backend+=',"use_ray":true'
        export RAY_USAGE_STATS_ENABLED=0 RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
    else
        coordinator=127.0.0.1:$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        backend+=',"coordinator_address":"'$coordinator'"'
        trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
        for ((i = 1; i < processes; i++)); do
            python -m skyrl.backends.jax --coordinator-address "$coordinator" --num-processes "$processes" --process-id "$i" &
        done
    fi
fi
uv run -m skyrl.tinker.api --base-model "$model" --backend jax --backend-config "{$backend}" --host 127.0.0.1 --port "$port" \
    --database-url "sqlite:///$work/tinker.db" --checkpoints-base "$work/checkpoints"
