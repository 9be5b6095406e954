from __future__ import annotations

import io
import warnings

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pil
from PIL import ImageOps

from beamsplit.models.errors import UsageError
from beamsplit.transforms.prepare import parse_prepare
from tests.transforms.prepare.pictures import encoded, run

RNG = np.random.default_rng(0)


def picture(width: int, height: int, mode: str = "RGB") -> Pil.Image:
    small = RNG.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), 3), dtype=np.uint8)
    return Pil.fromarray(small).resize((width, height)).convert(mode)


def straightforward(data: bytes, size: int, short: int) -> np.ndarray:
    image = ImageOps.exif_transpose(Pil.open(io.BytesIO(data))).convert("RGB")
    width, height = image.size
    scale = short / min(width, height)
    new = (short, int(height * short / width)) if width <= height else (int(width * short / height), short)
    assert abs(new[0] - width * scale) < 1.0001 and abs(new[1] - height * scale) < 1.0001
    image = image.resize(new, Pil.Resampling.BILINEAR)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def test_default_is_resize_centre_crop_and_a_255th():
    rows = [encoded(picture(80, 60)), encoded(picture(50, 90), "JPEG"), encoded(picture(20, 20), "GIF")]
    values, failures = run("image:size=28", rows)
    assert failures == []
    assert values.shape == (3, 3, 28, 28) and values.dtype == np.float32
    for row, value in zip(rows, values, strict=True):
        np.testing.assert_allclose(value, straightforward(row, 28, 32).transpose(2, 0, 1) / 255, atol=1e-6)


def test_mean_std_layout_and_resize():
    row = encoded(picture(70, 40))
    values, _ = run("image:size=24,resize=30,mean=0.485/0.456/0.406,std=0.229/0.224/0.225,layout=nhwc", [row])
    expected = (straightforward(row, 24, 30) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(values[0], expected, atol=1e-5)


def test_uint8_bgr_gray_and_squash():
    image = picture(40, 20)
    row = encoded(image)
    squashed = np.asarray(image.resize((10, 16), Pil.Resampling.BICUBIC))
    values, _ = run("image:size=16/10,crop=none,dtype=uint8,layout=nhwc,filter=bicubic", [row])
    assert values.dtype == np.uint8 and np.array_equal(values[0], squashed)
    values, _ = run("image:size=16/10,crop=none,dtype=uint8,color=bgr,filter=bicubic", [row])
    assert np.array_equal(values[0], squashed[..., ::-1].transpose(2, 0, 1))
    values, _ = run("image:size=16/10,crop=none,dtype=uint8,color=gray", [row])
    assert np.array_equal(values[0, 0], np.asarray(image.convert("L").resize((10, 16), Pil.Resampling.BILINEAR)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int):
    upright = Pil.new("RGB", (32, 32), "black")
    upright.paste((255, 0, 0), (0, 0, 16, 8))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    # Turning the upright image the other way and tagging it gives a file that viewers show upright.
    stored = upright.transpose(Pil.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Pil.Exif()
    exif[0x0112] = orientation
    row = encoded(stored, "PNG", exif=exif)
    values, _ = run("image:size=32,crop=none,dtype=uint8,layout=nhwc", [row])
    assert np.array_equal(values[0], np.asarray(upright))


def test_sixteen_bit_gray_keeps_its_range():
    row = encoded(Pil.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16)))
    values, _ = run("image:size=8,crop=none,dtype=uint8", [row])
    assert (values == 128).all()


def test_palette_alpha_and_cmyk_are_converted():
    image = picture(16, 16)
    rows = [encoded(image.convert("P")), encoded(image.convert("RGBA")), encoded(image.convert("CMYK"), "JPEG")]
    values, failures = run("image:size=16,crop=none,dtype=uint8,layout=nhwc", rows)
    assert failures == []
    assert np.array_equal(values[1], np.asarray(image))


def test_broken_images_fail_alone():
    good = encoded(picture(100, 100), "JPEG")
    rows = [b"no image", good, good[:-200], None, b"", good]
    values, failures = run("image:size=16", rows)
    assert np.array_equal(values[0], values[1])
    assert [failure.row for failure in failures] == [0, 2, 3, 4]
    assert failures[0].reason == "cannot identify image file"
    assert "truncated" in failures[1].reason
    assert failures[2].reason == "null in column 'bytes'"


def test_a_decompression_bomb_fails_unread():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, failures = run("image:size=16,max_pixels=899", [encoded(picture(30, 30))])
    assert failures == [(0, "30 x 30 pixels are more than max_pixels=899")]
    huge = bytearray(encoded(Pil.new("1", (8, 8))))
    huge[16:24] = (60000).to_bytes(4, "big") * 2  # width and height in the PNG header
    _, failures = run("image:size=16", [bytes(huge)])
    assert len(failures) == 1


def test_draft_is_close():
    row = encoded(picture(16, 16).resize((512, 512), Pil.Resampling.BICUBIC), "JPEG")
    plain, _ = run("image:size=56", [row])
    draft, _ = run("image:size=56,draft", [row])
    assert not np.array_equal(plain, draft)
    assert np.abs(plain - draft).mean() < 0.05


@pytest.mark.parametrize(("spec", "wanted"), [("size=56,resize=256", 256), ("size=128,crop=none", 128)])
def test_draft_decodes_no_smaller_than_what_the_image_is_resized_to(spec: str, wanted: int):
    row = encoded(picture(512, 512), "JPEG")
    drawn = Pil.open(io.BytesIO(row))
    drawn.draft("RGB", (wanted, wanted))
    assert drawn.size == (wanted, wanted)
    at = (wanted - int(spec.split(",")[0][5:])) // 2
    values, _ = run(f"image:{spec},draft,dtype=uint8,layout=nhwc", [row])
    np.testing.assert_array_equal(values[0], np.asarray(drawn.crop((at, at, wanted - at, wanted - at))))


def test_an_empty_block():
    values, failures = run("image:size=8", [None])
    assert values.shape == (0, 3, 8, 8) and len(failures) == 1


def test_the_bytes_stay_where_the_output_wants_them():
    schema = pa.schema([("bytes", pa.binary())])
    assert parse_prepare("image:size=8", ["bytes"]).output_schema(schema).names == ["bytes", "image"]
    assert parse_prepare("image:size=8,keep").output_schema(schema).names == ["bytes", "image"]
    assert parse_prepare("image:size=8,output=x").output_schema(schema).names == ["x"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("image:sise=3", "unknown option 'sise', did you mean 'size'.*for example: --prepare image:size=224"),
        ("image:size=0", "size=0 is not a whole number of at least 1"),
        ("image:crop=middle", "crop=middle is not one of center, none"),
        ("image:crop=none,resize=3", "takes no resize"),
        ("image:size=224,resize=200", "resize=200 is smaller than size=224"),
        ("image:mean=1/2", "mean has 2 numbers for the 3 channels of rgb"),
        ("image:std=1/0/1", "cannot be 0"),
        ("image:dtype=uint8,mean=1", "takes no mean"),
        ("image:dtype=uint8,scale=255", "takes no scale"),
        ("image:size=8,size=9", "size is given twice"),
        ("image:large", "'large' is no flag of image"),
        ("imge:size=3", "no step 'imge', did you mean 'image'.*the steps are image, augment, text"),
    ],
)
def test_wrong_options(spec: str, message: str):
    with pytest.raises(UsageError, match=message):
        parse_prepare(spec)


def test_pillow_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'beamsplit\[image\]'"):
        parse_prepare("image:size=8")


def test_wrong_columns():
    with pytest.raises(
        UsageError, match=r"column 'image', but the data has a column of that name already.*output=NAME"
    ):
        parse_prepare("image").output_schema(pa.schema([("bytes", pa.binary()), ("image", pa.int64())]))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"comment": b"\xff\xda"}])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_an_image_whose_end_was_lost_fails(format: str, options: dict):
    file = io.BytesIO()
    rng = np.random.default_rng(0)
    Pil.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(file, format, **options)
    whole = file.getvalue()
    for length in range(len(whole) // 8, len(whole) - 64, len(whole) // 8):
        cut, zeros = whole[:length], whole[:length] + bytes(len(whole) - length)
        # What looks like a part of a PNG whose checksum is wrong is none behind the end.
        behind = [whole + b"behind it \xff\xda", whole + b"\0\0\0\0JUNK" + bytes(8)]
        values, failures = run("image:size=16", [cut, zeros, whole, *behind])
        assert [failure.row for failure in failures] == [0, 1]
        assert len(values) == 3 and (values == values[:1]).all()
