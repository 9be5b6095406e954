"""Options given as keywords of Python, as the texts that the command line would have: one reader, one set of errors."""

from __future__ import annotations

import argparse
import datetime
import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from beamsplit.models.errors import UsageError


def to_argv(parser: argparse.ArgumentParser, given: Mapping[str, Any]) -> list[str]:
    """The command line with the same options.

    Args:
        parser: of the command.
        given: value by option, without dashes; None is as if not given, True a switch or its usual value, and False a
            switch that is off, or `off` or `no` where the option knows that word.

    Raises:
        UsageError: there is no such option, or its value has no such text.
    """
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    argv = []
    for name, value in given.items():
        if name not in actions:
            close = difflib.get_close_matches(name, actions, n=1)
            raise UsageError(f"{name!r} is no option{f'; did you mean {close[0]}?' if close else ''}")
        if value is not None:
            argv += _arguments(name, actions[name], value)
    return argv


def _arguments(name: str, action: argparse.Action, value: Any) -> list[str]:
    if action.nargs == 0 and not isinstance(value, bool):
        raise UsageError(f"--{name} is on or off, and it is given {value!r}; give True or False")
    if value is True and (action.nargs == 0 or action.const is not None):
        return [f"--{name}"]
    if value is False and (action.nargs == 0 or action.const is not None):
        return []
    if isinstance(value, bool) and (name, value) not in _WORDS:
        raise UsageError(f"--{name} is given {value}; give it a value, or leave it out")
    return [f"--{name}={text}" for text in _FORMS.get(name, _plain)(name, value)]


_WORDS = {("csv_header", True): "yes", ("csv_header", False): "no", ("checkpoint", False): "off"}
"""What True and False are where an option has a word for it."""


def _plain(name: str, value: Any) -> list[str]:
    """One value, or several behind commas."""
    if isinstance(value, (list, tuple)):
        return [",".join(_text(name, one) for one in value)]
    return [_text(name, value)]


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return _WORDS.get((name, value), str(value).lower())
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if callable(value) and getattr(value, "__qualname__", ".").isidentifier() and value.__module__ != "__main__":
        return f"{value.__module__}:{value.__qualname__}"
    item = getattr(value, "item", None)  # of a numpy scalar
    if item is not None and getattr(value, "shape", None) == ():
        return _text(name, item())
    told = " ".join(repr(value).split())
    told = told if len(told) <= 60 else f"{told[:57]}..."
    if callable(value) and hasattr(value, "__qualname__"):
        raise UsageError(
            f"--{name} is given {told}, which workers cannot import; define it in a module, give it as module:function"
        )
    raise UsageError(f"--{name} is given {told}, which has no text that says the same; give it as it is typed")


def _each(name: str, value: Any) -> list[str]:
    """One after the other, each an option of its own."""
    return [_text(name, one) for one in _several(value)]


def _several(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)) else [value]


def _pairs(of: Callable[[str, Any], str]) -> Callable[[str, Any], list[str]]:
    """`INPUT=VALUE`, each an option of its own; texts are as they are typed."""

    def texts(name: str, value: Any) -> list[str]:
        if isinstance(value, Mapping):
            return [f"{key}={of(name, one)}" for key, one in value.items()]
        return _each(name, value)

    return texts


def _names(name: str, value: Any) -> str:
    """Names of columns; a text is one of them."""
    names = [value] if isinstance(value, str) else value
    # A set has no order, and a generator is empty when it is read once more.
    names = list(names) if isinstance(names, (list, tuple)) or hasattr(names, "__array__") else [None]
    if not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in names):
        told = " ".join(repr(value).split())
        raise UsageError(f"--{name} is given {told[:60]}; give the name of a column, or a list of names")
    return ",".join(_quoted(one, ",") for one in names)


def _quoted(name: Any, marks: str) -> str:
    """A name in double quotes where it has one of the marks."""
    text = str(name)
    return '"' + text.replace('"', '""') + '"' if not text or any(mark in text for mark in f'{marks}"') else text


def _listed(name: str, value: Any) -> list[str]:
    """Names of columns behind commas; a text is as it is typed."""
    return [value] if isinstance(value, str) else [_names(name, value)]


def _header(name: str, value: Any) -> list[str]:
    if isinstance(value, (str, bool)):
        return _plain(name, value)
    names = _names(name, value)
    return [f'"{names}"' if names in ("yes", "no") else names]


def _nulls(name: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return [_null(one) for one in _several(value)]
    return [f"{_quoted(column, ',=')}={_null(one, quoting=True)}" for column, one in value.items()]


def _null(value: Any, quoting: bool = False) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return _quoted(value, ",=") if quoting and isinstance(value, str) else _text("nulls", value)


def _types(name: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return _plain(name, value)
    return [",".join(f"{_quoted(column, ',:')}:{_kind(kind)}" for column, kind in value.items())]


def _kind(kind: Any) -> str:
    """An Arrow type by its name, as `--types` has it."""
    size = getattr(kind, "list_size", None)
    inner = getattr(kind, "value_type", None)
    if isinstance(kind, str) or inner is None:
        return str(kind).replace("tz=", "")
    return f"list<{_kind(inner)}>{f'[{size}]' if size is not None else ''}"


def _bytes(name: str, value: Any) -> list[str]:
    """A number is one of bytes."""
    return [f"{value}B"] if isinstance(value, (int, float)) else _plain(name, value)


def _amounts(name: str, value: Any) -> list[str]:
    """A number or share, or one by output; "" is that of all others."""
    if not isinstance(value, Mapping):
        return _plain(name, value)
    texts = {key: _text(name, one) for key, one in value.items()}
    return [",".join(_quoted(f"{key}={text}", ",") if key else text for key, text in texts.items())]


def _time(name: str, value: Any) -> list[str]:
    """A number is one of seconds."""
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        milliseconds = value * 1000
        return [f"{value:g}s" if value == int(value) else f"{milliseconds:g}ms"]
    return _plain(name, value)


_FORMS: Mapping[str, Callable[[str, Any], list[str]]] = {
    "input": _each,
    "sample": _each,
    "prepare": _each,
    "finish": _each,
    "columns": _pairs(_names),
    "set": _pairs(lambda name, value: _plain(name, value)[0]),
    "keep": _listed,
    "lance_index": _listed,
    "merge_on": _listed,
    "csv_header": _header,
    "nulls": _nulls,
    "types": _types,
    "model_check_tolerance": _amounts,
    "stage_memory": _bytes,
    "run_timeout": _time,
    "checkpoint": _time,
}
