"""Reading inputs: patterns to files, files to splits, splits to blocks with the origin of each row."""

from transforms.read.inputs import InputFile, find_files, format_of, input_schema
from transforms.read.result import ReadFailure, ReadOptions, ReadResult
from transforms.read.splits import (
    assign_splits,
    count_rows,
    make_splits,
    read_all,
    read_sample,
    read_split,
    slice_split,
    split_file,
    total_rows,
)
from transforms.read.transform import MakeSplits, ReadBlocks, ReadSplits

__all__ = [
    "InputFile",
    "MakeSplits",
    "ReadBlocks",
    "ReadFailure",
    "ReadOptions",
    "ReadResult",
    "ReadSplits",
    "assign_splits",
    "count_rows",
    "find_files",
    "format_of",
    "input_schema",
    "make_splits",
    "read_all",
    "read_sample",
    "read_split",
    "slice_split",
    "split_file",
    "total_rows",
]
