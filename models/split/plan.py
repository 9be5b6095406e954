"""The plan of a split: which nodes make which stage, what crosses each cut, and what that is predicted to cost.

    rows -> [stage 0] -cut 0-> [stage 1] -cut 1-> [stage 2] -> predictions
                         |
                      boundary: the tensors that cross

A plan is data: immutable, printable, stored as JSON. The same plan gives the same stages on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from beamsplit.models import plain
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Dim
from beamsplit.models.plan_limits import wrong_number
from beamsplit.models.shard.plan import ShardPlan
from beamsplit.models.small_file import read_small

VERSION = 1
"""Of the JSON form; a reader refuses versions it does not know."""


@dataclass(frozen=True)
class BoundaryTensor:
    """A tensor that crosses at least one cut."""

    name: str
    """As the graph calls it."""

    dtype: str
    """As in `TensorSpec.dtype`; also `"int4"`, `"uint4"`."""

    shape: tuple[Dim, ...] | None
    """As inferred on the whole model; None where even the rank is unknown."""

    rows_axis: int | None = 0
    """The axis that carries the rows; None where the tensor has none (a scalar, a shape vector) and travels whole."""

    folded: bool = False
    """Whether that axis is rows times something, rows outermost, as in [rows x sequence, hidden]."""

    nbytes: float = 0.0
    """Bytes at the plan's micro-batch size, measured on sample rows or estimated."""


@dataclass(frozen=True)
class StagePlan:
    """One stage: the nodes between two cuts."""

    index: int
    """From 0."""

    nodes: tuple[str, ...]
    """Names of its nodes in the loaded graph (`load_graph` names those that have none), in the order they run.

    Recomputed nodes stand in every stage that recomputes them.
    """

    inputs: tuple[str, ...]
    """Tensors that its model reads: inputs of the whole model, and tensors that earlier stages made."""

    outputs: tuple[str, ...]
    """Tensors that its model makes for later stages or as outputs of the whole model."""

    passes: tuple[str, ...] = ()
    """Tensors that cross it untouched: made before it, not read by it, and read after it or an output of the model."""

    weight_bytes: int = 0
    """Bytes of the distinct weights that it holds; a weight used in two stages counts in both."""

    seconds: float = 0.0
    """Predicted compute seconds per micro-batch on a worker of speed 1."""

    bytes_in: float = 0.0
    """Bytes per micro-batch over the cut before it (of the first: the model's inputs)."""

    bytes_out: float = 0.0
    """Bytes per micro-batch over the cut behind it (of the last: the model's outputs)."""

    replicas: int = 1
    """Workers that run this stage side by side."""

    workers: tuple[str, ...] = ()
    """Names of those workers, as the cluster description has them."""

    speed: float = 1.0
    """Of the slowest of those workers, relative to where the seconds are from."""

    file: str | None = None
    """Its ONNX file, in the plan's folder and relative to it; None where it has not been saved."""

    sha256: str = ""
    """What that file and its external data hold (`models.graph.known_files`); empty where a job made it for itself."""

    shards: ShardPlan | None = None
    """How it is divided by width, its files relative to the plan's folder; None where it is not."""

    @property
    def worker_seconds(self) -> float:
        """Predicted compute seconds per micro-batch on the slowest worker that runs it."""
        return self.seconds / self.speed


@dataclass(frozen=True)
class Alternative:
    """Another way to use the same workers, for the verdict."""

    name: str
    """E.g. `"4 replicas of the whole model"`."""

    rows_per_second: float
    """Predicted, or measured where `measured`."""

    worker_bytes: float
    """Bytes of weights that one worker holds."""

    measured: bool = False
    fits: bool = True
    """Whether every worker has the memory for it."""

    spread: float = 0.0
    """Share by which measurements of it differed among themselves; 0 where it is predicted."""


@dataclass(frozen=True)
class FrontierPoint:
    """One way to use some of the workers, predicted."""

    workers: int
    """That there are."""

    stages: int
    name: str
    """E.g. `"2 stages on 3 workers"`."""

    rows_per_second: float
    worker_bytes: float
    """Weights and activations that the fullest worker holds."""


def way_name(stages: int, workers: int) -> str:
    """E.g. `2 stages on 3 workers`; with one stage, replicas of the whole model."""
    if stages <= 1:
        return f"{workers} {'replica' if workers == 1 else 'replicas'} of the whole model"
    return f"{stages} stages" + f" on {workers} workers" * (workers > stages)


@dataclass(frozen=True)
class Plan:
    """How a model is split over workers by depth."""

    model: str
    """File name of the model, without its folder."""

    model_hash: str
    """SHA-256, hex, of the model file (external data not included: that is `data_hash`)."""

    micro_batch: int
    """Rows in a micro-batch, at which seconds and bytes were taken."""

    stages: tuple[StagePlan, ...]

    boundaries: tuple[BoundaryTensor, ...] = ()
    """Every tensor that crosses a cut, once each."""

    rewrites: tuple[str, ...] = ()
    """Rewrites of `ModelFile` done before the graph was cut."""

    period: float = 0.0
    """Predicted seconds per micro-batch of the busiest stage, transfers and replicas counted."""

    lower_bound: float = 0.0
    """No plan for these workers and this number of stages has a shorter period: proven."""

    method: str = ""
    """How the solver found it, e.g. `"exact: ideals"`."""

    links: str = "chain"
    """For which links period and bound are: `"chain"`, every tensor goes through all stages up to who reads it last;
    `"direct"`, from its maker straight to each stage that reads it."""

    bound_by: str = ""
    """What proves the bound: `"work"`, `"chain"`, `"ideals"`, `"spine"` or `"mixed integer"`; see
    `solver.problem.Balance`."""

    source: str = "measured"
    """`"measured"` or `"estimate"`: where seconds and bytes come from."""

    provider: str = "CPUExecutionProvider"
    """ONNX Runtime execution provider that the seconds are of."""

    threads: int = 1
    """Threads of the session that the seconds are of."""

    alternatives: tuple[Alternative, ...] = ()
    """Other ways considered, the best first."""

    frontier: tuple[FrontierPoint, ...] = ()
    """Ways to use fewer workers or as many, where several numbers of them were asked for."""

    verdict: str = ""
    """What to do and why, in a sentence or two."""

    notes: tuple[str, ...] = field(default=())
    """Lines for the user: what is kept whole and why, what is recomputed."""

    inputs: tuple[str, ...] = ()
    """Inputs of the whole model, in its order; empty where the stages have not been saved."""

    outputs: tuple[str, ...] = ()
    """Outputs of the whole model, in its order; likewise."""

    data_hash: str = ""
    """SHA-256, hex, of the model's external data; empty where it has none, or the plan has not been written."""

    @property
    def gap(self) -> float:
        """How much longer the period is than the lower bound, as a share of the bound; 0 is proven best."""
        return self.period / self.lower_bound - 1 if self.lower_bound else 0.0

    @property
    def rows_per_second(self) -> float:
        """Predicted, when the pipeline is full."""
        return self.micro_batch / self.period if self.period else 0.0

    @property
    def name(self) -> str:
        """What it is among its alternatives, e.g. `2 stages on 3 workers`; with one stage, replicas of the whole."""
        return way_name(len(self.stages), sum(stage.replicas for stage in self.stages))

    @property
    def others(self) -> tuple[Alternative, ...]:
        """The alternatives without the plan itself, which stands among them to be ranked."""
        return tuple(one for one in self.alternatives if not self._is_it(one))

    @property
    def measured(self) -> Alternative | None:
        """The plan itself where it was measured on this machine."""
        return next((one for one in self.alternatives if one.measured and self._is_it(one)), None)

    def _is_it(self, one: Alternative) -> bool:
        return one.name == self.name or one.name.startswith(f"{self.name} (")

    def boundary(self, cut: int) -> tuple[str, ...]:
        """Names of the tensors that cross the cut between stages `cut` and `cut + 1`, in the order of `boundaries`."""
        after = self.stages[cut + 1]
        crossing = {*after.inputs, *after.passes}
        return tuple(tensor.name for tensor in self.boundaries if tensor.name in crossing)


def to_json(plan: Plan) -> str:
    """The plan as JSON text, which `from_json` reads back to an equal plan."""
    return plain.to_json(plan, VERSION)


def from_json(text: str, path: str = "the plan") -> Plan:
    """Read a plan.

    Raises:
        UsageError: the text is no plan of a version that this program reads.
    """
    again = "make it again with python -m pipelines.plan"
    try:
        return plain.from_json(Plan, VERSION, text, path, again)
    except UsageError:
        if plain.has_fields(text, ("chosen", "candidates")):
            raise UsageError(
                f"{path} is what plan --strategy wrote, and a plan of stages or shards is wanted: {again} --stages or "
                "--shards as it chose, or type --strategy in its place"
            ) from None
        raise


def read_plan(path: str) -> Plan:
    """Read a plan.json.

    Raises:
        UsageError: the file is missing or is no plan.
    """
    try:
        text = read_small(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--plan {path} cannot be read ({getattr(error, 'strerror', None) or error}): give a plan.json"
        ) from None
    return from_json(text, f"--plan {path}")


def check_runnable(plan: Plan, path: str) -> None:
    """Check what a plan that was written by hand may lack.

    Raises:
        UsageError: it has no stages, or not in their order, or a number that cannot be.
    """
    wrong = wrong_number(plan)
    if wrong is not None:
        raise UsageError(f"{path} cannot be run: {wrong}; make it again with python -m pipelines.plan")
