"""The plan that follows from what stages took while they ran: cut anew, with the units' seconds corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from beamsplit.models.cost.cluster import read_cluster
from beamsplit.models.cost.measured_profile import measure_profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.graph.load import load_graph
from beamsplit.models.split.cuts import split_graph
from beamsplit.models.split.plan import Plan
from beamsplit.models.split.planner import draw_stages, plan_of


def scaled_nodes(node_seconds: Mapping[str, float], plan: Plan, seconds: Sequence[float]) -> dict[str, float]:
    """Seconds of each node, so that those of a stage add up to what the stage took; a stage of no seconds stays so.

    A node that several stages make anew is scaled by the first of them.
    """
    scaled = dict(node_seconds)
    home: dict[str, int] = {}
    for stage in plan.stages:
        for name in stage.nodes:
            home.setdefault(name, stage.index)
    for stage in plan.stages:
        before = sum(node_seconds.get(name, 0.0) for name in stage.nodes)
        ratio = seconds[stage.index] / before if before else 1.0
        scaled.update(
            (name, node_seconds[name] * ratio)
            for name in stage.nodes
            if home[name] == stage.index and name in node_seconds
        )
    return scaled


def plan_again(
    plan: Plan,
    seconds: Sequence[float],
    run: SampleRun,
    *,
    workers: int,
    stage_memory: float | None = None,
) -> Plan:
    """A plan of as many stages, balanced by measured seconds.

    Args:
        plan: what was run.
        seconds: of each stage per micro-batch, as measured.
        run: of the whole model: what has been profiled before is not profiled again.
        workers: over all stages.
        stage_memory: most bytes that a stage may take; None for any.

    Raises:
        UsageError: the model cannot be loaded, or cannot be cut so.
        ModelRunError: it cannot be run on these feeds.
    """
    graph = split_graph(load_graph(run.model_file))
    profile = measure_profile(graph.model, run)
    node_seconds = scaled_nodes(profile.node_seconds, plan, seconds)
    profile = replace(profile, node_seconds=node_seconds, total_seconds=sum(node_seconds.values()))
    memory = {} if stage_memory is None else {"memory_bytes": stage_memory}
    cluster = read_cluster(str(max(workers, len(plan.stages))), **memory)
    drawn = draw_stages(graph, profile, len(plan.stages), cluster)
    return replace(plan_of(graph, profile, run.model_file, drawn), verdict=plan.verdict, alternatives=plan.alternatives)
