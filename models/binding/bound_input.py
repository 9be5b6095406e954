"""One input of a model and the columns that fill it."""

from __future__ import annotations

from dataclasses import dataclass

from beamsplit.models.binding.folding import Fold
from beamsplit.models.binding.nulls import Fill
from beamsplit.models.graph.signature import Dim


def shorten(names: tuple[str, ...] | list[str], most: int = 8) -> str:
    """Names for a message, the middle of a long list left out: `f0, f1, f2, …, f31`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most // 2])}, …, {names[-1]}"


@dataclass(frozen=True)
class BoundInput:
    """Which columns fill an input, and how."""

    name: str
    """The input's name."""

    dtype: str
    """As in `TensorSpec.dtype`; columns of another type are converted while they are copied."""

    columns: tuple[str, ...]
    """One column, or several scalar columns set side by side."""

    rows_axis: int
    """The axis of the input that carries the rows."""

    dims: tuple[Dim, ...] | None
    """The model's dimensions without the rows axis; None where not even the rank is known."""

    fold: Fold
    """From the row of the column (or of all columns side by side) to the row of the model."""

    source: str
    """What the first column holds, for people: `"float64"`, `"int64[?]"`."""

    nulls: tuple[Fill | None, ...] = ()
    """What stands for a null in each of the columns; None, or nothing at all, where it makes its row bad."""

    exact: bool = True
    """Whether a row is bad where a whole number or a decimal would be rounded; False with --narrow."""

    def null_in(self, column: int) -> Fill | None:
        """What stands for a null in the column of this number."""
        return self.nulls[column] if self.nulls else None

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """Shape of one row, without the rows axis; None where it varies from row to row."""
        return self.fold.row_shape

    def __str__(self) -> str:
        """E.g. `x: float32[rows, 32] <- 32 columns f0, f1, f2, …, f31 (float64)`."""
        shape = ["?" if size is None else str(size) for size in self.row_shape]
        shape.insert(self.rows_axis, "rows")
        count = "column" if len(self.columns) == 1 else f"{len(self.columns)} columns"
        line = f"{self.name}: {self.dtype}[{', '.join(shape)}] <- {count} {shorten(self.columns)} ({self.source})"
        filled = list(dict.fromkeys("bad" if value is None else repr(value) for value in self.nulls))
        if filled not in ([], ["bad"]):
            line += f", nulls are {shorten(filled)}"
        return line if self.fold.fixed else f"{line}, rows of equal shape together"
