"""The names of the features that a model was trained on, where its file tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from beamsplit.models.binding.bound_input import shorten
from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.classes import parse_names

_KEYS = (
    "featurenames",
    "featurenamesin",
    "featurename",
    "features",
    "inputfeatures",
    "inputfeaturenames",
    "featurecolumns",
    "columns",
    "columnnames",
    "inputcolumns",
    "inputnames",
)
"""Keys of `metadata_props`, without case and marks: `feature_names`, scikit-learn's `feature_names_in_`, ..."""


_MADE_UP = re.compile(r"(f|x|var|feature|column|col|input)[ _]?\d+", re.IGNORECASE)
"""Names that libraries give where they were given none: they name no column."""


def check_features(metadata: Mapping[str, str], columns: Sequence[str], what: str) -> str | None:
    """The key under which the model's file names these columns in this order; None if it names none.

    Raises:
        UsageError: it names others, or another order.
    """
    told = feature_names(metadata, len(columns))
    if told is None or (set(told[1]) != set(columns) and all(map(_MADE_UP.fullmatch, told[1]))):
        return None
    key, names = told
    if names != tuple(columns):
        raise UsageError(
            f"{what} would take the columns {shorten(tuple(columns))}, in their order, and the model's metadata ({key}"
            f") name {shorten(names)}; say which columns these are, e.g. --columns INPUT={','.join(names[:3])}"
            f"{',…' if len(names) > 3 else ''}"
        )
    return key


def feature_names(metadata: Mapping[str, str], count: int) -> tuple[str, tuple[str, ...]] | None:
    """(key, names) of so many features, in the order that the model takes them; None where it does not tell.

    >>> feature_names({"feature_names": '["age", "height"]'}, 2)
    ('feature_names', ('age', 'height'))
    """
    plain = {re.sub(r"[^a-z]", "", key.lower()): key for key in metadata}
    for wanted in _KEYS:
        if wanted in plain:
            text = metadata[plain[wanted]]
            names = tuple(map(str, parse_names(text))) or (text.strip(),)
            if len(names) == count:
                return plain[wanted], names
    return None
