"""Plan how a model is split by depth, by width, or not at all: `python -m pipelines.plan --help`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.plan import parse
from beamsplit.pipelines.options.values import PlanOptions
from beamsplit.pipelines.running.interrupt import exit_now, interruptible, is_own_process, own_process
from beamsplit.pipelines.running.job_folder import job_folder
from beamsplit.pipelines.typed import show_error
from beamsplit.pipelines.utf8 import speak_utf8
from beamsplit.runners.without_pandas import leave_pandas_out
from beamsplit.transforms.fetch.model_schemes import pinned

if TYPE_CHECKING:
    from beamsplit.models.shard.plan import ShardPlan
    from beamsplit.models.split.plan import Plan
    from beamsplit.models.strategy.choose import Strategy
    from beamsplit.pipelines.planning.rows import SampleRows
    from beamsplit.pipelines.report.html import MeasuredRun

OK, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

SAVED = re.compile(r"stage-\d+.*\.onnx(\.data)?")
"""Files of stages and shards."""


def run(argv: Sequence[str]) -> Plan | ShardPlan | Strategy | None:
    """Run the command: plan, show, write; None where `--shards auto` leaves the model whole.

    Raises:
        UsageError: nothing was written, for the reason in the message.
    """
    options = parse(argv)
    options = replace(options, binding=replace(options.binding, model=pinned(options.binding.model)))
    if is_own_process():
        leave_pandas_out()
    _check_written(options)
    if options.split.strategy is not None:
        from beamsplit.pipelines.planning.strategy import run_strategy

        return run_strategy(options)
    if options.split.shards is not None and options.split.stages == "auto":
        from beamsplit.pipelines.planning.shards import run_shards

        return run_shards(options)
    from beamsplit.models.graph.known_files import data_hash
    from beamsplit.models.split.plan import to_json
    from beamsplit.pipelines.planning.write import folder_beside, move_files, with_files_seen_from, write_text
    from beamsplit.pipelines.report import plan_table

    if options.split.plan is not None:
        plan, rows = given_plan(options, options.split.plan)
    else:
        plan, rows = planned(options)
    plan, measured = with_measured(options, plan)
    report = report_of(plan, rows, measured) if options.written.report else None
    if options.written.save_stages or options.written.output:
        plan = replace(plan, data_hash=data_hash(rows.model.path))
    saved = plan
    if options.written.save_stages:
        saved = save_stages(plan, rows, options.split.shards, options.written.save_stages)
    if options.written.write_model:
        from beamsplit.models.split.annotations import save_annotated

        with folder_beside(options.written.write_model) as hidden:
            folder, _, name = options.written.write_model.rpartition("/")
            save_annotated(rows.graph.model, plan, f"{hidden}/{name}")
            move_files(hidden, folder or ".")
    if options.written.output:
        named = (
            with_files_seen_from(saved, options.written.save_stages, options.written.output)
            if options.written.save_stages
            else plan
        )
        write_text(options.written.output, to_json(named))
    if report is not None and options.written.report is not None:
        write_text(options.written.report, report)
    plan_table.show(plan, run=measured)
    return plan


def save_stages(plan: Plan, rows: SampleRows, shards: int | str | None, folder: str) -> Plan:
    """Write the stages, each divided over `shards` where that is a number, and `plan.json` into a folder.

    Returns:
        The plan with its files.
    """
    from beamsplit.pipelines.planning.write import write_stages

    more = None
    if isinstance(shards, int):
        from beamsplit.pipelines.planning.sharded_stages import divide_saved

        more = partial(divide_saved, rows, shards=shards)
    return write_stages(rows.graph.model, plan, folder, lambda it, at: _check(rows, it, at), more)


def _check_written(options: PlanOptions) -> None:
    """Raise where a file cannot be written, or two of them are one."""
    from beamsplit.transforms.read import find_files
    from beamsplit.transforms.write.names import absolute_path, check_writable

    sample = [file.path for file in find_files(options.source.input, "--sample")]
    read = [options.binding.model, *sample, *filter(None, [options.split.plan, options.written.measured])]
    taken = {absolute_path(path): "the command reads" for path in read}
    plan = None if options.split.plan is None else absolute_path(options.split.plan)
    for option in ("output", "write_model", "report"):
        path = getattr(options.written, option)
        if path is None:
            continue
        check_writable(path, f"--{option}")
        whole = absolute_path(path)
        if whole in taken and not (option == "output" and whole == plan):
            raise UsageError(f"--{option} {path} is a file that {taken[whole]}; give it another name")
        taken[whole] = f"--{option} writes"
    for option in ("save_stages", "save_shards"):
        if getattr(options.written, option) is None:
            continue
        folder = getattr(options.written, option).rstrip("/")
        check_writable(f"{folder}/plan.json", f"--{option}")
        for path, why in taken.items():
            if os.path.dirname(path) == absolute_path(folder) and SAVED.fullmatch(os.path.basename(path)):
                raise UsageError(f"--{option} {folder} may write {path}, a file that {why}; give it another folder")
    if options.written.report:
        from beamsplit.pipelines.report.html import check_renderer

        check_renderer()


def planned(options: PlanOptions) -> tuple[Plan, SampleRows]:
    """(a plan made anew, the rows that it was measured with).

    Raises:
        UsageError: the model cannot be split so.
    """
    from beamsplit.models.cost.cluster import limit_memory, read_cluster, worker_counts
    from beamsplit.models.cost.sample_run import SampleRun
    from beamsplit.models.running.session import SessionOptions, drop_session, resolve_providers
    from beamsplit.models.split.frontier import find_frontier, with_plan
    from beamsplit.models.split.planner import make_plan
    from beamsplit.models.split.profiled import profile_model, threads_of_worker
    from beamsplit.pipelines.execution.workers import cores
    from beamsplit.pipelines.planning.rows import choose_micro_batch, rows_for

    stages = options.split.stages if isinstance(options.split.stages, int) else None
    limits = {} if options.split.bandwidth is None else {"bandwidth": options.split.bandwidth}
    described = options.split.workers or str(max(cores(), stages or 1))
    counts = worker_counts(described) or ()
    workers = limit_memory(read_cluster(str(counts[-1]) if counts else described, **limits), options.split.stage_memory)
    threads = options.split.threads or (threads_of_worker(workers) if counts else 0)
    session = SessionOptions(resolve_providers(options.split.providers), threads)
    rows = rows_for(options, session)
    micro_batch = choose_micro_batch(rows, options.split.micro_batch, stages or len(workers))
    run = SampleRun(rows.model, rows.take(micro_batch), session, micro_batch)
    # The planner runs the model in sessions of its own: a large one may not fit twice.
    if rows.session is not None:
        drop_session(rows.session)
    profile = profile_model(rows.graph, run) if counts else None
    plan = make_plan(run, stages, workers, graph=rows.graph, profile=profile)
    if profile is not None:
        total = sum(stage.seconds for stage in plan.stages)
        points = find_frontier(rows.graph, profile, workers, counts, total)
        plan = replace(plan, frontier=with_plan(points, plan, len(workers)))
    return replace(plan, notes=(*rows.told, *plan.notes)), rows


def given_plan(options: PlanOptions, path: str) -> tuple[Plan, SampleRows]:
    """(the plan of a file, rows of the model that it is of).

    Raises:
        UsageError: it is not of this model.
    """
    from beamsplit.models.graph.known_files import model_hash
    from beamsplit.models.graph.model_file import check_model_file
    from beamsplit.models.split.plan import check_runnable, read_plan
    from beamsplit.models.split.saved_files import check_data, check_named
    from beamsplit.pipelines.planning.rows import rows_of_plan
    from beamsplit.transforms.infer.fetched_model import localize

    if path.endswith(".onnx"):
        raise UsageError(f"--plan {path} is a model, and a plan.json is wanted; score --plan follows its stages")
    plan = read_plan(path)
    check_runnable(plan, f"--plan {path}")
    check_named(plan, f"--plan {path}")
    model = localize(options.binding.model)
    check_model_file(model)
    found = model_hash(model)
    if found != plan.model_hash:
        raise UsageError(
            f"--plan {path} is of {plan.model} with the hash {plan.model_hash[:12]}, but --model "
            f"{options.binding.model} has {found[:12]}: leave --plan out to plan this model"
        )
    check_data(plan, model, f"--plan {path}")
    rows = rows_of_plan(options)
    if rows.model.rewrites != plan.rewrites:
        raise UsageError(
            f"--plan {path} was made with the rewrites {list(plan.rewrites)}, but the model is now run with "
            f"{list(rows.model.rewrites)}: give the same --sample, or leave --plan out"
        )
    unknown = [node for stage in plan.stages for node in stage.nodes if node not in rows.graph.parts]
    if unknown:
        raise UsageError(
            f"--plan {path} names the node {unknown[0]!r}, which --model {options.binding.model} does not have: leave "
            "--plan out to plan this model"
        )
    return plan, rows


def with_measured(options: PlanOptions, plan: Plan) -> tuple[Plan, MeasuredRun | None]:
    """(the plan with its verdict revised by the run that `--measured` names, that run).

    Raises:
        UsageError: the summary is of no run of this plan.
    """
    if options.written.measured is None:
        return plan, None
    from beamsplit.models.split.verdict import revised_verdict
    from beamsplit.pipelines.report.html.measured import read_measured

    run = read_measured(options.written.measured, plan)
    return (replace(plan, verdict=revised_verdict(plan, run.rows_per_second)) if run.rows_per_second else plan), run


def report_of(plan: Plan, rows: SampleRows, measured: MeasuredRun | None) -> str:
    """The report of a plan as one HTML page, with what a run measured."""
    from beamsplit.models.split.coarse import coarsen
    from beamsplit.pipelines.report.html import render_report

    graph = rows.graph
    return render_report(plan, coarsen(plan, graph.parts, graph.weight_bytes, graph.inputs, graph.outputs), measured)


def _check(rows: SampleRows, plan: Plan, folder: str) -> None:
    """Compare the saved stages with the whole model and say how far they are apart."""
    from beamsplit.models.running.session import drop_session, get_session
    from beamsplit.models.split.chain import check_chain, open_chain

    if rows.session is None:
        print("check: left out, the whole model does not fit here to be compared with", file=sys.stderr)
        return
    whole = get_session(rows.model, rows.options)
    chain = open_chain(plan, folder, rows.options)
    try:
        check = check_chain(whole, chain, rows.take(plan.micro_batch))
    finally:
        for one in (whole, *chain.sessions):
            drop_session(one)
    for line in check.lines:
        print(f"check: {line}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """The command: prints one clear line for whatever went wrong, and gives the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        with interruptible(), job_folder():
            run(argv)
        return OK
    except UsageError as error:
        return _fail(f"error: {error}", argv, WRONG_USE)
    except KeyboardInterrupt as interrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return getattr(interrupt, "code", INTERRUPTED)
    except Exception as error:  # libraries and the user's own steps may raise anything
        from beamsplit.pipelines.report.summary import root_cause

        return _fail(f"error: no plan could be made: {root_cause(error)} (--debug shows all)", argv, FAILED)


def _fail(line: str, argv: Sequence[str], code: int) -> int:
    show_error(line, "--debug" in argv)
    return code


if __name__ == "__main__":
    speak_utf8()
    own_process()
    exit_now(main())
