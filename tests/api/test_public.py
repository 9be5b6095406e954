"""What `import beamsplit` gives: lazily, documented, typed, and with examples that run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import beamsplit as bs
from beamsplit.pipelines.examples import write_models, write_tables

ROOT = Path(__file__).parents[2]
LAYERS = ("models", "transforms", "pipelines", "runners")


def run(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done


def test_importing_it_imports_next_to_nothing():
    code = "import sys; before = set(sys.modules); import beamsplit; print(sorted(set(sys.modules) - before))"
    found = run(code).stdout
    for heavy in ("apache_beam", "onnxruntime", "onnx", "numpy", "pyarrow", "beamsplit.models"):
        assert f"'{heavy}'" not in found
    # Not the time, which a busy machine makes longer: under 30 ms is what so few modules take.
    assert len(found.split(",")) < 20, found


def test_a_scorer_needs_no_beam():
    code = "import sys, beamsplit as bs; bs.Scorer, bs.RowError, bs.UsageError; print('apache_beam' in sys.modules)"
    assert run(code).stdout.strip() == "False"


@pytest.mark.parametrize("name", bs.__all__)
def test_each_name_is_there_and_documented(name: str):
    found = getattr(bs, name)
    assert name in dir(bs)
    doc = inspect.getdoc(found)
    assert doc, name
    assert ">>>" in doc, f"{name} has no example"


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="module 'beamsplit' has no attribute 'scor'"):
        bs.scor  # noqa: B018
    assert set(bs._WHERE) == set(bs.__all__)


def documented() -> list[str]:
    """The names that docs/api.md tells of: a heading each, `## Scorer`."""
    return re.findall(r"^##+ `(\w+)`$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_public_names_are_just_those_documented():
    assert sorted(documented()) == sorted(bs.__all__)


def modules() -> list[str]:
    """All modules of ours that have an example."""
    found = ["beamsplit"]
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            if ">>>" in path.read_text(encoding="utf-8"):
                found.append("beamsplit." + ".".join(path.relative_to(ROOT).with_suffix("").parts))
    return [name.removesuffix(".__init__") for name in found]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name: `examples/mlp.onnx`, `examples/table.parquet`."""
    folder = tmp_path_factory.mktemp("doctests")
    (folder / "examples").mkdir()
    write_tables(folder / "examples")
    write_models(folder / "examples")
    return folder


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_docstrings_give_what_they_say(name: str, examples: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(examples)
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
    assert tried or name == "beamsplit", "no example of it is found"
