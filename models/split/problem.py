"""A split graph and its profile as the numbers that the solver balances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.split.balance import Problem, Value, Weight, Worker
from models.split.cluster import ClusterWorker
from models.split.cuts import SplitGraph
from models.split.profile import Profile


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


def make_problem(graph: SplitGraph, profile: Profile, seconds: Sequence[float]) -> Problem:
    """What the solver balances.

    Args:
        graph: the units.
        profile: for the bytes.
        seconds: of each unit, as `unit_seconds` gives them or as they were corrected since.
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
    return Problem(tuple(seconds), values, weights, tuple(activation_bytes(graph, sizes)))


def activation_bytes(graph: SplitGraph, sizes: Mapping[str, float]) -> list[float]:
    """Bytes of activations that a stage holds while each unit runs.

    That is what crosses the unit's place in the order, since it is in the stage's memory whether it is read there or
    handed on, and the most that one of its nodes reads and makes beside that.
    """
    last = {name: at for at, unit in enumerate(graph.units) for name in unit.reads}
    last |= dict.fromkeys(graph.outputs, len(graph.units))
    made = {name: at for at, unit in enumerate(graph.units) for name in unit.makes} | dict.fromkeys(graph.inputs, -1)
    change = [0.0] * (len(graph.units) + 2)
    for name, at in made.items():
        until = min(last.get(name, at), len(graph.units) - 1)
        change[max(at, 0)] += sizes.get(name, 0.0)
        change[max(until, 0) + 1] -= sizes.get(name, 0.0)
    held = []
    live = 0.0
    for at, unit in enumerate(graph.units):
        live += change[at]
        crossing = {*unit.reads, *unit.makes}
        inner = [
            sum(sizes.get(name, 0.0) for name in (*part.reads, *part.makes) if name not in crossing)
            for part in (graph.parts[node] for node in unit.nodes)
        ]
        held.append(max(live, 0.0) + max(inner, default=0.0))
    return held


def solver_workers(workers: Sequence[ClusterWorker]) -> list[Worker]:
    """The workers as the solver takes them."""
    return [Worker(worker.speed, worker.memory_bytes, worker.bandwidth) for worker in workers]
