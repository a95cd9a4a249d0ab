"""The data of the experiment as CSV and its curves as SVG; run as a program with the path of that CSV, it draws the curves anew."""

import csv
import importlib.util
import sys
from pathlib import Path

from four_domains.analysis import mean
from four_domains.experiment import REWARDED
from four_domains.truth import DOMAINS

HEAD = ("kind", "arm", "seed", "domain", "step", "figure", "value")
WINDOW = 5
# Okabe and Ito.
COLOURS = ("#E69F00", "#0072B2", "#D55E00", "#56B4E9", "#009E73", "#F0E442", "#000000", "#CC79A7")
IMITATED = {"sft": ":", "sft-chosen": "-."}


def curve(records, arm, domain, figure):
    """Steps and values of a figure, each the mean over the seeds and over the last five steps that were kept."""
    by_step = {}
    for kind, its_arm, _, its_domain, step, its_figure, value in records:
        if (kind, its_arm, its_domain, its_figure) == ("step", arm, domain, figure) and value == value:
            by_step.setdefault(step, []).append(value)
    steps = sorted(by_step)
    return steps, [mean(v for s in steps[max(0, i - WINDOW + 1):i + 1] for v in by_step[s]) for i in range(len(steps))]


def at_the_end(records, arm, domain):
    """The truth of an arm after its last step, the mean over the seeds."""
    return mean([r[-1] for r in records if (r[0], r[1], r[3], r[5]) == ("final", arm, domain, "truth")])


def write(folder, name, records):
    """Writes `NAME.csv` and, where matplotlib is installed, `NAME.svg`."""
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.csv").open("w") as file:
        out = csv.writer(file)
        out.writerow(HEAD)
        out.writerows((*record[:-1], "" if record[-1] != record[-1] else f"{record[-1]:.4f}") for record in records)
    if importlib.util.find_spec("matplotlib"):
        draw(folder / f"{name}.svg", records)
    else:
        print("matplotlib is missing: no curves are drawn", file=sys.stderr)


def read(path):
    """The records that `write` wrote."""
    with path.open() as file:
        return [(row["kind"], row["arm"], row["seed"], row["domain"], int(row["step"] or 0), row["figure"],
                 float(row["value"] or "nan")) for row in csv.DictReader(file)]


def draw(path, records):
    """Truth and reward (dashed) of every arm with a reward, of SFT the truth at its end (grey), below them the AUC."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = path.stem
    figure, axes = pyplot.subplots(2, len(DOMAINS), figsize=(13, 6), sharex=True, sharey="row")
    for column, domain in enumerate(DOMAINS):
        for arm, colour in zip(REWARDED, COLOURS):
            for row, key, style in ((0, "truth", "-"), (0, "reward", "--"), (1, "auc", "-")):
                label = arm if key != "reward" else None
                axes[row][column].plot(*curve(records, arm, domain, key), style, color=colour, label=label, linewidth=1)
        for arm, style in IMITATED.items():
            axes[0][column].axhline(at_the_end(records, arm, domain), color="grey", linestyle=style, linewidth=1, label=arm)
        axes[0][column].set(title=domain, ylim=(0, 1))
        axes[1][column].set(xlabel="step", ylim=(0, 1))
    axes[0][0].set_ylabel("truth, and reward (dashed)")
    axes[1][0].set_ylabel("AUC of the reward")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper right", ncols=len(REWARDED) + len(IMITATED), fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    data = Path(sys.argv[1])
    draw(data.with_suffix(".svg"), read(data))
