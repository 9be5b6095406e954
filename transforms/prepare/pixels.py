"""Pixels of more than 8 bits to 8: what is black and what is white must be known, else everything would be one of them.

I;16 of PNG, TIFF, PGM, JPEG 2000    0 to 65535 (a TIFF of 12 bits: to 4095), or range=LOW/HIGH
F, I, signed integers                range=LOW/HIGH, else the row fails
"""

from __future__ import annotations

from typing import Any

import numpy as np

from beamsplit.models.values.tensors import Array

WHITE_IS_ZERO = 0
"""What TIFF's tag of the photometric interpretation says of negatives."""

PHOTOMETRIC, BITS, SAMPLE_FORMAT = 262, 258, 339
"""Numbers of TIFF's tags."""

UNSIGNED, SIGNED = 1, 2
"""What the tag of the sample format says."""

FULL_RANGE = ("PNG", "TIFF", "PPM", "JPEG2000")
"""Formats whose 16-bit pixels go from 0 for black to 65535 for white."""

TOO_DARK = 4096
"""16-bit pixels all below hold 12 bits or fewer, whose white is another."""


def is_deep(image: Any) -> bool:
    """Whether an image, as it was opened, has pixels that are no unsigned 8-bit numbers."""
    return (
        image.mode == "F" or image.mode.startswith("I") or (image.mode == "L" and _tag(image, SAMPLE_FORMAT) == SIGNED)
    )


def to_eight_bits(image: Any, opened: Any, limits: tuple[float, ...] = ()) -> Array:
    """uint8[height, width] of an image with deeper pixels.

    Args:
        image: a Pillow image, perhaps turned.
        opened: the same as it was opened, which knows its format and tags.
        limits: what is black and what is white; empty takes the full range of 16 bits.

    Raises:
        ValueError: that is not known, or a pixel is no number.
    """
    values = _values(np.asarray(image), opened)
    sixteen = opened.mode.startswith("I;16") or (opened.mode == "I" and opened.format in ("PNG", "PPM"))
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("a pixel is nan or inf")
    if not limits:
        made = _full_range(values, opened, sixteen)
    else:
        low, high = limits
        scaled = (values.astype(np.float64) - low) / (high - low) * 255
        made = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return 255 - made if _tag(opened, PHOTOMETRIC) == WHITE_IS_ZERO else made


def _full_range(values: Array, opened: Any, sixteen: bool) -> Array:
    least, most = (values.min(), values.max()) if values.size else (0, 0)
    bits = _tag(opened, BITS) if opened.format == "TIFF" else 16
    if not sixteen or opened.format not in FULL_RANGE:
        kind = "floats" if values.dtype.kind == "f" else f"{'' if values.dtype.kind == 'u' else 'signed '}integers"
        raise ValueError(
            f"its pixels are {kind} from {least} to {most}, and which of them are black and white is not known; "
            "say it with image:range=LOW/HIGH"
        )
    if bits == 16 and 0 < most < TOO_DARK:
        raise ValueError(
            f"its 16-bit pixels go up to {most} only, so that all would be nearly black; if white is another than "
            f"65535, say it with image:range=0/{most} or the like"
        )
    made: Array = (values.clip(0, 65535).astype(np.uint16) >> (4 if bits == 12 else 8)).astype(np.uint8)
    return made


def _values(pixels: Array, opened: Any) -> Array:
    """The pixels as the numbers that the file holds: Pillow has unsigned 32-bit ones as signed, signed 8-bit as not."""
    if opened.mode == "I" and opened.format == "TIFF" and _tag(opened, SAMPLE_FORMAT) in (None, UNSIGNED):
        return pixels.view(np.uint32)
    if opened.mode == "L":
        return pixels.view(np.int8)
    return pixels


def _tag(opened: Any, number: int) -> int | None:
    """A TIFF's tag, of its first channel; None for other images."""
    tags = getattr(opened, "tag_v2", None)
    value: Any = tags.get(number) if tags is not None else None
    if isinstance(value, tuple):
        value = value[0] if value else None
    return None if value is None else int(value)
