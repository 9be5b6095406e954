"""What a .pt2 may hold without --trust: made up archives, without PyTorch."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from beamsplit.models.convert.kinds import kind_of
from beamsplit.models.convert.torch_archive import is_plain, odd
from beamsplit.models.errors import UsageError


def archive(folder: Path, call: str = "torch.ops.aten.linear.default", root: str = "m/", **more: Any) -> str:
    """An archive with one node; `more` are files of it."""
    node = {"target": call, "inputs": [], "outputs": []}
    size = {"as_expr": {"expr_str": more.pop("size", "Symbol('s77', positive=True, integer=True)")}}
    graph = {"graph": {"nodes": [node], "tensor_values": {"x": {"sizes": [size]}}}}
    model = {"graph_module": graph, "guards_code": more.pop("guards", ["L['x'].size()[0] >= 2"])}
    path = folder / "m.pt2"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{root}models/model.json", json.dumps(model))
        for name in ("data/weights/weight_0", "data/constants/model_constants_config.json", "archive_format", *more):
            made.writestr(root + name, "{}")
    return str(path)


def test_a_model_is_all_there_is(tmp_path: Path):
    assert odd(archive(tmp_path)) is None


@pytest.mark.parametrize(
    ("call", "more", "told"),
    [
        ("torch.os.system", {}, "a call of torch.os.system"),
        ("torch.hub.load", {}, "a call of torch.hub.load"),
        ("torch.ops.load_library", {}, "a call of torch.ops.load_library"),
        ("_operator.methodcaller", {}, "a call of _operator.methodcaller"),
        ("_operator.add.__globals__", {}, "a call of _operator.add.__globals__"),
        ("#mine:f", {}, "a call of #mine:f"),
        ("torch.ops.aten.add.Tensor", {"size": "__import__('os').system('x')"}, "the expression \"__import__('os')"),
        ("torch.ops.aten.add.Tensor", {"guards": ["exit()"]}, "the expression 'exit()'"),
        ("torch.ops.aten.add.Tensor", {"data/aotinductor/m/a.so": ""}, "the file m/data/aotinductor/m/a.so"),
        ("torch.ops.aten.add.Tensor", {"../out": ""}, "the file m/../out"),
    ],
)
def test_what_may_run_code_is_told(tmp_path: Path, call: str, more: dict[str, Any], told: str):
    assert str(odd(archive(tmp_path, call, **more))).startswith(told)


@pytest.mark.parametrize(
    "text", ["1 + s0", "Mod(s0, 4)", "FloorDiv(s0, 2)*3", "Ne(s0, 1)", "L['x'].size()[0] == 8", "-1"]
)
def test_expressions_of_sizes(text: str):
    assert is_plain(text)


@pytest.mark.parametrize(
    "text",
    ["a.__class__", "S('x')", "(lambda: 1)()", "[x for x in y]", "f'{x}'", "a.size.__call__()", "Symbol('a b')",
     "x := 1", "getattr(a, b)", "L['x'].cpu()", "Symbol(open('f'))", "Symbol('s', key=exit())",
     "'x'", "", "1 +", "__import__"],
)  # fmt: skip
def test_expressions_that_may_do_more(text: str):
    assert not is_plain(text)


def test_without_pytorch_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "beamsplit.models.convert.torch_model", raising=False)
    with pytest.raises(
        UsageError, match=r"m\.pt2 is a model of PyTorch, and .* not installed \(.*\): pip install torch onnx"
    ):
        kind_of("m.pt2").load("m.pt2", False)


@pytest.mark.parametrize("name", ["m.pt", "m.pth"])
def test_weights_alone_are_no_graph(name: str):
    with pytest.raises(
        UsageError, match=r"holds weights or a pickled module, but no graph: export the model, torch.exp"
    ):
        kind_of(name)
