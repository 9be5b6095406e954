"""The report of a plan: one HTML file that needs no network."""

from beamsplit.pipelines.report.html.measured import MeasuredRun, MeasuredStage, read_measured
from beamsplit.pipelines.report.html.render import check_renderer, render_report
from beamsplit.pipelines.report.html.shards import render_shards

__all__ = ["MeasuredRun", "MeasuredStage", "check_renderer", "read_measured", "render_report", "render_shards"]
