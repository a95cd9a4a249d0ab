"""Curves: their data as CSV and, where matplotlib is installed, a picture of them as SVG."""

import csv
import importlib.util
import sys

from four_domains.analysis import mean
from four_domains.plots import COLOURS, WINDOW


def write(folder, name, panels, x="step", window=WINDOW):
    """Writes `NAME.csv` and `NAME.svg`. `panels` has, by figure and by run, the points of a curve: `x` and value. What is drawn is
    the mean of the last `window` values."""
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.csv").open("w") as file:
        out = csv.writer(file)
        out.writerow(("figure", "run", x, "value"))
        out.writerows((figure, run, at, f"{value:.4f}")
                      for figure, runs in panels.items() for run, points in runs.items() for at, value in points)
    if importlib.util.find_spec("matplotlib"):
        draw(folder / f"{name}.svg", panels, x, window)
    else:
        print("matplotlib is missing: no curves are drawn", file=sys.stderr)


def draw(path, panels, x, window):
    """One panel per figure, side by side."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = path.stem
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.5), squeeze=False)
    for panel, (title, runs) in zip(axes[0], panels.items()):
        for (run, points), colour in zip(runs.items(), COLOURS):
            steps, values = [at for at, _ in points], [value for _, value in points]
            smooth = [mean(values[max(0, i - window + 1):i + 1]) for i in range(len(values))]
            panel.plot(steps, smooth, color=colour, label=run, linewidth=1)
        panel.set(xlabel=x, title=title)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
