"""What `--csv_header` says of the files that are read."""

from __future__ import annotations

import argparse
from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import InputFile, format_of


def with_csv_header(files: tuple[InputFile, ...], options: argparse.Namespace) -> tuple[InputFile, ...]:
    """The files with what `--csv_header` says of their first lines, which so is known wherever they are read.

    Raises:
        UsageError: they are no CSV files.
    """
    if options.csv_header is None:
        return files
    format = format_of(files, options.input_format)
    if format != "csv":
        raise UsageError(
            f"--csv_header is for CSV, and {files[0].path} is read as {format}; leave it out, or say --input_format csv"
        )
    return tuple(replace(file, header=options.csv_header) for file in files)
