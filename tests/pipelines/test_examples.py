"""The README's models and data are what they were: it tells of their shapes and first rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper
from PIL import Image

from beamsplit.pipelines.examples import main

NODES = {
    "mlp": "MatMul(x,w1)->h Relu(h)->r MatMul(r,w2)->logits",
    "cnn": "Conv(image,k)->c strides=[4, 4] Relu(c)->r GlobalAveragePool(r)->p Flatten(p)->f MatMul(f,w)->scores",
    "encoder": "Gather(table,input_ids)->words Cast(attention_mask)->mask to=1 Unsqueeze(mask,last)->column "
    "Mul(words,column)->masked ReduceSum(masked,sequence_axis)->sum keepdims=0 "
    "ReduceSum(column,sequence_axis)->count keepdims=0 Div(sum,count)->embedding",
}
VALUES = {
    "mlp": "x[rows,3] logits[rows,4] w1(3,16) w2(16,4)",
    "cnn": "image[rows,3,64,64] scores[rows,5] k(8,3,4,4) w(8,5)",
    "encoder": "input_ids[rows,sequence] attention_mask[rows,sequence] embedding[rows,8] table(16,8)",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "new" / "folder"
    assert main([str(folder)]) == 0
    return folder


def test_tables(made: Path) -> None:
    table = pq.read_table(made / "table.parquet")
    assert pq.read_metadata(made / "table.parquet").num_row_groups == 4
    assert str(table.schema).split("\n")[:4] == ["id: int64", "age: float", "height: float", "weight: float"]
    assert table.column("id").to_pylist() == list(range(2000))
    means = [float(np.mean(table.column(name).to_numpy())) for name in ("age", "height", "weight")]
    deviations = [float(np.std(table.column(name).to_numpy())) for name in ("age", "height", "weight")]
    assert [round(one) for one in means] == [54, 170, 70] and [round(one) for one in deviations] == [21, 10, 12]
    same = pyarrow.csv.read_csv(made / "table.csv")
    assert same.column_names == table.column_names and same.num_rows == 2000
    assert np.allclose(same.column("age").to_numpy(), table.column("age").to_numpy())
    ages = table.column("age").to_numpy()
    assert 18 <= ages.min() < 18.2 and 89.8 < ages.max() <= 90


def test_texts(made: Path) -> None:
    lines = [json.loads(line) for line in (made / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["id"] for one in lines] == list(range(200))
    counts = {len(one["text"].split()) for one in lines}
    assert counts == set(range(3, 12))
    words = json.loads((made / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert [*words["vocab"]][:4] == ["[PAD]", "[UNK]", "the", "a"] and sorted(words["vocab"].values()) == list(
        range(16)
    )
    assert words["unk_token"] == "[UNK]"


@pytest.mark.parametrize("name", NODES)
def test_models(made: Path, name: str) -> None:
    model = onnx.load(made / f"{name}.onnx")
    nodes = []
    for node in model.graph.node:
        own = "".join(f" {one.name}={onnx.helper.get_attribute_value(one)}" for one in node.attribute)
        nodes.append(f"{node.op_type}({','.join(node.input)})->{','.join(node.output)}{own}")
    assert " ".join(nodes) == NODES[name] and model.opset_import[0].version == 18
    dims = [
        f"{one.name}[{','.join(str(dim.dim_param or dim.dim_value) for dim in one.type.tensor_type.shape.dim)}]"
        for one in (*model.graph.input, *model.graph.output)
    ]
    weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    assert " ".join(dims) == " ".join(word for word in VALUES[name].split() if "[" in word)
    shapes = {one: array.shape for one, array in weights.items() if array.dtype == np.float32}
    told = {word.split("(")[0]: word[word.index("(") :] for word in VALUES[name].split() if "(" in word}
    for one, shape in shapes.items():
        assert told[one].startswith(f"({','.join(map(str, shape))})")
        fan = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
        assert 0.5 < float(np.std(weights[one])) * np.sqrt(fan) < 1.5, "as networks are begun"
    if name == "encoder":
        assert (weights["last"].tolist(), weights["sequence_axis"].tolist()) == ([2], [1])


def test_photos(made: Path) -> None:
    names = sorted(path.name for path in (made / "photos").iterdir())
    assert names == [*(f"{number:03d}.jpg" for number in range(60)), "broken.jpg"]
    sizes = {Image.open(made / "photos" / name).size for name in names[:-1]}
    assert sizes == {(96, 80)}
    pixels = np.asarray(Image.open(made / "photos" / "000.jpg"))
    assert pixels.shape == (80, 96, 3) and pixels.std() > 30


@pytest.mark.parametrize("given", [[], ["a", "b"]])
def test_one_folder_is_named(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    assert capsys.readouterr().err == "usage: python -m pipelines.examples FOLDER\n"
