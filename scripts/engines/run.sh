#!/usr/bin/env bash
# Runs the trainers that rlar serves rewards to, each with its own client, on tiny models: TRL in one process and in two, verl's
# reward loop on Ray, its SandboxFusion client and an advantage estimator, OpenRLHF's HTTP client.
#
#   scripts/engines/run.sh [PYTHON]   # a Python with the packages below; without it, target/engines-python is made (6 GB)
#
# The wheel must lie in target/wheels: scripts/check-wheel.sh builds it.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-}
if [ -z "$python" ]; then
    python=target/engines-python/bin/python
    [ -x "$python" ] || python3 -m venv target/engines-python
    "$python" -m pip install --quiet --disable-pip-version-check -r scripts/engines/requirements.txt
    # Their dependencies are for training on GPUs; the parts that ask for rewards need none of them.
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps verl==0.9.1 openrlhf==0.11.2
fi
"$python" -m pip install --quiet --quiet --disable-pip-version-check --force-reinstall target/wheels/rlar-*.whl
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
out=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$out"' EXIT
export WANDB_DISABLED=true HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false RAY_DEDUP_LOGS=0 CUDA_VISIBLE_DEVICES=
export PYTHONPATH=$PWD/scripts/engines/library/sometimes_failing

rm -rf target/engines-library
mkdir -p target/engines-library
cp -r crates/rewards/library/{numeric_match,last_number,chrf} scripts/engines/library/sometimes_failing target/engines-library
"$python" scripts/engines/tiny_model.py "$out/tiny"
echo "== TRL, one process"
"$python" scripts/engines/trl_training.py "$out/tiny" "$out/trl-1" 2>"$out/trl-1.err" || { tail -40 "$out/trl-1.err"; exit 1; }
echo "== TRL, two processes (gloo)"
"$python" -m torch.distributed.run --nproc_per_node=2 scripts/engines/trl_training.py "$out/tiny" "$out/trl-2" 2>"$out/trl-2.err" ||
    { tail -40 "$out/trl-2.err"; exit 1; }

mkfifo "$out/address"
"$(dirname "$python")/rlar" serve --config scripts/engines/rewards.yaml --port 0 --quiet >"$out/address" &
server=$!
read -r RLAR_URL <"$out/address"
export RLAR_URL
echo "== verl"
"$python" scripts/engines/verl_rewards.py "$out/tiny" 2>"$out/verl.err" || { tail -40 "$out/verl.err"; exit 1; }
echo "== OpenRLHF"
"$python" scripts/engines/openrlhf_rewards.py "$out/tiny" 2>"$out/openrlhf.err" || { tail -40 "$out/openrlhf.err"; exit 1; }
