#!/usr/bin/env bash
# Starts the Tinker server of SkyRL on the CPU, on a port of this machine, until it is interrupted.
#
#   scripts/engines/tinker/server.sh [--skyrl 0.3.0|0.4.0] [--processes N] [--ray] [PORT [MODEL]]
#
# SkyRL 0.3.0 with Python 3.11 unless told otherwise, in target/tinker-python; 0.4.0 with Python 3.12, in target/tinker-python-0.4.0. The
# folder is made the first time (6 GB each); TINKER_PYTHON names another one. Port 8000. MODEL is a Hugging Face folder, such as the final/
# of a run; without it, a tiny random Llama is made and served. With MODEL, the server knows the checkpoints of an earlier start. With
# --processes, N processes of JAX hold a part of the weights and of each batch (FSDP) and speak over gloo; with --ray, Ray starts them, on
# a cluster of this machine that ends with the server.
set -euo pipefail
cd "$(dirname "$0")/../../.."
version=0.3.0 processes=1 ray=
while [[ ${1:-} == --* ]]; do
    case $1 in
        --skyrl) version=${2:?--skyrl needs a version}; shift 2 ;;
        --processes) processes=${2:?--processes needs a number}; shift 2 ;;
        --ray) ray=1; shift ;;
        *) echo "server.sh: $1 is not an option" >&2; exit 2 ;;
    esac
done
port=${1:-8000}
case $version in
    0.3.0) python=3.11 folder=tinker-python ;;
    0.4.0) python=3.12 folder=tinker-python-0.4.0 ;;
    *) echo "server.sh: --skyrl takes 0.3.0 or 0.4.0, not $version" >&2; exit 2 ;;
esac
venv=${TINKER_PYTHON:-$PWD/target/$folder}
work=$PWD/target/tinker
install() { "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
if [ ! -x "$venv/bin/ray" ]; then
    "python$python" -m venv "$venv"
    if [ "$version" = 0.3.0 ]; then
        install -r scripts/engines/tinker/requirements.txt
        install --no-deps skyrl==0.3.0 peft==0.18.1
    else
        install -r scripts/engines/tinker/requirements-0.4.0.txt
    fi
fi
skyrl=$venv/lib/python$python/site-packages/skyrl
# The server starts its engine by `uv run`, in the environment in which it runs itself.
printf '#!/bin/bash\nwhile [ "$1" != -m ]; do shift; done\n"%s/bin/python" "$@"\n' "$venv" >"$venv/bin/uv"
chmod +x "$venv/bin/uv"
# A fault with several processes: the others keep a model that is unloaded.
grep -q '_broadcast_and_call("delete_model"' "$skyrl/backends/jax.py" || sed -i '/^        self._broadcast_and_call("create_model"/a\
\
    def delete_model(self, model_id: str) -> None:\
        self._broadcast_and_call("delete_model", model_id=model_id)' "$skyrl/backends/jax.py"
# Two faults of 0.3.0: before Python 3.12, pydantic wants its own TypedDict; and Ray's backend does not know `model_role`.
if [ "$version" = 0.3.0 ]; then
    sed -i 's/^from typing import Annotated, Any, Literal, TypedDict$/from typing import Annotated, Any, Literal\nfrom typing_extensions import TypedDict/' \
        "$skyrl/tinker/types.py"
    sed -i -e 's/def create_model(self, model_id: str, lora_config: types.LoraConfig) -> None:/def create_model(self, model_id: str, lora_config: types.LoraConfig, model_role: str = "policy") -> None:/' \
        -e 's/create_model\(\.remote\)\?(model_id, lora_config)/create_model\1(model_id, lora_config, model_role)/' "$skyrl/backends/ray_jax.py"
fi
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
