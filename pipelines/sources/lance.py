"""Lance datasets as what a job reads: `lance:PATH`, `lance:PATH@3`."""

from __future__ import annotations

from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sources.table import TableFiles, only_table
from beamsplit.transforms.formats.lance import dataset_file, open_lance, parse_lance
from beamsplit.transforms.read import InputFile, first_rows
from beamsplit.transforms.where import parse_where


def find(options: ScoreOptions, job_dir: str | None, local: bool) -> TableFiles:
    """The dataset of `--input`.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    asked = options.source
    typed = only_table(asked)
    name = parse_lance(typed, "--input")
    dataset = open_lance(name, "--input")
    files: tuple[InputFile, ...] = (dataset_file(dataset, name.path),)
    notes: tuple[str, ...] = ()
    if asked.limit is not None:
        files = first_rows(files, "lance", asked.limit)
        if asked.where is not None:
            notes = (f"of the first {asked.limit:,} rows of the input, those are scored that --where keeps",)
    where = None if asked.where is None else parse_where(asked.where)
    table = f"{typed.rpartition('@')[0] if name.version is not None else typed}, version {dataset.version}"
    return TableFiles(files, "lance", notes, job_dir, where, asked.where, table=table)
