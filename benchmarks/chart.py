"""A chart of rows a second, one panel a case."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.batch import Result

COLORS = dict.fromkeys(("beamsplit", "stages inline", "2 shards", "4 shards"), "#1f6feb")


def draw(results: list[Result], path: Path, machine: str) -> None:
    """Write a PNG: bars by the median, thin lines from the slowest to the fastest run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = list(dict.fromkeys(result.case for result in results))
    figure, panels = pyplot.subplots(len(cases), 1, figsize=(8, 1.2 + 1.5 * len(cases)), squeeze=False)
    for case, panel in zip(cases, panels[:, 0], strict=True):
        shown = [result for result in results if result.case == case][::-1]
        medians = [result.rows / statistics.median(result.seconds) for result in shown]
        low = [median - result.rows / max(result.seconds) for median, result in zip(medians, shown, strict=True)]
        high = [result.rows / min(result.seconds) - median for median, result in zip(medians, shown, strict=True)]
        names = [result.program for result in shown]
        panel.barh(names, medians, xerr=[low, high], color=[COLORS.get(name, "#c9d1d9") for name in names])
        for at, median in enumerate(medians):
            panel.annotate(f" {median:,.0f}", (median, at), va="bottom", fontsize=8)
        panel.set_title(f"{case}, rows/s", loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0.12)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.suptitle(machine, fontsize=8, x=0.99, ha="right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
