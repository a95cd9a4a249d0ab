#!/usr/bin/env bash
# Checks rlar on one GPU without a network, in at most eight minutes; on the CPU, a rehearsal with the smallest settings.
#
#     scripts/gpu-check.sh --rlar PATH --out FOLDER [--device cuda:0|cpu] [--parts 1,2,3,4]
#
# Needs a binary that was built with `--features cuda`, bash and Python 3; torch for the comparison, nvidia-smi for memory.
#
#     part 1  `rlar gpu-check`: parity with recorded results and with the CPU, in f32 and bf16
#     part 2  the main job, configs/math.yaml: accuracy and seconds per step
#     part 3  a GRPO step of a model of the shape of Qwen3-0.6B with random weights, beside the same step in PyTorch
#     part 4  120 steps, in which memory must not grow
#
# Every part has its own time limit and writes to FOLDER as it goes: PART.log, PART.status (exit code, limit, seconds),
# PART.memory.csv and the run's folder. FOLDER must be new or empty. The summary comes last, whatever failed, and is in FOLDER/summary.txt, too. The exit
# code is 0 when all parts that were asked for have passed; the comparison with PyTorch may be missing if torch is.
set -uo pipefail

# Seconds; together with what ending a part may take, 8 minutes.
declare -A limits=([model]=30 [parity]=150 [main]=100 [step]=100 [torch]=50 [memory]=70)

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
rlar='' out='' device=cuda:0 parts=1,2,3,4
while [ $# -gt 0 ]; do
    case $1 in
        --rlar) rlar=${2:-}; shift 2 || usage ;;
        --out) out=${2:-}; shift 2 || usage ;;
        --device) device=${2:-}; shift 2 || usage ;;
        --parts) parts=${2:-}; shift 2 || usage ;;
        *) usage ;;
    esac
done
[ -n "$rlar" ] && [ -n "$out" ] || usage
[[ $parts =~ ^[1-4](,[1-4])*$ ]] || { echo "--parts takes numbers from 1 to 4, as in 1,3" >&2; exit 2; }
[ -x "$rlar" ] || { echo "$rlar is not a program" >&2; exit 2; }
scripts=$(cd "$(dirname "$0")" && pwd)
rlar=$(realpath "$rlar")
[ -z "$(ls -A "$out" 2>/dev/null)" ] || { echo "$out is not empty: give --out a new folder" >&2; exit 2; }
mkdir -p "$out" && cd "$out" || exit 2
out=$PWD
export RUST_BACKTRACE=0

wanted() { [[ ,$parts, == *,$1,* ]]; }

# Runs a command under the time limit of a part; its output goes to PART.log. A run's folder, if given, is watched.
part() {
    local name=$1 folder=$2 start=$SECONDS code
    shift 2
    echo "== $name: at most ${limits[$name]} s, output in $out/$name.log"
    timeout -k 3 "${limits[$name]}" "$@" >"$name.log" 2>&1 &
    local pid=$!
    if [ -n "$folder" ]; then
        python3 "$scripts/gpu_check.py" watch "$name.memory.csv" "$pid" --metrics "$folder/metrics.jsonl" 2>"$name.watch.log" &
    fi
    wait "$pid"
    code=$?
    echo "$code ${limits[$name]} $((SECONDS - start))" >"$name.status"
    echo "== $name: exit code $code after $((SECONDS - start)) s"
}

"$rlar" --version || exit 2
command -v nvidia-smi >/dev/null && timeout 10 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
timeout 10 python3 "$scripts/gpu_check.py" prepare "$out" --device "$device" || exit 2
if wanted 3; then
    # The model is written while part 1 runs.
    timeout "${limits[model]}" python3 "$scripts/gpu_check.py" model "$out" --device "$device" >model.log 2>&1 &
    model=$!
fi
if wanted 1; then
    part parity '' "$rlar" gpu-check --device "$device"
    grep -v '^ok' parity.log | head -n 20
fi
if wanted 2; then
    # What training may take leaves time for the warm-up and for measuring.
    part main main "$rlar" train --config main.yaml --run main --minutes 0.6
fi
if wanted 3; then
    wait "$model"
    part step step "$rlar" train --config step.yaml --run step --minutes 0.9
    # shellcheck disable=SC2046
    part torch '' python3 "$scripts/gpu-check-torch.py" --device "$device" $(cat torch-arguments)
    rm -rf model
fi
if wanted 4; then
    part memory memory "$rlar" train --config memory.yaml --run memory
fi
rm -rf {main,step,memory}/{checkpoints,final,start}
timeout 30 python3 "$scripts/gpu_check.py" summary "$out" --device "$device" | tee summary.txt
exit "${PIPESTATUS[0]}"
