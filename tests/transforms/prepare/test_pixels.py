"""Images of every mode that Pillow opens: 8 bits that are right, or a row that fails with what to type."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image as Pil

from beamsplit.models.errors import UsageError
from beamsplit.transforms.prepare import parse_prepare
from tests.transforms.prepare.pictures import encoded, run

SIZE = 16
STEPS = np.linspace(0, 1, SIZE * SIZE).reshape(SIZE, SIZE)
GRAY = f"image:size={SIZE},crop=none,color=gray,dtype=uint8"


def tag(data: bytes, number: int, value: int) -> bytes:
    """A little-endian TIFF with another value of a tag that holds one short."""
    at = data.index(struct.pack("<HHI", number, 3, 1))
    return data[: at + 8] + struct.pack("<H", value) + data[at + 10 :]


def levels(data: bytes, options: str = "") -> np.ndarray:
    values, failures = run(GRAY + options, [data])
    assert failures == []
    return values[0, 0].astype(int)


def reason(data: bytes, options: str = "") -> str:
    values, failures = run(GRAY + options, [data])
    assert len(values) == 0
    return failures[0].reason


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_modes_of_8_bits(mode: str):
    gray = Pil.fromarray((STEPS * 255).astype(np.uint8))
    image = gray.convert("RGB").convert(mode) if mode not in ("1", "L", "LA") else gray.convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    found = levels(encoded(image, kind))
    assert np.array_equal(found, np.asarray(image.convert("L"))) and found.max() > 200 and found.min() < 50
    values, failures = run(f"image:size={SIZE},crop=none,dtype=uint8", [encoded(image, kind)])
    assert failures == [] and np.array_equal(values[0].transpose(1, 2, 0), np.asarray(image.convert("RGB")))


@pytest.mark.filterwarnings("ignore:Palette images")
def test_a_palette_with_transparency():
    image = Pil.fromarray((STEPS * 255).astype(np.uint8)).convert("RGB").quantize(16)
    data = encoded(image, "PNG", transparency=bytes(range(16)))
    assert np.array_equal(levels(data), np.asarray(image.convert("RGB").convert("L")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_of_full_range(kind: str):
    values = (STEPS * 65535).astype(np.uint16)
    assert np.array_equal(levels(encoded(Pil.fromarray(values), kind)), values >> 8)


def test_16_bits_big_endian():
    values = (STEPS * 65535).astype(">u2")
    image = Pil.frombytes("I;16B", (SIZE, SIZE), values.tobytes())
    assert np.array_equal(levels(encoded(image, "TIFF")), values >> 8)


def test_12_bits_in_16_want_their_range():
    values = (STEPS * 4095).astype(np.uint16)
    data = encoded(Pil.fromarray(values), "TIFF")
    assert reason(data) == (
        "its 16-bit pixels go up to 4095 only, so that all would be nearly black; if white is another than 65535, "
        "say it with image:range=0/4095 or the like"
    )
    assert np.array_equal(levels(data, ",range=0/4095"), np.rint(values / 4095 * 255))
    # What is all black is black in any range.
    assert levels(encoded(Pil.fromarray(values * 0), "PNG")).max() == 0


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (STEPS.astype(np.float32), "floats from 0.0 to 1.0"),
        ((STEPS * 1e5).astype(np.float32), "floats from 0.0 to 100000.0"),
        ((STEPS * 100000).astype(np.int32), "signed integers from 0 to 100000"),
        ((STEPS * 200).astype(np.int32), "signed integers from 0 to 200"),
    ],
)
def test_floats_and_32_bits_want_a_range(values: np.ndarray, kind: str):
    data = encoded(Pil.fromarray(values), "TIFF")
    assert reason(data) == (
        f"its pixels are {kind}, and which of them are black and white is not known; say it with image:range=LOW/HIGH"
    )
    low, high = float(values.min()), float(values.max())
    assert np.array_equal(levels(data, f",range={low:.0f}/{high:.0f}"), np.rint((values - low) / (high - low) * 255))


def test_what_lies_beyond_the_range_is_black_or_white():
    data = encoded(Pil.fromarray((STEPS * 4 - 2).astype(np.float32)), "TIFF")
    found = levels(data, ",range=-1/1")
    assert found[0, 0] == 0 and found[-1, -1] == 255


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers(value: float):
    values = STEPS.astype(np.float32)
    values[3, 3] = value
    assert reason(encoded(Pil.fromarray(values), "TIFF"), ",range=0/1") == "a pixel is nan or inf"


def test_unsigned_32_bits():
    values = (STEPS * (2**32 - 1)).astype(np.uint32)
    data = tag(encoded(Pil.fromarray(values.view(np.int32)), "TIFF"), 339, 1)
    assert reason(data).startswith("its pixels are integers from 0 to 4294967295")
    assert np.array_equal(levels(data, ",range=0/4294967295"), np.rint(values / (2**32 - 1) * 255))


def test_signed_16_and_8_bits():
    sixteen = (STEPS * 65535 - 32768).astype(np.int16)
    data = encoded(Pil.fromarray(sixteen.view(np.uint16)), "TIFF", tiffinfo={339: 2})
    data = data if b"\x53\x01\x03\x00\x01\x00\x00\x00\x02" in data else tag(data, 339, 2)
    assert reason(data).startswith("its pixels are signed integers from -32768 to 32767")
    assert np.array_equal(levels(data, ",range=-32768/32767"), np.rint((sixteen.astype(float) + 32768) / 65535 * 255))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_negatives(dtype: type):
    top = 65535 if dtype is np.uint16 else 1
    values = (STEPS * top).astype(dtype)
    data = tag(encoded(Pil.fromarray(values), "TIFF"), 262, 0)
    found = levels(data, f",range=0/{top}")
    assert np.array_equal(found, 255 - np.rint(values / top * 255))


def test_turned_as_its_exif_says():
    values = (STEPS * 65535).astype(np.uint16)
    exif = Pil.Exif()
    exif[0x0112] = 6
    found = levels(encoded(Pil.fromarray(values), "PNG", exif=exif.tobytes()))
    assert np.array_equal(found, np.rot90(values >> 8, -1))


def test_lab_is_refused():
    image = Pil.fromarray((np.stack([STEPS] * 3, axis=-1) * 255).astype(np.uint8), "LAB")
    assert "conversion from LAB to RGB not supported" in reason(encoded(image, "TIFF"))


@pytest.mark.parametrize("option", ["range=1", "range=1/0", "range=0/1/2", "range=1/1", "range=0/nan"])
def test_wrong_ranges(option: str):
    with pytest.raises(UsageError, match="range"):
        parse_prepare(f"image:size=8,{option}")
