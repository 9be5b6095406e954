"""The data stage: steps that turn a user's columns into what the model takes. `--prepare SPEC`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from beamsplit.transforms.chain import parse_step
from beamsplit.transforms.prepare.augment import Augment
from beamsplit.transforms.prepare.bytes import Bytes
from beamsplit.transforms.prepare.image import Image
from beamsplit.transforms.prepare.onehot import OneHot
from beamsplit.transforms.prepare.scale import Scale
from beamsplit.transforms.prepare.text import Text
from beamsplit.transforms.spec import SpecStep, StepHelp, help_of
from beamsplit.transforms.step import Step

BUILTINS: tuple[type[SpecStep], ...] = (Image, Augment, Text, Bytes, Scale, OneHot)


def parse_prepare(spec: str, keep_columns: Collection[str] = ()) -> Step:
    """The step that a `--prepare` SPEC describes.

    Args:
        spec: e.g. `image:size=224`, or `package.module:function`.
        keep_columns: columns that the output wants: a step that would replace one under another name keeps it.

    Raises:
        UsageError: no such step, a wrong option, a missing file or library.
    """
    step = parse_step(spec, "--prepare", BUILTINS)
    if isinstance(step, (Image, Text, Bytes)) and step.column in keep_columns:
        return dataclasses.replace(step, keep=True)
    return step


def list_prepare() -> list[StepHelp]:
    """Name, help, example and options of each built-in step."""
    return help_of(BUILTINS)


__all__ = ["Augment", "Bytes", "Image", "OneHot", "Scale", "Text", "list_prepare", "parse_prepare"]
