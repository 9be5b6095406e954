from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import to_arrow, to_numpy
from beamsplit.transforms.block import COPY, with_origin
from beamsplit.transforms.columns import tensor_field
from beamsplit.transforms.prepare import parse_prepare


def block_of(images: np.ndarray) -> pa.RecordBatch:
    field = tensor_field("image", str(images.dtype), images.shape[1:])
    batch = pa.RecordBatch.from_arrays(
        [pa.array([f"p{i}" for i in range(len(images))]), to_arrow(images, field)],
        schema=pa.schema([pa.field("path", pa.string()), field]),
    )
    return with_origin(batch, "f", 10)


def run(spec: str, images: np.ndarray) -> pa.RecordBatch:
    step = pickle.loads(pickle.dumps(parse_prepare(spec)))  # noqa: S301
    block = block_of(images)
    result = step(block)
    assert result.failures == []
    assert result.block.schema == step.output_schema(block.schema)
    return result.block


IMAGES = np.arange(2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8)


def test_flip_adds_mirror_images():
    block = run("augment:flip", IMAGES)
    assert block.column("path").to_pylist() == ["p0", "p0", "p1", "p1"]
    assert block.column("_origin_row").to_pylist() == [10, 10, 11, 11]
    assert block.column(COPY).to_pylist() == [0, 1, 0, 1]
    made = to_numpy(block.column("image"))
    assert np.array_equal(made[::2], IMAGES)
    assert np.array_equal(made[1::2], IMAGES[..., ::-1])


def test_five_crops_then_their_mirror_images():
    block = run("augment:flip,crops=5,size=4", IMAGES)
    made = to_numpy(block.column("image")).reshape(2, 10, 3, 4, 4)
    assert block.column(COPY).to_pylist() == list(range(10)) * 2
    image, copies = IMAGES[1], made[1]
    assert np.array_equal(copies[0], image[:, :4, :4])
    assert np.array_equal(copies[1], image[:, :4, 4:])
    assert np.array_equal(copies[2], image[:, 4:, :4])
    assert np.array_equal(copies[3], image[:, 4:, 4:])
    assert np.array_equal(copies[4], image[:, 2:6, 2:6])
    assert np.array_equal(copies[5:], copies[:5, ..., ::-1])


def test_channels_last_and_default_size():
    images = np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1))
    made = to_numpy(run("augment:crops=5", images).column("image"))
    assert made.shape == (10, 7, 7, 3)
    assert np.array_equal(made[0], images[0, :7, :7])
    assert np.array_equal(made[3], images[0, 1:, 1:])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("augment:crops=3", "crops=3 is not 1 or 5"),
        ("augment", "leaves one copy"),
        ("augment:flip,size=3", "size goes with crops=5"),
    ],
)
def test_wrong_options(spec: str, message: str):
    with pytest.raises(UsageError, match=message):
        parse_prepare(spec)


def test_wrong_columns():
    flip = parse_prepare("augment:flip")
    with pytest.raises(UsageError, match=r"column 'image' .*which is missing"):
        flip.output_schema(pa.schema([("path", pa.string())]))
    with pytest.raises(UsageError, match="images of one shape"):
        flip.output_schema(pa.schema([("image", pa.list_(pa.float32()))]))
    with pytest.raises(UsageError, match=r"cannot tell where the channels are.*\[8, 8, 8\].*layout=nchw"):
        flip.output_schema(pa.schema([tensor_field("image", "float32", (8, 8, 8))]))
    schema = pa.schema([tensor_field("image", "float32", (3, 8, 8))])
    with pytest.raises(UsageError, match="augment is given twice"):
        flip.output_schema(flip.output_schema(schema))
    with pytest.raises(UsageError, match="crops of size=9, and the images of column 'image' are 8 x 8"):
        parse_prepare("augment:crops=5,size=9").output_schema(schema)
