"""What `--csv_header` and `--delimiter` say of the files that are read."""

from __future__ import annotations

from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.read import InputFile


def with_csv_header(
    files: tuple[InputFile, ...],
    format: str,
    header: bool | tuple[str, ...] | None,
    delimiter: str | None = None,
) -> tuple[InputFile, ...]:
    """The files with what is said of them, which so is known wherever they are read.

    Args:
        files: of the input.
        format: of the files.
        header: what `--csv_header` says of their first lines; None where it is not given.
        delimiter: what stands between cells; None where it is not given.

    Raises:
        UsageError: they are no CSV files.
    """
    if header is None and delimiter is None:
        return files
    option = "--csv_header" if header is not None else "--delimiter"
    if not FORMATS[format].header:
        raise UsageError(
            f"{option} is for CSV, and {files[0].path} is read as {format}; leave it out, or say --input_format csv"
        )
    return tuple(replace(file, header=header, delimiter=delimiter) for file in files)
