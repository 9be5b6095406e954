"""The model as each worker of a team has it that divides its layers over shards: the same graph, its numbers divided.

What is then split by depth, given replicas and held against memory is that graph: a team counts as one worker.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import onnx_ir as ir

from beamsplit.models.cost.estimate import bind_shapes
from beamsplit.models.cost.profile import Profile
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile, external_folder
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.shard.decision import Decision
from beamsplit.models.shard.observe import observed_shapes
from beamsplit.models.shard.placement import Partial, Sharded
from beamsplit.models.shard.planner import LEAST_SHARE
from beamsplit.models.shard.propagate import Sharding, data_inputs, shard_graph
from beamsplit.models.shard.trees import PLAIN, plain_ensembles
from beamsplit.models.shard.weights import held_bytes
from beamsplit.models.split.balance import Problem
from beamsplit.models.split.cuts import SplitGraph
from beamsplit.models.split.problem import make_problem, unit_seconds
from beamsplit.models.strategy.teams import Links
from beamsplit.models.values.tensors import Array

JOIN_BYTE_SECONDS = 0.04e-9
"""Of each byte that is summed or put together, as ONNX Runtime does it on one core."""


@dataclass(frozen=True)
class UnitParts:
    """What each unit of a graph takes of a team, per micro-batch."""

    whole: tuple[float, ...]
    """Seconds of what is not sharded, joins among it."""

    share: tuple[float, ...]
    """Seconds of the slowest shard."""

    exchange_bytes: tuple[float, ...]
    """Over the link of the worker that joins."""

    exchanges: tuple[float, ...]
    """How many meetings of the shards begin there."""


@dataclass(frozen=True)
class Width:
    """A model over so many shards."""

    shards: int
    """1: whole."""

    graph: SplitGraph
    """With the bytes of weights that the fullest shard holds."""

    profile: Profile
    """With the seconds of the slowest shard."""

    exchanged: Exchanged = field(default_factory=lambda: Exchanged({}, {}, frozenset()))
    """What its workers hand one another."""

    on_shards: frozenset[str] = frozenset()
    """Names of the nodes that run on shards; what each of a team computes alone is not among them."""

    def problem(self, bandwidth: float, links: Links) -> Problem:
        """What the solver balances: what one micro-batch alone takes, step after step, in each unit.

        Args:
            bandwidth: bytes a second of a team's workers.
            links: how they meet.
        """
        parts = self.unit_parts
        joins = [bytes_ / bandwidth + meets * self.shards * links.exchange_seconds for bytes_, meets in
                 zip(parts.exchange_bytes, parts.exchanges, strict=True)]  # fmt: skip
        speedup = links.speedup(self.shards)
        seconds = [
            whole / speedup + share + join for whole, share, join in zip(parts.whole, parts.share, joins, strict=True)
        ]
        return make_problem(self.graph, self.profile, seconds)

    @cached_property
    def unit_parts(self) -> UnitParts:
        """What the units' seconds are made of."""
        seconds = self.profile.node_seconds
        on_shards = {name: one for name, one in seconds.items() if name in self.on_shards}
        whole = {name: one for name, one in seconds.items() if name not in self.on_shards}
        for name, nbytes in self.exchanged.joined.items():
            whole[name] = whole.get(name, 0.0) + nbytes * JOIN_BYTE_SECONDS
        meetings = dict.fromkeys(self.exchanged.meetings, 1.0)
        return UnitParts(*(self._by_unit(one) for one in (whole, on_shards, self.exchanged.nbytes, meetings)))

    def _by_unit(self, of_nodes: Mapping[str, float]) -> tuple[float, ...]:
        return tuple(unit_seconds(self.graph, dataclasses.replace(self.profile, node_seconds=of_nodes)))


def make_widths(
    model_file: ModelFile,
    feeds: dict[str, Array],
    graph: SplitGraph,
    profile: Profile,
    counts: Sequence[int],
) -> tuple[list[Width], list[str]]:
    """(the model whole and over each number of shards that it can be divided over, lines on why not over others).

    Args:
        model_file: the model; it is run once, for the shapes of its tensors.
        feeds: one array an input, with the micro-batch's rows.
        graph: its units.
        profile: of the whole model.
        counts: numbers of shards, from 2.
    """
    whole = Width(1, graph, profile)
    if not counts:
        return [whole], []
    model = load_graph(model_file)
    plain_ensembles(model.graph)
    shapes = _shapes(model, model_file, feeds, profile)
    total = held_bytes(model.graph)
    if not total:
        return [whole], ["the model has no weights: nothing is divided over shards"]
    least = max(1, int(total * LEAST_SHARE))
    found, notes = [whole], list[str]()
    for shards in counts:
        try:
            sharding = shard_graph(model.graph, shards, shapes, model.graph.opset_imports, least)
            if not sharding.decisions:
                return found, [*notes, "no layer can be divided over shards"]
            found.append(divided(graph, profile, model.graph, sharding))
        except Exception as error:
            # One number of shards that fails, for whatever reason, leaves the others.
            notes.append(f"{shards} shards left out: {type(error).__name__}: {error}")
    return found, notes


def _shapes(
    model: ir.Model, model_file: ModelFile, feeds: Mapping[str, Array], profile: Profile
) -> Mapping[str, Sequence[int]]:
    """Of every tensor: seen on the rows, or inferred where the model cannot be run here."""
    if profile.source == "measured":
        with contextlib.suppress(UsageError, ModelRunError, MemoryError):
            return observed_shapes(model, feeds, external_folder(model_file.path))
    return bind_shapes(model, {name: value.shape for name, value in feeds.items()}, profile.rows)


def divided(graph: SplitGraph, profile: Profile, source: ir.Graph, sharding: Sharding) -> Width:
    """The numbers of one shard.

    A node that works on slices, of its data or its weights, takes the largest slice's share of its seconds.

    Args:
        graph: the whole model's units.
        profile: what they cost whole.
        source: the graph that was divided; nodes are called as in `graph`, but for trees that were made plain.
        sharding: what becomes of its nodes.
    """
    shards = sharding.shards
    seconds = dict(profile.node_seconds)
    weights = dict(graph.weight_bytes)
    trees = False
    on_shards = set(sharding.decisions)
    for node in source:
        decision = sharding.decisions.get(str(node.name))
        if decision is None:
            continue
        share = largest_share(decision, shards)
        name = str(node.name)
        if name in seconds:
            seconds[name] *= share
        for position, piece in decision.slices.items():
            value = node.inputs[position]
            if value is not None and value.name in weights:
                weights[str(value.name)] = round(
                    graph.weight_bytes[str(value.name)] * max(piece.pieces) / sum(piece.pieces)
                )
        trees = trees or ("TreeEnsemble" in node.op_type and decision.sharded_bytes > 0)
    if trees:
        # Their nodes were replaced by plain ones of another name.
        for name, part in graph.parts.items():
            if "TreeEnsemble" in part.node.op_type and name not in sharding.decisions:
                on_shards.add(name)
                seconds[name] /= shards
                weights[name] = -(-weights.get(name, 0) // shards)
    total = sum(seconds.values())
    return Width(
        shards,
        dataclasses.replace(graph, weight_bytes=weights),
        dataclasses.replace(profile, node_seconds=seconds, total_seconds=total),
        exchanged(graph, profile, source, sharding),
        frozenset(on_shards),
    )


def largest_share(decision: Decision, shards: int) -> float:
    """Share of a node's work that its fullest shard does."""
    shares = [max(piece.pieces) / sum(piece.pieces) for piece in decision.slices.values() if any(piece.pieces)]
    if shares:
        return max(shares)
    found = [
        max(placement.pieces) / sum(placement.pieces)
        if isinstance(placement, Sharded) and any(placement.pieces)
        else 1 / shards
        for placement in decision.outputs.values()
        if isinstance(placement, Sharded | Partial)
    ]
    # What is whole each shard makes all of.
    return max(found, default=1.0)


@dataclass(frozen=True)
class Exchanged:
    """What a team's workers hand one another, by the node of the whole model that it is counted with."""

    nbytes: Mapping[str, float]
    """Over the link of the worker that joins, per micro-batch."""

    joined: Mapping[str, float]
    """Bytes that joining reads."""

    meetings: frozenset[str]
    """Nodes with which a meeting is counted: the first of those that run on shards between two joins."""


def exchanged(graph: SplitGraph, profile: Profile, source: ir.Graph, sharding: Sharding) -> Exchanged:
    """What goes out to the shards, and what comes back to be joined.

    All that the shards of a level read whole goes out to each of the others. Slices come together once, all but the
    joiner's own; of terms each shard sends a whole tensor.
    """
    others = sharding.shards - 1
    of_level = {
        str(value.name): sharding.levels[str(node.name)]
        for node in source
        if str(node.name) in sharding.decisions
        for value in node.outputs
    }
    maker = {made: name for name, part in graph.parts.items() for made in part.makes}
    found: dict[str, float] = {}
    joined: dict[str, float] = {}
    meetings: dict[int, str] = {}
    sent: set[tuple[int, str]] = set()
    for node in source:
        at = _counted_with(graph, str(node.name))
        if str(node.name) not in sharding.decisions or at is None:
            continue
        level = sharding.levels[str(node.name)]
        meetings.setdefault(level, at)
        for name in data_inputs(node, sharding.constants):
            if of_level.get(name) != level and (level, name) not in sent:
                sent.add((level, name))
                found[at] = found.get(at, 0.0) + others * profile.value_bytes.get(name, 0.0)
    for tensor in sharding.joined:
        node_name = maker.get(tensor) or _counted_with(graph, tensor)
        if node_name is not None:
            nbytes = profile.value_bytes.get(tensor, 0.0)
            summed = isinstance(sharding.placements.get(tensor), Partial)
            together = others * nbytes if summed else nbytes * others / sharding.shards
            found[node_name] = found.get(node_name, 0.0) + together
            joined[node_name] = joined.get(node_name, 0.0) + nbytes * (sharding.shards if summed else 1)
    return Exchanged(found, joined, frozenset(meetings.values()))


def _counted_with(graph: SplitGraph, name: str) -> str | None:
    """The node of the whole model of that name, or whose trees were made plain under that name."""
    before = name.split(PLAIN)[0]
    return next((one for one in (name, before) if one in graph.parts), None)
