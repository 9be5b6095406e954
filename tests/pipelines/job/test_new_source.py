"""How a system is added that rows come from: a module with a `Source`, and a row in the table of schemes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import fit
from beamsplit.models.running.session import SessionOptions
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.options.schemes import SCHEMES, Mode, Scheme
from beamsplit.pipelines.options.values import BindingOptions, ScoreOptions, SinkOptions
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.pipelines.sources.sample import facts_of, prepare_sample, prepare_steps
from beamsplit.pipelines.sources.source import Source, SourceRows
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.chain import chain_schema
from tests.command import Command


def find(options: ScoreOptions, job_dir: str | None, local: bool) -> Numbers:
    """`numbers://COUNT`: so many rows of the columns id, a, b, c and d."""
    count = options.source.input[0].partition("://")[2]
    if not count.isdigit():
        raise UsageError(f"--input {options.source.input[0]} is no number of rows; type e.g. numbers://100")
    return Numbers(int(count))


def block_of(name: str, begin: int, count: int) -> pa.RecordBatch:
    """Rows that tell where they are from."""
    columns = {column: np.arange(begin, begin + count, dtype=np.float32) for column in "abcd"}
    return with_origin(pa.RecordBatch.from_pydict({"id": np.arange(begin, begin + count), **columns}), name, begin)


@dataclass(frozen=True)
class Numbers(Source):
    """Rows that are counted."""

    count: int
    batch_rows: int = 1

    @property
    def total_rows(self) -> int:
        return self.count

    @property
    def total_exact(self) -> bool:
        return True

    @property
    def empty(self) -> bool:
        return not self.count

    def bind(self, binding: BindingOptions, sink: SinkOptions, session: SessionOptions, few_runs: bool) -> Bound:
        raw = block_of("numbers", 0, min(self.count, 64))
        prepare = prepare_steps(binding)
        prepared = chain_schema(prepare, raw.schema)
        rows = prepare_sample(raw, prepare, binding.prepare)
        made = fit(binding.model, session, prepared, rows, facts_of(binding, text_source=False))
        return Bound(raw.schema, prepare, prepared, made, raw, rows)

    def ready(self, binding: BindingOptions, bound: Bound, request: Request, execution: Execution) -> Numbers:
        return replace(self, batch_rows=execution.scoring.batch_size)

    @property
    def block_rows(self) -> int:
        return self.batch_rows

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"input": f"{self.count:,} numbers"}

    def read(self, pipeline: Any, job: Any, hints: Mapping[str, str]) -> SourceRows:
        import apache_beam as beam

        import beamsplit.transforms.block_coder  # registers the coder of blocks  # noqa: F401

        begins = range(0, self.count, self.batch_rows)
        blocks = [block_of("numbers", begin, min(self.batch_rows, self.count - begin)) for begin in begins]
        return SourceRows(pipeline | "Read" >> beam.Create(blocks).with_output_types(pa.RecordBatch))


@pytest.fixture(autouse=True)
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, "numbers", Scheme({Mode.FILES: __name__}))


GIVEN = ("--keep", "id", "--batch_size", 16, "--workers", 1, "--worker_type", "thread", "--quiet")


@pytest.mark.parametrize("ways", [(), ("--finish", "softmax"), ("--stages", 2, "--micro_batch", 8)])
def test_a_source_of_ones_own_is_scored(command: Command, ways: tuple[object, ...]):
    given = [one for one in GIVEN if not ways or "--stages" not in ways or one not in ("--batch_size", 16)]
    code, _, err = command.run(*given, *ways, input="numbers://100")
    assert code == 0, err
    assert sorted(command.rows()["id"].to_pylist()) == list(range(100))


def test_what_is_wrong_with_it_is_told(command: Command):
    assert command.error(input="numbers://many").startswith("--input numbers://many is no number of rows")
    assert "names several systems; name one" in command.error("--input", command.data, input="numbers://3")
    code, out, err = command.run("--dry_run_plan", *GIVEN[:-1], input="numbers://3")
    assert code == 0 and "3 numbers" in out, err
