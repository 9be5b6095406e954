"""The report of a plan: one HTML file that needs no network."""

from pipelines.plan_report.measured import MeasuredRun, MeasuredStage, read_measured
from pipelines.plan_report.render import check_renderer, render_report
from pipelines.plan_report.shards import render_shards

__all__ = ["MeasuredRun", "MeasuredStage", "check_renderer", "read_measured", "render_report", "render_shards"]
