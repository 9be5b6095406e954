"""What a model divided over shards consists of: which steps, what each reads and makes, and where its files lie.

A plan is data: immutable, printable, stored as JSON. The same plan gives the same shards on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePath

from beamsplit.models import plain
from beamsplit.models.errors import UsageError
from beamsplit.models.plan_limits import wrong_shards
from beamsplit.models.small_file import read_small

VERSION = 1
"""Of the JSON form; a reader refuses versions it does not know."""


@dataclass(frozen=True)
class ShardStepPlan:
    """One step: a model that is whole, or one model a shard."""

    sharded: bool

    inputs: tuple[str, ...]
    """Tensors that each model reads; a whole one also reads `TENSOR@shardK`, shard K's part of what it joins."""

    outputs: tuple[str, ...]
    """Tensors that each model makes."""

    weight_bytes: tuple[int, ...]
    """Bytes of weights of each model: one number, or one a shard."""

    files: tuple[str, ...]
    """ONNX files, relative to the folder: one, or one a shard."""

    depth: int = 0
    """Stage that it is a step of, from 0, where the model is split by depth too."""

    sha256: tuple[str, ...] = ()
    """SHA-256 of each file and its external data (`models.graph.known_files`); empty where a job made them itself."""

    def hash_of(self, shard: int) -> str:
        """Of one file; empty where nobody knows."""
        return self.sha256[shard] if self.sha256 else ""


@dataclass(frozen=True)
class Join:
    """A tensor of which the shards' parts are brought together."""

    tensor: str

    step: int = field(metadata=plain.in_files("stage"))
    """Number of the sharded step that makes the parts."""

    how: str
    """`"concat"`, `"sum"`, or `"sizes"` for a shape vector."""


@dataclass(frozen=True)
class KeptWhole:
    """A layer with weights that is not divided."""

    node: str
    weight_bytes: int

    why: str
    """In words, for the user."""


@dataclass(frozen=True)
class ShardedLayer:
    """A layer whose weight is divided."""

    node: str
    op_type: str

    weight: str
    """The tensor that is divided; empty for an ensemble of trees."""

    axis: int | None
    """Of the weight; None for trees."""

    pieces: tuple[int, ...]
    """How long each shard's slice is along the axis, or how many trees it has."""

    step: int
    """Number of the sharded step that it runs in."""

    makes: str
    """`"slices"` of its output, or `"terms"` of which it is the sum."""

    weight_bytes: int

    @property
    def how(self) -> str:
        """E.g. `columns (axis 1: 128 + 128)`."""
        each = " + ".join(map(str, self.pieces)) if len(self.pieces) <= 4 else f"{len(self.pieces)} x {self.pieces[-1]}"
        if self.axis is None:
            return f"trees ({each})"
        return f"{_kind(self)} (axis {self.axis}: {each})"


def _kind(layer: ShardedLayer) -> str:
    """What the axis of the weight is to the layer."""
    from beamsplit.models.shard.rules import axes_of

    return axes_of(layer.op_type)[0 if layer.makes == "slices" else 1]


@dataclass(frozen=True)
class ShardPlan:
    """A model divided over shards."""

    model: str
    """File name of the whole model, without its folder."""

    model_hash: str
    """SHA-256, hex, of the model file (external data not included: that is `data_hash`)."""

    shards: int
    steps: tuple[ShardStepPlan, ...] = field(metadata=plain.in_files("stages"))
    """In the order in which they run."""

    outputs: tuple[str, ...]
    """Outputs of the whole model, in its order."""

    weight_bytes: int
    """Bytes of the whole model's weights, those of trees included."""

    sharded_bytes: int
    """Bytes of them that are divided over the shards."""

    joins: tuple[Join, ...] = ()
    layers: tuple[ShardedLayer, ...] = ()
    """In the order in which they run."""

    kept_whole: tuple[KeptWhole, ...] = ()
    """The largest first."""

    rewrites: tuple[str, ...] = ()
    """Rewrites of `ModelFile` done before the graph was divided."""

    least_bytes: int = 1
    """Bytes of weights from which a layer was divided."""

    configuration: str = ""
    """Name of the model's own configuration that it was divided by; empty where the division was planned."""

    devices: tuple[str, ...] = ()
    """Names of the shards' devices in that configuration."""

    data_hash: str = ""
    """SHA-256, hex, of the model's external data; empty where it has none, or the plan has not been written."""

    @property
    def bare_steps(self) -> tuple[ShardStepPlan, ...]:
        """The steps with the names of their files only, wherever these lie and whatever they hold."""
        names = [tuple(PurePath(one).name for one in step.files) for step in self.steps]
        return tuple(replace(step, files=each, sha256=()) for step, each in zip(self.steps, names, strict=True))

    @property
    def meetings(self) -> int:
        """How often in one pass the shards' results are brought together; several tensors may be joined at once."""
        return len({join.step for join in self.joins})

    def shard_bytes(self, shard: int) -> int:
        """Bytes of weights that the worker of one shard holds."""
        return sum(step.weight_bytes[shard] for step in self.steps if step.sharded)

    @property
    def whole_bytes(self) -> int:
        """Bytes of weights of the whole steps together."""
        return sum(step.weight_bytes[0] for step in self.steps if not step.sharded)

    @property
    def lines(self) -> tuple[str, ...]:
        """The division in words, for the user: what each worker holds, the joins, what stays whole and why."""
        shards = ", ".join(f"{self.shard_bytes(shard) / 1e6:,.1f}" for shard in range(self.shards))
        sums = sum(join.how == "sum" for join in self.joins)
        kept = [f"{one.node} ({one.weight_bytes / 1e6:,.1f} MB) stays whole: {one.why}" for one in self.kept_whole[:5]]
        if len(self.kept_whole) > 5:
            rest = self.kept_whole[5:]
            held = sum(one.weight_bytes for one in rest) / 1e6
            kept.append(f"{len(rest)} smaller layers ({held:,.1f} MB) stay whole too")
        by = f", as annotated ({self.configuration!r}: {', '.join(self.devices)})" if self.configuration else ""
        return (
            f"{self.sharded_bytes / 1e6:,.1f} of {self.weight_bytes / 1e6:,.1f} MB of weights over "
            f"{self.shards} shards: {shards} MB each; {self.whole_bytes / 1e6:,.1f} MB stay whole{by}",
            f"{len(self.steps)} steps with {self.meetings} joins: {sums} tensors summed, "
            f"{len(self.joins) - sums} put side by side",
            *kept,
        )


def moved(plan: ShardPlan, folder: str) -> ShardPlan:
    """The same with its files as seen from elsewhere: in `folder`, a relative path."""
    steps = (replace(step, files=tuple(f"{folder}/{file}" for file in step.files)) for step in plan.steps)
    return replace(plan, steps=tuple(steps))


def to_json(plan: ShardPlan) -> str:
    """The plan as JSON text, which `from_json` reads back to an equal plan."""
    return plain.to_json(plan, VERSION)


def from_json(text: str, path: str = "the plan") -> ShardPlan:
    """Read a plan.

    Raises:
        UsageError: the text is no plan of a version that this program reads.
    """
    return plain.from_json(ShardPlan, VERSION, text, path, "divide the model again with --shards")


def check_shards(plan: ShardPlan, path: str) -> None:
    """Check what a plan that somebody else wrote may say.

    Raises:
        UsageError: a number cannot be.
    """
    wrong = wrong_shards(plan)
    if wrong is not None:
        raise UsageError(f"{path} cannot be run: {wrong}; make it again with python -m pipelines.plan --shards")


def read_plan(path: str) -> ShardPlan:
    """Read a plan.json.

    Raises:
        UsageError: the file is missing or is no plan of shards.
    """
    try:
        text = read_small(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}): give a plan.json of shards"
        ) from None
    return from_json(text, path)
