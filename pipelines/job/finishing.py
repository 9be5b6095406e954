"""The steps of `--finish`: with what the model tells of its classes, and tried on the sample before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.classes import ClassNames, agreement, class_names
from beamsplit.models.fitting.fit import Fit
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.models.values.tensors import ColumnType, column_type, unpack
from beamsplit.pipelines.options.values import BindingOptions
from beamsplit.transforms.block import COPY
from beamsplit.transforms.formats import written_by_extension
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.step import Step

CHECK_ROWS = 8
"""Sample rows that finish steps are tried on."""

LABELLED_ROWS = 64
"""The same where the model gives labels too, which tell whether its names are in the order of its scores."""


def finish_steps(binding: BindingOptions, schema: pa.Schema, fit: Fit) -> tuple[Step, ...]:
    """The steps of `--finish`, and the mean over augmented copies.

    Args:
        binding: with `finish`, `prepare` and `keep`.
        schema: of the blocks that come from the model.
        fit: model and sample rows.

    Raises:
        UsageError: a step cannot work, or the sample shows that it makes no sense.
    """
    if not binding.finish and not binding.prepare:
        return ()
    from beamsplit.transforms.finish import Labels, parse_finish, with_mean_of_copies

    outputs = [output.name for output in fit.plan.outputs]
    steps = [parse_finish(spec, outputs) for spec in binding.finish]
    # A file of names is for the numbers of classes.
    named = any(isinstance(step, Labels) and step.file is not None for step in steps)
    classes = None
    if not named and any(hasattr(step, "classes") for step in steps):
        classes = classes_of(fit)
        steps = [parse_finish(spec, outputs, classes) for spec in binding.finish]
    if COPY in schema.names:
        steps = with_mean_of_copies(steps, outputs)
    _try_on_sample(binding.keep, steps, fit, classes)
    return tuple(steps)


def classes_of(fit: Fit) -> ClassNames:
    """What the model tells of its classes."""
    return class_names(fit.plan.model.path, fit.session.raw.get_modelmeta().custom_metadata_map)


def _try_on_sample(keep: tuple[str, ...], steps: Sequence[Step], fit: Fit, classes: ClassNames | None) -> None:
    """Let the steps that can tell by what the model gives whether they make sense look at a few sample rows."""
    checks = [number for number, step in enumerate(steps) if hasattr(step, "check_sample")]
    named = classes is not None and any(_gives_names(step) for step in steps)
    labels = [output.name for output in fit.plan.outputs if _is_label(column_type(output.field.type))] if named else []
    if not (checks or labels) or fit.sample is None:
        return
    rows = LABELLED_ROWS if labels else CHECK_ROWS
    plan = fit.plan if fit.plan.row_by_row else replace(fit.plan, batch_size=rows)
    infer = InferStep(plan, fit.session.options, None, keep, counted=False)
    block = infer.score_with(Scorer(plan, fit.session), fit.sample.slice(0, rows)).block
    if classes is not None and labels and block.num_rows:
        _check_names(block.select([output.name for output in fit.plan.outputs]), labels, classes)
    for step in steps[: checks[-1] + 1] if checks else ():
        check = getattr(step, "check_sample", None)
        if check is not None and block.num_rows:
            check(block)
        try:
            block = step(block).block
        except UsageError:
            raise
        except Exception:  # the user's own step may raise anything, and is told when the job runs it
            return


def _gives_names(step: Step) -> bool:
    return hasattr(step, "classes") and not getattr(step, "numbers", False)


def _is_label(kind: ColumnType | None) -> bool:
    """Whether each row holds one text or one integer."""
    return kind is not None and not kind.shape and (kind.dtype == "string" or kind.dtype in ("int64", "int32"))


def _check_names(block: pa.RecordBatch, labels: Sequence[str], classes: ClassNames) -> None:
    """Raise where the labels among the model's outputs show that its names are not in the order of its scores."""
    for field in block.schema:
        kind = column_type(field.type)
        if kind is None or len(kind.shape) != 1 or not kind.dtype.startswith("float"):
            continue
        names = classes.of(field.name, kind.shape[0])
        scores = unpack(block.column(field.name)).values
        for label in labels if names is not None else ():
            told = block.column(label).to_pylist()
            if set(told) <= set(names or ()) and 2 * (agree := agreement(names or (), scores, told)) < len(told):
                raise UsageError(
                    f"the model's {label!r} is the class with the greatest of {field.name!r} in {agree} of {len(told)} "
                    f"sample rows only: which score is whose is not known; type argmax:{field.name},numbers (so too "
                    "expand and top_k) for numbers in place of names"
                )


def list_cells(output: str, schema: pa.Schema, fit: Fit) -> tuple[str, ...]:
    """A note for outputs that are lists in the cells of a CSV file, where a column a value may be wanted."""
    format = written_by_extension(output)
    if format is None or not format.cells:
        return ()
    outputs = {one.name for one in fit.plan.outputs}
    lists = [field.name for field in schema if field.name in outputs and _is_list(column_type(field.type))]
    if not lists:
        return ()
    which = f":{lists[0]}" if len(lists) > 1 else ""
    return (f"each cell of {', '.join(lists)} is a list; --finish expand{which} gives a column a value",)


def _is_list(kind: ColumnType | None) -> bool:
    """Whether each row holds as many floats in a line."""
    if kind is None or not kind.dtype.startswith("float") or None in kind.shape:
        return False
    return sum(size != 1 for size in kind.shape) == 1
