"""A job whose model is split by depth: the plan is made or read, its stages saved, checked and placed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS, Fit
from beamsplit.models.graph.known_files import model_hash
from beamsplit.models.graph.model_file import quantises_at_run, varies_with_data
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.boundary import Layout
from beamsplit.models.running.providers import CPU
from beamsplit.models.running.session import SessionOptions, drop_session, resolve_providers
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.models.shard.sharded import ShardedSession
from beamsplit.models.small_file import decode_small
from beamsplit.models.split.micro_batch import PER_STAGE
from beamsplit.models.split.plan import Plan, check_runnable, from_json, read_plan
from beamsplit.models.split.saved_files import check_data, check_named, check_saved, without_hashes
from beamsplit.models.split.staged import StagedModel, boundary_layouts
from beamsplit.models.split.worker import share_workers
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.job.sample_feeds import check_apart, feeds_at, graph_feeds, sample_feeds
from beamsplit.pipelines.options.values import Parallelism
from beamsplit.pipelines.report.stages import placed, planned_lines
from beamsplit.transforms.block import COPY
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.infer.model_steps import ModelSteps, stage_steps
from beamsplit.transforms.write.storage import open_input


@dataclass(frozen=True)
class Split:
    """A split that runs."""

    model: StagedModel
    scoring: ScoringPlan
    """With the rows of a micro-batch as batch size."""

    facts: dict[str, str | list[str]]
    """The split in words, for --dry_run_plan and the summary."""

    replan: Callable[[Plan, Sequence[float], int], Plan]
    """A plan by the measured seconds of each stage, for so many workers."""

    notes: tuple[str, ...] = ()

    distributed: ModelSteps | None = None
    """The steps of all stages where these have workers of their own; None where every worker runs all stages."""

    wide: bool = False
    """Whether stages are divided over shards."""


def default_workers(parallelism: Parallelism) -> int:
    """Workers of a split where the user left it open.

    Inline, two workers are enough to read and write while the stages run, which have threads of their own.
    """
    return 1 if parallelism.distributed else min(2, cores())


def plan_split(request: Request) -> Split:
    """Plan a split, or read its plan; save the stages and compare them with the whole model.

    Raises:
        UsageError: the plan is not of this model, the model cannot be cut so, or the stages differ from it.
    """
    asked, made, scoring, workers = request.parallelism, request.fit, request.scoring, request.workers
    _check_copies(asked, scoring, request.schema)
    check_apart(scoring, asked.placement)
    if asked.plan is not None:
        plan, planned_in = _given_plan(asked, asked.plan, request.model, scoring)
    else:
        plan, planned_in = _made_plan(request), None
    blocks = blocks_of(scoring.model.rewrites)
    micro_batch = 1 if scoring.row_by_row else asked.micro_batch or plan.micro_batch
    if blocks is not None:
        micro_batch = blocks.rows
    scoring = replace(scoring, batch_size=micro_batch)
    wide = asked.shards is not None or any(stage.shards is not None for stage in plan.stages)
    if wide:
        from beamsplit.pipelines.execution import sharded_stages as deep_job

        wide = deep_job.is_divided(asked, plan)
    plan, folder = _saved(plan, planned_in, request)
    outputs = tuple(spec.name for spec in made.session.signature.outputs)
    sessions = _sessions(request, plan)
    threads = tuple(_stage_workers(request, plan, sessions))
    model = StagedModel(plan, folder, outputs, sessions, threads)
    if wide:
        model = deep_job.as_shards(replace(request, scoring=scoring), model)
        plan, folder = model.plan, model.folder
    checked, layouts = _checked(model, made, scoring, apart=asked.distributed)
    steps: ModelSteps | None = None
    if asked.distributed and wide:
        steps = deep_job.placed_apart(replace(request, scoring=scoring), model)
    # What checked it is no longer needed: a job that splits a model may not have the memory for it twice.
    drop_session(made.session)
    if asked.distributed and not wide:
        steps = stage_steps(
            model,
            layouts,
            scoring,
            request.schema,
            request.keep,
            devices=workers.gpus,
            job_dir=request.job_dir,
        )
    facts: dict[str, str | list[str]] = {
        "stages": planned_lines(model, layouts),
        **({"shards": deep_job.division_lines(plan)} if wide else {}),
        "placement": placed(str(asked.placement), plan),
        **({"verdict": plan.verdict} if plan.verdict else {}),
    }
    feeds = graph_feeds(made, scoring, 1 if scoring.row_by_row else plan.micro_batch) if asked.replan else {}
    session = request.planned_session

    def replan(plan: Plan, seconds: Sequence[float], count: int) -> Plan:
        from beamsplit.models.split.replan import plan_again

        memory = asked.stage_memory
        return plan_again(plan, seconds, scoring.model, feeds, session, workers=count, stage_memory=memory)

    return Split(model, scoring, facts, replan, (*plan.notes, *checked), steps, wide)


def _check_copies(asked: Parallelism, scoring: ScoringPlan, schema: pa.Schema) -> None:
    if asked.distributed and scoring.row_by_row and COPY in schema.names:
        raise UsageError(
            "--placement distributed sends rows of this model one by one, but the copies that augment makes must stay "
            "together; type --placement inline"
        )


def _given_plan(asked: Parallelism, path: str, model: str, scoring: ScoringPlan) -> tuple[Plan, str | None]:
    """(the plan of `--plan PATH`, the folder that it lies in, if it names files there)."""
    if path.endswith(".onnx"):
        from beamsplit.pipelines.execution.annotated_stages import plan_in_model

        return plan_in_model(asked, model, scoring), None
    if "://" in path:
        try:
            with open_input(path) as file:
                text = decode_small(file)
        except (OSError, ValueError) as error:
            raise UsageError(f"--plan {path} cannot be read ({error}): give a plan.json") from None
        plan = from_json(text, f"--plan {path}")
    else:
        plan = read_plan(path)
    check_runnable(plan, f"--plan {path}")
    check_named(plan, f"--plan {path}")
    found = model_hash(scoring.model.path)
    if plan.model_hash != found:
        raise UsageError(
            f"--plan {path} is of {plan.model} with the hash {plan.model_hash[:12]}, but --model {model} has "
            f"{found[:12]}: make it again with python -m pipelines.plan --model {model} --output {path}"
        )
    if plan.rewrites != scoring.model.rewrites:
        raise UsageError(
            f"--plan {path} was made of the model {_rewritten(plan.rewrites)}, but with this data it is run "
            f"{_rewritten(scoring.model.rewrites)}: make it again with python -m pipelines.plan and --sample"
        )
    check_data(plan, scoring.model.path, f"--plan {path}")
    if isinstance(asked.stages, int) and asked.stages != len(plan.stages):
        raise UsageError(
            f"--plan {path} has {len(plan.stages)} stages and --stages says {asked.stages}; leave --stages out"
        )
    # Workers may have another current folder.
    return plan, path.rsplit("/", 1)[0] if "://" in path else os.path.dirname(os.path.abspath(path))


def _rewritten(rewrites: Sequence[str]) -> str:
    return f"rewritten ({', '.join(rewrites)})" if rewrites else "as it is"


def _made_plan(request: Request) -> Plan:
    from beamsplit.models.cost.cluster import read_cluster
    from beamsplit.models.split.planner import make_plan

    scoring, asked = request.scoring, request.parallelism
    wanted = asked.stages if isinstance(asked.stages, int) else None
    rows = _micro_batch(asked, scoring, wanted or 2, request.rows_at_once)
    return make_plan(
        scoring.model,
        graph_feeds(request.fit, scoring, rows),
        stages=wanted,
        workers=read_cluster(str(max(cores(), wanted or 1))),
        micro_batch=rows,
        options=request.planned_session,
        stage_memory=asked.stage_memory,
        # Measuring the other ways costs seconds, which pay where there is something to decide.
        compare=request.compare or asked.stages == "auto",
    )


def _micro_batch(asked: Parallelism, scoring: ScoringPlan, stages: int, at_once: int | None) -> int:
    """Rows of a micro-batch: those that a run of the whole model takes, or fewer so that the stages overlap."""
    blocks = blocks_of(scoring.model.rewrites)
    if blocks is not None:
        return blocks.rows
    if scoring.row_by_row:
        return 1
    if asked.micro_batch is not None:
        return asked.micro_batch
    if at_once is None:
        return scoring.batch_size
    return max(1, min(scoring.batch_size, at_once // (PER_STAGE * stages)))


def _saved(plan: Plan, folder: str | None, request: Request) -> tuple[Plan, str]:
    """The plan with its stages' files, and their folder; `folder` is that of the plan's file, where there is one."""
    if folder is not None and all(_there(folder, stage.file) for stage in plan.stages):
        if "://" not in folder:
            check_saved(plan, folder, str(request.parallelism.plan))
        return plan, folder
    if not request.local or request.job_dir is None:
        raise UsageError(
            "workers on other machines need the stages' files: save them where all can read with "
            "python -m pipelines.plan --save_stages gs://.../stages, and name that folder's plan.json with --plan"
        )
    from beamsplit.models.graph.load import load_graph
    from beamsplit.models.split.stage import save_stages

    into = os.path.join(request.job_dir, "stages")
    return save_stages(load_graph(request.scoring.model), without_hashes(plan), into), into


def _there(folder: str, file: str | None) -> bool:
    if file is None:
        return False
    if "://" in folder:
        return True
    return os.path.isfile(os.path.join(folder, file))


def _sessions(request: Request, plan: Plan) -> tuple[SessionOptions, ...]:
    count, workers, inline = len(plan.stages), request.workers, request.parallelism.placement == "inline"
    given = request.parallelism.stage_providers
    if given is not None:
        if len(given) != count:
            raise UsageError(
                f"--stage_providers names {len(given)} stages and the plan has {count}; name one a stage, "
                f"e.g. --stage_providers {','.join(['cpu'] * count)}"
            )
        found = [(resolve_providers(name), device) for name, device in given]
    elif inline and workers.gpus:
        found = [(workers.session.providers, stage % workers.gpus) for stage in range(count)]
    else:
        found = [(workers.session.providers, None)] * count
    threads = request.asked.threads or (1 if inline else workers.session.threads)
    return tuple(
        replace(workers.session, providers=names, threads=threads, device=None if names[0] == CPU else device or 0)
        for names, device in found
    )


def _stage_workers(request: Request, plan: Plan, sessions: Sequence[SessionOptions]) -> list[int]:
    """Threads that run each stage inline: those of the plan, or more of them where cores are left."""
    planned = [stage.replicas for stage in plan.stages]
    if any(session.providers[0] != CPU for session in sessions):
        return planned
    processes = request.workers.count if request.asked.worker_type == "process" else 1
    shards = request.parallelism.shards
    total = cores() // processes // sessions[0].threads // (shards if isinstance(shards, int) else 1)
    if sum(planned) >= total:
        return planned
    return share_workers([stage.seconds or 1.0 for stage in plan.stages], total)


def _checked(
    model: StagedModel, made: Fit, scoring: ScoringPlan, apart: bool
) -> tuple[list[str], list[tuple[Layout, ...]]]:
    """How far the stages are from the whole model, and how the boundary tensors lie."""
    from beamsplit.models.split.chain import Chain, check_chain, check_same, still_parts, tolerance_of

    here = model.fetched(localize)
    # Workers of their own open the stages anew.
    passing = apart and made.session.options.mapped
    here = here.mapped if passing else here
    sessions = [here.open_stage(at) for at in range(len(here.sessions))]
    feeds = sample_feeds(made, scoring, scoring.batch_size)
    path = scoring.model.path
    tolerance = tolerance_of(path) if model.shards else None
    chain = Chain(sessions, replace(model.plan, outputs=model.outputs))
    if model.shards:
        of, fix = "the stages' shards do", "leave --shards out"
        check = check_same(made.session, chain, feeds, tolerance, of=of, fix=fix)
    else:
        check = check_chain(made.session, chain, feeds, tolerance)
    # Rows are found in what is the same in each run.
    twins = [still_parts(session) for session in sessions]
    layouts = boundary_layouts(
        twins,
        model.outputs,
        lambda rows: feeds_at(made, scoring, rows),
        fixed=all(None not in bound.row_shape for bound in scoring.binding.inputs) and not varies_with_data(path),
        quantised=quantises_at_run(path),
        unlike=made.sample is not None and made.sample.num_rows >= SAMPLE_RUN_ROWS,
    )
    for one in [*sessions] * passing + [twin for twin in twins if twin not in sessions]:
        one.drop() if isinstance(one, ShardedSession) else drop_session(one)
    return [f"stages beside the whole model: {line}" for line in check.lines], layouts
