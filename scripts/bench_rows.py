"""What the scripts bench-*.py measured, as rows of one form: `--json FILE` writes them, scripts/bench.py collects them.

A row is a dictionary:

    table, row, metric, unit   what was measured
    value                      rlar's figure; None if there is none, which scripts/bench.py refuses
    beside                     None, or `name` and `value` of what it is compared with
    better                     "lower" or "higher"; None where neither is
    ratio                      how many times better rlar's figure is; without `better`, rlar's figure divided by the other
    limit                      None, or what the hardware allows: `value` and `of`
    share                      the share of the limit that is reached; None without a limit
    goals                      a list, of each `of` ("value", "ratio" or "share") with `at_least`, `at_most` or both, and `reached`:
                               None without what it is about
    command                    what repeats the measurement

What cannot be measured on a machine, such as a tier of the sandbox that its kernel lacks, is not a row: it is left out by name,
with the reason, and scripts/bench.py repeats that.
"""

import json
import math
import sys
from pathlib import Path

# Options that say where something is on this machine; they are not shown.
PLACES = ("--json", "--rlar", "--bench", "--load", "--verdicts", "--math", "--sums", "--python", "--data")


def shown(command):
    """A command as a reader would type it: without options that name places on this machine, and with the name alone of any
    other file."""
    words, rest = [], iter(map(str, command))
    for word in rest:
        if word in PLACES:
            next(rest, None)
        elif word.partition("=")[0] not in PLACES:
            words.append(Path(word).name if Path(word).is_absolute() else word)
    return " ".join(words)


def finite(value):
    """A number, or None in place of what is none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def ratio(value, other, better):
    """How many times better `value` is than `other`; None if there is no such number."""
    upper, lower = (other, value) if better == "lower" else (value, other)
    return None if finite(upper) is None or not finite(lower) else upper / lower


def at_least(number, of="ratio"):
    return dict(of=of, at_least=number)


def at_most(number, of="value"):
    return dict(of=of, at_most=number)


def reached(goal, **numbers):
    """Whether a goal is reached; None without its number."""
    number = numbers[goal["of"]]
    return None if number is None else goal.get("at_least", -math.inf) <= number <= goal.get("at_most", math.inf)


class Rows:
    """The rows of one script."""

    def __init__(self):
        self.rows, self.left_out, self.command = [], {}, "scripts/" + shown([Path(sys.argv[0]).name, *sys.argv[1:]])

    def add(self, table, row, metric, unit, value, better=None, beside=None, goals=(), limit=None):
        """`beside` has a name and a value, `limit` a value and what it is of; `goals`: see above."""
        value, beside = finite(value), beside and dict(beside, value=finite(beside["value"]))
        limit = limit and dict(limit, value=finite(limit["value"]))
        times, share = beside and ratio(value, beside["value"], better), None
        if limit:
            # `ratio` says how many times better the figure is than its limit, which is the share.
            share = ratio(value, limit["value"], better)
        goals = [dict(goal, reached=reached(goal, value=value, ratio=times, share=share)) for goal in goals]
        self.rows.append(dict(
            table=table, row=row, metric=metric, unit=unit, value=value, beside=beside, better=better, ratio=times, limit=limit,
            share=share, goals=goals, command=self.command))

    def leave_out(self, what, why):
        self.left_out[what] = why

    def write(self, path):
        """Writes the rows, if a file was asked for."""
        if path:
            path.write_text(json.dumps(dict(rows=self.rows, left_out=self.left_out), allow_nan=False) + "\n")


def add_option(parser):
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as scripts/bench.py reads them")
