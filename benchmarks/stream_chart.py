"""A chart of a stream benchmark: for each case rows a second, and latencies at a steady load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.stream import Result

OURS, OTHERS, MIDDLE = "#1f6feb", "#c9d1d9", "#57606a"


def draw(results: list[Result], path: Path, machine: str) -> None:
    """Write a PNG: bars for rows a second and the 99th percentile, a mark at the median latency."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = list(dict.fromkeys(result.case for result in results))
    figure, panels = pyplot.subplots(len(cases), 2, figsize=(11, 1.2 + 2.0 * len(cases)), squeeze=False)
    for case, (rates, latencies) in zip(cases, panels, strict=True):
        shown = [result for result in results if result.case == case and not result.failure][::-1]
        names = [result.program for result in shown]
        colors = [OURS if name.startswith("beamsplit") else OTHERS for name in names]
        rates.barh(names, [result.rows_per_second for result in shown], color=colors)
        for at, result in enumerate(shown):
            rates.annotate(f" {result.rows_per_second:,.4g}", (result.rows_per_second, at), va="center", fontsize=8)
        rates.set_title(f"{case}, rows/s at saturation", loc="left", fontsize=10)
        rates.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        latencies.barh(names, [result.p99_ms for result in shown], color=colors)
        for at, result in enumerate(shown):
            told = f" {result.p50_ms:,.0f} / {result.p99_ms:,.0f} at {result.offered:,g}/s"
            latencies.annotate(told, (result.p99_ms, at), va="center", fontsize=8)
            latencies.plot([result.p50_ms], [at], marker="|", markersize=14, color=MIDDLE)
        latencies.set_title(f"{case}, p50 and p99 ms", loc="left", fontsize=10)
        latencies.set_yticklabels([])
        for panel, margin in ((rates, 0.2), (latencies, 0.5)):
            panel.spines[["top", "right"]].set_visible(False)
            panel.margins(x=margin)
    figure.suptitle(machine, fontsize=8, x=0.99, ha="right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
