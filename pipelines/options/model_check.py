"""The options that say which new models are refused: `--model_check`, `--model_check_tolerance`. Imports no Beam."""

from __future__ import annotations

import argparse
import re
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.tolerance import SAME, Amount, Tolerance
from beamsplit.pipelines.options.name_lists import split_names
from beamsplit.pipelines.options.values import StreamOptions

_AMOUNT = re.compile(r"(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)(%?)")

EXAMPLE = "0.01, 5% or 0.01,label=1%"


def add_model_check(group: Any) -> None:
    """Add them to a group of the parser."""
    group.add_argument(
        "--model_check",
        metavar="GOLDEN.parquet",
        help="rows, as messages hold them, on which a new model of --model_updates is compared with the one in use; "
        "one that differs by more than --model_check_tolerance is refused",
    )
    group.add_argument(
        "--model_check_tolerance",
        type=read_tolerance,
        metavar="AMOUNT[,OUTPUT=AMOUNT]",
        help="most that outputs of floats may differ by, 0.01, or 5%% of the largest value of the one in use; of an "
        "output, score=0.01; of labels the share of rows, label=1%% (default for them: none)",
    )


def read_tolerance(text: str) -> Tolerance:
    """What `--model_check_tolerance` says.

    >>> read_tolerance("0.01,label=1%").outputs
    (('label', Amount(number=0.01, share=True)),)

    Raises:
        ArgumentTypeError: it is not of that form.
    """
    floats: Amount | None = None
    outputs: dict[str, Amount] = {}
    for part in split_names("--model_check_tolerance", text):
        name, equals, amount = part.rpartition("=")
        if (name in outputs) if equals else (floats is not None):
            what = f"output {name!r}" if equals else "all outputs"
            raise argparse.ArgumentTypeError(f"{text!r} says two things of {what}; say one")
        if equals:
            outputs[name] = _amount(text, amount)
        else:
            floats = _amount(text, amount)
    return Tolerance(floats or SAME, tuple(outputs.items()))


def _amount(text: str, amount: str) -> Amount:
    found = _AMOUNT.fullmatch(amount.strip())
    number = float(found[1]) if found else float("inf")
    if found is None or number == float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: {amount!r} is neither a number from 0 nor a share; type {EXAMPLE}")
    return Amount(number / 100, share=True) if found[2] else Amount(number)


def check_model_check(stream: StreamOptions) -> None:
    """Raise for options of new models that do not go together.

    Raises:
        UsageError: there is one; names both sides and the fix.
    """
    for name in ("model_check", "model_check_tolerance"):
        if getattr(stream, name) is not None and stream.model_updates is None:
            raise UsageError(
                f"--{name} is for new models, and none are looked for; add --model_updates FOLDER, or leave it out"
            )
    if stream.model_check is not None and stream.model_check_tolerance is None:
        raise UsageError(
            f"--model_check {stream.model_check} needs to know by how much a new model may differ; add "
            f"--model_check_tolerance {EXAMPLE}"
        )
    if stream.model_check_tolerance is not None and stream.model_check is None:
        raise UsageError(
            "--model_check_tolerance is for rows on which models are compared; add --model_check GOLDEN.parquet, or "
            "leave it out"
        )
