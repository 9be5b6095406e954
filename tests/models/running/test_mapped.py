"""Large models that are run a few times only: what stays in the file, and what a command that divides one holds."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running import mapped, session
from beamsplit.models.running.mapped import for_few_runs
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.split import profiled
from beamsplit.pipelines.__main__ import main
from beamsplit.pipelines.planning import rows as plan_feeds
from tests import onnx_models
from tests.command import Command

WIDE = 128


def saved(folder: Path, external: str | None = "weights.bin", width: int = WIDE, layers: int = 8) -> str:
    folder.mkdir(exist_ok=True)
    return onnx_models.save(onnx_models.mlp(4, width, 2, layers=layers), folder / "m.onnx", external=external)


def test_only_large_models_with_weights_in_a_file_of_their_own_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = SessionOptions(threads=2)
    beside, inside = saved(tmp_path / "a"), saved(tmp_path / "b", None)
    assert for_few_runs(options, beside) == options
    monkeypatch.setattr(mapped, "LEAST_BYTES", WIDE * WIDE)
    assert for_few_runs(options, beside) == SessionOptions(threads=2, mapped=True)
    assert for_few_runs(options, inside) == options
    cuda = SessionOptions(("CUDAExecutionProvider",))
    assert for_few_runs(cuda, beside) == cuda


def test_it_gives_the_same(tmp_path: Path):
    model = ModelFile(saved(tmp_path))
    feeds = {"x": np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)}
    one, other = (Session(model, SessionOptions(threads=1, mapped=it)) for it in (False, True))
    np.testing.assert_allclose(one.run(feeds)[0], other.run(feeds)[0], rtol=1e-5, atol=1e-6)
    assert (one.signature, other.options.mapped) == (other.signature, True)


MEMORY = """
import sys
import numpy as np
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session, SessionOptions

def private():
    lines = open("/proc/self/smaps_rollup")
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) * 1024

before = private()
session = Session(ModelFile(sys.argv[1]), SessionOptions(threads=1, mapped=sys.argv[2] == "True"))
session.run({"x": np.ones((2, 4), np.float32)})
print(private() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells private memory")
def test_weights_stay_in_their_file(tmp_path: Path):
    model = saved(tmp_path, width=2048, layers=4)
    weights = 2 * 2048 * 2048 * 4

    def held(it: bool) -> int:
        done = subprocess.run([sys.executable, "-c", MEMORY, model, str(it)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert held(True) < weights / 4
    assert held(False) > weights * 0.9


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    made = Command(tmp_path, capsys)
    made.model = saved(tmp_path / "model")
    monkeypatch.setattr(mapped, "LEAST_BYTES", WIDE * WIDE)
    return made


class Held:
    """Bytes of the weights in this process's sessions that are not mapped, at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = self.mapped = 0
        make = session._make_session

        def watched(model, options, source=None, configure=None):
            made = make(model, options, source, configure)
            if options.mapped:
                self.mapped += 1
                return made
            held = weights_of(source if source is not None else model.path)
            self.now += held
            self.most = max(self.most, self.now)
            weakref.finalize(made, self.gone, held)
            return made

        monkeypatch.setattr(session, "_make_session", watched)

    def gone(self, held: int) -> None:
        self.now -= held


def weights_of(source: str | bytes) -> int:
    """Of a model, or of one serialised."""
    bare = isinstance(source, bytes)
    proto = onnx.load_from_string(source) if bare else onnx.load(source, load_external_data=False)
    return sum(int(np.prod(one.dims)) * 4 for one in proto.graph.initializer)


def test_a_model_larger_than_the_memory_is_compared_too(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(plan_feeds, "free_memory", lambda: 100.0)
    monkeypatch.setattr(profiled, "free_memory", lambda: 100.0)
    held = Held(monkeypatch)
    plan = ["plan", "--model", str(command.model), "--stages", "2", "--save_stages", f"{command.folder}/stages"]
    for more in ([], ["--shards", "2"]):
        assert main([*plan, *more]) == 0
        out, err = capsys.readouterr()
        assert "it is run from its file, and not timed" in out
        assert "estimated, not measured" in out
        assert f"check: {'shards: ' * bool(more)}y: largest difference" in err
    assert (held.most, held.mapped > 4) == (0, True)


PARTS = [("--shards", 2), ("--stages", 2), ("--stages", 2, "--shards", 2)]


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: " ".join(map(str, parts)))
def test_who_divides_a_large_model_holds_it_once_at_most(
    command: Command, monkeypatch: pytest.MonkeyPatch, parts: tuple[object, ...]
):
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(command.folder / "cache"))
    assert command.run("--keep", "id")[0] == 0
    whole = command.rows()
    held = Held(monkeypatch)
    apart = ("--placement", "distributed", "--worker_type", "process")
    code, _, err = command.run("--keep", "id", *parts, *apart, "--micro_batch", 64)
    assert code == 0, err
    found, wanted = (np.array(table["y"].to_pylist()) for table in (command.rows(), whole))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    # Shards alone are planned without a profile: nothing is packed. Else one session at a time is, to be timed.
    whole_bytes = weights_of(command.model)
    assert held.mapped > 2
    assert held.most <= (0 if "--stages" not in parts else 1.01 * whole_bytes)
    assert held.now == 0


def test_who_divides_a_model_larger_than_the_memory_holds_a_part_at_most(
    command: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(profiled, "free_memory", lambda: 100.0)
    assert command.run("--keep", "id")[0] == 0
    whole = command.rows()
    held = Held(monkeypatch)
    apart = ("--stages", 2, "--shards", 2, "--placement", "distributed", "--worker_type", "process")
    code, _, err = command.run("--keep", "id", *apart, "--micro_batch", 64)
    assert code == 0, err
    assert "because the model cannot be run here" in err
    found, wanted = (np.array(table["y"].to_pylist()) for table in (command.rows(), whole))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert 0 < held.most < 0.4 * weights_of(command.model)
