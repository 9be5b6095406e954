"""Small models and data for the README's examples: `python -m pipelines.examples FOLDER`.

The models are small networks with fixed random weights: they show shapes and commands, not accuracy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

ROWS = 2_000
WORDS = ("the", "a", "cat", "dog", "tree", "river", "runs", "sleeps", "over", "under", "green", "old", "new", "and")


def main(argv: list[str] | None = None) -> int:
    """Write everything into the folder that is named."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        print("usage: python -m pipelines.examples FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder)
    write_models(folder)
    made = ["table.parquet, table.csv, mlp.onnx (a table)", "texts.jsonl, encoder.onnx (text)", "cnn.onnx (images)"]
    try:
        write_photos(folder / "photos")
        made.append("photos/ (60 JPEGs and one broken file)")
    except ImportError:
        print("no photos: they need Pillow, pip install 'beamsplit[image]'", file=sys.stderr)
    try:
        write_tokenizer(folder)
        made.append("tokenizer.json")
    except ImportError:
        print("no tokenizer: it needs tokenizers, pip install 'beamsplit[text]'", file=sys.stderr)
    print(f"{folder}: " + "; ".join(made))
    return 0


def write_tables(folder: Path) -> None:
    """The same rows as Parquet and CSV (id, age, height, weight), and sentences as JSON Lines."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "id": np.arange(ROWS),
            "age": rng.uniform(18, 90, ROWS).astype(np.float32),
            "height": rng.normal(170, 10, ROWS).astype(np.float32),
            "weight": rng.normal(70, 12, ROWS).astype(np.float32),
        }
    )
    pyarrow.parquet.write_table(table, folder / "table.parquet", row_group_size=500)
    pyarrow.csv.write_csv(table, folder / "table.csv")
    with open(folder / "texts.jsonl", "w", encoding="utf-8") as file:
        for number in range(200):
            text = " ".join(rng.choice(WORDS, rng.integers(3, 12)))
            file.write(json.dumps({"id": number, "text": text}) + "\n")


def write_models(folder: Path) -> None:
    """mlp.onnx (x: [rows, 3]), cnn.onnx (image: [rows, 3, 64, 64]), encoder.onnx (input_ids, attention_mask)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        scale = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 2 else shape[0])
        return numpy_helper.from_array((rng.normal(size=shape) * scale).astype(np.float32), name)

    def value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    def save(name: str, nodes: list, inputs: list, outputs: list, initializers: list) -> None:
        graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, folder / f"{name}.onnx")

    node = helper.make_node
    floats, ints = TensorProto.FLOAT, TensorProto.INT64
    save(
        "mlp",
        [
            node("MatMul", ["x", "w1"], ["h"]),
            node("Relu", ["h"], ["r"]),
            node("MatMul", ["r", "w2"], ["logits"]),
        ],
        [value("x", floats, "rows", 3)],
        [value("logits", floats, "rows", 4)],
        [weights("w1", 3, 16), weights("w2", 16, 4)],
    )
    save(
        "cnn",
        [
            node("Conv", ["image", "k"], ["c"], strides=[4, 4]),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("MatMul", ["f", "w"], ["scores"]),
        ],
        [value("image", floats, "rows", 3, 64, 64)],
        [value("scores", floats, "rows", 5)],
        [weights("k", 8, 3, 4, 4), weights("w", 8, 5)],
    )
    save(
        "encoder",
        [
            node("Gather", ["table", "input_ids"], ["words"]),
            node("Cast", ["attention_mask"], ["mask"], to=floats),
            node("Unsqueeze", ["mask", "last"], ["column"]),
            node("Mul", ["words", "column"], ["masked"]),
            node("ReduceSum", ["masked", "sequence_axis"], ["sum"], keepdims=0),
            node("ReduceSum", ["column", "sequence_axis"], ["count"], keepdims=0),
            node("Div", ["sum", "count"], ["embedding"]),
        ],
        [value("input_ids", ints, "rows", "sequence"), value("attention_mask", ints, "rows", "sequence")],
        [value("embedding", floats, "rows", 8)],
        [
            weights("table", len(WORDS) + 2, 8),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "sequence_axis"),
        ],
    )


def write_photos(folder: Path) -> None:
    """60 small JPEGs of random colours, and one file that is no image."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(2)
    for number in range(60):
        pixels = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 80), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.jpg")
    (folder / "broken.jpg").write_bytes(b"this is no image")


def write_tokenizer(folder: Path) -> None:
    """tokenizer.json: one token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    sys.exit(main())
