"""A model that is replaced while rows flow: one a process, with one thread that looks for new ones.

thread    look -> changed, and still? -> copy, hash -> load, check, warm -> put in `current`
stream    block -> `current`, once a block -> block -> `current` ...
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.model_check import ModelCheck
from beamsplit.models.fitting.replacement import CHECK_ROWS, load_replacement
from beamsplit.models.graph.model_copy import ModelCopy, remove_copy
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.scoring.scorer import Scorer, ScoringPlan
from beamsplit.models.values.packed_rows import unpack_rows
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
"""Before the next look where one failed, and before a model is read again that could not be: it may be large."""


@dataclass(frozen=True)
class ModelUpdates:
    """Where new models come from."""

    path: str
    """A file or a folder that every worker can read; of a folder's *.onnx the newest good one is taken."""

    sample: bytes | None = None
    """Rows as the model gets them (`pack_rows`), to try a new one on before the first block; None where there are
    none, and a new model then waits for a block."""

    check: ModelCheck | None = None
    """Rows on which a new one is compared with the one in use; None for none."""


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

    path: str = ""
    """Where the model in use comes from."""

    trouble: str = ""
    """Why the last look failed; empty where it did not."""

    waits: Callable[[], float] = time.monotonic
    """Seconds, by which a model that could not be read is tried again."""

    _taken: int = 0
    _refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _data: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _versions: dict[State, str] = field(default_factory=dict)
    _before: dict[str, State] = field(default_factory=dict)
    _bad: set[str] = field(default_factory=set)
    _unread: dict[str, tuple[State, float, str]] = field(default_factory=dict)
    """Path -> what it was when it could not be read, when it is tried again, and why."""

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
            found = candidates(self.updates.path)
            self._unread = {one.path: self._unread[one.path] for one in found if one.path in self._unread}
            for candidate in found:
                in_use = _same_file(candidate.path, self.path)
                # While the file of the model in use is written or cannot be read, no older one takes its place.
                if self._look_at(candidate, settled, in_use):
                    break
            self.trouble = ""
        except Exception as error:
            # The file system is away: the stream goes on with the model that it has.
            if str(error) != self.trouble:
                self.trouble = str(error)
                unforeseen = not isinstance(error, OSError)
                _LOG.warning("--model_updates %s: %s; looking again", self.updates.path, error, exc_info=unforeseen)

    def _look_at(self, candidate: FoundModel, settled: bool, in_use: bool) -> bool:
        """Whether the search ends here; False where an older model is to be looked at."""
        path = candidate.path
        state = state_of(candidate, self._data.get(path, ()))
        before, self._before[path] = self._before.get(path), state
        if settled and state != before:
            return in_use
        unread = self._unread.get(path)
        if unread is not None and unread[0] == state and self.waits() < unread[1]:
            return in_use
        try:
            done = self._is_the_one(candidate, state, settled)
        except Exception as error:
            # It may not be read, the disk is full, it makes a library do what nobody foresaw: others may do.
            reason = str(error) or type(error).__name__
            self._unread[path] = (state, self.waits() + TROUBLE_SECONDS, reason)
            if unread is None or unread[2] != reason:
                unforeseen = not isinstance(error, OSError)
                _LOG.warning("--model_updates %s cannot be taken: %s; looking again", path, reason, exc_info=unforeseen)
            return in_use
        self._unread.pop(path, None)
        return in_use if done is None else done

    def _is_the_one(self, candidate: FoundModel, state: State, settled: bool) -> bool | None:
        """Whether this model is in use now, or a block must come first; None where it may still be written."""
        version = self._versions.get(state)
        if version == self.current.version:
            self.path = candidate.path
            return True
        if self.rows is None:
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
                    return None  # Its data may still be written.
            else:
                self._versions[state] = copy.version
            if copy.version == self.current.version:
                self.path = candidate.path
                return True
            return copy.version not in self._bad and self._load(candidate, copy)
        finally:
            remove_copy(folder)

    def _load(self, candidate: FoundModel, copy: ModelCopy) -> bool:
        assert self.rows is not None
        reason = copy.problem
        if reason is None:
            try:
                scorer = load_replacement(self.current.scorer, copy.path, self.options, self.rows, self.updates.check)
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
        self.current, self.path = Current(scorer, copy.version), candidate.path
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
    rows = None if updates.sample is None else unpack_rows(updates.sample)
    scorer = Scorer(replace(plan, model=model), session)
    if rows is not None:
        scorer.score(rows)  # warm before the first block
    return LiveModel(Current(scorer, copy.version), options, updates, rows, job_dir, source)


def _same_file(one: str, other: str) -> bool:
    if is_remote(one) or is_remote(other):
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)


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
