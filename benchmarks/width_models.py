"""The models of the width benchmark: made once, seeded, kept in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import data
from benchmarks.split_models import SplitCase, large, light

WIDTH, LAYERS = 8_192, 4
"""Of the perceptron: 4 matrices of 256 MiB are 1.07 GB."""

QUICK_WIDTH = 1_024
"""The same for a quick look: 17 MB."""

TREES, QUICK_TREES = 500, 40


def boosted(folder: Path, trees: int = TREES) -> Path:
    """Gradient-boosted trees of depth 6 over 32 columns, trained by scikit-learn."""
    path = folder / f"boosted-{trees}.onnx"
    if path.exists():
        return path
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingRegressor

    rng = np.random.default_rng(5)
    x = rng.standard_normal((4_000, data.COLUMNS)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(x[:, 2]) + 0.1 * rng.standard_normal(len(x))
    trained = GradientBoostingRegressor(n_estimators=trees, max_depth=6, max_features=8, random_state=0).fit(x, y)
    model = to_onnx(trained, x[:1], target_opset={"": 17, "ai.onnx.ml": 3})
    path.write_bytes(model.SerializeToString())
    return path


def make_cases(names: list[str], folder: Path, quick: bool) -> list[SplitCase]:
    """The cases of these names, their models made if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    making: dict[str, Callable[[], Path]] = {
        "mlp": lambda: large(folder, QUICK_WIDTH if quick else WIDTH, LAYERS),
        "vgg19": lambda: light(folder, "vgg19"),
        "trees": lambda: boosted(folder, QUICK_TREES if quick else TREES),
        "encoder": data.encoder,
    }
    rows = {"mlp": 32, "vgg19": 2, "trees": 4_096, "encoder": 16}
    return [SplitCase(name, making[name](), min(rows[name], 64) if quick else rows[name]) for name in names]


NAMES = ("mlp", "vgg19", "trees", "encoder")
QUICK_NAMES = ("mlp", "trees", "encoder")
