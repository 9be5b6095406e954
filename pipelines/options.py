"""The command line of `score`: options, grouped, with an example of each common job. Imports no Beam."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from typing import NoReturn

from models.errors import UsageError

EXAMPLES = """\
examples:
  a table, columns by the names of the model's inputs
    %(prog)s --model m.onnx --input 'data/*.parquet' --output out/preds.parquet
  a 2-D input put together from columns, keeping an id
    %(prog)s --model m.onnx --input data.csv --columns x=age,height,weight --keep id --output out/preds.csv
  images
    %(prog)s --model cnn.onnx --input 'photos/*.jpg' --prepare image:size=224 --finish softmax --finish top_k:5 \\
          --keep path --output out/preds.parquet
  text
    %(prog)s --model encoder.onnx --input texts.jsonl --prepare text:tokenizer.json,column=text,max_length=128 \\
          --output out/vectors.parquet
  what would run, without running it
    %(prog)s --model m.onnx --input data.parquet --output out/preds.parquet --dry_run_plan

exit codes: 0 all rows scored (or the rest written to --errors), 1 the job failed, 2 a wrong option, model or
schema, 3 rows failed and no --errors was given, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")

    def format_help(self) -> str:
        """The help with the steps that there are, which are looked up only here."""
        return f"{super().format_help()}\n{_steps_help()}"


def _steps_help() -> str:
    from runners.lean_import import import_beam

    import_beam()
    from transforms.finish import list_finish
    from transforms.prepare import list_prepare

    lines = []
    for option, steps in (("--prepare", list_prepare()), ("--finish", list_finish())):
        lines.append(f"steps for {option} SPEC:")
        for step in steps:
            lines += [f"  {step.name:<10} {step.summary}", f"             e.g. {step.example}"]
            options = f"options: {', '.join(step.options)}"
            lines += textwrap.wrap(options, 110, initial_indent=" " * 13, subsequent_indent=" " * 22)
        own = "your own: takes and returns a pyarrow.RecordBatch of as many rows"
        lines += ["  module:function", f"{'':<13}{own}", ""]
    return "\n".join(lines[:-1]) + "\n"


def parser(prog: str = "python -m pipelines.score") -> argparse.ArgumentParser:
    """The parser of `score`; whatever it does not know goes to Beam."""
    p = _Parser(
        prog=prog,
        description="Score files with an ONNX model: read, prepare, run the model, finish, write.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    job = p.add_argument_group("the job")
    job.add_argument("--model", required=True, metavar="M.onnx", help="the ONNX model")
    job.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="PATTERN",
        help="files, globs or folders; gs:// and s3:// too",
    )
    job.add_argument(
        "--output", required=True, metavar="FILE", help="where predictions go: .parquet, .csv or .jsonl, in shards"
    )
    job.add_argument("--errors", metavar="FILE.jsonl", help="where rows that could not be scored go, with the reason")
    job.add_argument(
        "--num_shards", type=_positive, metavar="N", help="files to write; 1 writes exactly --output (default: free)"
    )
    job.add_argument(
        "--input_format",
        choices=("parquet", "csv", "jsonl", "arrow", "files"),
        help="default: by extension; files: each file is one row (columns path, bytes)",
    )

    data = p.add_argument_group("columns and inputs")
    data.add_argument(
        "--columns",
        nargs="+",
        action="extend",
        default=[],
        metavar="INPUT=COL[,COL]",
        help="which columns feed which input (default: by name)",
    )
    data.add_argument("--keep", default="", metavar="COL[,COL]", help="columns to copy to the output")
    data.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="INPUT=VALUE",
        help="inputs that are no columns: a number, zeros, ones, or a .npy file",
    )
    data.add_argument(
        "--narrow", action="store_true", help="allow casts that lose range or precision, such as float64 to float32"
    )

    stages = p.add_argument_group("data stage and output stage")
    stages.add_argument(
        "--prepare", action="append", default=[], metavar="SPEC", help="step before the model; repeat to chain"
    )
    stages.add_argument(
        "--finish", action="append", default=[], metavar="SPEC", help="step after the model; repeat to chain"
    )

    workers = p.add_argument_group("workers")
    workers.add_argument("--runner", default="DirectRunner", help="a Beam runner (default: %(default)s, in-process)")
    workers.add_argument(
        "--workers", type=_positive, metavar="N", help="replicas of the model (default: one a core or GPU)"
    )
    workers.add_argument(
        "--worker_type", choices=("thread", "process"), help="default: whichever measures faster for the model"
    )
    workers.add_argument(
        "--batch_size", type=_batch_size, default="auto", metavar="N|auto", help="rows in a run of the model"
    )
    workers.add_argument(
        "--partition", choices=("random", "contiguous", "proportional"), help="how rows are dealt to workers"
    )
    workers.add_argument(
        "--capacities", type=_capacities, metavar="1,1,2|measured", help="speeds of the workers, for proportional"
    )
    workers.add_argument("--seed", type=int, default=0, help="for --partition random (default: %(default)s)")
    workers.add_argument(
        "--providers", default="auto", metavar="auto|cpu,cuda,...", help="ONNX Runtime execution providers, in order"
    )
    workers.add_argument(
        "--threads", type=_positive, metavar="N", help="threads a session (default: workers x threads fill the cores)"
    )

    watch = p.add_argument_group("watching")
    watch.add_argument("--dry_run_plan", action="store_true", help="check everything, print the plan, run nothing")
    watch.add_argument("--summary", metavar="FILE.json", help="write the closing summary as JSON")
    watch.add_argument("--quiet", action="store_true", help="no progress and no summary")
    watch.add_argument("--debug", action="store_true", help="show tracebacks and the log")
    return p


def parse(argv: Sequence[str], prog: str = "python -m pipelines.score") -> tuple[argparse.Namespace, list[str]]:
    """(our options, what is left for Beam).

    Raises:
        UsageError: an option is missing or has a wrong value.
    """
    options, rest = parser(prog).parse_known_args(argv)
    columns = _pairs("--columns", options.columns, "x=a,b")
    options.columns = {name: tuple(value.split(",")) for name, value in columns.items()}
    options.set = _pairs("--set", options.set, "x=zeros")
    options.keep = tuple(name for name in options.keep.split(",") if name)
    if options.capacities is not None and options.partition != "proportional":
        raise UsageError("--capacities is for --partition proportional; add that, or leave --capacities out")
    if isinstance(options.capacities, list):
        if options.workers is None:
            options.workers = len(options.capacities)
        if options.workers != len(options.capacities):
            raise UsageError(
                f"--capacities names {len(options.capacities)} workers and --workers says {options.workers}; "
                f"type --workers {len(options.capacities)}"
            )
    return options, rest


def _pairs(option: str, values: list[str], example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values:
        name, equals, right = value.partition("=")
        if not (name and equals and right):
            raise UsageError(f"{option} {value!r} is not of the form INPUT=VALUE, e.g. {option} {example}")
        if name in pairs:
            raise UsageError(f"{option} names the input {name!r} twice; give it once, e.g. {option} {example}")
        pairs[name] = right
    return pairs


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else _positive(text)


def _capacities(text: str) -> list[float] | str:
    if text == "measured":
        return text
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'measured' nor numbers above 0 such as 1,1,2")
    return numbers
