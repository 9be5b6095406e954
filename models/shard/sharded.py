"""A model divided over shards that stands where a session does: all shards in this process, side by side.

feeds -> whole 0 -> | shard 0 | -> join, whole 1 -> | shard 0 | -> join, whole 2 -> outputs
                    | shard 1 |                     | shard 1 |
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import check_content
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.graph.random_draws import still_file
from beamsplit.models.graph.signature import Signature
from beamsplit.models.per_process import PerProcess
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.run_limit import context
from beamsplit.models.running.runs import Fetch
from beamsplit.models.running.session import ModelRunError, Session, SessionOptions, drop_session, get_session
from beamsplit.models.shard.plan import ShardPlan, ShardStepPlan
from beamsplit.models.shard.step_models import part_name
from beamsplit.models.values.tensors import Array


@dataclass(frozen=True)
class ShardedModel:
    """A divided model on disk and how it runs: data, so that every process makes the same of it."""

    plan: ShardPlan

    folder: str
    """That the files are relative to."""

    shards: tuple[SessionOptions, ...]
    """Provider, device and threads of each shard's sessions."""

    whole: SessionOptions
    """Of the sessions of whole steps."""

    signature: Signature
    """Inputs and outputs of the whole model."""

    still: bool = False
    """Whether what is drawn at random is fixed, as to check it (`models.graph.random_draws`)."""

    @property
    def mapped(self) -> ShardedModel:
        """The same with its weights left in their files, for a few runs."""
        each = tuple(replace(options, mapped=True) for options in self.shards)
        return replace(self, shards=each, whole=replace(self.whole, mapped=True))

    def fetched(self, fetch: Fetch) -> ShardedModel:
        """Itself: shards are saved on this machine only."""
        return self

    def open(self, device: int | None = None) -> ShardedSession:
        """This process's sessions of all shards, each on its own device; loaded by the first call.

        Raises:
            UsageError: a shard does not load.
        """
        return get_sharded(self)

    def file(self, step: ShardStepPlan, shard: int) -> ModelFile:
        """The model that a shard runs in a step, or its still twin."""
        file = ModelFile(os.path.join(self.folder, step.files[shard]))
        return still_file(file) if self.still else file

    def session(self, step: ShardStepPlan, shard: int) -> Session:
        """The session of one model; loaded by the first call.

        Raises:
            UsageError: the file is missing or not what was saved, or ONNX Runtime cannot load it.
        """
        options = self.shards[shard] if step.sharded else self.whole
        file = self.file(step, shard)
        check_content(file.path, step.hash_of(shard))
        return get_session(file, options)


@dataclass
class ShardStats:
    """What the shards of one process did."""

    busy_seconds: list[float]
    """Of each shard."""

    whole_seconds: float = 0.0
    """In whole steps, which begin with the joins."""

    joins: int = 0
    """How often the shards' results were brought together."""

    @property
    def counts(self) -> dict[str, int]:
        """As counters of a job."""
        each = {f"shard_{shard}_busy_usec": round(seconds * 1e6) for shard, seconds in enumerate(self.busy_seconds)}
        return {**each, "shards_whole_usec": round(self.whole_seconds * 1e6), "shard_joins": self.joins}


class ShardedSession:
    """What `Session` offers, with each sharded step's shards running side by side. May be called from many threads."""

    def __init__(self, model: ShardedModel) -> None:
        """Load all shards; use `get_sharded`, which does it once.

        Raises:
            UsageError: a file is missing or does not load.
        """
        self.model = model
        """What was loaded."""
        self.sessions = [[model.session(step, shard) for shard in range(len(step.files))] for step in model.plan.steps]
        """Of each step, one a shard."""
        _check_names(model, self.sessions)
        self.load_seconds = sum(session.load_seconds for sessions in self.sessions for session in sessions)
        """Seconds that loading took, all together."""
        self._lock = threading.Lock()
        self._stats = ShardStats([0.0] * model.plan.shards)
        self._joined = {join.step for join in model.plan.joins}
        self._pool = ThreadPoolExecutor(max(1, model.plan.shards * 2), thread_name_prefix="shard")

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the whole model."""
        return self.model.signature

    @cached_property
    def model_bytes(self) -> int:
        """Bytes of all files."""
        return sum(session.model_bytes for sessions in self.sessions for session in sessions)

    def run(self, feeds: dict[str, Array]) -> list[Array]:
        """As `Session.run`.

        Raises:
            ModelRunError: a step failed; the message begins with the step, and the shard.
        """
        blocks = blocks_of(self.model.plan.rewrites)
        return self._outputs(feeds) if blocks is None else blocks.run(self._outputs, feeds)

    def _outputs(self, feeds: dict[str, Array]) -> list[Array]:
        values = self.tensors(feeds)
        return [values[name] for name in self.model.plan.outputs]

    def tensors(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Every tensor that the steps read or make, by name; a shard's part of one is `TENSOR@shardK`.

        Raises:
            ModelRunError: a step failed; the message begins with the step, and the shard.
        """
        values = dict(feeds)
        for number in range(len(self.sessions)):
            values.update(self.run_step(number, values))
        return values

    def run_step(self, number: int, values: Mapping[str, Array]) -> dict[str, Array]:
        """What one step makes of the tensors so far: its shards side by side, each part as `TENSOR@shardK`.

        Raises:
            ModelRunError: as of `run`.
        """
        step, sessions = self.model.plan.steps[number], self.sessions[number]
        given = {name: values[name] for name in step.inputs}
        if not step.sharded:
            return dict(zip(step.outputs, self._run(sessions[0], given, number, None), strict=True))
        # The caller's thread runs shard 0: one thread less to wake up.
        others = [
            self._pool.submit(self._run_for, context.block, context.run, session, given, number, shard)
            for shard, session in enumerate(sessions[1:], 1)
        ]
        results = [self._run(sessions[0], given, number, 0), *(other.result() for other in others)]
        return {
            part_name(name, shard): one
            for shard, made in enumerate(results)
            for name, one in zip(step.outputs, made, strict=True)
        }

    def still(self) -> ShardedSession:
        """The same of still twins (`models.graph.random_draws`); itself where no shard draws."""
        own = self.model
        files = [own.file(step, shard) for step in own.plan.steps for shard in range(len(step.files))]
        return self if own.still or all(still_file(one) is one for one in files) else get_still(own)

    def take_stats(self) -> ShardStats:
        """What was done since the last call."""
        with self._lock:
            taken, self._stats = self._stats, ShardStats([0.0] * self.model.plan.shards)
        return taken

    def drop(self) -> None:
        """Let go of the sessions, which nobody in this process needs any more."""
        _sharded.drop(self)
        for sessions in self.sessions:
            for session in sessions:
                drop_session(session)
        self._pool.shutdown(wait=False)

    def _run_for(self, block: Any, run: Any, *args: Any) -> list[Array]:
        """`_run` on another thread than that of the rows."""
        context.block, context.run = block, run
        return self._run(*args)

    def _run(self, session: Session, feeds: dict[str, Array], step: int, shard: int | None) -> list[Array]:
        started = time.perf_counter()
        try:
            return session.run(feeds)
        except ModelRunError as error:
            where = f"step {step}" if shard is None else f"step {step}, shard {shard}"
            raise type(error)(f"{where}: {error}") from error
        finally:
            seconds = time.perf_counter() - started
            with self._lock:
                if shard is None:
                    self._stats.whole_seconds += seconds
                else:
                    self._stats.busy_seconds[shard] += seconds
                    self._stats.joins += shard == 0 and step in self._joined


def _check_names(model: ShardedModel, sessions: list[list[Session]]) -> None:
    """Raise where the files are models of other tensors than the plan says.

    Raises:
        UsageError: with the first such file.
    """
    again = "make the plan again with python -m pipelines.plan"
    known = {spec.name for spec in model.signature.inputs}
    for step, each in zip(model.plan.steps, sessions, strict=True):
        for file, session in zip(step.files, each, strict=True):
            reads = {spec.name for spec in session.signature.inputs}
            makes = tuple(spec.name for spec in session.signature.outputs)
            if makes != step.outputs or reads != set(step.inputs) or not reads <= known:
                raise UsageError(
                    f"{file} makes {', '.join(makes)} of {', '.join(sorted(reads))}, but its step of the plan makes "
                    f"{', '.join(step.outputs)} of {', '.join(step.inputs)}: {again}"
                )
        shards = range(len(each)) if step.sharded else ()
        known |= {part_name(name, shard) for name in step.outputs for shard in shards} if shards else set(makes)
    wanted = tuple(spec.name for spec in model.signature.outputs)
    if model.plan.outputs != wanted or not known.issuperset(wanted):
        raise UsageError(f"the plan makes {', '.join(model.plan.outputs)} of {', '.join(wanted)}: {again}")


_sharded = PerProcess(ShardedSession)


def get_sharded(model: ShardedModel) -> ShardedSession:
    """This process's sessions of a divided model; loaded by the first call, shared by all threads.

    Raises:
        UsageError: a shard does not load.
    """
    return _sharded.get(model)


def get_still(model: ShardedModel) -> ShardedSession:
    """This process's sessions of a divided model's still twins."""
    return get_sharded(replace(model, still=True))
