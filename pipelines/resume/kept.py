"""What earlier runs of a job have finished: found, compared with what is to be run now, held while that runs.

keeping -> go_on -> plan_job ... -> start -> run -> finished -> remove
 locks    compares                 writes
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.models.owned_folder import Hold, hold, remove_abandoned
from beamsplit.models.user_cache import cache_folder
from beamsplit.pipelines.options.schemes import is_table, scheme_of
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.resume.facts import Facts, changes, job_facts, told_changes
from beamsplit.pipelines.sources.source import Source
from beamsplit.transforms.failures.reasons import of_summary_data
from beamsplit.transforms.resume.finish import go_on_with_names, rows_read, take_back_errors
from beamsplit.transforms.resume.folder import FINAL, JOB, KeptFolder
from beamsplit.transforms.resume.units import Unit, at_random, make_units, unit_bytes
from beamsplit.transforms.write.names import as_pattern, check_writable
from beamsplit.transforms.write.storage import local_path, remove_folder

if TYPE_CHECKING:
    from beamsplit.pipelines.job.job import Job
    from beamsplit.transforms.resume.record import UnitRecord

ONLY_FILES = "--resume keeps splits of files beside an output of files"


@dataclass(frozen=True)
class Resumed:
    """A job as it goes on: what of it is done, and what is still to be done."""

    folder: KeptFolder
    facts: Facts
    units: tuple[Unit, ...]
    """Of the whole job."""

    unit_bytes: int
    """About how large they are."""

    records: tuple[UnitRecord, ...] = ()
    """Of those that are done."""

    begun: int = 0
    """Of the others, how many an earlier run has begun."""

    batch_size: int | None = None
    """Rows of a run that an earlier run has measured."""

    commit_id: str | None = None
    """What the commit of a table will be known by, in whichever run."""

    columns: str | None = None
    """Those of the table for which files were written."""

    final: Mapping[str, Any] | None = None
    """What `FINAL` tells of a table's files: all is scored, and perhaps committed."""

    changed: str | None = None
    """Why what is there is of no use, in words; None where it is, or nothing is there."""

    dropped: int = 0
    """Units that were done, and are of no use."""

    @property
    def pending(self) -> list[Unit]:
        """Units that are still to be done."""
        if self.final is not None:
            return []
        done = {record.unit for record in self.records}
        return [unit for unit in self.units if unit.number not in done]

    @property
    def rows(self) -> int:
        """Rows of the input that earlier runs have done with."""
        counted = [record.counters for record in self.records] if self.final is None else [self.final["counters"]]
        return sum(map(rows_read, counted))

    @property
    def failed_rows(self) -> int:
        """Those of them that failed."""
        if self.final is not None:
            return of_summary_data(dict(self.final)).kinds.total
        return sum(record.failed.kinds.total for record in self.records)

    @property
    def told(self) -> dict[str, int]:
        """The same for the summary."""
        units = len(self.units)
        return {"splits": units - len(self.pending), "of_splits": units, "rows": self.rows, "scored_again": self.begun}

    @property
    def line(self) -> str:
        """E.g. `40 of 50 splits, 4,000,000 rows; 2 begun before are scored again`."""
        again = f"; {self.begun} begun before {'is' if self.begun == 1 else 'are'} scored again" if self.begun else ""
        done = len(self.units) - len(self.pending)
        return f"{done:,} of {len(self.units):,} splits, {self.rows:,} rows{again}"

    @property
    def warning(self) -> str | None:
        """That what is there is dropped, and why; None where it is not."""
        if self.changed is None:
            return None
        lost = f"{self.dropped:,} split{'s' * (self.dropped != 1)}"
        dropped = f": {lost} that had been finished {'are' if self.dropped != 1 else 'is'} dropped" * bool(self.dropped)
        return f"--resume: this is not the job that was begun ({self.changed}), so it starts anew{dropped}"

    def start(self, job: Job) -> None:
        """Take the folder over, with nothing in it but what is of use."""
        self.folder.take_over()
        if self.final is None:
            self.folder.clear(None if self.changed is not None else self.records)
        batch_size = None if job.execution.in_parts else job.execution.scoring.batch_size
        told = {"facts": self.facts._asdict(), "unit_bytes": self.unit_bytes, "batch_size": batch_size}
        told |= {"commit_id": self.commit_id, "columns": self.columns}
        self.folder.write_json(JOB, told)


@dataclass(frozen=True)
class Kept:
    """The folder of an output, held by this process."""

    folder: KeptFolder
    hold: Hold | None
    """None for who only looks."""

    of_table: bool = False
    """Whether the output is a table."""

    asked: bool = True
    """Whether its file system is asked what is there: that of a job which is only written down may not be reached."""

    @property
    def names_are_due(self) -> bool:
        """Whether all is scored, and files get their names; a table's commit is the job's own."""
        return self.hold is not None and not self.of_table and self.folder.read_json(FINAL) is not None

    def go_on(self, options: ScoreOptions, source: Source, local: bool) -> tuple[Resumed, ScoreOptions]:
        """(the job as it goes on, its options with what the run before has measured).

        Args:
            options: as they were given.
            source: of the job.
            local: whether workers run on this machine.

        Raises:
            UsageError: what is read cannot be kept in splits.
        """
        from beamsplit.pipelines.sources.files import Files

        if not isinstance(source, Files):
            raise UsageError(f"{ONLY_FILES}, and --input {options.source.input[0]} is none; leave --resume out")
        workers = source.workers(options.workers, options.parallelism, local).count
        facts = job_facts(options, source, workers)
        told = self.folder.read_json(JOB) if self.asked else None
        before = None
        with contextlib.suppress(TypeError, KeyError):
            before = None if told is None else Facts(**told["facts"])
        found = [] if before is None else changes(before, facts)
        same = told is not None and before is not None and not found
        size = told["unit_bytes"] if same and told is not None else unit_bytes(source.inputs, workers)
        units = make_units(source.inputs, source.format, size)
        if options.workers.partition == "random":
            units = at_random(units, workers, options.workers.seed)
        folder = replace(self.folder, job=_key(facts, size))
        resumed = Resumed(folder, facts, tuple(units), size)
        if self.of_table:
            # A commit of an earlier run of this job is not made again; one of another job is another.
            id_before = told.get("commit_id") if same and told is not None else None
            commit_id = options.sink.commit_id or id_before or uuid.uuid4().hex[:12]
            options = replace(options, sink=replace(options.sink, commit_id=commit_id))
            resumed = replace(resumed, commit_id=commit_id)
        if told is None:
            return resumed, options
        if before is None or not same:
            of_before = folder if before is None else replace(folder, job=_key(before, told["unit_bytes"]))
            why = told_changes(found) or "what was kept cannot be read"
            return replace(resumed, changed=why, dropped=len(of_before.read_records())), options
        records = {number: one for number, one in folder.read_records().items() if number < len(units)}
        done = tuple(records[number] for number in sorted(records))
        resumed = replace(resumed, records=done, begun=folder.begun(records), batch_size=told.get("batch_size"))
        if self.of_table:
            resumed = replace(resumed, columns=told.get("columns"), final=folder.read_json(FINAL))
            if resumed.final is not None and self.hold is not None:
                take_back_errors(dict(resumed.final))
        if options.workers.batch_size == "auto" and resumed.batch_size is not None:
            options = replace(options, workers=replace(options.workers, batch_size=resumed.batch_size))
        return resumed, options

    def give_names(self, options: ScoreOptions, source: Source, local: bool) -> bool:
        """Give the names that a run which was killed meanwhile has not given; whether that was this very job.

        Raises:
            UsageError: what is read is not there.
        """
        told = self.folder.read_json(JOB)
        if told is None or self.folder.read_json(FINAL) is None:
            return False
        facts = Facts(**told["facts"])
        workers = source.workers(options.workers, options.parallelism, local).count
        same = not changes(facts, job_facts(options, source, workers))
        folder = replace(self.folder, job=_key(facts, told["unit_bytes"]))
        folder.take_over()
        try:
            go_on_with_names(folder, options.sink.output, options.sink.errors if same else None)
        except FileNotFoundError:  # somebody has moved what had its name already: its rows are scored again
            folder.drop(FINAL)
            return False
        if not same:
            folder.clear()
        return same

    def remove(self) -> None:
        """Remove all: the output is there."""
        if local_path(self.folder.path) is None:
            remove_folder(self.folder.path)
        if self.hold is not None:
            self.hold.remove()


@contextlib.contextmanager
def keeping(options: ScoreOptions) -> Iterator[Kept | None]:
    """Hold what earlier runs of the job with `--resume` have finished while the block inside runs; None without.

    Raises:
        UsageError: another command has it.
    """
    if not options.sink.resume:
        yield None
        return
    output = kept_output(options.sink.output)
    folder, of_table = KeptFolder.beside(output), is_table(options.sink.output)
    if options.watching.dry_run_plan or options.watching.dry_run is not None:
        yield Kept(folder, None, of_table, asked=options.watching.dry_run is None)
        return
    check_writable(as_pattern(output), "--output")
    lock = _lock_folder(folder.path)
    above = _missing_above(lock)
    held = hold(lock)
    if held is None:
        raise UsageError(
            f"--output {options.sink.output} is being written by another command with --resume: wait for its end, or "
            "give --output another name"
        )
    try:
        yield Kept(folder, held, of_table)
    finally:
        if local_path(folder.path) is None or folder.read_json(JOB) is None:
            held.remove()
            with contextlib.suppress(OSError):
                for made in above:  # for nothing, if the job did not start
                    os.rmdir(made)
        else:
            held.release()


def kept_output(output: str) -> str:
    """The name beside which what is finished is kept: the output's own; of a table one in its folder.

    Raises:
        UsageError: the table's catalog does not tell where it lies.
    """
    tables = scheme_of(output).tables
    if tables is None:
        return output
    module = import_module(tables)
    return kept_in_table(module.folder_of(output), getattr(module, "EXTENSION", ".parquet"))


def kept_in_table(folder: str, extension: str = ".parquet") -> str:
    """The same of a table, by the folder in which its files lie.

    >>> kept_in_table("data/sales/")
    'data/sales/part-*.parquet'
    """
    return f"{folder.rstrip('/')}/part-*{extension}"


def _key(facts: Facts, size: int) -> str:
    """Tells the records of a job from those of another."""
    return hashlib.sha256(json.dumps([facts, size]).encode()).hexdigest()[:16]


def _lock_folder(path: str) -> str:
    """What is locked on this machine: the folder itself, or one that stands for it where it is elsewhere."""
    local = local_path(path)
    if local is not None:
        return local
    return os.path.join(cache_folder("resume"), hashlib.sha256(path.encode()).hexdigest()[:16])


def _missing_above(folder: str) -> list[str]:
    """The folders around a folder that are not there yet, the innermost first."""
    missing = []
    above = os.path.dirname(os.path.abspath(folder))
    while not os.path.lexists(above):
        missing.append(above)
        above = os.path.dirname(above)
    return missing


def forget_kept(output: str) -> bool:
    """Remove what a job with `--resume` has left that was to write an output which is there now; whether it had."""
    local = local_path(KeptFolder.beside(output).path)
    if local is None:
        return False
    parent, name = os.path.split(os.path.abspath(local))
    return bool(remove_abandoned(parent, re.escape(name)))
