from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.parquetio import ReadFromParquetBatched, WriteToParquet
from apache_beam.transforms.window import FixedWindows, GlobalWindows, SlidingWindows, TimestampedValue
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.typehints.schemas import named_fields_from_element_type

import beamsplit as bs
from beamsplit.models.graph.model_copy import model_version
from tests import onnx_models
from tests.api.collecting import RUNNER, Into, keep, score
from tests.api.conftest import Mlp
from tests.onnx_models import save


class Person(NamedTuple):
    id: int
    a: float
    b: float
    c: float
    d: float
    name: str


def people(mlp: Mlp) -> list[Person]:
    return [Person(**row, name=f"p{row['id']}") for row in mlp.rows()]


def close(found: list[Any], wanted: np.ndarray) -> None:
    np.testing.assert_allclose(np.array(found, np.float32), wanted, rtol=1e-5, atol=1e-6)


def test_named_tuples_give_rows_with_a_schema(mlp: Mlp):
    options = {**mlp.options, "keep": ["id", "name"]}
    good, bad, kind = score(people(mlp), bs.Score(mlp.path, **options), Person)
    assert not bad
    assert [name for name, _ in named_fields_from_element_type(kind)] == ["id", "name", "y"]
    assert dict(named_fields_from_element_type(kind))["y"] == typing.Sequence[np.float32]
    good.sort(key=lambda row: row.id)
    assert [(row.id, row.name) for row in good] == [(at, f"p{at}") for at in range(20)]
    close([row.y for row in good], mlp.y)


def test_rows_of_beam(mlp: Mlp):
    rows = [beam.Row(**row) for row in mlp.rows()]
    good, _, _ = score(rows, bs.Score(mlp.path, **mlp.options), None)
    good.sort(key=lambda row: row.id)
    close([row.y for row in good], mlp.y)


def test_dicts_give_dicts(mlp: Mlp):
    good, _, _ = score(mlp.rows(), bs.Score(mlp.path, **mlp.options), dict[str, Any])
    good.sort(key=lambda row: row["id"])
    assert list(good[0]) == ["id", "y"]
    close([row["y"] for row in good], mlp.y)
    schema = "id:int64,a:float64,b:float64,c:float64,d:float64"
    good, _, _ = score(mlp.rows(), bs.Score(mlp.path, **mlp.options, schema=schema), dict[str, Any])
    close([row["y"] for row in sorted(good, key=lambda row: row["id"])], mlp.y)


@pytest.mark.parametrize("known", [True, False])
def test_batches_give_batches(mlp: Mlp, known: bool):
    more = {"schema": mlp.table.schema} if known else {}
    batches = mlp.table.to_batches(max_chunksize=7)
    good, _, kind = score(batches, bs.Score(mlp.path, **mlp.options, **more), pa.RecordBatch)
    assert kind is pa.RecordBatch and all(isinstance(one, pa.RecordBatch) for one in good)
    made = pa.Table.from_batches(good).sort_by("id")
    close(made["y"].combine_chunks().to_numpy_ndarray(), mlp.y)


def test_between_the_parquet_transforms_of_beam(mlp: Mlp, tmp_path: Path):
    pq.write_table(mlp.table, tmp_path / "in.parquet", row_group_size=8)
    with beam.Pipeline(RUNNER) as pipeline:
        tables = pipeline | ReadFromParquetBatched(str(tmp_path / "in.parquet"))
        scored = tables | bs.Score(mlp.path, **mlp.options)
        rows = scored.predictions | beam.FlatMap(lambda table: table.to_pylist())
        schema = pa.schema([("id", pa.int64()), ("y", pa.list_(pa.float32()))])
        rows | WriteToParquet(str(tmp_path / "out"), schema, file_name_suffix=".parquet")
    made = pa.concat_tables(map(pq.read_table, tmp_path.glob("out*"))).sort_by("id")
    close(made["y"].to_pylist(), mlp.y)


def test_rows_go_into_transforms_that_want_a_schema(mlp: Mlp, tmp_path: Path):
    with beam.Pipeline(RUNNER) as pipeline:
        rows = pipeline | beam.Create(people(mlp)).with_output_types(Person)
        scored = rows | bs.Score(mlp.path, **mlp.options, finish="argmax")
        scored.predictions | WriteToParquet(str(tmp_path / "out"), file_name_suffix=".parquet")
        most = scored.predictions | beam.GroupBy("y_argmax").aggregate_field("id", max, "last")
        found = keep(most)
    made = pa.concat_tables(map(pq.read_table, tmp_path.glob("out*"))).sort_by("id")
    assert made["y_argmax"].to_pylist() == mlp.y.argmax(axis=1).tolist()
    assert {row.y_argmax for row in found.found} == set(mlp.y.argmax(axis=1).tolist())


def test_errors_tell_the_row_and_why(mlp: Mlp):
    rows = mlp.rows()
    rows[3]["a"] = None
    rows[5]["b"] = "many"
    good, bad, _ = score(rows, bs.Score(mlp.path, **mlp.options), dict[str, Any])
    assert sorted((error.file, error.row, error.stage) for error in bad) == [
        ('{"id": 3}', 0, "infer"),
        ('{"id": 5}', 0, "read"),
    ]
    assert len(good) == 18


ODD = [None, 3, "text", b"bytes", [1], ("key", {"a": 1.0}), range(2)]


@pytest.mark.parametrize("more", [{}, {"schema": "id:int64,a:float32,b:float32,c:float32,d:float32"}])
def test_elements_that_are_no_rows_are_errors(mlp: Mlp, more: dict):
    rows = [*ODD, *mlp.rows(), {**mlp.rows()[0], "id": 99, "unused": object}]
    good, bad, _ = score(rows, bs.Score(mlp.path, **mlp.options, **more), Any)
    assert sorted(row["id"] if isinstance(row, dict) else row.id for row in good) == [*range(20), 99]
    assert sorted(error.file for error in bad) == sorted(
        f'{{"element": {text}}}'
        for text in ("null", "3", '"text"', '"Ynl0ZXM="', "[1]", '["key", {"a": 1.0}]', '"range(0, 2)"')
    )
    assert {error.stage for error in bad} == {"read"}
    assert all("and a row is wanted: a dict, beam.Row" in error.reason for error in bad)


def test_elements_that_are_no_rows_are_errors_where_parts_are_distributed(mlp: Mlp):
    parts: dict = {"stages": 2, "placement": "distributed"}
    rows: list[Any] = [None, *people(mlp)]
    with beam.Pipeline(RUNNER) as pipeline:
        # What says that it gives rows may give something else.
        elements = pipeline | beam.Create([0]) | beam.FlatMap(lambda _: rows).with_output_types(Person)
        scored = elements | bs.Score(mlp.path, **mlp.options, **parts)
        good, bad = keep(scored.predictions, "good"), keep(scored.errors, "bad")
    assert sorted(row.id for row in good.found) == [*range(20)]
    assert [error.file for error in bad.found] == ['{"element": null}']


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (int, "the elements are of type <class 'int'>, and Score takes rows"),
        (list[dict], "and Score takes rows"),
        (tuple[str, dict], r"and Score takes rows.*; beam.Values\(\) gives those of pairs"),
    ],
)
def test_collections_of_no_rows_are_refused(mlp: Mlp, kind: Any, message: str):
    pipeline = beam.Pipeline(RUNNER)
    elements = pipeline | beam.Create([1]) | beam.Map(lambda one: one).with_output_types(kind)
    with pytest.raises(bs.UsageError, match=message):
        elements | bs.Score(mlp.path)
    with pytest.raises(bs.UsageError, match=r"Score is applied to .*; apply it to one PCollection"):
        pipeline | "no rows" >> bs.Score(mlp.path)


def test_all_columns_are_kept(mlp: Mlp):
    good, _, kind = score(people(mlp), bs.Score(mlp.path, columns=mlp.options["columns"], keep="*"), Person)
    names = ["id", *"abcd", "name", "y"]
    assert [name for name, _ in named_fields_from_element_type(kind)] == names
    assert list(good[0].as_dict()) == names


class Placed(beam.DoFn):
    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Any:
        row = element.row if isinstance(element, bs.RowError) else element.id
        yield row, float(timestamp), float(window.start), float(window.end)


def timed(element: Person) -> TimestampedValue:
    return TimestampedValue(element, element.id * 10)


@pytest.mark.parametrize("parts", [{}, {"stages": 2, "placement": "distributed"}, {"stages": 2}])
@pytest.mark.parametrize("windows", [FixedWindows(60), SlidingWindows(60, 30)])
def test_windows_and_timestamps_are_kept(mlp: Mlp, windows: Any, parts: dict):
    with beam.Pipeline(RUNNER) as pipeline:
        rows = pipeline | beam.Create(people(mlp)).with_output_types(Person)
        windowed = rows | beam.Map(timed).with_output_types(Person) | beam.WindowInto(windows)
        scored = windowed | bs.Score(mlp.path, **mlp.options, **parts)
        found, before = (
            keep(scored.predictions | beam.ParDo(Placed())),
            keep(windowed | "b" >> beam.ParDo(Placed()), "k"),
        )
        values = keep(scored.predictions, "values")
    assert sorted(found.found) == sorted(before.found)
    assert len(found.found) == 20 * (1 if isinstance(windows, FixedWindows) else 2)
    for row in values.found:
        np.testing.assert_allclose(row.y, mlp.y[row.id], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [{"shards": 2}, {"shards": 2, "placement": "distributed"}])
def test_shards(mlp: Mlp, parts: dict):
    rows = people(mlp)
    rows[4] = rows[4]._replace(a=float("inf"))
    good, bad, _ = score(rows, bs.Score(mlp.path, **mlp.options, **parts, micro_batch=4), Person)
    assert not bad and len(good) == 20
    for row in good:
        if row.id != 4:
            np.testing.assert_allclose(row.y, mlp.y[row.id], rtol=1e-4, atol=1e-5)


def test_distributed_batches_and_errors(mlp: Mlp):
    table = mlp.table.set_column(1, "a", pa.array([None if at == 7 else 1.0 for at in range(20)], pa.float32()))
    transform = bs.Score(mlp.path, **mlp.options, stages=2, placement="distributed", sample=mlp.table)
    good, bad, _ = score([table], transform, pa.Table)
    assert sum(one.num_rows for one in good) == 19 and all(isinstance(one, pa.Table) for one in good)
    assert [(error.file, error.row, error.stage) for error in bad] == [('{"id": 7}', 0, "infer")]


def test_distributed_elements_of_any_kind_stay_what_they_are(mlp: Mlp):
    transform = bs.Score(mlp.path, **mlp.options, stages=2, placement="distributed", sample=mlp.table)
    batch = mlp.table.to_batches()[0]
    good, bad, _ = score([*mlp.rows(), mlp.table, batch, people(mlp)[0]], transform, Any)
    assert not bad
    kinds = [dict, pa.Table, pa.RecordBatch, beam.Row]
    rows = [sum(getattr(one, "num_rows", 1) for one in good if type(one) is kind) for kind in kinds]
    assert rows == [20, 20, 20, 1]


def test_rows_of_unlike_shapes_and_several_inputs(tmp_path: Path):
    path = save(onnx_models.encoder(), tmp_path / "e.onnx")
    rows = [{"id": size, "ids": list(range(size)), "mask": [1] * size} for size in (3, 5, 3, 1)]
    good, bad, _ = score(rows, bs.Score(path, keep="id"), dict[str, Any])
    assert not bad
    assert all(np.array(row["tokens"]).shape == (row["id"], 6) for row in good)


def test_new_models_take_over(mlp: Mlp, tmp_path: Path):
    (tmp_path / "models").mkdir()
    transform = bs.Score(mlp.path, **mlp.options, model_updates=str(tmp_path / "models"), model_version=True)
    good, _, kind = score(people(mlp), transform, Person)
    assert len({row.model_version for row in good}) == 1
    assert [name for name, _ in named_fields_from_element_type(kind)] == ["id", "y", "model_version"]


@pytest.mark.parametrize("tolerance", [0.001, 100])
def test_a_new_model_is_compared_on_golden_rows(mlp: Mlp, tmp_path: Path, tolerance: float):
    (tmp_path / "models").mkdir()
    other = save(onnx_models.mlp(4, outputs=2, seed=1), tmp_path / "models" / "b.onnx")
    pq.write_table(mlp.table, tmp_path / "golden.parquet")
    check = {"model_check": tmp_path / "golden.parquet", "model_check_tolerance": tolerance}
    updates = {"model_updates": str(tmp_path / "models"), "model_version": True, **check}
    good, _, _ = score(people(mlp), bs.Score(mlp.path, **mlp.options, **updates), Person)
    assert {row.model_version for row in good} == {model_version(mlp.path if tolerance < 1 else other)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"x": ["a", "b", "c", "nix"]}}, "the data has no column 'nix'"),
        ({"columns": {"z": ["a"]}}, "the model has no input 'z'"),
        ({"keep": "nix"}, "--keep names nix, and the data has the columns id, a, b, c, d, name"),
        ({"keep": "y"}, "--keep names y"),
        ({"finish": "softmx"}, "there is no step 'softmx'"),
        ({"stages": 99}, "99"),
        ({"placement": "distributed"}, "add --stages N"),
        ({"model_updates": "/nowhere", "stages": 2}, "--model_updates replaces a model"),
        ({"max_latency_ms": 0}, "max_latency_ms is 0"),
        ({"workers": 2}, "Score has no argument 'workers'"),
        ({"audit": 5, "stages": 2, "placement": "distributed"}, "--audit scores rows again"),
    ],
)
def test_wrong_use_when_the_pipeline_is_built(mlp: Mlp, options: dict, message: str):
    pipeline = beam.Pipeline(RUNNER)
    rows = pipeline | beam.Create(people(mlp)).with_output_types(Person)
    with pytest.raises(bs.UsageError, match=message):
        rows | bs.Score(mlp.path, **{**mlp.options, **options})


def test_what_is_not_known_is_asked_for(mlp: Mlp):
    pipeline = beam.Pipeline(RUNNER)
    anything = pipeline | beam.Create([1]) | beam.Map(lambda one: one).with_output_types(Any)
    with pytest.raises(bs.UsageError, match=r"say it with schema=\.\.\. or sample="):
        anything | bs.Score(mlp.path, stages=2, placement="distributed")
    with pytest.raises(bs.UsageError, match="has no input 'z'"):
        anything | "other" >> bs.Score(mlp.path, columns={"z": "a"})
    with pytest.raises(bs.UsageError, match=r"gone\.onnx"):
        anything | "gone" >> bs.Score("gone.onnx")


class AtTheEnd(beam.DoFn):
    """Gives one row as it comes, and one at the end of the bundle."""

    def process(self, element: int) -> Any:
        yield beam.Row(id=element)

    def finish_bundle(self) -> Any:
        yield GlobalWindows.windowed_value_at_end_of_window(beam.Row(id=2))


def test_beam_still_loses_what_comes_at_the_end_of_a_bundle_before_a_step_that_takes_batches(tmp_path: Path):
    """Why `ScoreElements` has a step behind it: when this fails, Beam no longer loses it, and the step can go."""
    kind = RowTypeConstraint.from_fields([("id", int)])
    with beam.Pipeline(RUNNER) as pipeline:
        rows = pipeline | beam.Create([1]) | beam.ParDo(AtTheEnd()).with_output_types(kind)
        rows | WriteToParquet(str(tmp_path / "out"), file_name_suffix=".parquet")
    assert [pq.read_table(path)["id"].to_pylist() for path in tmp_path.glob("out*")] == [[1]]


def test_a_sample_of_dicts_says_that_rows_of_any_type_hold_pythons_numbers(mlp: Mlp):
    # Beam forgets the type behind a function of the user's own: `beam.Map(lambda row: TimestampedValue(row, ...))`.
    for more in ({}, {"stages": 2, "placement": "distributed"}):
        transform = bs.Score(mlp.path, sample=mlp.rows()[:5], **mlp.options, **more)
        good, bad, _ = score(mlp.rows(), transform, Any)
        assert not bad
        good.sort(key=lambda row: row["id"])
        close([row["y"] for row in good], mlp.y)


@pytest.mark.parametrize("parts", [{"stages": 2}, {"shards": 2}, {"stages": 2, "placement": "distributed"}])
def test_models_side_by_side_have_parts_of_their_own(mlp: Mlp, tmp_path: Path, parts: dict):
    other = save(onnx_models.mlp(4, outputs=2, seed=5), tmp_path / "other.onnx")
    wanted = {name: bs.Scorer(model, **mlp.options)(mlp.table)["y"] for name, model in (("a", mlp.path), ("b", other))}
    with beam.Pipeline(RUNNER) as pipeline:
        rows = pipeline | beam.Create([beam.Row(**row) for row in mlp.rows()])
        transforms = {name: bs.Score(model, **mlp.options, **parts) for name, model in (("a", mlp.path), ("b", other))}
        found = {name: keep((rows | name >> one).predictions, f"keep {name}") for name, one in transforms.items()}
    for name, into in found.items():
        into.found.sort(key=lambda row: row.id)
        assert [row.id for row in into.found] == list(range(20))
        close([row.y for row in into.found], np.array(wanted[name].to_pylist()))


def test_rows_of_a_source_that_holds_its_bundle_open_do_not_wait_for_others(mlp: Mlp):
    """A consumer in a DoFn: it ends its bundle only when it ends."""
    found = Into()

    def consumed(_: Any) -> typing.Iterator[dict[str, Any]]:
        done = 0
        for burst in (1, 3, 2):
            yield from mlp.rows()[:burst]
            assert len(found.found) == done + burst, "rows that wait in an open bundle"
            done += burst

    with beam.Pipeline(RUNNER) as pipeline:
        rows = pipeline | beam.Create([0]) | beam.FlatMap(consumed).with_output_types(dict[str, Any])
        scored = rows | bs.Score(mlp.path, **mlp.options, sample=mlp.rows(), max_latency_ms=20)
        scored.predictions | beam.Map(found).with_output_types(type(None))
    assert len(found.found) == 6
