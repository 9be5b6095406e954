"""Options that several commands have."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.name_lists import read_csv_header, read_nulls, split_names
from beamsplit.pipelines.options.values import option_of
from beamsplit.transforms.sql.names import check_sql_passwords
from beamsplit.transforms.stores.schemes import check_names

MODEL_HELP = (
    "the ONNX model: a file, or its place: s3://, gs://, https://...#sha256=..., models:/NAME@ALIAS or runs:/RUN/path "
    "of MLflow, hf://ORG/REPO/m.onnx@REVISION"
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are raised, so that one place shows them."""

    _typed: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; what was typed is kept for errors."""
        self._typed = args or ()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print, and which option may have been meant."""
        raise UsageError(f"{message}; {self._meant() or 'see --help'}")

    def _meant(self) -> str:
        """Of an option that there is none of, one that is written alike."""
        known = self._option_string_actions
        for name in (one.partition("=")[0] for one in self._typed if one.startswith("--")):
            close = [] if name in known else difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            if close:
                return f"there is no {name}, did you mean {close[0]}?"
        return ""


def add_binding(group: argparse._ArgumentGroup) -> None:
    """`--columns`, `--set`, `--narrow` and `--nulls`: what feeds which inputs; `read_binding` reads them."""
    group.add_argument(
        "--columns",
        nargs="+",
        action="extend",
        default=[],
        metavar="INPUT=COL[,COL]",
        help="which columns feed which input (default: by name); a name with a comma in double quotes: "
        "'x=age,\"last, first\"'",
    )
    group.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="INPUT=VALUE",
        help="inputs that are no columns: a number, several (1,2,3), a text, zeros, ones, or a .npy file",
    )
    group.add_argument(
        "--types",
        metavar="COL:TYPE[,COL:TYPE]",
        help="types of columns of the files, by Arrow's names, e.g. id:string,amount:decimal128(12,2); "
        "values that are none fail their rows (default: what a sample of all files has)",
    )
    group.add_argument(
        "--narrow",
        action="store_true",
        help="round numbers that an input's floats do not hold: float64 to float32, whole numbers, decimals",
    )
    group.add_argument(
        "--coupled_rows",
        choices=("alone", "accept"),
        default="alone",
        help="rows of a model that quantises with scales set from all rows of a run: each alone, or accept: together, "
        "those of like size, and of NaN or infinity alone (default: %(default)s)",
    )
    group.add_argument(
        "--nulls",
        nargs="+",
        action="extend",
        default=[],
        metavar="[COL=]error|nan|VALUE",
        help="what the model is fed for a null: of all columns, and of single ones, e.g. --nulls nan age=0 "
        "city=unknown (default: error, the row fails)",
    )


def add_csv_header(group: argparse._ArgumentGroup) -> None:
    """`--csv_header` and `--delimiter`: how a CSV file is to be read; `read_binding` reads the first."""
    group.add_argument(
        "--csv_header",
        metavar="yes|no|NAME[,NAME]",
        help="whether the first line of CSV files names the columns; no: it is a row, and they are column_1, column_2, "
        "...; or their names, if it is a row (default: yes, and what looks like a row is refused)",
    )
    group.add_argument(
        "--delimiter",
        type=read_delimiter,
        metavar="';'|tab",
        help="between the cells of CSV files (default: a comma, of .tsv a tab)",
    )


def read_delimiter(text: str) -> str:
    """A character, or the word `tab`."""
    mark = "\t" if text in ("tab", "\\t") else text
    if len(mark) != 1 or not mark.isascii() or mark.isalnum() or mark in "\"'\r\n._-+":
        raise argparse.ArgumentTypeError(f"{text!r} is no character that stands between cells, such as ';', '|' or tab")
    return mark


def add_prepare(group: argparse._ArgumentGroup) -> None:
    """`--prepare`: the data stage."""
    group.add_argument(
        "--prepare", action="append", default=[], metavar="SPEC", help="step before the model; repeat to chain"
    )


def read_binding(options: argparse.Namespace) -> None:
    """Take the values of `--columns`, `--set`, `--nulls`, `--types` and `--csv_header` apart.

    Raises:
        UsageError: one is not of the form INPUT=VALUE, or an input or column is named twice.
    """
    columns = _pairs("--columns", options.columns, "x=a,b")
    options.columns = {name: split_names("--columns", value) for name, value in columns.items()}
    options.set = _pairs("--set", options.set, "x=zeros")
    options.nulls = read_nulls(options.nulls)
    options.types = _types(options.types)
    options.csv_header = None if options.csv_header is None else read_csv_header(options.csv_header)


def _types(text: str | None) -> dict[str, Any]:
    """The Arrow types of `--types`; Arrow is not imported where there are none."""
    if text is None:
        return {}
    from beamsplit.transforms.read.type_names import parse_types

    return parse_types(text)


def read_encoding(name: str | None) -> str | None:
    """The encoding of `--encoding`.

    Raises:
        UsageError: Python knows none of that name.
    """
    if name is None:
        return None
    from beamsplit.transforms.read.encoding import check_encoding

    return check_encoding(name)


def groups_of(given: argparse.Namespace, groups: Mapping[str, type[Any]]) -> dict[str, Any]:
    """The groups' values of what argparse has found, each field by its option."""
    return {
        group: kind(**{one.name: getattr(given, option_of(group, one.name)) for one in fields(kind)})
        for group, kind in groups.items()
    }


def check_not_empty(options: argparse.Namespace) -> None:
    """Raise for an option that was given an empty text, as a shell does for a variable that is not set.

    Raises:
        UsageError: there is one.
    """
    empty = [name for name, value in vars(options).items() if value == ""]
    if empty:
        raise UsageError(f"--{empty[0]} is given the empty text ''; give it a value, or leave it out")


def check_no_passwords(options: argparse.Namespace) -> None:
    """Raise for a name of a store that has a user or password in it.

    Raises:
        UsageError: there is one; it is not shown.
    """
    given = [(name, value if isinstance(value, list) else [value]) for name, value in vars(options).items()]
    names = [(f"--{name}", one) for name, values in given for one in values if isinstance(one, str)]
    check_names(names)
    check_sql_passwords(names)


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
