"""Reading inputs: patterns to files, files to splits, splits to blocks with the origin of each row."""

from typing import TYPE_CHECKING, Any

from beamsplit.transforms.read.derived import declared_fields, partition_codes, partition_types, with_derived
from beamsplit.transforms.read.infer_schema import InferredSchema, NoColumns, infer_schema, input_schema
from beamsplit.transforms.read.inputs import InputFile, check_unchanged, find_files, format_of, with_encoding
from beamsplit.transforms.read.limit import first_rows
from beamsplit.transforms.read.result import Derived, ReadFailure, ReadOptions, ReadResult
from beamsplit.transforms.read.splits import (
    assign_splits,
    count_rows,
    has_rows,
    make_splits,
    read_all,
    read_sample,
    read_split,
    read_spread,
    slice_split,
    split_file,
    total_rows,
)

if TYPE_CHECKING:
    from beamsplit.transforms.read.transform import MakeSplits, ReadBlocks, ReadSplits

__all__ = [
    "Derived",
    "InferredSchema",
    "InputFile",
    "MakeSplits",
    "NoColumns",
    "ReadBlocks",
    "ReadFailure",
    "ReadOptions",
    "ReadResult",
    "ReadSplits",
    "assign_splits",
    "check_unchanged",
    "count_rows",
    "declared_fields",
    "find_files",
    "first_rows",
    "format_of",
    "has_rows",
    "infer_schema",
    "input_schema",
    "make_splits",
    "partition_codes",
    "partition_types",
    "read_all",
    "read_sample",
    "read_split",
    "read_spread",
    "slice_split",
    "split_file",
    "total_rows",
    "with_derived",
    "with_encoding",
]


def __getattr__(name: str) -> Any:
    """The transforms, imported when they are asked for: a job is planned before Beam is imported."""
    if name not in ("MakeSplits", "ReadBlocks", "ReadSplits"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from beamsplit.transforms.read import transform

    return getattr(transform, name)
