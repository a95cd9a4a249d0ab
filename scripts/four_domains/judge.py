"""Judges many replies by the truth; programs run in the sandbox of rlar."""

import json
import sys

from four_domains import truth


class Judge:
    """Judges replies, and keeps the verdicts on programs in the folder of the runs."""

    def __init__(self, runs):
        self.runs = runs
        self.programs = {}

    def __call__(self, items):
        """Whether each reply is right. An item is a pair of a row and a reply to its prompt."""
        self.run([(row["prompt"], reply) for row, reply in items if row["domain"] == "code"])
        known = lambda row, reply: self.programs[row["prompt"], reply]
        return [known(row, reply) if row["domain"] == "code" else truth.judge(row, reply) for row, reply in items]

    def run(self, programs):
        """Runs programs that are not known yet against all tests of their prompts."""
        new = [program for program in dict.fromkeys(programs) if program not in self.programs]
        if not new:
            return
        path, cache = self.runs.folder / "programs.jsonl", self.runs.folder / "programs.sqlite"
        line = lambda i, prompt, reply: dict(id=str(i), prompt=prompt, response=reply, tests=truth.all_tests(prompt))
        path.write_text("".join(json.dumps(line(i, *program)) + "\n" for i, program in enumerate(new)))
        output = self.runs.command("score", "--tool", "code_tests", "--data", path, "--cache", cache)
        verdicts = {int(verdict["id"]): verdict for verdict in map(json.loads, output.splitlines())}
        for i, program in enumerate(new):
            if verdicts.get(i, {}).get("score") is None:
                sys.exit(f"a program has no verdict, run the same command again: {program}: {verdicts.get(i)}")
            self.programs[program] = verdicts[i]["score"] >= 1.0
