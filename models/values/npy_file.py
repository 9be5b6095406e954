"""A .npy file that somebody else wrote: what its header says is checked before anything is made of it."""

from __future__ import annotations

import math
import os
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import Array

_READ = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: str, option: str) -> Array:
    """The one array of plain values in a file; objects are never unpickled.

    Args:
        path: of the file.
        option: what the user typed, for messages, e.g. `"--set mask=mask.npy"`.

    Raises:
        UsageError: it cannot be read, holds several arrays, or not what its header says.
    """
    try:
        with open(path, "rb") as file:
            if file.read(2) == b"PK":
                raise UsageError(f"{option}: holds several arrays; write one array with numpy.save")
            file.seek(0)
            _check(file)
            file.seek(0)
            array: Array = np.load(file, allow_pickle=False)
            if file.read(1):
                raise UsageError(f"{option}: holds several arrays; write one array with numpy.save")
            return array
    except UsageError:
        raise
    # A header is Python that numpy takes apart: who wrote it decides what goes wrong.
    except (OSError, ValueError, EOFError, TypeError, KeyError, SyntaxError, TokenError, RecursionError) as error:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"{option}: not a readable .npy file of plain values ({told}); write it with numpy.save"
        ) from None


def _check(file: BinaryIO) -> None:
    version = np.lib.format.read_magic(file)
    if version not in _READ:
        raise ValueError(f"it is of version {version[0]}.{version[1]}")
    shape, _, dtype = _READ[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if any(isinstance(size, bool) or size < 0 for size in shape):
        raise ValueError(f"its shape is {shape}")
    wanted = math.prod(shape) * dtype.itemsize
    found = os.fstat(file.fileno()).st_size - file.tell()
    if wanted > found:
        raise ValueError(f"its header says {wanted:,} bytes of values, and {found:,} are there")
