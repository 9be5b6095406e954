"""A model that is replaced while rows flow: one a process, with one thread that looks for new ones.

thread    look -> changed, and still? -> copy, hash -> load, check, warm -> put in `current`
stream    block -> `current`, once a block -> block -> `current` ...
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
import threading
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.replacement import CHECK_ROWS, load_replacement
from beamsplit.models.graph.model_copy import ModelCopy, remove_copy
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.scoring.scorer import Scorer, ScoringPlan
from beamsplit.transforms.infer.model_news import REFUSED, TAKEN, write_news
from beamsplit.transforms.infer.model_watch import (
    POLL_SECONDS,
    REMOTE_POLL_SECONDS,
    FoundModel,
    State,
    candidates,
    is_remote,
    state_of,
    take_copy,
)

_LOG = logging.getLogger(__name__)
# A new model is news, also where Beam's own chatter is not.
_LOG.setLevel(logging.INFO)


TROUBLE_SECONDS = 30.0
"""Before the next look where one failed: it may have copied a large model."""


@dataclass(frozen=True)
class ModelUpdates:
    """Where new models come from."""

    path: str
    """A file or a folder that every worker can read; of a folder's *.onnx the newest good one is taken."""

    sample: bytes | None = None
    """Rows as the model gets them (`pack_rows`), to try a new one on before the first block; None where there are
    none, and a new model then waits for a block."""


def pack_rows(rows: pa.RecordBatch | None, most_bytes: int = 1 << 20) -> bytes | None:
    """A few rows as bytes, for `ModelUpdates.sample`."""
    if rows is None or not rows.num_rows:
        return None
    count = max(1, min(CHECK_ROWS, rows.num_rows, most_bytes * rows.num_rows // max(1, rows.nbytes)))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows.slice(0, count))
    return sink.getvalue()


class Current(NamedTuple):
    """What scores now; read once a block, so that all rows of a block have one model."""

    scorer: Scorer
    version: str


@dataclass
class LiveModel:
    """The model of a process, and what became of those that came after it."""

    current: Current
    options: SessionOptions
    updates: ModelUpdates
    rows: pa.RecordBatch | None = None
    """The first rows of the last block: what a new model is tried on."""

    job_dir: str | None = None
    """Folder that the job's local workers share with the submitter; None on a cluster."""

    trouble: str = ""
    """Why the last look failed; empty where it did not."""

    _taken: int = 0
    _refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _data: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _versions: dict[State, str] = field(default_factory=dict)
    _before: dict[str, State] = field(default_factory=dict)
    _bad: set[str] = field(default_factory=set)

    def saw(self, block: pa.RecordBatch) -> None:
        """Take note of a block that was scored."""
        if block.num_rows:
            self.rows = block.slice(0, CHECK_ROWS)

    def take_counts(self) -> tuple[int, int]:
        """(models that took over, models that were refused) since the last call."""
        if not (self._taken or self._refused):
            return 0, 0
        with self._lock:
            counts = self._taken, self._refused
            self._taken = self._refused = 0
        return counts

    def look(self, settled: bool = True) -> None:
        """Look once: the newest good model takes over, unless it is the one in use.

        Args:
            settled: leave alone what has changed since the look before: somebody may be writing it still.
        """
        try:
            for candidate in candidates(self.updates.path):
                state = state_of(candidate, self._data.get(candidate.path, ()))
                before, self._before[candidate.path] = self._before.get(candidate.path), state
                if settled and state != before:
                    return
                if self._is_the_one(candidate, state, settled):
                    break
            self.trouble = ""
        except Exception as error:
            # The file system is away, the disk is full, a model makes a library do what nobody foresaw: the stream
            # goes on with the model that it has.
            if str(error) != self.trouble:
                self.trouble = str(error)
                unforeseen = not isinstance(error, OSError)
                _LOG.warning("--model_updates %s: %s; looking again", self.updates.path, error, exc_info=unforeseen)

    def _is_the_one(self, candidate: FoundModel, state: State, settled: bool) -> bool:
        """Whether this model is in use now, or more must be known first; False where an older one is to be tried."""
        version = self._versions.get(state)
        if version == self.current.version or self.rows is None:
            return True
        if version in self._bad:
            return False
        folder = tempfile.mkdtemp(prefix="beamsplit-model-")
        try:
            copy = take_copy(candidate.path, folder)
            if copy.data != self._data.get(candidate.path, ()):
                self._data[candidate.path] = copy.data
                self._before[candidate.path] = state_of(candidate, copy.data)
                if settled:
                    return True  # Its data may still be written.
            else:
                self._versions[state] = copy.version
            if copy.version == self.current.version:
                return True
            return copy.version not in self._bad and self._load(candidate, copy)
        finally:
            remove_copy(folder)

    def _load(self, candidate: FoundModel, copy: ModelCopy) -> bool:
        assert self.rows is not None
        reason = copy.problem
        if reason is None:
            try:
                scorer = load_replacement(self.current.scorer, copy.path, self.options, self.rows)
                # Asked while its file is there.
                _ = scorer.session.model_bytes
            except UsageError as error:
                reason = str(error).replace(copy.path, candidate.path).removeprefix("--model ")
        if reason is not None:
            self._bad.add(copy.version)
            with self._lock:
                self._refused += 1
            reason = reason.removeprefix(f"{candidate.path}: ")
            what = f"{copy.version} ({candidate.path}) is refused, {self.current.version} goes on: {reason}"
            self._tell(REFUSED, f"model {what}")
            return False
        before = self.current.version
        self.current = Current(scorer, copy.version)
        with self._lock:
            self._taken += 1
        self._tell(TAKEN, f"model {copy.version} ({candidate.path}) takes over from {before}")
        return True

    def _tell(self, kind: str, text: str) -> None:
        """To the submitter, if it is on this machine, else in the log."""
        if self.job_dir is None or not write_news(self.job_dir, kind, text):
            _LOG.log(logging.INFO if kind == TAKEN else logging.ERROR, text)


_LIVE: dict[tuple[ModelUpdates, SessionOptions, str, str | None], LiveModel] = {}
_LIVE_LOCK = threading.Lock()


def live_model(
    plan: ScoringPlan, source: str, options: SessionOptions, updates: ModelUpdates, job_dir: str | None
) -> LiveModel:
    """This process's model of a job: loaded, and brought up to date, by the first call.

    Args:
        plan: how the model is scored.
        source: the model that the job began with.
        options: of its sessions.
        updates: where new ones come from.
        job_dir: folder of the job on this machine; its end ends the thread. None on a cluster, where the process ends.

    Raises:
        UsageError: the first model cannot be loaded.
    """
    key = (updates, options, source, job_dir)
    with _LIVE_LOCK:
        live = _LIVE.get(key)
        if live is None:
            live = _LIVE[key] = _begin(plan, source, options, updates, job_dir)
            live.look(settled=False)
            threading.Thread(target=_watch, args=(key, job_dir), name="model-updates", daemon=True).start()
    return live


def _begin(
    plan: ScoringPlan, source: str, options: SessionOptions, updates: ModelUpdates, job_dir: str | None
) -> LiveModel:
    folder = tempfile.mkdtemp(prefix="beamsplit-model-")
    try:
        copy = take_copy(source, folder)
        if copy.problem is not None:
            raise UsageError(f"--model {copy.problem}")
        model = ModelFile(copy.path, plan.model.rewrites)
        session = Session(model, options)
        # Asked while its file is there.
        _ = session.signature, session.model_bytes
    except OSError as error:
        raise UsageError(f"--model {source} cannot be read ({error}): give an ONNX file") from error
    finally:
        remove_copy(folder)
    rows = None
    if updates.sample is not None:
        with pa.ipc.open_stream(pa.py_buffer(updates.sample)) as reader:
            rows = reader.read_next_batch()
    return LiveModel(
        Current(Scorer(replace(plan, model=model), session), copy.version), options, updates, rows, job_dir
    )


def _watch(key: tuple[ModelUpdates, SessionOptions, str, str | None], job_dir: str | None) -> None:
    pause = threading.Event()
    seconds = REMOTE_POLL_SECONDS if is_remote(key[0].path) else POLL_SECONDS
    live = _LIVE[key]
    while not pause.wait(TROUBLE_SECONDS if live.trouble else seconds):
        if job_dir is not None and not os.path.isdir(job_dir):
            with _LIVE_LOCK:
                _LIVE.pop(key, None)
            return
        live.look()
