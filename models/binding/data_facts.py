"""What the user said of the data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from beamsplit.models.binding.nulls import NO_NULLS, Nulls


@dataclass(frozen=True)
class DataFacts:
    """Which columns are meant for what, and how far their values may be converted."""

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Input -> columns."""

    sets: Mapping[str, str] = field(default_factory=dict)
    """Input -> what `models.binding.constants.constant` reads."""

    narrow: bool = False
    """Round what a floating-point input does not hold: floats of a wider type, whole numbers and decimals, to infinity
    where they are too large. What an input of integers or bools does not hold makes its row bad."""

    text_source: bool = False
    """The data comes from CSV or JSON, whose fractions have no declared width: they are rounded to the model's."""

    ignore: Collection[str] = ()
    """Columns that are not taken unless by name."""

    together: bool = False
    """Whether rows may run together that only influence one another through scales of all rows of a run."""

    nulls: Nulls = NO_NULLS
    """What stands for nulls."""
