"""Encoded images (JPEG, PNG, ...) to tensors."""

from __future__ import annotations

import functools
import importlib.util
import io
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.values.tensors import output_field, to_arrow
from beamsplit.transforms.columns import check_column, drop_rows, replace_columns, replace_fields
from beamsplit.transforms.prepare.bytes import binary_view, is_binary
from beamsplit.transforms.prepare.image_end import check_end
from beamsplit.transforms.prepare.pixels import is_deep, to_eight_bits
from beamsplit.transforms.spec import SpecStep, boolean, number, numbers, one_of, option, text, whole, wholes
from beamsplit.transforms.step import RowFailure, StepResult

MAX_PIXELS = 89_478_485
"""Pillow's own limit, above which an image counts as a decompression bomb: 256 MB of RGB."""


@functools.cache
def _pillow() -> Any:
    from PIL import Image, ImageOps

    # Images that this would warn of are row failures here.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", message="Palette images with Transparency", category=UserWarning)
    return Image, ImageOps


@dataclass(frozen=True)
class Image(SpecStep):
    """Binary column of encoded images -> one tensor a row, `[channels, height, width]` for layout nchw.

    An image is decoded, turned as its EXIF orientation says, converted to `color`, resized, cropped, and
    normalised: `(pixel / scale - mean) / std`. With `crop=center` the short side is resized to `resize` and the
    centre cut out, as torchvision does; with `crop=none` the whole image is squashed to `size`. Transparency
    is left out, and of several pages the first is taken.
    """

    NAME: ClassVar[str] = "image"
    SUMMARY: ClassVar[str] = "decode, turn, resize, crop and normalise images (needs pillow)"
    EXAMPLE: ClassVar[str] = "image:size=224,crop=center,mean=0.485/0.456/0.406,std=0.229/0.224/0.225"

    size: tuple[int, ...] = option(wholes(1, 2), (224,))
    """Pixels: one side of a square, or height/width."""

    crop: str = option(one_of("center", "none"), "center")
    """`center` or `none`."""

    resize: int = option(whole(1), None)
    """Short side before the crop, in pixels; by default size * 256 / 224, rounded."""

    mean: tuple[float, ...] = option(numbers, ())
    """Taken off each channel after `scale`: one number, or one a channel."""

    std: tuple[float, ...] = option(numbers, ())
    """Each channel is divided by it: one number, or one a channel."""

    scale: float = option(number, None)
    """Pixels are divided by it: 255 for floats unless given, 1 for uint8."""

    layout: str = option(one_of("nchw", "nhwc"), "nchw")
    """`nchw` or `nhwc`."""

    color: str = option(one_of("rgb", "bgr", "gray"), "rgb")
    """`rgb`, `bgr` or `gray` (one channel)."""

    filter: str = option(one_of("bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"), "bilinear")
    """How pixels are resampled."""

    range: tuple[float, ...] = option(numbers, ())
    """LOW/HIGH: what is black and white in images of floats or of more than 8 bits, e.g. `0/1` or `0/4095`; values
    beyond are taken for those. By default 0/65535 for 16 bits, and rows of floats, 32-bit or signed integers fail."""

    dtype: str = option(one_of("float32", "float16", "uint8"), "float32")
    """`float32`, `float16` or `uint8` (which takes no mean and std)."""

    draft: bool = option(boolean, False)
    """Whether JPEGs may be decoded at a half, a quarter or an eighth: faster, with slightly other pixels."""

    max_pixels: int = option(whole(1), MAX_PIXELS)
    """Larger images go to the errors output, unread."""

    column: str = option(text, "bytes")
    """The binary column."""

    output: str = option(text, "image")
    """The column it makes."""

    keep: bool = option(boolean, False)
    """Whether the binary column stays."""

    def __post_init__(self) -> None:
        """Check the options against each other, and that Pillow is there."""
        if self.crop == "none" and self.resize is not None:
            raise ValueError("crop=none squashes to size and takes no resize")
        if self.resize is not None and self.resize < max(self.size):
            raise ValueError(f"resize={self.resize} is smaller than size={max(self.size)}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and self.dtype == "uint8":
                raise ValueError(f"dtype=uint8 holds whole numbers and takes no {name}")
            if len(values) not in (0, 1, self._channels):
                raise ValueError(f"{name} has {len(values)} numbers for the {self._channels} channels of {self.color}")
        if 0 in self.std or self.scale == 0:
            raise ValueError("std and scale divide and cannot be 0")
        if self.dtype == "uint8" and self.scale not in (None, 1):
            raise ValueError("dtype=uint8 holds the pixels as they are and takes no scale")
        if self.range and (len(self.range) != 2 or self.range[0] >= self.range[1]):
            raise ValueError(f"range wants LOW/HIGH, two numbers of which the first is less, not {self.range}")
        if importlib.util.find_spec("PIL") is None:
            raise ValueError("Pillow is not installed; type: pip install 'beamsplit[image]'")

    @property
    def _channels(self) -> int:
        return 1 if self.color == "gray" else 3

    @property
    def _row_shape(self) -> tuple[int, int, int]:
        height, width = self.size[0], self.size[-1]
        return (self._channels, height, width) if self.layout == "nchw" else (height, width, self._channels)

    def _field(self) -> pa.Field:
        return output_field(self.output, self.dtype, self._row_shape)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Replace the binary column by a tensor column.

        Raises:
            UsageError: the column is missing or not binary.
        """
        check_column(self.NAME, schema, self.column, is_binary, "encoded images as binary data")
        return replace_fields(self.NAME, schema, self.column, [self._field()], self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Decode each row; what is no whole image fails."""
        column = block.column(self.column)
        data, offsets = binary_view(column)
        view = memoryview(data)  # type: ignore[arg-type]
        present = column.is_valid().to_numpy(zero_copy_only=False)
        values = np.empty((block.num_rows, *self._row_shape), dtype=self.dtype)
        factor, shift = self._normalisation()
        failures = []
        good = 0
        for row in range(block.num_rows):
            if not present[row]:
                failures.append(RowFailure(row, f"null in column {self.column!r}"))
                continue
            try:
                pixels = self._pixels(view[offsets[row] : offsets[row + 1]])
            except Exception as error:  # decoders raise anything on broken data, and a bad row fails no job
                failures.append(RowFailure(row, _reason(error)))
                continue
            into = values[good]
            if self.layout == "nchw":
                pixels = pixels.transpose(2, 0, 1)
            if factor is None or shift is None:
                into[...] = pixels
            else:
                np.multiply(pixels, factor, out=into, casting="same_kind")
                np.add(into, shift, out=into, casting="same_kind")
            good += 1
        field = self._field()
        rows = drop_rows(block, [failure.row for failure in failures])
        made = replace_columns(self.NAME, rows, self.column, [field], [to_arrow(values[:good], field)], self.keep)
        return StepResult(made, failures)

    def _normalisation(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(factor, shift) of pixel * factor + shift, shaped to one row; None where pixels stay as they are."""
        scale = self.scale or (1.0 if self.dtype == "uint8" else 255.0)
        if scale == 1 and not self.mean and not self.std:
            return None, None
        shape = (-1, 1, 1) if self.layout == "nchw" else (1, 1, -1)
        mean = np.array(self.mean or (0.0,)).reshape(shape)
        std = np.array(self.std or (1.0,)).reshape(shape)
        return (1.0 / (scale * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def _pixels(self, encoded: memoryview) -> np.ndarray:
        """uint8[height, width, channels] of one encoded image."""
        module, ops = _pillow()
        mode = "L" if self.color == "gray" else "RGB"
        height, width = self.size[0], self.size[-1]
        short = self.resize if self.resize is not None else round(max(self.size) * 256 / 224)
        content = bytes(encoded)
        check_end(content)
        image = opened = module.open(io.BytesIO(content))
        if image.width * image.height > self.max_pixels:
            raise ValueError(f"{image.width} x {image.height} pixels are more than max_pixels={self.max_pixels}")
        if self.draft:
            image.draft(mode, (short, short) if self.crop == "center" else (max(height, width),) * 2)
        image = ops.exif_transpose(image)
        if is_deep(opened):
            image = module.fromarray(to_eight_bits(image, opened, self.range))
        image = image if image.mode == mode else image.convert(mode)
        resample = module.Resampling[self.filter.upper()]
        if self.crop == "none":
            image = image.resize((width, height), resample)
        else:
            full = _resized(image.width, image.height, short)
            if full != image.size:
                image = image.resize(full, resample)
            left, top = round((full[0] - width) / 2), round((full[1] - height) / 2)
            image = image.crop((left, top, left + width, top + height))
        pixels = np.asarray(image).reshape(height, width, self._channels)
        return pixels[..., ::-1] if self.color == "bgr" else pixels


def _resized(width: int, height: int, short: int) -> tuple[int, int]:
    """(width, height) with the short side `short` and the long side rounded down, as torchvision has it."""
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def _reason(error: Exception) -> str:
    """One line of why an image cannot be read."""
    if type(error).__name__ == "UnidentifiedImageError":  # its own text holds a memory address
        return "cannot identify image file"
    line = " ".join(str(error).split())
    return line if isinstance(error, OSError | ValueError) and line else f"{type(error).__name__}: {line}".rstrip(": ")
