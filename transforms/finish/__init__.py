"""The output stage: steps that turn what the model gives into what the user wants. `--finish SPEC`."""

from __future__ import annotations

from collections.abc import Sequence

from beamsplit.models.fitting.classes import ClassNames
from beamsplit.transforms.chain import parse_step
from beamsplit.transforms.finish.argmax import ArgMax
from beamsplit.transforms.finish.expand import Expand
from beamsplit.transforms.finish.labels import Labels
from beamsplit.transforms.finish.mean import MeanOfCopies, with_mean_of_copies
from beamsplit.transforms.finish.softmax import Softmax
from beamsplit.transforms.finish.threshold import Threshold
from beamsplit.transforms.finish.top_k import TopK
from beamsplit.transforms.spec import SpecStep, StepHelp, help_of
from beamsplit.transforms.step import Step

BUILTINS: tuple[type[SpecStep], ...] = (Softmax, ArgMax, TopK, Labels, Threshold, Expand)


def parse_finish(spec: str, outputs: Sequence[str] | None = None, classes: ClassNames | None = None) -> Step:
    """The step that a `--finish` SPEC describes.

    Args:
        spec: e.g. `top_k:5`, or `package.module:function`.
        outputs: the model's output columns: a step without `column=` takes one of these, or what an earlier step
            made of it, and no column that is merely kept. None: any column.
        classes: what the model tells of its classes.

    Raises:
        UsageError: no such step, a wrong option or a missing file.
    """
    return parse_step(spec, "--finish", BUILTINS, outputs=None if outputs is None else tuple(outputs), classes=classes)


def list_finish() -> list[StepHelp]:
    """Name, help, example and options of each built-in step."""
    return help_of(BUILTINS)


__all__ = [
    "ArgMax",
    "Expand",
    "Labels",
    "MeanOfCopies",
    "Softmax",
    "Threshold",
    "TopK",
    "list_finish",
    "parse_finish",
    "with_mean_of_copies",
]
