"""The plan of a split: graph, profile and workers in; stages, the period that is predicted, and the verdict out.

load -> units -> profile -> balance -> assign -> time the stages --+--> verdict
                              ^                                    |
                              +--- units' seconds, corrected ------+     at most three rounds
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import onnx_ir as ir

from beamsplit.models.cost.cluster import PROCESS_BYTES, ClusterWorker, format_bytes, option_bytes
from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.cost.trace import time_runs
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import model_hash
from beamsplit.models.graph.load import file_name, load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session
from beamsplit.models.split.alternatives import (
    WholeCost,
    core_count,
    predict_alternatives,
    time_alternatives,
)
from beamsplit.models.split.balance import Balance, CannotSplit, Problem, balance, evaluate
from beamsplit.models.split.certified import certified
from beamsplit.models.split.cuts import SplitGraph, split_graph
from beamsplit.models.split.plan import Alternative, BoundaryTensor, Plan, StagePlan
from beamsplit.models.split.problem import make_problem, solver_workers, unit_seconds
from beamsplit.models.split.profiled import profile_model, threads_of_worker
from beamsplit.models.split.repeat import repeat_where_cheaper
from beamsplit.models.split.solver.problem import DIRECT
from beamsplit.models.split.stage import assign
from beamsplit.models.split.stage_times import BUDGET_SECONDS, time_stages
from beamsplit.models.split.verdict import make_verdict, rank

MOST_ROUNDS = 3
"""Times that stages are extracted and timed."""

BOUND_SECONDS = 8.0
"""For a mixed-integer bound, where a graph's down-sets are too many and the verdict is asked for."""

CERTIFIED = 0.01
"""Gap up to which a bound is good enough."""

CLOSE = 0.05
"""Share by which every stage's time may differ from its prediction for the plan to stand as it is."""

Timed: TypeAlias = Literal["all", "stages", "nothing"]
Timer = Callable[[Sequence[StagePlan]], Sequence[float]]


@dataclass(frozen=True)
class Drawn:
    """A plan as far as the solver goes."""

    balance: Balance
    stages: tuple[StagePlan, ...]
    """With seconds, replicas and workers."""

    problem: Problem
    """What was balanced, with the seconds that it was last corrected to."""


def make_plan(
    run: SampleRun,
    stages: int | None,
    workers: Sequence[ClusterWorker],
    *,
    timed: Timed = "all",
    graph: SplitGraph | None = None,
    profile: Profile | None = None,
) -> Plan:
    """Plan the stages of a model.

    Args:
        run: the model on a micro-batch; `threads` 0 is this machine's cores over the workers that are its own.
        stages: exactly so many; None is any number from 1 to that of the workers, whatever is fastest.
        workers: of `read_cluster`; more than stages run stages side by side. See `limit_memory`.
        timed: what is measured beside the profile where the workers are this machine's: `all` is the stages, and the
            whole model for the verdict, `stages` leaves the verdict to prediction, `nothing` the stages too.
        graph: where the model has been loaded already.
        profile: where it has been measured already, or is an estimate.

    Raises:
        UsageError: the model cannot be cut into so many stages, or not so that they fit the workers; the line says
            how many there could be, or how much memory it takes.
    """
    if stages is not None and stages > len(workers):
        raise UsageError(
            f"--stages {stages} are wanted, but there are only {len(workers)} workers: "
            f"use --workers {stages} or --stages {len(workers)}"
        )
    options = dataclasses.replace(run.options, threads=run.options.threads or threads_of_worker(workers))
    run = dataclasses.replace(run, options=options)
    graph = split_graph(load_graph(run.model_file)) if graph is None else graph
    if stages is not None:
        graph.check_stages(stages)
    profile = profile_model(graph, run) if profile is None else profile
    graph = _with_repeated(graph, profile, stages, workers)
    local = all(worker.local for worker in workers)
    # Workers that have no cores of their own here cannot be timed side by side.
    here = local and len(workers) * options.threads <= core_count()
    timer: Timer | None = None
    if profile.source == "measured" and timed != "nothing":

        def timer(plans: Sequence[StagePlan]) -> Sequence[float]:
            together = here and sum(plan.replicas for plan in plans) > 1
            return time_stages(graph.model, run, plans, together=together)

    drawn = draw_stages(
        graph, profile, stages, workers, timer=timer, seconds=BOUND_SECONDS if timed == "all" else 0.0
    )  # fmt: skip
    whole = WholeCost(
        profile.total_seconds,
        float(sum(graph.weight_bytes.values())),
        whole_memory(graph, drawn.problem),
        sum(profile.value_bytes.get(name, 0.0) for name in (*graph.inputs, *graph.outputs)),
    )
    # Where some worker does not hold the whole model, there is nothing to be timed against.
    fits = all(worker.memory_bytes >= whole.memory_bytes for worker in workers)
    spread: float | None = None
    if timed == "all" and here and fits and timer is not None:
        found = time_alternatives(graph.model, run, drawn.stages, workers, whole)
        others = found.alternatives
        if found.stage_seconds:
            spread = found.spread
            drawn = corrected(graph, profile, drawn, found.stage_seconds, workers)
            drawn = _bounded(drawn, workers, stages)
    else:
        if timer is not None:
            # Like is compared with like: a profile may be from an hour when the machine had other work.
            # One stage is the whole model, and has just been timed.
            now = _whole_seconds(run) if fits and len(drawn.stages) > 1 else sum(drawn.problem.seconds)
            whole = dataclasses.replace(whole, seconds=now)
        others = predict_alternatives(workers, whole, run.rows)
    if timed == "all" and drawn.balance.gap > CERTIFIED:
        drawn = _bounded(drawn, workers, stages, BOUND_SECONDS)
    plan = plan_of(graph, profile, run.model_file, drawn)
    if local and not here and len(workers) > 1:
        note = f"predicted as if each of the {len(workers)} workers had {options.threads} of its own cores"
        plan = dataclasses.replace(plan, notes=(*plan.notes, f"{note}: this machine has {core_count()} in all"))
    return with_verdict(plan, drawn.balance, others, whole_bytes=whole.memory_bytes, here=here, spread=spread)


def _with_repeated(
    graph: SplitGraph, profile: Profile, stages: int | None, workers: Sequence[ClusterWorker]
) -> SplitGraph:
    def period(one: SplitGraph) -> float:
        return _balanced(
            make_problem(one, profile, unit_seconds(one, profile), workers[0].links), workers, stages
        ).period

    return repeat_where_cheaper(graph, profile, workers, period)


def _whole_seconds(run: SampleRun) -> float:
    session = Session(run.model_file, run.options)
    return time_runs(lambda: session.run(run.feeds), BUDGET_SECONDS)


def draw_stages(
    graph: SplitGraph,
    profile: Profile,
    stages: int | None,
    workers: Sequence[ClusterWorker],
    *,
    timer: Timer | None = None,
    seconds: float = 0.0,
) -> Drawn:
    """Balance, cut and, with a timer, correct by what the stages take.

    Each round scales the seconds of a stage's units by measured over predicted and balances anew. It ends when every
    stage is within `CLOSE` of its prediction or the same stages come out again, after three rounds at the latest; the
    plan with the shortest measured period is taken, with its measured seconds.

    Args:
        graph: the units.
        profile: what they cost.
        stages: exactly so many; None: any number up to the workers.
        workers: that run them.
        timer: measures the seconds of extracted stages on this machine.
        seconds: for a better split and a bound where down-sets are too many, in the first round.

    Raises:
        UsageError: no such split exists.
    """
    best: Drawn | None = None
    problem = make_problem(graph, profile, unit_seconds(graph, profile), workers[0].links)
    seen = set()
    for number in range(MOST_ROUNDS):
        found = _balanced(problem, workers, stages, 0.0 if number else seconds)
        drawn = Drawn(found, _staffed(assign(graph, found.stage_of), found, problem, workers), problem)
        if timer is None:
            return drawn
        if found.stage_of in seen:
            break
        seen.add(found.stage_of)
        real = corrected(graph, profile, drawn, timer(drawn.stages), workers)
        problem = real.problem
        if best is None or real.balance.period < best.balance.period:
            best = real
        pairs = zip(real.stages, drawn.stages, strict=True)
        if all(abs(one.seconds - other.seconds) <= CLOSE * other.seconds for one, other in pairs):
            break
    assert best is not None
    return _bounded(best, workers, stages)


def _bounded(drawn: Drawn, workers: Sequence[ClusterWorker], stages: int | None, seconds: float = 0.0) -> Drawn:
    """With the least period that its units' seconds, as they were corrected last, allow."""
    again = _balanced(drawn.problem, workers, stages, seconds)
    low = min(again.lower_bound, drawn.balance.period)
    bounded = dataclasses.replace(drawn.balance, lower_bound=low, bound_by=again.bound_by)
    return dataclasses.replace(drawn, balance=bounded)


def corrected(
    graph: SplitGraph, profile: Profile, drawn: Drawn, took: Sequence[float], workers: Sequence[ClusterWorker]
) -> Drawn:
    """The same split with the seconds that its stages really took; their units' are scaled to them."""
    predicted = stage_seconds(drawn.problem, drawn.balance)
    ratio = [a / b if b > 0 else 1.0 for a, b in zip(took, predicted, strict=True)]
    of = drawn.balance.stage_of
    problem = make_problem(
        graph,
        profile,
        [one * ratio[stage] for one, stage in zip(drawn.problem.seconds, of, strict=True)],
        drawn.problem.links,
    )
    real = evaluate(problem, of, drawn.balance.workers_of, solver_workers(workers), method=drawn.balance.method)
    return Drawn(real, _staffed(drawn.stages, real, problem, workers), problem)


def stage_seconds(problem: Problem, found: Balance) -> list[float]:
    """Compute seconds per micro-batch of each stage at speed 1."""
    seconds = [0.0] * found.stages
    for one, stage in zip(problem.seconds, found.stage_of, strict=True):
        seconds[stage] += one
    return seconds


def _balanced(problem: Problem, workers: Sequence[ClusterWorker], stages: int | None, seconds: float = 0.0) -> Balance:
    try:
        staff, replicate = solver_workers(workers), stages != len(workers)
        if seconds:
            return certified(problem, staff, stages, replicate=replicate, seconds=seconds, enough=CERTIFIED)
        return balance(problem, staff, stages, replicate=replicate)
    except CannotSplit as error:
        most = error.most_stages
        needed = error.smallest_memory_bytes
        if needed is not None:
            largest = max(worker.memory_bytes for worker in workers)
            wanted = "a split" if stages is None else f"a split into {stages} stages"
            beside, fix = "", f"use --stage_memory {option_bytes(needed)}"
            if not all(worker.local for worker in workers):
                beside = f" beside the {format_bytes(PROCESS_BYTES)} of its process"
                fix = f"give them a memory of {option_bytes(needed + PROCESS_BYTES)} (and no smaller --stage_memory)"
            raise UsageError(
                f"{wanted} over {len(workers)} workers needs {format_bytes(needed)} in each (weights and "
                f"activations of a micro-batch), but the largest has {format_bytes(largest)}{beside}: "
                f"{fix}, more workers or a smaller --micro_batch"
            ) from None
        fix = f"use --stages {most}" if most else "use fewer stages"
        raise UsageError(f"--stages {stages}: {error}: {fix}") from None


def _staffed(
    plans: Sequence[StagePlan], found: Balance, problem: Problem, workers: Sequence[ClusterWorker]
) -> tuple[StagePlan, ...]:
    seconds = stage_seconds(problem, found)
    return tuple(
        dataclasses.replace(
            plan,
            seconds=seconds[plan.index],
            replicas=len(team),
            workers=tuple(workers[at].name for at in team),
            speed=min(workers[at].speed for at in team),
        )
        for plan, team in zip(plans, found.workers_of, strict=True)
    )


def plan_of(
    graph: SplitGraph,
    profile: Profile,
    model_file: ModelFile,
    drawn: Drawn,
) -> Plan:
    """The plan without its verdict: sizes of what crosses, and where the numbers come from."""
    sizes = profile.value_bytes
    crossing = dict.fromkeys(name for stage in drawn.stages[1:] for name in (*stage.inputs, *stage.passes))
    into = [sum(sizes.get(name, 0.0) for name in (*stage.inputs, *stage.passes)) for stage in drawn.stages]
    into.append(sum(sizes.get(name, 0.0) for name in graph.outputs))
    out = into[1:]
    if drawn.balance.links == DIRECT:
        into, out = list(drawn.balance.bytes_in), list(drawn.balance.bytes_out)
    stages = tuple(
        dataclasses.replace(stage, bytes_in=into[stage.index], bytes_out=out[stage.index]) for stage in drawn.stages
    )
    values = ir.convenience.create_value_mapping(graph.model.graph, include_subgraphs=False)
    return Plan(
        model=file_name(model_file),
        model_hash=model_hash(model_file.path),
        micro_batch=profile.rows,
        stages=stages,
        boundaries=tuple(_boundary(values[name], sizes) for name in crossing),
        rewrites=model_file.rewrites,
        period=drawn.balance.period,
        lower_bound=drawn.balance.lower_bound,
        method=drawn.balance.method,
        links=drawn.balance.links,
        bound_by=drawn.balance.bound_by,
        source=profile.source,
        provider=profile.provider,
        threads=profile.threads,
        notes=(*graph.notes, *profile.notes),
        inputs=graph.inputs,
        outputs=graph.outputs,
    )


def _boundary(value: ir.Value, sizes: Mapping[str, float]) -> BoundaryTensor:
    name = str(value.name)
    shape = None
    if value.shape is not None:
        shape = tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
    axis = None if shape == () else 0
    dtype = "float32" if value.dtype is None else _dtype_name(value.dtype)
    return BoundaryTensor(name, dtype, shape, axis, False, sizes.get(name, 0.0))


def _dtype_name(dtype: ir.DataType) -> str:
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(dtype.name, dtype.name.lower())


def with_verdict(
    plan: Plan,
    found: Balance,
    others: Sequence[Alternative],
    *,
    whole_bytes: float,
    here: bool,
    spread: float | None = None,
) -> Plan:
    """The plan with its alternatives, itself among them, and the verdict.

    Args:
        plan: the split.
        found: its balance, for the memory that its workers need.
        others: ways to use the same workers without splitting.
        whole_bytes: memory that a worker needs for the whole model.
        here: whether the workers are this machine's.
        spread: of the split's own measurements beside the others; None where it is predicted.
    """
    number, name = len(plan.stages), plan.name
    weights = float(max(stage.weight_bytes for stage in plan.stages))
    split = Alternative(name, plan.rows_per_second, weights, spread is not None, found.fits, spread or 0.0)
    verdict = make_verdict(
        split, others, stages=number, stage_bytes=max(found.stage_memory), whole_bytes=whole_bytes, here=here
    )
    # One stage is the whole model, which is among the others already where it fits.
    every = [split, *others] if number > 1 or not any(one.fits for one in others) else others
    return dataclasses.replace(plan, alternatives=rank(every), verdict=verdict)


def whole_memory(graph: SplitGraph, problem: Problem) -> float:
    """Bytes that a worker needs for the whole model: its weights and the most activations at once."""
    return float(sum(graph.weight_bytes.values())) + max(problem.activation_bytes, default=0.0)
