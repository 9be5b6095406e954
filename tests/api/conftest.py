from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import beamsplit as bs
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import SessionOptions, get_session
from tests import onnx_models
from tests.onnx_models import save


class Mlp:
    """A model x: [rows, 4] -> y: [rows, 2], rows for it, and what ONNX Runtime alone gives."""

    def __init__(self, folder: Path, rows: int = 20):
        self.path = save(onnx_models.mlp(4, outputs=2), folder / "m.onnx")
        self.x = np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)
        columns = {name: self.x[:, at].copy() for at, name in enumerate("abcd")}
        self.table = pa.table({"id": np.arange(rows), **columns})
        self.options: dict = {"columns": {"x": list("abcd")}, "keep": "id"}
        self.y = self.run(self.x)

    def run(self, x: np.ndarray) -> np.ndarray:
        session = get_session(ModelFile(self.path), SessionOptions(threads=1))
        return np.concatenate([session.run({"x": row[np.newaxis]})[0] for row in x])

    def scorer(self, **more: object) -> bs.Scorer:
        return bs.Scorer(self.path, **{**self.options, **more})

    def rows(self) -> list[dict]:
        """The rows as Python's own numbers."""
        return [{"id": at, **dict(zip("abcd", map(float, row), strict=True))} for at, row in enumerate(self.x)]


@pytest.fixture
def mlp(tmp_path: Path) -> Mlp:
    return Mlp(tmp_path)
