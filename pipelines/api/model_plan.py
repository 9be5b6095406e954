"""`bs.plan`: how a model is split over workers, to look at, to save, and to score with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.model_shards import ModelShards
from beamsplit.pipelines.api.model_strategy import ModelStrategy
from beamsplit.pipelines.api.page import framed
from beamsplit.pipelines.api.paths import inputs_given, path_given

if TYPE_CHECKING:
    from beamsplit.models.split.plan import Plan
    from beamsplit.pipelines.options.values import PlanOptions
    from beamsplit.pipelines.planning.rows import SampleRows


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
        self._found: SampleRows | None = rows
        self._options = options

    @property
    def _rows(self) -> SampleRows:
        """The model with rows for it; read anew where the plan came from another process."""
        if self._found is None:
            from beamsplit.pipelines.planning.rows import rows_of_plan

            self._found = rows_of_plan(self._options)
        return self._found

    def __getstate__(self) -> dict[str, Any]:
        """The plan, without the model that it was measured with: who gets it loads that when it is wanted."""
        return {**self.__dict__, "_found": None}

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

    def save_stages(self, folder: str | os.PathLike[str]) -> str:
        """Write the stages (each divided, where `shards` was given) and `plan.json` into a folder; the plan's path.

        The stages are compared with the whole model first. Without them `score(plan=...)` cuts the model itself.

        Raises:
            UsageError: the stages do not give what the whole model gives.
            OSError: the files cannot be written.
        """
        from beamsplit.models.graph.known_files import data_hash
        from beamsplit.pipelines.plan import save_stages
        from beamsplit.pipelines.planning.write import PLAN_FILE

        folder = path_given("folder", folder, "where to write")
        plan = replace(self.plan, data_hash=data_hash(self._rows.model.path))
        save_stages(plan, self._rows, self._options.split.shards, folder)
        return f"{folder.rstrip('/')}/{PLAN_FILE}"

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

        return report_of(self.plan, self._rows, None)

    def __str__(self) -> str:
        """The table that the command prints."""
        from beamsplit.pipelines.report import plan_table

        return "\n".join(plan_table.plain_lines(self.plan))

    def __repr__(self) -> str:
        """E.g. `ModelPlan('m.onnx', stages=2)`."""
        return f"ModelPlan({self._options.binding.model!r}, stages={len(self.plan.stages)})"

    def _repr_html_(self) -> str:
        """Of notebooks: the report in a frame."""
        return framed(self.to_html())


@overload
def plan(
    model: str | os.PathLike[str], *, sample: str | Sequence[str] | None = None, strategy: str, **options: Any
) -> ModelStrategy: ...


@overload
def plan(
    model: str | os.PathLike[str],
    *,
    sample: str | Sequence[str] | None = None,
    shards: int | str,
    stages: None = None,
    strategy: None = None,
    **options: Any,
) -> ModelShards: ...


@overload
def plan(
    model: str | os.PathLike[str], *, sample: str | Sequence[str] | None = None, strategy: None = None, **options: Any
) -> ModelPlan: ...


def plan(
    model: str | os.PathLike[str], *, sample: str | Sequence[str] | None = None, **options: Any
) -> ModelPlan | ModelShards | ModelStrategy:
    """Plan how a model is split over workers: what `beamsplit plan` does.

    >>> import beamsplit as bs
    >>> bs.plan("examples/mlp.onnx", stages=2), bs.plan("examples/mlp.onnx", shards=2)
    (ModelPlan('examples/mlp.onnx', stages=2), ModelShards('examples/mlp.onnx', shards=2))

    Args:
        model: the ONNX file.
        sample: files with rows to measure with, as `--sample`; default: rows made up from the model's input types.
        options: options of the command by their names without dashes: `columns`, `set`, `prepare`, `stages`, `shards`,
            `strategy`, `workers`, `stage_memory`, `bandwidth`, `micro_batch`, `providers`, `threads`, `plan` (one that
            was saved). What the command writes is written by methods of what this gives.

    Returns:
        A `ModelPlan` of stages; of `shards` without `stages` a `ModelShards`; of `strategy` a `ModelStrategy`.

    Raises:
        UsageError: the model cannot be split so; in the words of the command.
    """
    from beamsplit.pipelines.options.plan import plan_options
    from beamsplit.pipelines.plan import given_plan, planned
    from beamsplit.pipelines.running.interrupt import interruptible
    from beamsplit.pipelines.running.job_folder import job_folder

    path = path_given("model", model, "the ONNX file")
    sample = None if sample is None else inputs_given("sample", sample)
    for name, method in _METHODS.items():
        if options.get(name) is not None:
            raise UsageError(f"plan takes no {name!r}: what it gives writes, by its method {method}(...)")
    for name in ("write_model", "simulate", "measured"):
        if options.get(name) is not None:
            raise UsageError(f"plan takes no {name!r}; use the command, beamsplit plan --model {path} --{name} ...")
    # By depth and by width the command divides stages as it saves them, which is a method here.
    both = options.get("stages") is not None and options.get("shards") is not None
    shards = plan_options(model=path, shards=options.pop("shards")).split.shards if both else None
    checked = plan_options(model=path, sample=sample, **options)
    if both:
        if not isinstance(shards, int):
            raise UsageError("--shards auto is settled for a whole model; give a number of shards beside stages")
        checked = replace(checked, split=replace(checked.split, shards=shards))
    split = checked.split
    with interruptible(), job_folder():
        if split.strategy is not None:
            from beamsplit.pipelines.planning.strategy import choose_strategy

            return ModelStrategy(path, choose_strategy(checked)[0])
        if split.shards is not None and split.stages == "auto":
            from beamsplit.pipelines.planning.shards import divide_model

            return ModelShards(path, divide_model(checked))
        made, rows = planned(checked) if split.plan is None else given_plan(checked, split.plan)
    return ModelPlan(made, rows, checked)


_METHODS = {"output": "save", "save_stages": "save_stages", "save_shards": "save", "report": "report"}
"""Options of the command that write -> the method that does."""
