"""Which functions a fault changes, as code in memory."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator
from types import CodeType, FunctionType


def changed(before: CodeType, after: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Functions of a module that a fault changes, each as it was and as it is.

    Raises:
        ValueError: what the import of the module executes is another.
    """
    inside = [[one for one in code.co_consts if isinstance(one, CodeType)] for code in (before, after)]
    is_function = bool(before.co_flags & 0x1)  # CO_OPTIMIZED: modules and the bodies of classes are not
    if _alike(before) != _alike(after) or len(inside[0]) != len(inside[1]):
        if not is_function or before.co_freevars != after.co_freevars:
            raise ValueError(before.co_name)
        yield before, after
        if len(inside[0]) != len(inside[1]):
            return
    for one, other in zip(*inside, strict=True):
        below = list(changed(one, other))
        if below and is_function and (before, after) not in below:
            yield before, after
        yield from below


def _alike(code: CodeType) -> tuple[object, ...]:
    values = tuple((type(one), one) for one in code.co_consts if not isinstance(one, CodeType))
    return code.co_code, values, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars


def functions() -> dict[tuple[str, str, int], list[FunctionType]]:
    """All functions that there are: file, name and line -> each that has been made of it."""
    found: dict[tuple[str, str, int], list[FunctionType]] = {}
    for one in gc.get_objects():
        if type(one) is FunctionType:
            found.setdefault(place(one.__code__), []).append(one)
    return found


def place(code: CodeType) -> tuple[str, str, int]:
    """File, name and line of a function: what it is known by when it has been compiled anew."""
    name = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
    return real(code.co_filename), name, code.co_firstlineno


real = functools.cache(os.path.realpath)
