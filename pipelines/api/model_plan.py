"""`bs.plan`: how a model is split by depth over workers, to look at, to save, and to score with."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.paths import inputs_given, path_given

if TYPE_CHECKING:
    from beamsplit.models.split.plan import Plan
    from beamsplit.pipelines.options.values import PlanOptions
    from beamsplit.pipelines.planning.rows import SampleRows

REPORT_HEIGHT = 640
"""Pixels of the report in a notebook."""


class ModelPlan:
    """A model cut into a chain of stages, and whether that pays.

    >>> import beamsplit as bs
    >>> columns = {"x": ["age", "height", "weight"]}
    >>> made = bs.plan("examples/mlp.onnx", sample="examples/table.parquet", columns=columns, stages=2)
    >>> len(made.plan.stages)
    2

    In a notebook it shows as its report.
    """

    def __init__(self, plan: Plan, rows: SampleRows, options: PlanOptions) -> None:
        """Use `plan`."""
        self.plan = plan
        """The plan itself: `stages` with their nodes, seconds and bytes, `verdict`, `notes`."""
        self._rows, self._options = rows, options

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the plan for `score(plan=path)` and the command's `--plan`; the path.

        Raises:
            OSError: the file cannot be written.
        """
        from beamsplit.models.graph.known_files import data_hash
        from beamsplit.models.split.plan import to_json
        from beamsplit.pipelines.planning.write import write_text

        path = path_given("path", path, "where to write")
        write_text(path, to_json(replace(self.plan, data_hash=data_hash(self._rows.model.path))))
        return path

    def report(self, path: str | os.PathLike[str]) -> str:
        """Write the report, one HTML page with the graph, its cuts, the stages and their timetable; the path.

        Raises:
            OSError: the file cannot be written.
        """
        from beamsplit.pipelines.planning.write import write_text

        path = path_given("path", path, "where to write")
        write_text(path, self.to_html())
        return path

    def to_html(self) -> str:
        """The report as a page."""
        from beamsplit.pipelines.plan import report_of

        return report_of(self._options, self.plan, self._rows)

    def __str__(self) -> str:
        """The table that the command prints."""
        from beamsplit.pipelines.report import plan_table

        return "\n".join(plan_table.plain_lines(self.plan))

    def __repr__(self) -> str:
        """E.g. `ModelPlan('m.onnx', stages=2)`."""
        return f"ModelPlan({self._options.binding.model!r}, stages={len(self.plan.stages)})"

    def _repr_html_(self) -> str:
        """Of notebooks: the report in a frame."""
        page = html.escape(self.to_html(), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="{REPORT_HEIGHT}" style="border: 0"></iframe>'


def plan(model: str | os.PathLike[str], *, sample: str | Sequence[str] | None = None, **options: Any) -> ModelPlan:
    """Plan how a model is split by depth over workers: what `beamsplit plan` does.

    >>> import beamsplit as bs
    >>> bs.plan("examples/mlp.onnx", stages=2)
    ModelPlan('examples/mlp.onnx', stages=2)

    Args:
        model: the ONNX file.
        sample: files with rows to measure with, as `--sample`; default: rows made up from the model's input types.
        options: options of the command by their names without dashes: `columns`, `set`, `prepare`, `stages`, `workers`,
            `stage_memory`, `bandwidth`, `micro_batch`, `providers`, `threads`, `plan` (one that was saved). What the
            command writes is written by methods of the plan.

    Raises:
        UsageError: the model cannot be split so; in the words of the command.
    """
    from beamsplit.pipelines.options.plan import plan_options
    from beamsplit.pipelines.plan import given_plan, planned
    from beamsplit.pipelines.running.interrupt import interruptible
    from beamsplit.pipelines.running.job_folder import job_folder

    path = path_given("model", model, "the ONNX file")
    sample = None if sample is None else inputs_given("sample", sample)
    for name in ("shards", "strategy", "simulate", "save_stages", "save_shards", "write_model", "output", "report"):
        if options.get(name) is not None:
            raise UsageError(
                f"plan takes no {name!r}: it plans stages, and its result writes; use the command, "
                f"beamsplit plan --model {path} --{name} ..."
            )
    checked = plan_options(model=path, sample=sample, **options)
    with interruptible(), job_folder():
        given = checked.split.plan
        made, rows = planned(checked) if given is None else given_plan(checked, given)
    return ModelPlan(made, rows, checked)
