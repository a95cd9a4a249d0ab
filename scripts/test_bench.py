#!/usr/bin/env python3
"""Tests of scripts/bench.py: what it refuses, what it measures again, and what its page says; needs nothing but Python."""

import contextlib
import importlib.util
import io
import json
import os
import tempfile
import unittest
from pathlib import Path

import bench
import bench_page
import bench_rows

# A script that measures nothing: it counts how often it ran, and writes the rows of a file that lies beside it.
STUB = """\
import pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "ran").open("a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
pathlib.Path(sys.argv[sys.argv.index("--json") + 1]).write_text((here / "rows").read_text())
"""
FAILING = "import sys\nsys.exit('the disk is full')\n"


def rows(**changed):
    """The rows of a script, of which one has a peer, a limit and a goal."""
    found = bench_rows.Rows()
    found.command = "scripts/stub.py --rounds 1"
    given = dict(table="a step", row="tiny", metric="step", unit="s", value=0.5, better="lower",
                 beside=dict(name="TRL", value=1.5), goals=[bench_rows.at_least(2.0)],
                 limit=dict(value=0.25, of="the product"))
    found.add(**{**given, **changed})
    found.add("a step", "tiny", "peak memory", "MB", 1234, "lower")
    return found


def script(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestRows(unittest.TestCase):
    def test_the_ratio_is_how_many_times_better_and_none_without_both_figures(self):
        self.assertEqual(bench_rows.ratio(2, 6, "lower"), 3)
        self.assertEqual(bench_rows.ratio(6, 2, "higher"), 3)
        self.assertEqual(bench_rows.ratio(6, 2, None), 3)
        for value, other in ((None, 1), (1, None), (float("nan"), 1), (1, float("inf")), (0, 0)):
            for better in ("lower", "higher", None):
                self.assertIsNone(bench_rows.ratio(value, other, better), (value, other, better))

    def test_a_goal_is_of_the_value_the_ratio_or_the_share_and_open_without_its_number(self):
        reached = lambda goal, value, ratio, share=None: bench_rows.reached(goal, value=value, ratio=ratio, share=share)
        self.assertTrue(reached(bench_rows.at_most(30), 30, None))
        self.assertFalse(reached(bench_rows.at_least(2), 9, 1.99))
        self.assertFalse(reached(dict(of="ratio", at_least=0.75, at_most=1.25), 1, 1.26))
        self.assertTrue(reached(bench_rows.at_least(0.65, "share"), 9, 9, 0.66))
        self.assertIsNone(reached(bench_rows.at_least(2), 9, None))

    def test_the_share_of_the_limit_is_what_the_hardware_would_need_or_allow(self):
        for better, limit, share in (("lower", 0.25, 0.5), ("higher", 2.0, 0.25), ("lower", None, None)):
            row = rows(better=better, limit=limit and dict(value=limit, of="the product")).rows[0]
            self.assertEqual(row["share"], share, better)

    def test_what_is_no_number_is_written_as_none(self):
        for value in (float("nan"), float("inf"), None, "7", True):
            self.assertIsNone(rows(value=value).rows[0]["value"], value)

    def test_a_command_is_shown_without_the_places_of_one_machine(self):
        words = ["bench-sandbox.py", "/data/HumanEval.jsonl.gz", "--verdicts", "/tmp/verdicts", "--json=/tmp/x", "--rounds", "2"]
        self.assertEqual(bench_rows.shown(words), "bench-sandbox.py HumanEval.jsonl.gz --rounds 2")

    def test_a_tier_that_the_machine_lacks_is_left_out_and_a_kind_that_was_not_measured_has_no_figure(self):
        sandbox, found = script("bench-sandbox"), bench_rows.Rows()
        lines = [dict(tier="A (all)", unavailable="no namespaces"), dict(tier="B (some)", opening_ms=1.0, fork_servers_ms=2.0)]
        lines += [dict(tier="B (some)", what=kind, calls=9, cpu_us=cpu, wall_us=1.0)
                  for kind in sandbox.KINDS[:2] for cpu in (4.0, 6.0)]
        sandbox.add_rows(found, lines, [dict(what=sandbox.TRIVIAL, calls=9, cpu_us=20.0)], False)
        self.assertEqual(found.left_out, {"tier A": "no namespaces"})
        value = {(row["row"], row["metric"]): row["value"] for row in found.rows}
        self.assertEqual(value["tier B, verifier, a process per call", "CPU time"], 5.0)
        self.assertIsNone(value["tier B, program, two processes", "CPU time"])
        ratios = {row["row"]: row["ratio"] for row in found.rows if row["beside"]}
        self.assertEqual(ratios, {"tier B, verifier, a process per call": 4.0})


class Compared(unittest.TestCase):
    """The rows of the scripts when the other program was measured, which needs its packages."""

    def rows(self, found):
        self.assertEqual(bench.faults("table", found.rows, must_compare=True), [])
        return {(row["row"], row["metric"]): row for row in found.rows}

    def test_a_step_beside_trl(self):
        train, found = script("bench-train"), bench_rows.Rows()
        side = lambda times: {key: 0.5 * times for key in ("total", *train.PARTS, *train.MEMORY, "others")}
        options = bench.argparse.Namespace(precision="f32", pieces=4)
        train.add_rows(found, options, "s", {"rlar": side(1), "TRL": side(3)}, train.limits(1e9, 2.0), 2.0)
        step = self.rows(found)["s, 32 × 8 replies, 4 micro-batches", "step"]
        self.assertEqual((step["ratio"], step["limit"]["value"]), (3.0, 2.0))
        self.assertEqual([goal["reached"] for goal in step["goals"]], [True, True])

    def test_a_step_in_bf16_beside_f32(self):
        train, found = script("bench-train"), bench_rows.Rows()
        side = lambda times: {key: 0.5 * times for key in ("total", *train.PARTS, *train.MEMORY, "others")}
        options = bench.argparse.Namespace(precision="bf16", pieces=4)
        sides = {"rlar": side(1), "rlar in f32": side(1.4), "TRL": side(3)}
        train.add_rows(found, options, "smollm2", sides, train.limits(1e9, 2.0), 2.0)
        step = self.rows(found)["smollm2, 4 × 8 replies, 4 micro-batches", "step, beside rlar in f32"]
        self.assertEqual([(goal["at_least"], goal["reached"]) for goal in step["goals"]], [(1.5, False)])

    def test_a_task_beside_transformers_and_beside_llama_cpp(self):
        policy, found = script("bench-policy"), bench_rows.Rows()
        sides = policy.Sides.__new__(policy.Sides)
        sides.rows, sides.best_rate = found, 200.0
        result = dict(rlar=dict(rate=50.0, peak=100), other=dict(rate=20.0, peak=400))
        sides.add_rows(policy.TABLE, ["s", "generate"], result, 0)
        sides.add_rows(policy.TABLE, ["s", "train"], result, 1e9)
        sides.add_rows(policy.LLAMA, ["one chat"], result, None)
        rows = self.rows(found)
        rate = rows["s, generate", "rate"]
        self.assertEqual((rate["ratio"], rate["goals"][0]["reached"], rate["limit"]), (2.5, False, None))
        self.assertEqual(rows["s, train", "rate"]["limit"]["value"], 200.0)
        self.assertEqual(rows["s, train", "peak memory"]["ratio"], 4.0)
        self.assertEqual(rows["one chat", "rate"]["beside"], dict(name="llama.cpp", value=20.0))

    def test_a_reward_model_beside_the_pipeline(self):
        model, found = script("bench-reward-model"), bench_rows.Rows()
        runs = {"rlar": [2.0], **{name: [seconds] for name, seconds in zip(model.ORDERS, (6.0, 2.0))}}
        both = dict(rlar=1.0, pipeline=2.0)
        model.add_rows(found, dict(parameters=1e6, lengths=[1, 2]), runs, dict(rlar=[1.0], pipeline=[4.0]), both, both)
        rows = self.rows(found)
        ratios = [rows[f"1.0 M parameters, 2 items, {name}", "time per item"]["ratio"] for name in model.ORDERS]
        self.assertEqual((ratios, rows["1.0 M parameters, 2 items", "start"]["ratio"]), ([3.0, 1.0], 4.0))

    def test_a_server_beside_another_and_a_round_without_answers(self):
        serve = script("bench-serve")
        side = lambda rate: dict(items_per_second=rate, requests_per_second=rate, server_cpu_us_per_item=1e6 / rate)
        both = lambda rate: dict(batch=side(rate), single=side(rate))
        report = {"exact match": both(80_000.0), serve.EQUIVALENCE: both(6_000.0), serve.PEER: both(100.0),
                  "math-verify in process": 150.0}
        for round, share in serve.itertools.product((1, 2, 3), serve.SHARES):
            report[f"load {share}, round {round}"] = dict(batch=1, scored=100, seconds=2.0, p99_ms=10.0 * share * round)
        found = bench_rows.Rows()
        serve.add_rows(found, report, 3)
        rows = self.rows(found)
        batches = rows[serve.EQUIVALENCE, "256 items a request"]
        self.assertEqual((batches["ratio"], batches["goals"][0]["reached"]), (60.0, True))
        self.assertEqual(rows[f"{serve.EQUIVALENCE}, beside a loop", "256 items a request"]["ratio"], 40.0)
        self.assertAlmostEqual(rows[f"{serve.EQUIVALENCE}, 120% of capacity", "p99 of answers"]["ratio"], 1.5)
        self.assertEqual({row for row, _ in rows if row == serve.PEER}, set())
        report["load 1.2, round 2"]["p99_ms"] = None
        found = bench_rows.Rows()
        serve.add_rows(found, report, 3)
        (fault,) = bench.faults("serve", found.rows)
        self.assertIn("120% of capacity, p99 of answers: no figure of rlar", fault)

    def test_cost_grows_in_one_size_at_a_time(self):
        growth = script("bench-growth")
        base = growth.BASES["s"]
        jobs = growth.jobs(base, 2)
        self.assertEqual(len(jobs), 1 + 2 * len(growth.NAMES))
        for title, job in list(jobs.items())[1:]:
            (changed,) = [key for key in base if job[key] != base[key]]
            self.assertTrue(title.startswith(growth.NAMES[changed]))
            self.assertEqual(job[changed], base[changed] * int(title.split(" × ")[1]))


class Faults(unittest.TestCase):
    def test_a_row_with_all_figures_is_right(self):
        self.assertEqual(bench.faults("train", rows().rows, must_compare=True), [])

    def test_a_missing_figure_is_named_with_its_row_and_side(self):
        for changed, who in ((dict(value=None), "rlar"), (dict(beside=dict(name="TRL", value=None)), "TRL"),
                             (dict(limit=dict(value=float("nan"), of="the product")), "limit")):
            (fault,) = bench.faults("train", rows(**changed).rows)
            self.assertEqual(fault, f"train: a step, tiny, step: no figure of {who}")

    def test_no_rows_no_peer_and_a_row_twice_are_faults(self):
        self.assertEqual(bench.faults("train", []), ["train: no rows"])
        self.assertIn("measured twice", bench.faults("train", rows().rows + rows().rows[:1])[0])
        (fault,) = bench.faults("train", rows(beside=None).rows, must_compare=True)
        self.assertIn("beside rlar", fault)


class Page(unittest.TestCase):
    def result(self, **changed):
        table = dict(name="train", load_average=dict(before=[0.1, 0, 0], after=[1.9, 0, 0]), rows=rows().rows)
        computer = dict(cpu="EPYC", cores=2, memory_gb=24.0, system="Linux 6", instruction_sets=["avx2"])
        return dict(dict(machine=computer, commit="0123456789abcdef-dirty", date="2026-01-02T03:04:05", seconds=120.0,
                         alone=False, smallest=False, peers=dict(trl="1.16"), left_out={}, tables=[table]), **changed)

    def test_a_row_has_its_peer_ratio_limit_goal_and_command(self):
        text = bench_page.page(self.result())
        self.assertIn("| tiny | step | 0.5 s | TRL: 1.50 s | 3.00 | 0.25 s (the product, 50% of it reached) | "
                      "ratio ≥ 2.00: reached |", text)
        self.assertIn("| tiny | peak memory | 1,234 MB |", text)
        self.assertIn("`scripts/stub.py --rounds 1` (load 0.1, then 1.9)", text)
        for said in ("0123456789-dirty", "trl 1.16", "EPYC, 2 cores", "avx2"):
            self.assertIn(said, text)

    def test_the_page_says_what_was_left_out_and_that_a_form_is_the_smallest_or_alone(self):
        text = bench_page.page(self.result(alone=True, smallest=True, peers={}, left_out={"sandbox, tier A": "no namespaces"}))
        for said in ("`--alone`", "mean little", "sandbox, tier A (no namespaces)"):
            self.assertIn(said, text)
        plain = bench_page.page(self.result())
        for said in ("`--alone`", "mean little", "Left out"):
            self.assertNotIn(said, plain)

    def test_a_block_replaces_the_one_before_and_nothing_else(self):
        text = f"above\n\n{bench_page.BEGIN}\nold\n{bench_page.END}\n\nbelow\n"
        once = bench_page.with_block(text, "new\n")
        self.assertEqual(once, f"above\n\n{bench_page.BEGIN}\n\nnew\n\n{bench_page.END}\n\nbelow\n")
        self.assertEqual(bench_page.with_block(once, "new\n"), once)
        for wrong in ("no comments", text + text, f"{bench_page.END}{bench_page.BEGIN}"):
            with self.assertRaises(SystemExit):
                bench_page.with_block(wrong, "new\n")

    def test_the_page_of_the_documentation_has_a_place_for_the_block(self):
        self.assertIn("new", bench_page.with_block(bench.PAGE.read_text(), "new\n"))


class Run(unittest.TestCase):
    """The whole of scripts/bench.py, on stubs in place of the scripts that measure."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        (self.folder / "rlar").write_text("a binary")
        for name in ("first", "second"):
            home = self.folder / name
            home.mkdir()
            (home / "stub.py").write_text(STUB)
            self.measures(name, rows())
        tables = [bench.Table(name, str(self.folder / name / "stub.py"), ["--rounds", "2"], ["--rounds", "1"], bench.RLAR)
                  for name in ("first", "second")]
        self.replace("TABLES", tables)

    def replace(self, name, value):
        self.addCleanup(setattr, bench, name, getattr(bench, name))
        setattr(bench, name, value)

    def measures(self, name, found):
        (self.folder / name / "rows").write_text(json.dumps(dict(rows=found.rows, left_out=found.left_out)))

    def ran(self):
        counts = []
        for name in ("first", "second"):
            path = self.folder / name / "ran"
            counts.append(len(path.read_text().splitlines()) if path.exists() else 0)
        return counts

    def bench(self, *words):
        """The exit code or message of a run, and its JSON."""
        out, silent = self.folder / "out", io.StringIO()
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            try:
                code = bench.main(["--rlar", str(self.folder / "rlar"), "--out", str(out), *words])
            except SystemExit as exit:
                code = exit.code
        path = out / "bench.json"
        return code, json.loads(path.read_text()) if path.exists() else None

    def test_tables_are_merged_with_the_machine_and_what_was_measured_on_it(self):
        code, result = self.bench()
        self.assertIsNone(code)
        self.assertEqual([table["name"] for table in result["tables"]], ["first", "second"])
        self.assertEqual(result["tables"][0]["rows"], rows().rows)
        self.assertGreater(result["machine"]["cores"], 0)
        self.assertEqual(len(result["tables"][0]["load_average"]["after"]), 3)
        self.assertIn("TRL: 1.50 s", (self.folder / "out/bench.md").read_text())

    def test_a_row_without_a_figure_fails_by_name_and_only_its_table_is_measured_again(self):
        self.measures("second", rows(value=None))
        code, result = self.bench()
        self.assertEqual(code, "second: a step, tiny, step: no figure of rlar")
        self.assertEqual(result["faults"], [code])
        self.assertFalse((self.folder / "out/bench.md").exists())
        self.measures("second", rows())
        self.assertIsNone(self.bench()[0])
        self.assertEqual(self.ran(), [1, 2])

    def test_a_table_is_kept_until_again_names_it_or_the_binary_or_the_form_changes(self):
        self.bench()
        self.bench()
        self.assertEqual(self.ran(), [1, 1])
        self.bench("--again", "first")
        self.assertEqual(self.ran(), [2, 1])
        (self.folder / "rlar").write_text("another binary")
        self.bench()
        self.assertEqual(self.ran(), [3, 2])
        self.bench("--smallest")
        self.assertEqual(self.ran(), [4, 3])

    def test_a_script_that_fails_is_named_with_its_last_words_and_the_others_are_measured(self):
        (self.folder / "first/stub.py").write_text(FAILING)
        code, result = self.bench()
        self.assertIn("first: exit code 1", code)
        self.assertIn("the disk is full", code)
        self.assertEqual([table["name"] for table in result["tables"]], ["second"])

    def test_a_missing_package_or_binary_ends_the_run_before_it_begins(self):
        bench.TABLES[0].peers = ["no-such-package-anywhere"]
        (code, _), alone = self.bench(), self.bench("--alone")
        self.assertIn("no-such-package-anywhere", code)
        self.assertIn("pip install", code)
        self.assertIsNone(alone[0])
        self.assertTrue(alone[1]["alone"])
        self.assertEqual(self.ran(), [1, 1])
        (self.folder / "rlar").unlink()
        self.assertIn("cargo build", self.bench("--alone")[0])

    def test_only_and_leave_out_choose_and_what_is_left_out_is_said(self):
        self.assertEqual([table["name"] for table in self.bench("--only", "second")[1]["tables"]], ["second"])
        result = self.bench("--leave-out", "second")[1]
        self.assertEqual(list(result["left_out"]), ["second"])
        self.assertEqual(self.ran(), [1, 1])


class Tables(unittest.TestCase):
    def test_every_table_has_a_script_that_can_be_run_and_a_smallest_form_of_its_own(self):
        for table in bench.TABLES:
            self.assertTrue(os.access(bench.ROOT / "scripts" / table.script, os.X_OK), table.script)
            self.assertNotEqual(table.arguments, table.smallest, table.name)
        self.assertEqual(len({table.name for table in bench.TABLES}), len(bench.TABLES))

    def test_a_table_that_the_processor_cannot_measure_is_left_out_by_name(self):
        options = bench.parse(["--alone"])
        tables, left_out = bench.chosen(options, ["avx2"])
        self.assertEqual(left_out, {"train-bf16": "the processor lacks avx512_bf16",
                                    "policy-reward": "has nothing to measure alone"})
        self.assertNotIn("train-bf16", [table.name for table in tables])
        self.assertIn("train-bf16", [table.name for table in bench.chosen(options, ["avx512_bf16"])[0]])


if __name__ == "__main__":
    unittest.main()
