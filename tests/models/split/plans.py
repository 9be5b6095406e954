"""Plans made by hand, and graphs to go with them, for tests of what shows them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

from beamsplit.models.split.coarse import CoarseGraph, coarsen
from beamsplit.models.split.plan import Alternative, BoundaryTensor, Plan, StagePlan

BLOCK = ("Conv", "Mul", "Relu", "Conv", "Mul", "Relu", "Add")
"""Of a residual network; the Add also reads what the block reads."""


def residual_nodes(blocks: int) -> dict[str, SimpleNamespace]:
    """Nodes of a residual network by name, as `coarsen` takes them."""
    nodes = {}
    entering = "image"
    for block in range(blocks):
        current = entering
        for number, op in enumerate(BLOCK):
            made = f"t{block}.{number}"
            reads = (current, entering) if op == "Add" else (current,)
            weights = (f"w{block}.{number}",) if op == "Conv" else ()
            nodes[f"/block{block}/{op}_{number}"] = SimpleNamespace(
                node=SimpleNamespace(op_type=op), reads=reads, weights=weights, makes=(made,)
            )
            current = made
        entering = current
    return nodes


def residual_plan(stages: int = 3, blocks: int = 12, seconds: float = 0.004) -> tuple[Plan, CoarseGraph]:
    """A plan of that network whose last cuts lie within blocks, and its coarse graph."""
    nodes = residual_nodes(blocks)
    names = list(nodes)
    at = [round(len(names) * k / stages) for k in range(stages)] + [len(names)]
    groups = [names[start:end] for start, end in itertools.pairwise(at)]
    maker = {tensor: name for name, node in nodes.items() for tensor in node.makes}
    stage_of = {name: stage for stage, group in enumerate(groups) for name in group}
    output = nodes[names[-1]].makes[0]
    made = {"image": -1} | {tensor: stage_of[name] for tensor, name in maker.items()}
    reads = [
        list(dict.fromkeys(r for name in group for r in nodes[name].reads if made[r] != k))
        for k, group in enumerate(groups)
    ]
    plans = []
    for k, group in enumerate(groups):
        later = {r for more in reads[k + 1 :] for r in more} | {output}
        outputs = tuple(t for name in group for t in nodes[name].makes if t in later)
        passes = tuple(t for t in sorted(later - {output}) if made[t] < k and t not in reads[k])
        plans.append(
            StagePlan(
                k, tuple(group), tuple(reads[k]), outputs, passes, 8_000_000 + 3_100_000 * k, seconds * (1 + 0.12 * k),
                602_112.0, 602_112.0, 1, (f"worker {k}",),
            )
        )  # fmt: skip
    crossing = sorted({r for more in reads[1:] for r in more})
    period = max(stage.seconds for stage in plans)
    plan = Plan(
        model="resnet.onnx",
        model_hash="f4a1" * 16,
        micro_batch=8,
        stages=tuple(plans),
        boundaries=tuple(BoundaryTensor(name, "float32", ("rows", 64, 7, 7), nbytes=602_112.0) for name in crossing),
        period=period,
        lower_bound=period * 0.98,
        method="exact: chain",
        alternatives=(
            Alternative(f"{stages} replicas of the whole model", 1900.0, 60e6, measured=True),
            Alternative("the whole model with all cores", 1500.0, 60e6),
        ),
        verdict=f"{stages} replicas of the whole model are 1.3x faster; split only if a worker has less than 60 MB.",
        notes=("2 nodes that make shapes are recomputed in each stage that needs them",),
    )
    weights = {weight: 250_000 for node in nodes.values() for weight in node.weights}
    return plan, coarsen(plan, nodes, weights, ["image"], [output])
