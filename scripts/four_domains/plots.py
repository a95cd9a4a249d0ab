"""The data of the experiment as CSV and its curves as SVG."""

import csv
import importlib.util
import sys

from four_domains.analysis import mean
from four_domains.truth import DOMAINS

HEAD = ("kind", "arm", "seed", "domain", "step", "figure", "value")
WINDOW = 5
# Okabe and Ito.
COLOURS = ("#0072B2", "#E69F00", "#56B4E9", "#D55E00", "#009E73", "#CC79A7")


def curve(records, arm, domain, figure):
    """Steps and values of a figure, each the mean over the seeds and over the last five steps that were kept."""
    by_step = {}
    for kind, its_arm, _, its_domain, step, its_figure, value in records:
        if (kind, its_arm, its_domain, its_figure) == ("step", arm, domain, figure) and value == value:
            by_step.setdefault(step, []).append(value)
    steps = sorted(by_step)
    return steps, [mean(v for s in steps[max(0, i - WINDOW + 1):i + 1] for v in by_step[s]) for i in range(len(steps))]


def write(folder, name, records, static):
    """Writes `NAME.csv` and, where matplotlib is installed, `NAME.svg`: truth and reward (dashed), below them the AUC."""
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.csv").open("w") as file:
        out = csv.writer(file)
        out.writerow(HEAD)
        out.writerows((*record[:-1], "" if record[-1] != record[-1] else f"{record[-1]:.4f}") for record in records)
    if not importlib.util.find_spec("matplotlib"):
        print("matplotlib is missing: no curves are drawn", file=sys.stderr)
        return
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = name
    figure, axes = pyplot.subplots(2, len(DOMAINS), figsize=(13, 6), sharex=True, sharey="row")
    arms = dict.fromkeys((static, "general-rm", "builtin", "uniform", "rlar", "hand-written"))
    for column, domain in enumerate(DOMAINS):
        for arm, colour in zip(arms, COLOURS):
            for row, key, style in ((0, "truth", "-"), (0, "reward", "--"), (1, "auc", "-")):
                label = arm if key != "reward" else None
                axes[row][column].plot(*curve(records, arm, domain, key), style, color=colour, label=label, linewidth=1)
        axes[0][column].set(title=domain, ylim=(0, 1))
        axes[1][column].set(xlabel="step", ylim=(0, 1))
    axes[0][0].set_ylabel("truth, and reward (dashed)")
    axes[1][0].set_ylabel("AUC of the reward")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper right", ncols=len(arms), fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
