"""Candidates that fit this machine, run on it, to stand beside what was predicted of them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.errors import UsageError
from beamsplit.models.running.session import ModelRunError, Session
from beamsplit.models.shard.planner import divide
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.models.split.alternatives import AT_ONCE, core_count
from beamsplit.models.split.chain import check_same, tolerance_of
from beamsplit.models.split.cuts import SplitGraph
from beamsplit.models.split.planner import make_plan
from beamsplit.models.split.stage_times import open_stages, time_together, time_window
from beamsplit.models.strategy.candidate import Candidate
from beamsplit.models.strategy.choose import LeftOut
from beamsplit.models.values.tensors import Array

BUDGET_SECONDS = 1.5
"""For the timed runs of one candidate, about."""

TURNS = 3
"""In which they are done."""

MOST_BYTES = 1e9
"""Bytes of weights up to which shards are written and timed: beyond, what is predicted must do."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What candidates are run with."""

    run: SampleRun
    """The model on a micro-batch, as one worker runs it."""

    workers: Sequence[ClusterWorker]
    graph: SplitGraph
    profile: Profile
    seconds: float = math.inf
    """For the timed runs of all candidates, about."""

    @property
    def has_cores(self) -> bool:
        """Whether the workers are this machine's, each with cores of its own."""
        local = all(worker.local and math.isinf(worker.bandwidth) for worker in self.workers)
        return local and len(self.workers) * max(1, self.run.options.threads) <= core_count()

    @property
    def is_here(self) -> bool:
        """Whether, besides, the model runs here."""
        return self.has_cores and self.profile.source == "measured"

    def measure_all(self, found: Sequence[Candidate]) -> list[float | LeftOut | None]:
        """Rows a second; None for what is not run here: several pods of stages, both at once, shards of large ones.

        What fails, or gives other numbers than the whole model, is left out.

        They take turns: what else the machine does meanwhile falls on all alike.
        Models too large to be in memory so often have their turns one after the other.
        """
        turn = min(BUDGET_SECONDS, self.seconds / max(len(found), 1)) / TURNS
        windows: list[list[float]] = [[] for _ in found]
        failed: dict[int, LeftOut] = {}

        def turns(at: int, window: Callable[[], float] | LeftOut | None, count: int) -> None:
            if isinstance(window, LeftOut):
                failed[at] = window
            elif window is not None:
                windows[at] += [window() for _ in range(count)]

        together = sum(self.graph.weight_bytes.values()) * len(found) <= AT_ONCE
        with contextlib.ExitStack() as all_open:
            if together:
                opened = [self._opened(one, turn, all_open) for one in found]
                for _ in range(TURNS):
                    for at, window in enumerate(opened):
                        turns(at, window, 1)
            else:
                for at, one in enumerate(found):
                    with contextlib.ExitStack() as alone:
                        window = self._opened(one, turn, alone)
                        turns(at, window, TURNS)
                        del window
        return [failed.get(at, statistics.median(rates) if rates else None) for at, rates in enumerate(windows)]

    def _opened(
        self, candidate: Candidate, turn: float, undo: contextlib.ExitStack
    ) -> Callable[[], float] | LeftOut | None:
        """What gives the rows a second of one turn, which takes so many seconds."""
        pods = sum(pod.count for pod in candidate.pods)
        try:
            if candidate.kind == "replicas":
                session = Session(self.run.model_file, self.run.options)
                return partial(self._rate, partial(session.run, self.run.feeds), pods, turn)
            if candidate.kind == "stages" and pods == 1:
                return self._stages(candidate, turn)
            if candidate.kind == "shards" and sum(self.graph.weight_bytes.values()) <= MOST_BYTES:
                return partial(self._rate, self._shards(candidate.shards, undo), pods, turn)
        except MemoryError:
            # It was predicted to be possible; that it was not run shows in the table.
            return None
        except Exception as error:
            # One way that fails, for whatever reason, leaves the others.
            return None if candidate.kind == "replicas" else LeftOut(told(error))
        return None

    def _rate(self, run: partial[list[Array]], number: int, turn: float) -> float:
        rows = self.profile.rows
        return sum(rows / max(one, 1e-9) for one in time_together([run] * number, turn))

    def _stages(self, candidate: Candidate, turn: float) -> Callable[[], float]:
        # Correcting a plan by timing its stages takes seconds; the job does that for the one that is chosen.
        timed: Literal["stages", "nothing"] = "stages" if math.isinf(self.seconds) else "nothing"
        plan = make_plan(self.run, candidate.stages, self.workers, timed=timed, graph=self.graph, profile=self.profile)
        runs = list(open_stages(self.graph.model, self.run, plan.stages))

        def window() -> float:
            seconds = time_window(plan.stages, runs, turn)
            period = max(took / stage.replicas for took, stage in zip(seconds, plan.stages, strict=True))
            return self.profile.rows / max(period, 1e-9)

        return window

    def _shards(self, shards: int, undo: contextlib.ExitStack) -> partial[list[Array]]:
        folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="beamsplit-shards-"))
        plan = divide(self.run.model_file, self.run.feeds, shards, folder)
        # As an inline worker runs them: what stays whole has the cores of all shards.
        whole = dataclasses.replace(self.run.options, threads=self.run.options.threads * shards)
        one = Session(self.run.model_file, self.run.options)
        sharded = ShardedSession(ShardedModel(plan, folder, (self.run.options,) * shards, whole, one.signature))
        undo.callback(sharded.drop)
        check_same(
            one, sharded, self.run.feeds, tolerance_of(self.run.model_file.path), of="the shards do", fix="left out"
        )
        return partial(sharded.run, self.run.feeds)


def told(error: Exception) -> str:
    """Why something failed, in one line: our own words, or what kind of error it was."""
    if isinstance(error, (UsageError, ModelRunError)):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
