"""`bs.score`: the command's job from Python, with a result to look at."""

from __future__ import annotations

import html
import json
import os
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.models.owned_folder import disown, own
from beamsplit.pipelines.options.schemes import is_sql, is_table
from beamsplit.transforms.failures.row_error import RowError

if TYPE_CHECKING:
    import pyarrow as pa

    from beamsplit.pipelines.report.summary import Summary


class JobFailed(RuntimeError):
    """A job of `score` failed; nothing is left of what it wrote. The message is its cause in one line.

    >>> str(JobFailed("the disk is full"))
    'the disk is full'
    """


class JobResult:
    """What `score` did.

    >>> import beamsplit as bs
    >>> result = bs.score("examples/table.parquet", "examples/mlp.onnx", columns={"x": ["age", "height", "weight"]})
    >>> result.rows, result.failed, result.to_arrow().schema.names
    (2000, 0, ['logits'])

    Predictions of a job without `output` lie in a temporary folder, which goes with this object.
    """

    def __init__(self, summary: Summary, output: str, errors: str | None, folder: str | None) -> None:
        """Use `score`."""
        self.summary = summary
        """All that the command's `--summary` tells: seconds, stages, metrics, the plan."""
        self.output = output
        """Where the predictions are, as it was said."""
        self._errors, self._folder = errors, folder
        if folder is not None:
            weakref.finalize(self, disown, folder)

    @property
    def rows(self) -> int:
        """Rows that were scored."""
        return self.summary.rows_scored

    @property
    def failed(self) -> int:
        """Rows that could not be scored."""
        return self.summary.rows_failed

    @property
    def files(self) -> list[str]:
        """Files with the predictions, in the order of the input."""
        return list(self.summary.files)

    @cached_property
    def errors(self) -> list[RowError]:
        """A `RowError` for each row that failed.

        Raises:
            UsageError: they went to a topic.
        """
        return list(_read_errors(self._errors)) if self._errors else []

    def to_arrow(self) -> pa.Table:
        """The predictions: `keep` columns and the model's outputs.

        Raises:
            UsageError: they went to a topic.
        """
        import pyarrow as pa

        if self.output.startswith("kafka://"):
            raise UsageError(f"the predictions went to the topic {self.output}, and are in no file; read the topic")
        if is_table(self.output):
            raise UsageError(
                f"the predictions are in the table {self.output}; read that, e.g. with {_table_reader(self.output)}"
            )
        tables = [_read_table(path) for path in self.files]
        return pa.concat_tables(tables) if tables else pa.table({})

    def __repr__(self) -> str:
        """E.g. `JobResult(rows=2000, failed=0, output='out.parquet', seconds=0.8)`."""
        return (
            f"JobResult(rows={self.rows}, failed={self.failed}, output={self.output!r}, "
            f"seconds={round(self.summary.seconds, 2)})"
        )

    def _repr_html_(self) -> str:
        """Of notebooks: the closing summary, and the first rows that failed."""
        lines = html.escape("\n".join(self.summary.lines()))
        failed = "".join(
            f"<tr>{''.join(f'<td>{html.escape(str(value))}</td>' for value in error)}</tr>" for error in self.errors[:5]
        )
        head = "".join(f"<th>{name}</th>" for name in RowError._fields)
        return f"<pre>{lines}</pre>" + (f"<table><tr>{head}</tr>{failed}</table>" if failed else "")


def score(
    input: str | Sequence[str],
    model: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    beam_args: Sequence[str] = (),
    progress: bool | None = None,
    **options: Any,
) -> JobResult:
    """Score files or a topic: what `beamsplit score` does.

    >>> import beamsplit as bs
    >>> result = bs.score(
    ...     "examples/table.parquet", "examples/mlp.onnx", columns={"x": ["age", "height", "weight"]}, keep="id"
    ... )
    >>> result.to_arrow().num_rows
    2000

    Args:
        input: files, globs, folders, or a topic, as `--input`.
        model: the ONNX file.
        output: where predictions go, as `--output`; default: a temporary folder, which goes with the result.
        beam_args: options for Beam, as typed.
        progress: show a progress bar, notes and the closing summary as the command does; default: in a notebook or
            terminal.
        options: every option of the command by its name without dashes, with Python's values or as typed:
            `columns={"x": ["age", "height"]}`, `keep=["id"]`, `stages=2`, `runner="FlinkRunner"`,
            `errors="errors.jsonl"`. Without `errors` those are kept with the result.

    Raises:
        UsageError: nothing was started; in the words of the command.
        JobFailed: the job failed, and nothing is left of what it wrote; with `resume=True` what is finished is kept.
        KeyboardInterrupt: it was interrupted.
    """
    from beamsplit.pipelines.api.paths import inputs_given, path_given
    from beamsplit.pipelines.api.paths import shown as told
    from beamsplit.pipelines.options.score import score_options
    from beamsplit.pipelines.running.launch import launch
    from beamsplit.pipelines.running.log_lines import log_lines, name_job

    if options.get("resume") and output is None:
        raise UsageError("--resume keeps what is finished beside the output, and no output is given; name one")
    started = time.perf_counter()
    model, input = path_given("model", model, "the ONNX file"), inputs_given("input", input)
    for name in ("dry_run", "dry_run_plan"):
        if options.get(name):
            raise UsageError(f"{name} runs nothing, so that there is no result; use the command, or bs.plan")
    for name, path in (("output", output), ("errors", options.get("errors"))):
        if path is not None:
            path_given(name, path, "where to write")
    if isinstance(beam_args, str) or not isinstance(beam_args, Sequence):
        raise UsageError(f"beam_args is {told(beam_args)}; give a list of options, such as ['--streaming']")
    shown = _is_watched() if progress is None else progress
    given: dict[str, Any] = {"model": model, "input": input, **options}
    if not shown:
        given.setdefault("quiet", True)
    folder = None
    if output is None or "errors" not in options:
        folder = tempfile.mkdtemp(prefix="beamsplit-result-")
        own(folder)
    into = os.fspath(output) if output is not None else f"{folder}/predictions.parquet"
    errors = options.get("errors") or (f"{folder}/errors.jsonl" if folder else None)
    try:
        asked = score_options(**{**given, "output": into, "errors": errors})
        with log_lines([f"--log_format={asked.watching.log_format}"]):
            name_job(asked)
            code, summary = launch(asked, list(beam_args), started)
        if summary is None or code == 1:
            raise JobFailed("the job did not tell what it did")
    except BaseException as error:
        if folder is not None:
            disown(folder)
        if isinstance(error, (UsageError, KeyboardInterrupt, JobFailed)) or not isinstance(error, Exception):
            raise
        from beamsplit.pipelines.report.summary import root_cause

        raise JobFailed(root_cause(error)) from error
    return JobResult(summary, into, None if errors is None else os.fspath(errors), folder)


def _table_reader(output: str) -> str:
    if is_sql(output):
        return "ADBC (adbc_driver_postgresql.dbapi, adbc_driver_sqlite.dbapi) or pandas.read_sql"
    if not output.startswith("delta:"):
        return "pyiceberg's Table.scan().to_arrow()"
    return f"deltalake.DeltaTable({output.removeprefix('delta:')!r}).to_pyarrow_table()"


def _is_watched() -> bool:
    from beamsplit.pipelines.report.notebook import in_notebook

    return in_notebook() or sys.stderr.isatty()


def _read_errors(path: str) -> Iterator[RowError]:
    from beamsplit.transforms.write.storage import open_input

    if path.startswith("kafka://"):
        raise UsageError(f"the errors went to the topic {path}, and are in no file; read the topic")
    if path.endswith(".parquet"):
        import pyarrow.parquet as pq

        for row in pq.read_table(path).to_pylist():
            yield RowError(*(row[name] for name in RowError._fields))
        return
    with open_input(path) as file:
        if path.endswith(".csv"):
            import csv
            import io

            for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")):
                yield RowError(row["file"], int(row["row"]), row["stage"], row["reason"])
            return
        for line in file:
            told = json.loads(line)
            yield RowError(*(told.get(name) for name in RowError._fields))


def _read_table(path: str) -> pa.Table:
    """A file of predictions, as it was written."""
    import pyarrow as pa

    from beamsplit.transforms.write.storage import open_input

    with open_input(path) as file:
        data = pa.py_buffer(file.read())
    name = path.lower()
    if name.endswith((".csv", ".tsv")):
        import pyarrow.csv

        delimiter = "\t" if name.endswith(".tsv") else ","
        return pyarrow.csv.read_csv(
            pa.BufferReader(data), parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        )
    if name.endswith((".jsonl", ".ndjson", ".json")):
        import pyarrow.json

        return pyarrow.json.read_json(pa.BufferReader(data))
    if name.endswith(".orc"):
        import pyarrow.orc

        return pyarrow.orc.read_table(pa.BufferReader(data))
    if name.endswith(".avro"):
        import fastavro

        return pa.Table.from_pylist(list(fastavro.reader(pa.BufferReader(data))))
    if name.endswith((".arrow", ".feather", ".ipc", ".arrows")):
        import pyarrow.ipc

        return pyarrow.ipc.open_file(pa.BufferReader(data)).read_all()
    import pyarrow.parquet

    return pyarrow.parquet.read_table(pa.BufferReader(data))
