"""Steps of a divided model that tell which process runs them, which models that has loaded, and its private memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from apache_beam.metrics import Metrics

from beamsplit.models.running import session
from beamsplit.transforms.infer.join import ShardJoin
from beamsplit.transforms.infer.model_steps import ModelSteps, ShardedStep
from beamsplit.transforms.infer.shard_step import ShardResult, ShardStep
from beamsplit.transforms.infer.whole_step import StepFailure, WholeStep

# Where pandas is installed PyArrow imports it as soon as it looks at a Python object: all processes have it, or none.
with contextlib.suppress(ImportError):
    import pandas  # noqa: F401


def private_bytes() -> int:
    """Anonymous memory of this process; 0 where the system does not tell."""
    path = Path("/proc/self/smaps_rollup")
    text = path.read_text() if path.exists() else ""
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Anonymous:"))


def _tell(who: str) -> None:
    Metrics.counter("test", f"pid/{who}/{os.getpid()}").inc()
    Metrics.distribution("test", f"private/{who}").update(private_bytes())
    for path in session.loaded_models():
        Metrics.counter("test", f"loaded/{who}/{Path(path).name}").inc()


class WatchedStep(ShardStep):
    """One shard of one step."""

    def run(self, block: pa.RecordBatch) -> ShardResult:
        part = super().run(block)
        _tell(str(self.shard))
        return part


class WatchedWhole(WholeStep):
    """A whole step."""

    def run(self, block: pa.RecordBatch) -> Iterator[pa.RecordBatch | StepFailure]:
        yield from super().run(block)
        _tell("whole")


def _note(folder: str | None, who: str) -> None:
    """The same in a file: a stream that is cancelled has no metrics."""
    assert folder is not None
    path = Path(folder, f"{who}-{os.getpid()}.json")
    with _NOTING:  # a process runs several steps side by side
        known = json.loads(path.read_text())["private"] if path.exists() else 0
        loaded = [Path(path).name for path in session.loaded_models()]
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"loaded": loaded, "private": max(known, private_bytes())}))
        new.rename(path)


_NOTING = threading.Lock()


class NotedStep(ShardStep):
    """One shard of one step, which tells in files of its `job_dir`."""

    def run(self, block: pa.RecordBatch) -> ShardResult:
        part = super().run(block)
        _note(self.job_dir, str(self.shard))
        return part


class HitStep(NotedStep):
    """The same, which is hit when a file of its `job_dir` says so, once, between a block and the part made of it.

    `die-SHARD`: its process is killed. `lose-SHARD`: the part is lost, as it is taken for the other shard's.
    """

    def run(self, block: pa.RecordBatch) -> ShardResult:
        part = super().run(block)
        if self._told("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        return part._replace(shard=1 - self.shard) if self._told("lose") else part

    def _told(self, what: str) -> bool:
        assert self.job_dir is not None
        told = Path(self.job_dir, f"{what}-{self.shard}")
        try:
            told.rename(told.with_suffix(".done"))
        except FileNotFoundError:
            return False
        return True


class NotedWhole(WholeStep):
    """A whole step, which does so too."""

    def run(self, block: pa.RecordBatch) -> Iterator[pa.RecordBatch | StepFailure]:
        yield from super().run(block)
        _note(self.job_dir, "whole")


def told_in(folder: Path) -> Told:
    """Read what `NotedStep` and `NotedWhole` told so far."""
    told = Told()
    for path in folder.glob("*.json"):
        who, pid = path.stem.split("-")
        noted = json.loads(path.read_text())
        told.pids[who].add(pid)
        told.loaded[who] |= set(noted["loaded"])
        told.private[who] = max(told.private.get(who, 0), noted["private"])
    return told


def as_kind(kind: type, value: Any) -> Any:
    return kind(**{field.name: getattr(value, field.name) for field in fields(value)})


def changed(steps: ModelSteps, step: type = ShardStep, join: type = ShardJoin, whole: type = WholeStep) -> ModelSteps:
    """The same steps, of other classes."""
    made = [
        ShardedStep(tuple(as_kind(step, shard) for shard in one.shards), as_kind(join, one.join))
        if isinstance(one, ShardedStep)
        else as_kind(whole, one)
        for one in steps.steps
    ]
    return replace(steps, steps=tuple(made))


@dataclass
class Told:
    """What watched steps told, by shard ("0", "1", ...) or "whole"."""

    pids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    loaded: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    private: dict[str, int] = field(default_factory=dict)
    """Bytes, at most."""


def told_by(result: Any) -> Told:
    """Read the metrics of a finished job."""
    told = Told()
    queried: Mapping[str, Any] = result.metrics().query()
    for counter in queried["counters"]:
        kind, _, rest = counter.key.metric.name.partition("/")
        if kind in ("pid", "loaded"):
            who, _, value = rest.partition("/")
            (told.pids if kind == "pid" else told.loaded)[who].add(value)
    for distribution in queried["distributions"]:
        kind, _, who = distribution.key.metric.name.partition("/")
        if kind == "private":
            # One for each step that runs there.
            told.private[who] = max(told.private.get(who, 0), distribution.result.max)
    return told


def check_distributed(told: Told, shards: int, weight_bytes: int) -> None:
    """Each shard in processes of its own, which hold its weights, about 1/N of all, and nobody else's."""
    names = {str(shard) for shard in range(shards)}
    assert set(told.pids) == {*names, "whole"}
    every = [pid for pids in told.pids.values() for pid in pids]
    assert len({*every, str(os.getpid())}) == len(every) + 1
    for shard in names:
        assert told.loaded[shard] and all(name.endswith(f"-shard-{shard}.onnx") for name in told.loaded[shard])
        held = told.private[shard] - told.private["whole"]
        # Beside its own weights a process has sessions of its own; where the system tells nothing, all are 0.
        assert not told.private[shard] or 0.5 < held / (weight_bytes / shards) < 1.6, told.private
