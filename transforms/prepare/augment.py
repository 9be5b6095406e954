"""Test-time augmentation: each image becomes several; `MeanOfCopies` averages what the model says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import column_type, output_field, to_arrow
from beamsplit.transforms.block import COPY
from beamsplit.transforms.columns import check_column, replace_fields, tensor_rows
from beamsplit.transforms.spec import SpecStep, boolean, one_of, option, text, whole
from beamsplit.transforms.step import StepResult

_COPY_FIELD = pa.field(COPY, pa.int8(), nullable=False)


@dataclass(frozen=True)
class Augment(SpecStep):
    """Tensor column of images -> K consecutive rows an image, with the number of the copy in a column of its own.

    The copies are the crops (top left, top right, bottom left, bottom right, centre), then their mirror images.
    All other columns, the origin too, are repeated.
    """

    NAME: ClassVar[str] = "augment"
    SUMMARY: ClassVar[str] = "score mirrored copies and crops of each image and average the predictions"
    EXAMPLE: ClassVar[str] = "augment:flip,crops=5,size=224"

    flip: bool = option(boolean, False)
    """Whether mirror images are added."""

    crops: int = option(whole(1), 1)
    """5 for the corners and the centre, 1 for the image as it is."""

    size: int = option(whole(1), None)
    """Side of a crop in pixels; by default 7/8 of the image's short side (224 of 256)."""

    layout: str = option(one_of("nchw", "nhwc"), None)
    """Where it does not follow from the shape (3 or 1 channels first or last): `nchw` or `nhwc`."""

    column: str = option(text, "image")
    """The column with the images, which it replaces."""

    def __post_init__(self) -> None:
        """Check the options against each other."""
        if self.crops not in (1, 5):
            raise ValueError(f"crops={self.crops} is not 1 or 5")
        if self.crops == 1 and self.size is not None:
            raise ValueError("size goes with crops=5")
        if self.copies == 1:
            raise ValueError("neither flip nor crops=5 is given, which leaves one copy")

    @property
    def copies(self) -> int:
        """Rows made of one row."""
        return self.crops * (2 if self.flip else 1)

    def _shapes(self, schema: pa.Schema) -> tuple[str, bool, tuple[int, int], tuple[int, int]]:
        """(dtype, channels come first, (height, width) of the image, (height, width) of a copy).

        Raises:
            UsageError: no image column, or crops that do not fit.
        """
        check_column(self.NAME, schema, self.column, _is_image, "images of one shape, [channels, height, width]")
        kind = column_type(schema.field(self.column).type)
        assert kind is not None
        shape = tuple(size for size in kind.shape if size is not None)
        first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
        if self.layout is None and first == last:
            raise UsageError(
                f"augment cannot tell where the channels are in column {self.column!r} of shape {list(shape)}; "
                "type augment:...,layout=nchw or layout=nhwc"
            )
        channels_first = first if self.layout is None else self.layout == "nchw"
        height, width = shape[1:] if channels_first else shape[:2]
        if self.crops == 1:
            return kind.dtype, channels_first, (height, width), (height, width)
        size = self.size if self.size is not None else round(min(height, width) * 7 / 8)
        if size > min(height, width):
            raise UsageError(
                f"augment wants crops of size={size}, and the images of column {self.column!r} are {height} x {width}; "
                f"type image:size={round(size * 8 / 7)},... before it, or a smaller size"
            )
        return kind.dtype, channels_first, (height, width), (size, size)

    def _field(self, schema: pa.Schema) -> pa.Field:
        dtype, channels_first, _, (height, width) = self._shapes(schema)
        shape = column_type(schema.field(self.column).type).shape  # type: ignore[union-attr]
        row = (shape[0], height, width) if channels_first else (height, width, shape[2])
        return output_field(self.column, dtype, tuple(size or 0 for size in row))

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The images in their new size, and the number of the copy.

        Raises:
            UsageError: no such column, one that is no image, crops larger than the image, or a second `augment`.
        """
        if COPY in schema.names:
            raise UsageError("augment is given twice; type both in one: --prepare augment:flip,crops=5")
        return replace_fields(self.NAME, schema, self.column, [self._field(schema)], False).append(_COPY_FIELD)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Repeat each row; rows whose image is null fail."""
        _, channels_first, (height, width), (high, wide) = self._shapes(block.schema)
        field = self._field(block.schema)
        rows, column, failures = tensor_rows(block, self.column)
        images = column.values
        vertical, horizontal = (2, 3) if channels_first else (1, 2)
        bottom, right = height - high, width - wide
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))]
        made = np.empty((len(images), self.copies, *column_type(field.type).shape), dtype=images.dtype)  # type: ignore[union-attr]
        for number, (top, left) in enumerate(corners if self.crops == 5 else corners[:1]):
            cut = [slice(None)] * 4
            cut[vertical], cut[horizontal] = slice(top, top + high), slice(left, left + wide)
            made[:, number] = images[tuple(cut)]
            if self.flip:
                made[:, self.crops + number] = np.flip(made[:, number], axis=horizontal)
        others = rows.drop_columns([self.column]).take(pa.array(np.repeat(np.arange(len(images)), self.copies)))
        position = rows.schema.get_field_index(self.column)
        array = to_arrow(made.reshape(-1, *made.shape[2:]), field)
        result = pa.RecordBatch.from_arrays(
            [*others.columns[:position], array, *others.columns[position:], self._numbers(len(images))],
            schema=self.output_schema(block.schema),
        )
        return StepResult(result, failures)

    def _numbers(self, images: int) -> pa.Array:
        return pa.array(np.tile(np.arange(self.copies, dtype=np.int8), images))


def _is_image(data_type: pa.DataType) -> bool:
    kind = column_type(data_type)
    return kind is not None and kind.dtype != "string" and len(kind.shape) == 3 and None not in kind.shape
