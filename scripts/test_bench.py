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
    given = dict(table="a step", row="tiny", metric="step", unit="s", value=0.5, better="lower", beside=dict(name="TRL", value=1.5),
                 goal=dict(of="ratio", at_least=2.0), limit=dict(value=0.25, of="the product"))
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

    def test_a_goal_is_of_the_value_or_of_the_ratio_and_open_without_its_number(self):
        self.assertTrue(bench_rows.reached(dict(of="value", at_most=30), 30, None))
        self.assertFalse(bench_rows.reached(dict(of="ratio", at_least=2), 9, 1.99))
        self.assertFalse(bench_rows.reached(dict(of="ratio", at_least=0.75, at_most=1.25), 1, 1.26))
        self.assertIsNone(bench_rows.reached(dict(of="ratio", at_least=2), 9, None))
        self.assertIsNone(bench_rows.reached(None, 9, 9))

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
        return dict(dict(machine=computer, commit="0123456789abcdef-dirty", date="2026-01-02T03:04:05", seconds=120.0, alone=False,
                         smallest=False, peers=dict(trl="1.16"), left_out={}, tables=[table]), **changed)

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


if __name__ == "__main__":
    unittest.main()
