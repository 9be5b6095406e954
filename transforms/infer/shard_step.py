"""The steps of a model divided over shards, as workers of their own run them; no Beam.

                  +-> shard 0 -> part: bytes of TENSOR@shard0, what passes, kept columns --+
    micro-batch --+                                                                        +-> join -> micro-batch
                  +-> shard 1 -> part: bytes of TENSOR@shard1 -----------------------------+

Parts meet by the id of their block, which is made of the origins of its rows: the same on every shard and again after a
retry. Each shard's first part counts and the others are repeats, so nothing is added twice, and what is added is added
by the whole step behind, always in the order of the shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.boundary import SAME, Boundary, Layout
from beamsplit.models.running.session import ModelRunError, Session, SessionOptions, get_session
from beamsplit.models.scoring.scorer import Array, ScoringPlan, parts_of
from beamsplit.models.shard.sharded import ShardedModel
from beamsplit.models.shard.stages import part_name
from beamsplit.transforms.block import ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.infer.running_rows import running
from beamsplit.transforms.infer.stage_step import StageStep, carried_schema
from beamsplit.transforms.worker import device_in_turn

_ROWS = pa.schema([pa.field(ORIGIN_ROW, pa.int64(), nullable=False)])
"""What a part carries to tell that it is of the same rows as the others."""


class Part(NamedTuple):
    """What one shard gives for a block."""

    shard: int

    tensors: bytes
    """Arrow IPC of a block of its tensors; empty where no row came through."""

    carried: bytes
    """From shard 0, Arrow IPC of the columns that travel with the rows; empty from the others."""

    failures: tuple[tuple[int, str], ...]
    """Rows, by position, whose numbers mean nothing because the shard failed on them, and why."""


class LostPartError(RuntimeError):
    """Parts of a block are missing or are not of the same rows; the job must not go on without them."""


@dataclass(frozen=True)
class ShardStep:
    """One shard of one sharded step."""

    step: int
    """Position among all steps of the model, from 0."""

    shard: int
    file: str
    """Its ONNX file."""

    session: SessionOptions
    before: Boundary
    """What comes in."""

    after: Boundary
    """What its part holds."""

    weight_bytes: int = 0
    devices: int = 0
    """GPUs in a machine: workers take them in turn. 0 leaves the session's own device."""

    job_dir: str | None = None
    sha256: str = ""
    """What the file holds, as the plan says; empty where the job made it."""

    def run(self, block: pa.RecordBatch) -> Part:
        """This shard's part of what the step makes of a micro-batch; rows that fail are found by bisecting."""
        running(block, self.job_dir, self.session)
        values = self.before.unpack(block)
        made, failures = self._made(values, block.num_rows)
        carried = to_bytes(self.before.carried_of(block)) if self.shard == 0 else b""
        if made is None:
            return Part(self.shard, b"", carried, tuple(sorted(failures.items())))
        tensors = self.after.pack({**values, **made}, block.select([ORIGIN_ROW]))
        return Part(self.shard, to_bytes(tensors), carried, tuple(sorted(failures.items())))

    def _made(self, values: dict[str, Array], rows: int) -> tuple[dict[str, Array] | None, dict[int, str]]:
        results: list[tuple[int, int, dict[str, Array]]] = []
        failures: dict[int, str] = {}
        session = self.loaded()
        made = [(spec.name, part_name(spec.name, self.shard)) for spec in session.signature.outputs]
        layouts = [layout for layout in self.after.layouts if layout.name in {name for _, name in made}]
        apart = self.before.sliceable and all(layout.by_row for layout in layouts)
        waiting = [(0, rows)]
        while waiting:
            start, stop = waiting.pop()
            given = values if stop - start == rows else self.before.part(values, rows, start, stop)
            try:
                outputs = session.run({spec.name: given[spec.name] for spec in session.signature.inputs})
            except ModelRunError as error:
                if apart and stop - start > 1:
                    parts = parts_of(slice(start, stop), error)
                    waiting += [(part.start, part.stop) for part in reversed(parts) if isinstance(part, slice)]
                else:
                    failures |= dict.fromkeys(range(start, stop), f"the model failed: {error}")
                continue
            results.append((start, stop, {name: one for (_, name), one in zip(made, outputs, strict=True)}))
        if not results:
            return None, failures
        if not failures and len(results) == 1:
            return results[0][2], failures
        return {layout.name: _put_together(layout, results, rows) for layout in layouts}, failures

    def loaded(self) -> Session:
        """This worker's session; loaded by the first call."""
        session: Session | None = self.__dict__.get("_made_session")
        if session is None:
            options = self.session
            if self.devices:
                options = replace(options, device=device_in_turn(self.job_dir, self.devices))
            session = self.__dict__["_made_session"] = get_session(ModelFile(localize(self.file, self.sha256)), options)
        return session

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the session."""
        return {name: value for name, value in self.__dict__.items() if name != "_made_session"}


def _put_together(layout: Layout, results: Sequence[tuple[int, int, dict[str, Array]]], rows: int) -> Array:
    """The tensor for all rows, zeros for those that failed."""
    whole: Array | None = None
    for start, stop, made in results:
        piece = layout.split(made[layout.name], stop - start)
        if whole is None:
            whole = np.zeros((rows, *piece.shape[1:]), piece.dtype)
        whole[start:stop] = piece
    assert whole is not None
    return layout.join(whole)


class Failure(NamedTuple):
    """A row that failed on a shard."""

    row: int
    """Position in the carried columns."""

    shard: int
    reason: str


class Joined(NamedTuple):
    """A block whose parts have met."""

    block: pa.RecordBatch | None
    """The micro-batch for the whole step behind, without the rows that failed; None where all did."""

    carried: pa.RecordBatch
    """The carried columns of all rows, for the origin of those that failed."""

    failures: list[Failure]


@dataclass(frozen=True)
class ShardJoin:
    """Brings the parts of a block together."""

    step: int
    """Position of the sharded step among all steps."""

    shards: int
    before: Boundary
    """What the whole step behind takes."""

    def join(self, parts: Iterable[Part]) -> Joined:
        """One block of the shards' parts, in whatever order and however often they come.

        Raises:
            LostPartError: a shard's part is missing, or parts are of unlike rows.
        """
        first: dict[int, Part] = {}
        for part in parts:
            first.setdefault(part.shard, part)
        if len(first) < self.shards:
            raise lost_parts(self, first)
        carried = from_bytes(first[0].carried)
        failed: dict[int, Failure] = {}
        for shard in range(self.shards):
            for row, reason in first[shard].failures:
                failed.setdefault(row, Failure(row, shard, reason))
        if len(failed) < carried.num_rows and not self.before.sliceable and failed:
            one = next(iter(failed.values()))
            together = f"{one.reason} (a row beside it, kept together by the tensor {self.before.whole[0]!r})"
            for row in range(carried.num_rows):
                failed.setdefault(row, Failure(row, one.shard, together))
        failures = [failed[row] for row in sorted(failed)]
        if len(failed) == carried.num_rows:
            return Joined(None, carried, failures)
        block = self._block([from_bytes(first[shard].tensors) for shard in range(self.shards)], carried)
        if failures:
            block = self._without(block, np.delete(np.arange(block.num_rows), list(failed)))
        return Joined(block, carried, failures)

    def _block(self, parts: Sequence[pa.RecordBatch], carried: pa.RecordBatch) -> pa.RecordBatch:
        rows = carried.column(ORIGIN_ROW)
        for shard, part in enumerate(parts):
            if not part.column(ORIGIN_ROW).equals(rows):
                raise LostPartError(f"step {self.step}: shard {shard} gave its partial result for other rows")
        columns = {name: part.column(name) for part in parts for name in part.schema.names if name != ORIGIN_ROW}
        columns |= {name: carried.column(name) for name in carried.schema.names}
        schema = self.before.schema
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _without(self, block: pa.RecordBatch, good: Array) -> pa.RecordBatch:
        values, rows = self.before.unpack(block), block.num_rows
        kept = {
            layout.name: values[layout.name]
            if layout.kind == SAME
            else layout.join(layout.split(values[layout.name], rows)[good])
            for layout in self.before.layouts
        }
        return self.before.pack(kept, self.before.carried_of(block).take(pa.array(good)))


def lost_parts(join: ShardJoin, seen: Collection[int], why: str = "") -> LostPartError:
    """The error of a block of which only the parts of some shards are there.

    Args:
        join: where they were to meet.
        seen: shards whose parts have come.
        why: the others are not waited for.
    """
    lost = ", ".join(str(shard) for shard in range(join.shards) if shard not in seen)
    told = f"step {join.step}: of a block's {join.shards} partial results, that of shard {lost} is lost"
    return LostPartError(f"{told}: {why}" if why else told)


def block_id(block: pa.RecordBatch) -> bytes:
    """The same for the same rows, whoever asks and when; unlike for blocks of other rows.

    Made of the files and row numbers (topic, partition and offsets) that the rows came from, each of which is in one
    block only.
    """
    digest = hashlib.sha256()
    files = block.column(ORIGIN_FILE)
    names = files.unique().to_pylist()
    for name in names if len(names) == 1 else files.to_pylist():
        digest.update(f"{len(name)}:{name}".encode())
    digest.update(np.asarray(block.column(ORIGIN_ROW), np.int64).tobytes())
    return digest.digest()


def to_bytes(block: pa.RecordBatch) -> bytes:
    """Arrow IPC of a block: only its own rows are written."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.schema) as writer:
        writer.write_batch(block)
    return sink.getvalue().to_pybytes()


def from_bytes(data: bytes) -> pa.RecordBatch:
    """The block that `to_bytes` wrote; its columns point into the bytes."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_next_batch()


@dataclass(frozen=True)
class ShardSteps:
    """All steps of a divided model, in order."""

    steps: tuple[StageStep | tuple[tuple[ShardStep, ...], ShardJoin], ...]
    """A whole step, or the shards of one and what joins them."""

    shard_bytes: tuple[int, ...]
    """Bytes of weights that the worker of each shard holds."""

    whole_bytes: int
    """Bytes of weights of the whole steps together."""

    depths: tuple[int, ...] = ()
    """Of each step its stage, where the model is split by depth too: each stage has workers of its own."""

    def depth(self, step: int) -> int:
        """The stage that a step is of."""
        return self.depths[step] if self.depths else 0

    def where(self, step: int) -> str:
        """What a step is called in errors: by its stage, and by its number in the plan."""
        one = self.steps[step]
        number = one[1].step if isinstance(one, tuple) else one.stage
        return f"infer: stage {self.depths[step]}, step {number}" if self.depths else f"infer: stage {number}"


def shard_steps(
    model: ShardedModel,
    layouts: Sequence[Sequence[Layout]],
    scoring: ScoringPlan,
    schema: pa.Schema,
    keep: tuple[str, ...],
    *,
    devices: int = 0,
    job_dir: str | None = None,
) -> ShardSteps:
    """The steps of a divided model.

    Args:
        model: divided, its files on this machine.
        layouts: for each step the tensors that cross the cut before it, from `shard_layouts`.
        scoring: of the whole model; `batch_size` is the rows of a micro-batch.
        schema: of the blocks of data.
        keep: columns that stand before the predictions.
        devices: GPUs in a machine, which workers take in turn.
        job_dir: folder that local workers share.
    """
    plan = model.plan
    cuts = [Boundary(tuple(one), carried_schema(schema, keep)) for one in layouts]
    whole = (model.whole, scoring, keep)
    steps: list[StageStep | tuple[tuple[ShardStep, ...], ShardJoin]] = []
    depths: list[int] = []
    if plan.stages[0].sharded:
        # The shards take micro-batches: somebody has to make them of the data, once.
        steps.append(StageStep(0, None, *whole, None, cuts[0], 0, devices, job_dir))
        depths.append(0)
    for at, stage in enumerate(plan.stages):
        after = cuts[at + 1] if at + 1 < len(cuts) else None
        depths.append(stage.depth)
        if not stage.sharded:
            before = cuts[at] if at else None
            file = f"{model.folder}/{stage.files[0]}"
            steps.append(
                StageStep(at, file, *whole, before, after, stage.weight_bytes[0], devices, job_dir, stage.hash_of(0))
            )
            continue
        assert after is not None, "a join is a whole step"
        made = {part_name(name, shard) for name in stage.outputs for shard in range(plan.shards)}
        shards = []
        for shard in range(plan.shards):
            mine = {part_name(name, shard) for name in stage.outputs}
            held = tuple(one for one in after.layouts if one.name in mine or (shard == 0 and one.name not in made))
            part = Boundary(held, _ROWS)
            file = f"{model.folder}/{stage.files[shard]}"
            held_bytes = stage.weight_bytes[shard]
            more = (held_bytes, devices, job_dir, stage.hash_of(shard))
            shards.append(ShardStep(at, shard, file, model.shards[shard], cuts[at], part, *more))
        steps.append((tuple(shards), ShardJoin(at, plan.shards, after)))
    each = tuple(plan.shard_bytes(shard) for shard in range(plan.shards))
    return ShardSteps(tuple(steps), each, plan.whole_bytes, tuple(depths) if max(depths) else ())
