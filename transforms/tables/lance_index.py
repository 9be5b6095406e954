"""Indexes of a Lance dataset that are made on request: of vectors, to find similar rows by, or of single values."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from beamsplit.models.errors import UsageError

OF_VECTORS = ("IVF_FLAT", "IVF_PQ", "IVF_HNSW_SQ")
OF_VALUES = ("BTREE", "BITMAP")
METRICS = ("l2", "cosine", "dot")
OPTION = "--lance_index"


class LanceIndex(NamedTuple):
    """An index of a column."""

    column: str
    kind: str | None = None
    """One of `OF_VECTORS` or `OF_VALUES`; None is the first of those that suit the column."""

    metric: str | None = None
    """By which vectors are near, one of `METRICS`."""


def parse_index(spec: str) -> LanceIndex:
    """What an option asks for: `COLUMN`, `COLUMN:KIND` or `COLUMN:KIND:METRIC`.

    >>> parse_index("y:ivf_pq:cosine"), parse_index("id")
    (LanceIndex(column='y', kind='IVF_PQ', metric='cosine'), LanceIndex(column='id', kind=None, metric=None))

    Raises:
        UsageError: it is no index.
    """
    column, *more = spec.split(":")
    kind = more[0].upper() if more else None
    metric = more[1].lower() if len(more) > 1 else None
    if not column or len(more) > 2 or (metric is not None and kind in OF_VALUES):
        raise UsageError(f"{OPTION} {spec} is not of the form COLUMN[:KIND[:METRIC]], e.g. {OPTION} y:IVF_PQ:cosine")
    if kind is not None and kind not in (*OF_VECTORS, *OF_VALUES):
        raise UsageError(
            f"{OPTION} {spec}: there is no kind {kind}; type one of {', '.join((*OF_VECTORS, *OF_VALUES))}"
        )
    if metric is not None and metric not in METRICS:
        raise UsageError(f"{OPTION} {spec}: there is no metric {metric}; type one of {', '.join(METRICS)}")
    return LanceIndex(column, kind, metric)


def bound_index(index: LanceIndex, schema: pa.Schema) -> LanceIndex:
    """The index of a column that suits it.

    Args:
        index: as it was asked for.
        schema: of the dataset.

    Raises:
        UsageError: there is no such column, or it is of another type.
    """
    if index.column not in schema.names:
        raise UsageError(f"{OPTION} names {index.column!r}, and the dataset has the columns {', '.join(schema.names)}")
    kind = schema.field(index.column).type
    vector = pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)
    suits = OF_VECTORS if vector else OF_VALUES
    if (index.kind or suits[0]) not in suits or (pa.types.is_nested(kind) and not vector):
        raise UsageError(
            f"{OPTION}: the column {index.column!r} is {kind}; {', '.join(OF_VECTORS)} are for vectors (lists of "
            f"floats of one size), {', '.join(OF_VALUES)} for single values"
        )
    if not vector and index.metric is not None:
        raise UsageError(f"{OPTION}: {index.metric} is for vectors, and the column {index.column!r} is {kind}")
    return index._replace(kind=index.kind or suits[0])


def have_indexes(dataset: Any, indexes: Sequence[LanceIndex]) -> bool:
    """Whether the dataset has them, of all its rows."""
    fragments = {fragment.fragment_id for fragment in dataset.get_fragments()}
    have = {one["name"]: set(one["fragment_ids"]) for one in dataset.list_indices()} if indexes else {}
    return all(fragments <= have.get(_name(index), {-1}) for index in indexes)


def make_index(dataset: Any, index: LanceIndex) -> None:
    """Make it of all rows of the dataset, in place of one that is there.

    Raises:
        Exception: Lance's, where it cannot be made.
    """
    logging.getLogger("pylance").setLevel(logging.WARNING)  # it tells how long it took
    if index.kind in OF_VECTORS:
        dataset.create_index(index.column, index.kind, name=_name(index), metric=index.metric or "l2", replace=True)
    else:
        dataset.create_scalar_index(index.column, index.kind, name=_name(index), replace=True)


def _name(index: LanceIndex) -> str:
    return f"{index.column}_idx"
