"""What stands for a null in a column that the model reads: `--nulls error|nan|VALUE`, `--nulls COLUMN=...`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from beamsplit.models.errors import UsageError

Fill: TypeAlias = "float | int | bool | str"
"""A value of the type of an input."""


class Given(NamedTuple):
    """What the user typed for a null."""

    text: str

    quoted: bool = False
    """Whether it was in quotes of its own: `"nan"` is a text, `nan` is a number."""

    @property
    def error(self) -> bool:
        """Whether a null makes its row fail."""
        return self.text == "error" and not self.quoted

    @property
    def nan(self) -> bool:
        """Whether it is the word for not a number."""
        return self.text.lower() == "nan" and not self.quoted

    def __str__(self) -> str:
        return f'"{self.text}"' if self.quoted or not self.text else self.text


ERROR = Given("error")


@dataclass(frozen=True)
class Nulls:
    """What stands for nulls, by column."""

    default: Given = ERROR
    """In columns that are not named."""

    columns: Mapping[str, Given] = field(default_factory=dict)

    def fill(self, column: str, dtype: str, what: str) -> Fill | None:
        """The value for a null in a column, None where it makes its row fail.

        Args:
            column: its name.
            dtype: of the value, as in `TensorSpec.dtype`.
            what: what takes it, for errors: `"the model's input 'x: float32[N, 3]'"`.

        Raises:
            UsageError: what was given is no such value; names both sides.
        """
        given = self.columns.get(column, self.default)
        if given.error:
            return None
        try:
            return _value(given, dtype)
        except ValueError as error:
            name = quoted(column)
            option = f"{name}={given}" if column in self.columns else str(given)
            raise UsageError(
                f"--nulls {option}: {error}, and column {column!r} fills {what} of type {dtype}; "
                f"type --nulls {name}=VALUE with a value of that type, or {name}=error to let rows with a null fail"
            ) from None


NO_NULLS = Nulls()
"""Rows with a null fail."""


def quoted(name: str) -> str:
    """A column's name as it is typed in a list of names: in quotes where it needs them."""
    if name and not re.search(r'[,="]', name):
        return name
    return '"' + name.replace('"', '""') + '"'


def null_reason(column: str, what: str = "null") -> str:
    """Why a row with a null fails, and what to type."""
    return f"{what} in column {column!r}; --nulls {quoted(column)}=VALUE would fill it"


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)


def _value(given: Given, dtype: str) -> Fill:
    text = given.text
    if dtype.startswith("float"):
        if given.nan:
            return math.nan
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"{text!r} is no number")
        number = float(text)
        with np.errstate(over="ignore"):
            if math.isfinite(number) != np.isfinite(np.dtype(dtype).type(number)) or (
                math.isinf(number) and "inf" not in text.lower()
            ):
                raise ValueError(f"{text} is too large for {dtype}")
        return number
    if given.nan:
        raise ValueError("nan is a floating-point number")
    if dtype == "string":
        return text
    if dtype == "bool":
        known = {"true": True, "1": True, "false": False, "0": False}
        if text.lower() not in known:
            raise ValueError(f"{text!r} is neither true nor false")
        return known[text.lower()]
    if not re.fullmatch(r"[+-]?\d+", text):
        raise ValueError(f"{text!r} is no whole number")
    whole, limits = int(text), np.iinfo(dtype)
    if not int(limits.min) <= whole <= int(limits.max):
        raise ValueError(f"{text} is too large for {dtype}")
    return whole
