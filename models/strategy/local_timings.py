"""What the cores of this machine do with a model side by side, so that what is predicted for them holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.trace import time_runs
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.split.alternatives import core_count
from beamsplit.models.split.stage_times import time_together
from beamsplit.models.strategy.teams import Links
from beamsplit.models.values.tensors import Array


@dataclass(frozen=True)
class LocalTimings:
    """What the cores of this machine do with the whole model; seconds are per micro-batch."""

    cores: int

    alone: float
    """One thread, the other cores idle."""

    together: float
    """One thread, while every other core runs the model too, of one session or each of its own."""

    threaded: float
    """As many threads as cores."""

    def profile(self, of_model: Profile) -> Profile:
        """What the nodes take while all cores are at work: what was profiled had the machine to itself."""
        times = self.together / max(of_model.total_seconds, 1e-12)
        seconds = {name: one * times for name, one in of_model.node_seconds.items()}
        return replace(of_model, node_seconds=seconds, total_seconds=self.together)

    @property
    def links(self) -> Links:
        """Of teams in one process: what stays whole has the team's cores."""
        if self.cores == 1:
            return Links()
        gain = (self.alone / max(self.threaded, 1e-12) - 1) / (self.cores - 1)
        return Links(thread_gain=min(max(gain, 0.0), 1.0))


def time_locally(
    model: ModelFile,
    feeds: dict[str, Array],
    options: SessionOptions,
    budget_seconds: float,
    *,
    own_weights: bool = False,
) -> LocalTimings:
    """Time the whole model in three ways, on the micro-batch's rows.

    Args:
        model: fits this machine.
        feeds: one array an input.
        options: provider and device; threads are set here.
        budget_seconds: for all runs, about.
        own_weights: whether each core has the weights in memory for itself, as processes do that hold the whole model.
            Parts of it, or threads of one process, have them once.
    """
    cores, each = core_count(), budget_seconds / 3
    one_thread = replace(options, threads=1, mapped=False)
    one = Session(model, one_thread)
    alone = time_runs(partial(one.run, feeds), each)
    if cores == 1:
        return LocalTimings(1, alone, alone, alone)
    more = [Session(model, one_thread) for _ in range(cores - 1)] if own_weights else [one] * (cores - 1)
    together = float(np.mean(time_together([partial(session.run, feeds) for session in (one, *more)], each)))
    del one, more
    every = Session(model, replace(options, threads=cores, mapped=False))
    return LocalTimings(cores, alone, together, time_runs(partial(every.run, feeds), each))
