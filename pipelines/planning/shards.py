"""`plan --shards`: divide a model by width, show how, and write plan, shards, annotated model and report."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS
from beamsplit.models.graph.known_files import data_hash
from beamsplit.models.shard.plan import ShardPlan, moved, to_json
from beamsplit.models.split.saved_files import shards_with_hashes
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.options.values import PlanOptions, SplitOptions, WorkerOptions, WrittenOptions
from beamsplit.transforms.write.storage import local_path

if TYPE_CHECKING:
    from beamsplit.models.running.session import Session, SessionOptions
    from beamsplit.models.shard.planner import Division
    from beamsplit.pipelines.execution.shard_count import ShardChoice
    from beamsplit.pipelines.execution.workers import Replicas
    from beamsplit.pipelines.planning.rows import SampleRows


@dataclass(frozen=True)
class LeftWhole:
    """What `--shards auto` came to: the model stays whole."""

    line: str
    """Why."""

    notes: Sequence[str] = ()


@dataclass(frozen=True)
class DividedModel:
    """A model divided by width, and the rows that it was tried with."""

    division: Division
    plan: ShardPlan
    rows: SampleRows
    session: Session
    """Of the whole model."""

    facts: Sequence[tuple[str, str]] = ()
    """What stands below the table: how `--shards auto` was settled."""


def run_shards(options: PlanOptions) -> ShardPlan | None:
    """Divide, show, write; None where `--shards auto` leaves the model whole.

    Raises:
        UsageError: nothing was written, for the reason in the message.
    """
    from beamsplit.models.graph.load import load_graph
    from beamsplit.models.shard.annotate import save_annotated
    from beamsplit.pipelines.planning.write import folder_beside, move_files, write_text
    from beamsplit.pipelines.report import shard_table

    made = divide_model(options)
    if isinstance(made, LeftWhole):
        _tell_whole(options.written, made)
        return None
    plan = made.plan
    if options.written.save_shards or options.written.output:
        plan = replace(plan, data_hash=data_hash(made.rows.model.path))
    report = _report(plan) if options.written.report else None
    if options.written.save_shards:
        plan = save_shards(made, plan, options.written.save_shards)
    if options.written.write_model:
        with folder_beside(options.written.write_model) as hidden:
            folder, _, name = options.written.write_model.rpartition("/")
            save_annotated(load_graph(made.rows.model), made.division.sharding, f"{hidden}/{name}")
            move_files(hidden, folder or ".")
    if options.written.output:
        write_text(
            options.written.output,
            to_json(_with_files_seen_from(plan, options.written.save_shards, options.written.output)),
        )
    if report is not None and options.written.report is not None:
        write_text(options.written.report, report)
    shard_table.show(plan, made.facts)
    for note in made.rows.told:
        print(f"note: {note}", file=sys.stderr)
    return plan


def divide_model(options: PlanOptions) -> DividedModel | LeftWhole:
    """Divide the model as the options ask; nothing is written.

    Raises:
        UsageError: it cannot be run here, or divided so.
    """
    from beamsplit.pipelines.planning.rows import rows_for

    rows, split = rows_for(options, _session(options.split)), options.split
    if rows.session is None:
        raise UsageError(f"--shards runs the model on a few rows: {rows.notes[0]}; divide it on a larger machine")
    facts: list[tuple[str, str]] = []
    if split.shards == "auto":
        chosen = _chosen(split, rows, rows.session)
        if chosen.shards == 1:
            return LeftWhole(chosen.line, rows.told)
        split = replace(split, shards=chosen.shards)
        facts = [("verdict", f"--shards auto: {chosen.line}")]
        if split.stage_memory is not None:
            facts.append(("to run", "score --plan ... --placement distributed: each shard has workers of its own"))
    division = _division(split, rows)
    return DividedModel(division, division.plan, rows, rows.session, facts)


def save_shards(made: DividedModel, plan: ShardPlan, target: str) -> ShardPlan:
    """Write the shards and `plan.json` into a folder, once they are compared with the whole model.

    Returns:
        The plan with the files' hashes.
    """
    from beamsplit.pipelines.planning.write import PLAN_FILE, folder_beside, move_files

    with folder_beside(os.path.join(target, PLAN_FILE) if local_path(target) is not None else target) as hidden:
        made.division.save(hidden)
        _check(made.rows, made.session, plan, hidden)
        plan = shards_with_hashes(plan, hidden)
        with open(os.path.join(hidden, PLAN_FILE), "w", encoding="utf-8") as file:
            file.write(to_json(plan))
        move_files(hidden, target)
    return plan


def _session(split: SplitOptions) -> SessionOptions:
    """Of the whole model; where it is timed, that of one of the workers that `score` would have."""
    from beamsplit.models.running.session import SessionOptions, resolve_providers

    if split.shards == "auto":
        return _workers(split).session
    return SessionOptions(resolve_providers(split.providers))


def _workers(split: SplitOptions) -> Replicas:
    """Those of the whole model that `score` would have."""
    from beamsplit.pipelines.execution.workers import count_workers

    return count_workers(WorkerOptions(providers=split.providers, threads=split.threads), local=True)


def _chosen(split: SplitOptions, rows: SampleRows, session: Session) -> ShardChoice:
    """Choose as `score --shards auto` does where each shard has workers of its own.

    Raises:
        UsageError: no number of shards fits the memory.
    """
    from beamsplit.pipelines.execution.shard_count import Whole, choose_shards
    from beamsplit.pipelines.planning.rows import choose_batch_size

    few = 1 if rows.row_by_row else SAMPLE_RUN_ROWS
    timed = split.micro_batch if split.micro_batch and not rows.row_by_row else choose_batch_size(rows, session)
    whole = Whole(rows.model, session, rows.take, timed, few)
    apart = Parallelism(placement="distributed", stage_memory=split.stage_memory)
    with tempfile.TemporaryDirectory(prefix="beamsplit-plan-") as folder:
        return choose_shards(whole, _workers(split), WorkerOptions(threads=split.threads), apart, folder)


_OF_SHARDS = ("save_shards", "write_model", "output", "report")


def _tell_whole(written: WrittenOptions, whole: LeftWhole) -> None:
    """Say that the model stays whole.

    Raises:
        UsageError: a file was asked for that would tell of shards.
    """
    asked = [name for name in _OF_SHARDS if getattr(written, name) is not None]
    if asked:
        raise UsageError(
            f"--shards auto: {whole.line}; so --{asked[0]} has no shards to write: leave it out and run score without "
            "--shards, or give --shards N"
        )
    print(f"--shards auto: {whole.line}; nothing is divided, run score without --shards")
    for note in whole.notes:
        print(f"note: {note}", file=sys.stderr)


def _division(split: SplitOptions, rows: SampleRows) -> Division:
    from beamsplit.models.shard.planner import make_division
    from beamsplit.pipelines.execution.shard_source import again, check_model

    feeds = rows.take(1 if rows.row_by_row else SAMPLE_RUN_ROWS)
    if split.shard_plan is None:
        assert isinstance(split.shards, int), "auto is settled"
        return make_division(rows.model, feeds, split.shards)
    check_model(split.shard_plan, rows.model, f"--plan {split.plan}")
    return again(split.shard_plan, rows.model, feeds, f"--plan {split.plan}")


def _check(rows: SampleRows, whole: Session, plan: ShardPlan, folder: str) -> None:
    """Compare the saved shards with the whole model and say how far they are apart."""
    from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
    from beamsplit.models.split.chain import check_same, tolerance_of

    model = ShardedModel(plan, folder, (rows.options,) * plan.shards, rows.options, whole.signature)
    session = ShardedSession(model)
    try:
        check = check_same(
            whole,
            session,
            rows.take(1 if rows.row_by_row else SAMPLE_RUN_ROWS),
            tolerance_of(rows.model.path),
            of="the shards do",
            fix="use fewer --shards, or --stages",
        )
    finally:
        session.drop()
    for line in check.lines:
        print(f"check: {line}", file=sys.stderr)


def _report(plan: ShardPlan) -> str:
    from beamsplit.pipelines.report.html import render_shards

    return render_shards(plan)


def _with_files_seen_from(plan: ShardPlan, folder: str | None, plan_path: str) -> ShardPlan:
    """The plan with its files named relative to the folder of `plan_path`, where they have been saved in it."""
    from beamsplit.pipelines.planning.write import way_to

    way = None if folder is None else way_to(folder, plan_path)
    return plan if way is None else moved(plan, way)
