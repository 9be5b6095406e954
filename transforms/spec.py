"""SPEC strings such as `image:size=224,crop=center`: read into the frozen dataclass that is the step."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import pyarrow as pa

from beamsplit.models.errors import UsageError

Reader = Callable[[str], Any]
"""Turns the text of an option into its value; a ValueError says what is wanted, e.g. `"a whole number"`."""


class SpecStep:
    """Base of the built-in steps: what `--help` and the errors say of them. Options are the dataclass fields."""

    NAME: ClassVar[str]
    """What comes before the colon, e.g. `"image"`."""

    SUMMARY: ClassVar[str]
    """One line for `--help`."""

    EXAMPLE: ClassVar[str]
    """A SPEC to type."""

    def reads(self, schema: pa.Schema) -> tuple[str, ...]:
        """The columns of `schema` that it reads."""
        column: str | None = getattr(self, "column", None)
        return () if column is None else (column,)


class StepHelp(NamedTuple):
    """What `--help` shows of one built-in step."""

    name: str
    summary: str
    example: str
    options: tuple[str, ...]


class Spec(NamedTuple):
    """A SPEC string, taken apart."""

    name: str
    """What comes before the first colon."""

    words: tuple[str, ...]
    """Arguments without `=`, in order."""

    options: tuple[tuple[str, str], ...]
    """Arguments with `=`, in order."""


def parse_spec(text: str) -> Spec:
    """Take `name:word,key=value,...` apart; a value may hold `=` and `:`, but no comma.

    >>> parse_spec("text:tok.json,column=body")
    Spec(name='text', words=('tok.json',), options=(('column', 'body'),))

    Raises:
        ValueError: no name, or an empty argument.
    """
    name, _, rest = text.partition(":")
    if not name.strip():
        raise ValueError("no step is named before the colon")
    words, options = [], []
    for argument in rest.split(",") if rest.strip() else []:
        key, equals, value = (part.strip() for part in argument.partition("="))
        if not key or (equals and not value):
            raise ValueError(f"the argument {argument.strip()!r} is empty")
        if equals:
            options.append((key, value))
        else:
            words.append(key)
    return Spec(name.strip(), tuple(words), tuple(options))


def option(read: Reader, default: Any = dataclasses.MISSING, *, positional: bool = False) -> Any:
    """A dataclass field that a SPEC can set.

    Args:
        read: makes the value of the text.
        default: its value where the SPEC does not say; none makes the option required.
        positional: whether the SPEC's bare word, which is no flag's name, sets it.
    """
    return dataclasses.field(default=default, metadata={"read": read, "positional": positional})


Built = TypeVar("Built", bound=SpecStep)


def build(cls: type[Built], text: str, flag: str, **given: Any) -> Built:
    """The step that a SPEC describes.

    Args:
        cls: a frozen dataclass whose fields are made by `option`.
        text: the whole SPEC.
        flag: the command line option it was given to, for errors: `"--prepare"`.
        given: fields that are not in the SPEC.

    Raises:
        UsageError: an unknown, repeated, missing or unreadable option; or what the class itself finds wrong.
    """
    try:
        return cls(**_values(cls, parse_spec(text)), **given)
    except ValueError as error:
        raise UsageError(f"{flag} {text}: {error}; for example: {flag} {cls.EXAMPLE}") from error


def _values(cls: type[SpecStep], spec: Spec) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(cls) if "read" in field.metadata}  # type: ignore[arg-type]
    positional = next((name for name, field in fields.items() if field.metadata["positional"]), None)
    values: dict[str, Any] = {}
    pairs = list(spec.options)
    for word in spec.words:
        if word in fields and fields[word].metadata["read"] is boolean:
            pairs.append((word, "true"))
        elif positional is not None and positional not in dict(pairs):
            pairs.append((positional, word))
        else:
            raise ValueError(_unknown(f"{word!r} is no flag of {spec.name}", word, fields, spec.name))
    for key, value in pairs:
        if key not in fields:
            raise ValueError(_unknown(f"unknown option {key!r}", key, fields, spec.name))
        if key in values:
            raise ValueError(f"{key} is given twice")
        try:
            values[key] = fields[key].metadata["read"](value)
        except ValueError as error:
            raise ValueError(f"{key}={value} is not {error}") from error
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise ValueError(f"{name} is missing")
    return values


def _unknown(what: str, name: str, known: Iterable[str], step: str) -> str:
    known = list(known)
    return f"{what}{did_you_mean(name, known)}; options of {step}: {', '.join(known) or 'none'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`", did you mean 'size'?"`, or nothing where no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def help_of(steps: Sequence[type[SpecStep]]) -> list[StepHelp]:
    """What `--help` shows of these steps."""
    shown = []
    for cls in steps:
        options = []
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            if "read" in field.metadata:
                default = field.default
                if default is dataclasses.MISSING or default is None or default == ():
                    options.append(f"{field.name}=")
                else:
                    value = str(default).lower() if isinstance(default, bool) else default
                    if isinstance(default, tuple):
                        value = "/".join(map(str, default))
                    options.append(f"{field.name}={value}")
        shown.append(StepHelp(cls.NAME, cls.SUMMARY, cls.EXAMPLE, tuple(options)))
    return shown


FUNCTION = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
"""`package.module:function`."""


# Readers of option values.


def text(value: str) -> str:
    """Any text: a column's name, a path."""
    return value


def boolean(value: str) -> bool:
    """`true` or `false`; a bare word means true."""
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if value.lower() not in known:
        raise ValueError("true or false")
    return known[value.lower()]


def number(value: str) -> float:
    """A finite number."""
    try:
        result = float(value)
    except ValueError:
        raise ValueError("a number") from None
    if not math.isfinite(result):
        raise ValueError("a finite number")
    return result


def numbers(value: str) -> tuple[float, ...]:
    """Numbers with `/` between them."""
    try:
        return tuple(number(part) for part in value.split("/"))
    except ValueError:
        raise ValueError("a number, or several with / between them") from None


def words(value: str) -> tuple[str, ...]:
    """Texts with `/` between them."""
    return tuple(value.split("/"))


def integer(value: str) -> int:
    """A whole number, which may be negative."""
    if not re.fullmatch(r"[+-]?\d+", value):
        raise ValueError("a whole number")
    return int(value)


def whole(least: int) -> Reader:
    """A whole number of at least `least`."""

    def read(value: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", value) or int(value) < least:
            raise ValueError(f"a whole number of at least {least}")
        return int(value)

    return read


def wholes(least: int, most_parts: int) -> Reader:
    """Up to `most_parts` whole numbers of at least `least`, with `/` between them."""

    def read(value: str) -> tuple[int, ...]:
        parts = value.split("/")
        if len(parts) > most_parts:
            raise ValueError(f"at most {most_parts} whole numbers with / between them")
        return tuple(whole(least)(part) for part in parts)

    return read


def one_of(*choices: str) -> Reader:
    """One of a few words."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return read
