"""Texts to token ids, with the tokenizers library."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import output_field, to_arrow
from beamsplit.transforms.columns import (
    check_column,
    drop_rows,
    null_failures,
    replace_columns,
    replace_fields,
    survivors,
)
from beamsplit.transforms.files import read_file
from beamsplit.transforms.spec import SpecStep, boolean, one_of, option, text, whole
from beamsplit.transforms.step import RowFailure, StepResult

NO_COLUMN = "none"


@dataclass(frozen=True)
class Text(SpecStep):
    """String column -> int64 columns of token ids, attention mask and type ids.

    Texts are cut at `max_length` tokens. With `pad=none` each row keeps its own length (the model then runs groups
    of equal length), with `pad=block` rows get the longest length of their block, with `pad=max` all get `max_length`.
    """

    NAME: ClassVar[str] = "text"
    SUMMARY: ClassVar[str] = "token ids of texts by a tokenizer.json (needs tokenizers)"
    EXAMPLE: ClassVar[str] = "text:tokenizer.json,column=text,max_length=128"

    file: str = option(text, positional=True)
    """Path of the tokenizer.json."""

    column: str = option(text, "text")
    """The column of strings."""

    max_length: int = option(whole(1), None)
    """Most tokens a row, special ones counted; by default the tokenizer's own limit, else 512."""

    pad: str = option(one_of("none", "block", "max"), "none")
    """`none`, `block` or `max`."""

    ids: str = option(text, "input_ids")
    """Name of the column with the token ids."""

    mask: str = option(text, "attention_mask")
    """Name of the column with 1 for a token and 0 for padding; `none` leaves it out."""

    type_ids: str = option(text, "token_type_ids")
    """Name of the column with the segment of each token; `none` leaves it out."""

    keep: bool = option(boolean, False)
    """Whether the column of strings stays."""

    def __post_init__(self) -> None:
        """Load the tokenizer once, so that a wrong file is found before the job starts."""
        if importlib.util.find_spec("tokenizers") is None:
            raise ValueError("the library tokenizers is not installed; type: pip install 'beamsplit[text]'")
        if len(set(self._names())) != len(self._names()):
            raise ValueError(f"ids, mask and type_ids name the same column: {', '.join(self._names())}")
        _tokenizer(self.file, self.max_length)

    def _names(self) -> list[str]:
        return [self.ids, *(name for name in (self.mask, self.type_ids) if name != NO_COLUMN)]

    def _fields(self) -> list[pa.Field]:
        if self.pad == "max":
            _, length, _ = _tokenizer(self.file, self.max_length)
            return [output_field(name, "int64", (length,)) for name in self._names()]
        return [output_field(name, "int64", None, ndim=1) for name in self._names()]

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Replace the strings by two or three columns of lists.

        Raises:
            UsageError: the column is missing or holds no strings.
        """
        check_column(self.NAME, schema, self.column, _is_string, "strings")
        return replace_fields(self.NAME, schema, self.column, self._fields(), self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Encode the block's texts; nulls fail."""
        failures = null_failures(block.column(self.column), self.column, can_fill=True)
        rows = drop_rows(block, [failure.row for failure in failures])
        tokenizer, length, (pad_id, pad_type, pad_left) = _tokenizer(self.file, self.max_length)
        encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
        encodings, wrong = _encode_each(encode, rows.column(self.column).to_pylist())
        if wrong:
            given = survivors(block.num_rows, failures)
            failures += [RowFailure(int(given[at]), reason) for at, reason in wrong.items()]
            failures.sort()
            rows = drop_rows(rows, list(wrong))
        found = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
        columns = [(self.ids, _flat(found, lengths), pad_id)]
        if self.mask != NO_COLUMN:
            columns.append((self.mask, np.ones(int(lengths.sum()), dtype=np.int64), 0))
        if self.type_ids != NO_COLUMN:
            types = _flat([encoding.type_ids for encoding in encodings], lengths)
            columns.append((self.type_ids, types, pad_type))
        fields = self._fields()
        if self.pad == "none":
            ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
            arrays = [pa.ListArray.from_arrays(pa.array(ends), pa.array(values)) for _, values, _ in columns]
        else:
            width = length if self.pad == "max" else int(lengths.max(initial=0))
            taken = np.arange(width) < lengths[:, None]
            if pad_left:
                taken = taken[:, ::-1]
            arrays = []
            for field, (_, values, filler) in zip(fields, columns, strict=True):
                padded = np.full(taken.shape, filler, dtype=np.int64)
                padded[taken] = values
                arrays.append(to_arrow(padded, field))
        return StepResult(replace_columns(self.NAME, rows, self.column, fields, arrays, self.keep), failures)


def _encode_each(encode: Callable[[list[str]], list[Any]], texts: list[str]) -> tuple[list[Any], dict[int, str]]:
    """(encodings of the texts that can be encoded, position -> reason of the others), found by halves."""
    try:
        return list(encode(texts)), {}
    except BaseException as error:
        # A panic of the library's Rust code is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if len(texts) == 1:
            return [], {0: f"the tokenizer fails: {' '.join(str(error).split()) or type(error).__name__}"}
    half = len(texts) // 2
    first, wrong = _encode_each(encode, texts[:half])
    second, more = _encode_each(encode, texts[half:])
    return first + second, {**wrong, **{half + at: reason for at, reason in more.items()}}


def _flat(lists: list[list[int]], lengths: np.ndarray) -> np.ndarray:
    return np.fromiter(itertools.chain.from_iterable(lists), dtype=np.int64, count=int(lengths.sum()))


def _is_string(data_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(data_type):
        return _is_string(data_type.value_type)
    return bool(pa.types.is_string(data_type) or pa.types.is_large_string(data_type))


@functools.cache
def _tokenizer(file: str, max_length: int | None) -> tuple[Any, int, tuple[int, int, bool]]:
    """One tokenizer a process, for all threads: (tokenizer, most tokens, (id of padding, its type, on the left)).

    Raises:
        UsageError: no such file, or it is no tokenizer.json.
    """
    # Blocks are encoded on one thread each: workers fill the cores, and the library's own threads, which do not
    # survive a fork, would only compete with them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer

    content = read_file(file)
    try:
        tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the library raises bare Exception
        line = " ".join(str(error).split())
        raise UsageError(f"{file} is no tokenizer.json ({line}); give the one saved beside the model") from error
    own, padding = tokenizer.truncation or {}, tokenizer.padding or {}
    length = max_length if max_length is not None else own.get("max_length", 512)
    tokenizer.no_padding()
    try:
        tokenizer.enable_truncation(
            length,
            stride=min(own.get("stride", 0), length - 1),
            strategy=own.get("strategy", "longest_first"),
            direction=own.get("direction", "right"),
        )
    except Exception as error:  # the library raises bare Exception
        raise UsageError(f"max_length={length} leaves no room for the special tokens of {file} ({error})") from error
    pad_id = padding.get("pad_id")
    if pad_id is None:
        named = (tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>", "<|endoftext|>"))
        pad_id = next((number for number in named if number is not None), 0)
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if length < special:
        raise UsageError(f"max_length={length} leaves no room for the {special} special tokens of {file}")
    return tokenizer, length, (pad_id, padding.get("pad_type_id", 0), padding.get("direction") == "left")
