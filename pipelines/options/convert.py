"""The options of `convert`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from beamsplit.pipelines.options.shared import Parser, check_no_passwords, check_not_empty
from beamsplit.pipelines.typed import typed

TOLERANCE = 1e-4


@dataclass(frozen=True)
class ConvertOptions:
    """What `convert` is asked for."""

    model: str
    """The file of the other library."""

    output: str
    """The ONNX model."""

    sample: tuple[str, ...] = ()
    """Files of rows to compare on; none: rows are made up."""

    trust: bool = False
    """Whether code that the model's file names may run."""

    tolerance: float = TOLERANCE
    """Largest difference, as a share of a number or of 1."""

    overwrite: bool = False
    """Whether an output that is there is replaced."""


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of `convert`."""
    p = Parser(
        prog=prog or typed("convert"),
        usage="%(prog)s MODEL -o M.onnx [--sample PATTERN] [options]",
        description="Make an ONNX model of one of another library, and compare the two.",
        allow_abbrev=False,
    )
    job = p.add_argument_group("the model")
    job.add_argument(
        "model", metavar="MODEL", help="its file: .skops, .pkl, .joblib; .ubj, .json; .txt, .lgb; .cbm; or .pt2"
    )
    job.add_argument("-o", "--output", required=True, metavar="M.onnx", help="the ONNX model to write")
    job.add_argument("--overwrite", action="store_true", help="replace an output that is there")
    job.add_argument(
        "--trust",
        action="store_true",
        help="load pickles, and files of skops with types of others: both run code that the file names",
    )
    check = p.add_argument_group("the comparison")
    check.add_argument(
        "--sample",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="files with rows to compare on, whose columns are the features (default: rows made up; models of columns "
        "of texts need some)",
    )
    check.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="X",
        help="largest difference, as a share of the number or of 1; labels are to be equal (default: %(default)s)",
    )
    check.add_argument("--debug", action="store_true", help="show tracebacks")
    return p


def parse(argv: Sequence[str]) -> ConvertOptions:
    """The options.

    Raises:
        UsageError: an option is unknown, is missing, or has a wrong value.
    """
    given = parser().parse_args(argv)
    check_not_empty(given)
    check_no_passwords(given)
    return ConvertOptions(given.model, given.output, tuple(given.sample), given.trust, given.tolerance, given.overwrite)
