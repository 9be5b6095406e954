"""A split model that stands where a session does: all stages in this process, micro-batches overlapping."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import check_content
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.per_process import PerProcess
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.boundary import Layout, find_layouts
from beamsplit.models.running.runs import Fetch, RunOutcome, Runs, StageRunError
from beamsplit.models.running.session import ModelRunError, SessionOptions, get_session
from beamsplit.models.split.inline import InlinePipeline
from beamsplit.models.split.plan import Plan
from beamsplit.models.split.worker import Array, InlineStage, PipelineStats

if TYPE_CHECKING:
    from beamsplit.models.shard.sharded import ShardedModel


@dataclass(frozen=True)
class StagedModel:
    """A split model on disk and how its stages run: data, so that every process makes the same of it."""

    plan: Plan
    """Its stages have a `file` each."""

    folder: str
    """That the files are relative to."""

    outputs: tuple[str, ...]
    """Outputs of the whole model, in its order."""

    sessions: tuple[SessionOptions, ...]
    """Provider, device and threads of each stage's session."""

    workers: tuple[int, ...]
    """Threads that run each stage, to begin with."""

    shards: tuple[ShardedModel | None, ...] = ()
    """Of each stage how it is run as shards; empty where no stage is divided."""

    @property
    def mapped(self) -> StagedModel:
        """The same with its weights left in their files, for a few runs."""
        each = tuple(replace(options, mapped=True) for options in self.sessions)
        return replace(self, sessions=each, shards=tuple(one and one.mapped for one in self.shards))

    def fetched(self, fetch: Fetch) -> StagedModel:
        """The same with its stages' files on this machine."""
        if "://" not in self.folder:
            return self
        files = [fetch(f"{self.folder}/{stage.file}", stage.sha256) for stage in self.plan.stages]
        folder = os.path.dirname(files[0])
        each = zip(self.plan.stages, files, strict=True)
        stages = tuple(replace(stage, file=os.path.relpath(file, folder)) for stage, file in each)
        return replace(self, folder=folder, plan=replace(self.plan, stages=stages))

    def open(self, device: int | None = None) -> StagedSession:
        """This process's sessions of all stages, each on its own device; loaded by the first call.

        Raises:
            UsageError: a stage does not load.
        """
        return get_staged(self)

    @property
    def period(self) -> float:
        """Seconds between two micro-batches as planned, with the threads that the stages begin with."""
        return max(stage.seconds / threads for stage, threads in zip(self.plan.stages, self.workers, strict=True))

    def stage_file(self, stage: int) -> ModelFile:
        """The model of one stage.

        Raises:
            UsageError: the stage has not been saved.
        """
        file = self.plan.stages[stage].file
        if file is None:
            raise UsageError(
                f"the plan has no file for stage {stage}: save the stages with python -m pipelines.plan --save_stages"
            )
        return ModelFile(os.path.join(self.folder, file))

    def open_stage(self, stage: int) -> Runs:
        """This process's session of one stage, or its shards'; loaded by the first call.

        Raises:
            UsageError: the stage has not been saved, or does not load.
        """
        divided = self.shards[stage] if self.shards else None
        if divided is None:
            file = self.stage_file(stage)
            check_content(file.path, self.plan.stages[stage].sha256)
            session = get_session(file, self.sessions[stage])
            self.check_names(stage, session)
            return session
        return divided.open()

    def check_names(self, stage: int, session: Runs) -> None:
        """Raise unless a stage's model reads and makes what the plan says.

        Raises:
            UsageError: it is another.
        """
        planned = self.plan.stages[stage]
        makes = {spec.name for spec in session.signature.outputs}
        reads = {spec.name for spec in session.signature.inputs}
        if makes != set(planned.outputs) or not reads <= set(planned.inputs):
            raise UsageError(
                f"{planned.file} makes {', '.join(sorted(makes))} of {', '.join(sorted(reads))}, but stage {stage} of "
                f"the plan makes {', '.join(planned.outputs)} of {', '.join(planned.inputs)}: save the stages again"
            )


class StagedSession:
    """What `Session` offers, run stage by stage; `run_many` overlaps the stages. May be called from many threads."""

    def __init__(self, model: StagedModel) -> None:
        """Load all stages; use `get_staged`, which does it once.

        Raises:
            UsageError: a stage's file is missing or does not load, or no stage makes an output.
        """
        self.model = model
        """What was loaded."""
        self.sessions = [model.open_stage(stage.index) for stage in model.plan.stages]
        """One a stage."""
        signature = staged_signature(self.sessions, model.outputs)
        self._blocks = blocks_of(model.plan.rewrites)
        self.signature = signature if self._blocks is None else self._blocks.signature(signature)
        """Inputs and outputs of the whole model."""
        self.load_seconds = sum(session.load_seconds for session in self.sessions)
        """Seconds that loading took, all stages together."""
        self.pipeline = InlinePipeline(
            [
                InlineStage(
                    session.run,
                    tuple(spec.name for spec in session.signature.inputs),
                    tuple(spec.name for spec in session.signature.outputs),
                    workers,
                    stage.seconds,
                )
                for session, workers, stage in zip(self.sessions, model.workers, model.plan.stages, strict=True)
            ],
            model.outputs,
            # More threads do not make a GPU faster.
            moving=all(options.device is None for options in model.sessions),
        )
        self._told = PipelineStats(tuple(one - one for one in self.pipeline.stats().stages))
        self._lock = threading.Lock()

    @property
    def model_bytes(self) -> int:
        """Bytes of all stages' files with their external data."""
        return sum(session.model_bytes for session in self.sessions)

    def run(self, feeds: dict[str, Array]) -> list[Array]:
        """As `Session.run`, for one micro-batch.

        Raises:
            ModelRunError: a stage failed.
        """
        with closing(self.run_many([feeds])) as outcomes:
            outcome = next(outcomes)
        if outcome.outputs is None:
            assert outcome.error is not None
            raise outcome.error
        return outcome.outputs

    def run_many(self, feeds: Iterable[dict[str, Array]]) -> Generator[RunOutcome, None, None]:
        """Run micro-batches, the stages overlapping; what became of each, in order.

        `feeds` is taken from ahead of what comes out: its arrays must not be written to again.

        Raises:
            Exception: something other than the model failed.
        """
        counts: deque[int] = deque()
        given = feeds if self._blocks is None else self._blocks.fill(feeds, counts)
        with closing(self.pipeline.outcomes(given)) as outcomes:
            for outcome in outcomes:
                error, outputs = None, outcome.outputs
                if self._blocks is not None:
                    count = counts.popleft()
                    outputs = None if outputs is None else self._blocks.trimmed(outputs, count)
                if outcome.error is not None:
                    if not isinstance(outcome.error.error, ModelRunError):
                        raise outcome.error from outcome.error.error
                    error = StageRunError(outcome.error.stage, outcome.error.error)
                yield RunOutcome(None if error else outputs, error, outcome.seconds)

    def take_stats(self) -> PipelineStats:
        """What was done since this was last called, by whatever thread: add up what all calls gave."""
        with self._lock:
            now = self.pipeline.stats()
            passed, self._told = now - self._told, now
        return passed


def staged_signature(sessions: Iterable[Runs], outputs: Iterable[str]) -> Signature:
    """The whole model's inputs and outputs, from those of its stages.

    Raises:
        UsageError: no stage makes one of the outputs.
    """
    inputs: dict[str, TensorSpec] = {}
    made: dict[str, TensorSpec] = {}
    for session in sessions:
        inputs.update((spec.name, spec) for spec in session.signature.inputs if spec.name not in {**made, **inputs})
        made.update((spec.name, spec) for spec in session.signature.outputs)
    known = {**inputs, **made}
    missing = [name for name in outputs if name not in known]
    if missing:
        raise UsageError(
            f"no stage of the plan makes the model's output {missing[0]!r}: make it again with python -m pipelines.plan"
        )
    return Signature(tuple(inputs.values()), tuple(known[name] for name in outputs))


def crossing(sessions: Sequence[Runs], outputs: Sequence[str]) -> list[tuple[str, ...]]:
    """For each cut the tensors that cross it: there before it, and read behind it or an output of the model."""
    reads = [{spec.name for spec in session.signature.inputs} for session in sessions]
    there: dict[str, None] = {}
    cuts = []
    for at, session in enumerate(sessions[:-1]):
        made = {name for later in sessions for name in (spec.name for spec in later.signature.outputs)}
        there |= dict.fromkeys(name for names in reads for name in sorted(names) if name not in made)
        there |= dict.fromkeys(spec.name for spec in session.signature.outputs)
        needed = set().union(*reads[at + 1 :], outputs)
        cuts.append(tuple(name for name in there if name in needed))
    return cuts


def tensors_of(sessions: Sequence[Runs], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor that the stages read or make, by name, for one run of all of them.

    Raises:
        ModelRunError: a stage failed.
    """
    values = dict(feeds)
    for stage, session in enumerate(sessions):
        try:
            made = session.run({spec.name: values[spec.name] for spec in session.signature.inputs})
        except ModelRunError as error:
            raise StageRunError(stage, error) from error
        values |= dict(zip([spec.name for spec in session.signature.outputs], made, strict=True))
    return values


def boundary_layouts(
    sessions: Sequence[Runs],
    outputs: Sequence[str],
    take: Callable[[Array], dict[str, Array]],
    *,
    fixed: bool,
    quantised: bool = False,
    unlike: bool = True,
) -> list[tuple[Layout, ...]]:
    """For each cut how the tensors that cross it lie; the arguments are those of `find_layouts`."""
    cuts = crossing(sessions, outputs)
    specs = [spec for session in sessions for spec in (*session.signature.inputs, *session.signature.outputs)]
    names = {name for cut in cuts for name in cut}
    dtypes = {spec.name: spec.dtype for spec in specs if spec.name in names}
    layouts = find_layouts(
        lambda feeds: tensors_of(sessions, feeds), take, dtypes, fixed=fixed, quantised=quantised, unlike=unlike
    )
    return [tuple(layouts[name] for name in cut) for cut in cuts]


def whole_layouts(sessions: Sequence[Runs], outputs: Sequence[str]) -> list[tuple[Layout, ...]]:
    """The same where nothing is known of them but their types: none is taken apart."""
    specs = [spec for session in sessions for spec in (*session.signature.inputs, *session.signature.outputs)]
    dtypes = {spec.name: spec.dtype for spec in specs}
    return [tuple(Layout(name, dtypes[name]) for name in cut) for cut in crossing(sessions, outputs)]


_staged = PerProcess(StagedSession)


def get_staged(model: StagedModel) -> StagedSession:
    """This process's sessions of a split model; loaded by the first call, shared by all threads.

    Raises:
        UsageError: a stage does not load.
    """
    return _staged.get(model)


def staged_workers(model: StagedModel) -> tuple[int, ...]:
    """Threads that each stage has by now in this process; those it was to begin with where it has not run here."""
    session = _staged.known(model)
    return model.workers if session is None else session.pipeline.workers
