"""What `--csv_header` says of the files that are read."""

from __future__ import annotations

from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.read import InputFile


def with_csv_header(
    files: tuple[InputFile, ...], format: str, header: bool | tuple[str, ...] | None
) -> tuple[InputFile, ...]:
    """The files with what `--csv_header` says of their first lines, which so is known wherever they are read.

    Args:
        files: of the input.
        format: of the files.
        header: what it says; None where it is not given.

    Raises:
        UsageError: they are no CSV files.
    """
    if header is None:
        return files
    if not FORMATS[format].header:
        raise UsageError(
            f"--csv_header is for CSV, and {files[0].path} is read as {format}; leave it out, or say --input_format csv"
        )
    return tuple(replace(file, header=header) for file in files)
