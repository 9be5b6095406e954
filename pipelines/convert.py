"""The command `convert`: a model of another library as ONNX, written only if it gives what the original gives."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.convert.kinds import kind_of
from beamsplit.models.convert.original import MATRIX, Feeds, Original
from beamsplit.models.errors import UsageError
from beamsplit.pipelines.convert_sample import tensor_feeds
from beamsplit.pipelines.options.convert import ConvertOptions, parse
from beamsplit.pipelines.running.interrupt import exit_now, interruptible, own_process
from beamsplit.pipelines.running.job_folder import job_folder
from beamsplit.pipelines.typed import show_error
from beamsplit.pipelines.utf8 import speak_utf8
from beamsplit.transforms.write.names import check_replaceable, check_writable
from beamsplit.transforms.write.storage import local_path, open_output, replace, size_of

OK, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

SAMPLE_ROWS = 10_000


class Differs(Exception):
    """The ONNX model does not give what the original gives; one line."""


def run(argv: Sequence[str]) -> None:
    """Run the command.

    Raises:
        UsageError: nothing was written, for the reason in the message.
        Differs: nothing was written.
    """
    options = parse(argv)
    _check(options)
    original = kind_of(options.model).load(options.model, options.trust)
    feeds = sample_feeds(original, options.sample) if options.sample else _made_up(original, options)
    from beamsplit.models.convert.convert import convert

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.onnx")
        try:
            done = convert(original, feeds, path, options.tolerance)
        except UsageError as error:
            raise UsageError(f"{options.model}: {error}") from None
        of = "the sample" if options.sample else "rows made up; --sample compares on yours"
        print(f"compared with the original on {len(next(iter(feeds.values()))):,} rows ({of}):")
        for one in done.comparisons:
            print(f"  {one.line}")
        for name in done.uncompared:
            print(f"  {name}: not compared, the original has no such output")
        if done.wrong:
            raise Differs(
                f"{done.wrong:,} rows differ from the original by more than is allowed, so {options.output} is not "
                f"written; --tolerance X allows more than {options.tolerance:g} of numbers"
            )
        _write(path, options.output)
    inputs = ", ".join(f"{one} [{', '.join(('rows', *map(str, a.shape[1:])))}]" for one, a in feeds.items())
    print(f"{options.output}: {inputs} -> {', '.join(output.name for output in done.model.graph.output)}")
    if MATRIX in feeds and original.names is not None:
        print(f"  --columns '{MATRIX}={','.join(original.names)}'")


def _check(options: ConvertOptions) -> None:
    kind_of(options.model)
    if not os.path.isfile(options.model):
        raise UsageError(f"{options.model} is no file of this machine: check the path")
    if not options.output.endswith(".onnx"):
        raise UsageError(f"--output {options.output} is to be an ONNX model: end the name in .onnx")
    if not 0 <= options.tolerance < 1:
        raise UsageError(f"--tolerance {options.tolerance:g} is a share: give 0 or more, and less than 1")
    check_writable(options.output, "--output")
    check_replaceable(options.output, "--output")
    if not options.overwrite and size_of(options.output) is not None:
        raise UsageError(f"--output {options.output} is there already; add --overwrite, or give another name")


def _made_up(original: Original, options: ConvertOptions) -> Feeds:
    from beamsplit.models.convert.convert import made_up

    if original.by_column:
        raise UsageError(
            f"{options.model} takes columns by their names ({', '.join(original.names or ())}), of types that it does "
            "not tell: add --sample with some rows"
        )
    return made_up(original)


def sample_feeds(original: Original, patterns: Sequence[str]) -> Feeds:
    """The features of the first rows of files.

    Raises:
        UsageError: there are none, or they are not those of the model.
    """
    from beamsplit.transforms.block import data_columns
    from beamsplit.transforms.read import ReadOptions, find_files, format_of, infer_schema, read_sample

    files = find_files(patterns, "--sample")
    format = format_of(files)
    rows = read_sample(files, format, ReadOptions(infer_schema(files, format).schema), SAMPLE_ROWS)
    if rows is None:
        raise UsageError(f"--sample {patterns[0]} has no rows; give some to compare on, or leave --sample out")
    have = data_columns(rows.schema)
    if original.inputs is not None:
        return tensor_feeds(original.inputs, rows)
    names = _features(original, have, rows)
    if original.by_column:
        return {name: _column(rows.column(name)) for name in names}
    wrong = [name for name in names if not _is_number(rows.schema.field(name).type)]
    if wrong:
        raise UsageError(f"--sample has texts or the like in the column {wrong[0]!r}, and the model takes numbers")
    columns = [np.asarray(rows.column(name).cast(pa.float32(), safe=False).to_numpy(False)) for name in names]
    return {MATRIX: np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)}


def _features(original: Original, have: Sequence[str], rows: pa.RecordBatch) -> Sequence[str]:
    if original.names is not None:
        missing = [name for name in original.names if name not in have]
        if missing:
            raise UsageError(
                f"--sample has the columns {', '.join(have)}, and the model takes {', '.join(original.names)}: "
                f"{missing[0]!r} is missing"
            )
        return original.names
    numbers = [name for name in have if _is_number(rows.schema.field(name).type)]
    if len(numbers) != original.width:
        raise UsageError(
            f"--sample has {len(numbers)} columns of numbers ({', '.join(numbers)}), and the model takes "
            f"{original.width} and does not know their names: give a file of these columns, in their order"
        )
    return numbers


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _column(column: pa.Array) -> np.ndarray[Any, Any]:
    if pa.types.is_integer(column.type) and not column.null_count:
        found = column.cast(pa.int64()).to_numpy(False)
    elif _is_number(column.type):
        found = column.cast(pa.float32(), safe=False).to_numpy(False)
    else:
        found = np.asarray(column.cast(pa.string()).to_pylist(), dtype=object)
    return np.asarray(found).reshape(-1, 1)


def _write(path: str, output: str) -> None:
    """Put the file at its name, whole or not at all."""
    local = local_path(output)
    if local is None:
        with open(path, "rb") as source, open_output(output) as target:
            shutil.copyfileobj(source, target)
        return
    folder, name = os.path.split(local)
    hidden = os.path.join(folder, f".{name}-{os.getpid()}.part")
    try:
        with open(path, "rb") as source, open_output(hidden) as target:
            shutil.copyfileobj(source, target)
        replace(hidden, local)
    except BaseException:
        if os.path.exists(hidden):
            os.remove(hidden)
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """The command: prints one clear line for whatever went wrong, and gives the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        with interruptible(), job_folder():
            run(argv)
        return OK
    except (UsageError, Differs) as error:
        return _fail(f"error: {error}", argv, WRONG_USE if isinstance(error, UsageError) else FAILED)
    except KeyboardInterrupt as interrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return getattr(interrupt, "code", INTERRUPTED)
    except Exception as error:  # libraries may raise anything
        why = " ".join(str(error).split())[:300] or type(error).__name__
        return _fail(f"error: no model could be made: {why} (--debug shows all)", argv, FAILED)


def _fail(line: str, argv: Sequence[str], code: int) -> int:
    show_error(line, "--debug" in argv)
    return code


if __name__ == "__main__":
    speak_utf8()
    own_process()
    exit_now(main())
