"""A split graph and its profile as the numbers that the solver balances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from beamsplit.models.cost.arena import ARENA_TIMES, ArenaNode, live_bytes
from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.cost.profile import Profile
from beamsplit.models.split.balance import Problem, Value, Weight, Worker
from beamsplit.models.split.cuts import SplitGraph
from beamsplit.models.split.solver.problem import CHAIN


def unit_seconds(graph: SplitGraph, profile: Profile) -> list[float]:
    """Seconds of each unit per micro-batch.

    Cheap nodes that are recomputed are counted to the first unit that needs them, dearer ones to every such unit.
    """
    seconds = [sum(profile.node_seconds.get(name, 0.0) for name in unit.nodes) for unit in graph.units]
    maker = {made: unit.nodes[0] for unit in graph.recomputed for made in unit.makes}
    counted: set[str] = set()
    for at, unit in enumerate(graph.units):
        ahead = [name for node in unit.nodes for name in graph.parts[node].reads]
        mine: set[str] = set()
        while ahead:
            node = maker.get(ahead.pop())
            if node is None or node in mine or (node in counted and node not in graph.repeated):
                continue
            mine.add(node)
            seconds[at] += profile.node_seconds.get(node, 0.0)
            ahead += graph.parts[node].reads
        counted |= mine
    return seconds


def make_problem(graph: SplitGraph, profile: Profile, seconds: Sequence[float], links: str = CHAIN) -> Problem:
    """What the solver balances.

    Args:
        graph: the units.
        profile: for the bytes.
        seconds: of each unit, as `unit_seconds` gives them or as they were corrected since.
        links: how values that skip stages travel, one of `LINKS`.
    """
    producer = dict.fromkeys(graph.inputs, -1)
    producer |= {name: at for at, unit in enumerate(graph.units) for name in unit.makes}
    consumers: dict[str, list[int]] = {}
    for at, unit in enumerate(graph.units):
        for name in unit.reads:
            consumers.setdefault(name, []).append(at)
    outputs = set(graph.outputs)
    sizes = profile.value_bytes
    values = tuple(
        Value(sizes.get(name, 0.0), at, tuple(user for user in consumers.get(name, ()) if user > at), name in outputs)
        for name, at in producer.items()
    )
    users: dict[str, list[int]] = {}
    for at, unit in enumerate(graph.units):
        for name in unit.weights:
            users.setdefault(name, []).append(at)
    weights = tuple(Weight(float(graph.weight_bytes[name]), tuple(at)) for name, at in users.items())
    return Problem(tuple(seconds), values, weights, tuple(activation_bytes(graph, sizes)), links)


def activation_bytes(graph: SplitGraph, sizes: Mapping[str, float]) -> list[float]:
    """Bytes that a stage's worker holds for activations while each unit runs.

    The arena of its session comes to hold twice what lies there at once (`arena.py`). Where the stage begins is not
    known yet: what an earlier one made counts as if this one had, and what is handed on is in memory too. The model's
    inputs are the caller's.
    """
    parts = [graph.parts[node] for unit in graph.units for node in unit.nodes]
    steps = [ArenaNode(part.node.op_type, part.reads, part.makes) for part in parts]
    live = live_bytes(steps, sizes, graph.outputs)
    given = _given_bytes(graph, sizes)
    return [
        ARENA_TIMES * max(next(live) for _ in unit.nodes) + own for unit, own in zip(graph.units, given, strict=True)
    ]


def _given_bytes(graph: SplitGraph, sizes: Mapping[str, float]) -> list[float]:
    """Bytes of the model's inputs that are still to be read, while each unit runs."""
    last = {name: at for at, unit in enumerate(graph.units) for name in unit.reads}
    return [
        sum(sizes.get(name, 0.0) for name in graph.inputs if at <= last.get(name, -1)) for at in range(len(graph.units))
    ]


def solver_workers(workers: Sequence[ClusterWorker]) -> list[Worker]:
    """The workers as the solver takes them."""
    return [Worker(worker.speed, worker.memory_bytes, worker.bandwidth) for worker in workers]
