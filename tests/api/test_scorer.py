from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pytest

import beamsplit as bs
from tests import onnx_models
from tests.api.conftest import Mlp
from tests.onnx_models import save


def ys(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return column.to_numpy_ndarray()


def close(made: object, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(made, dtype=wanted.dtype), wanted, rtol=1e-5, atol=1e-6)


def test_a_table_gives_a_table(mlp: Mlp):
    made = mlp.scorer()(mlp.table)
    assert isinstance(made, pa.Table)
    assert made.schema.names == ["id", "y"]
    assert made["id"].to_pylist() == list(range(20))
    close(ys(made["y"]), mlp.y)


def test_a_batch_gives_a_batch(mlp: Mlp):
    made = mlp.scorer()(mlp.table.to_batches()[0].slice(3, 4))
    assert isinstance(made, pa.RecordBatch)
    assert made["id"].to_pylist() == [3, 4, 5, 6]
    close(ys(made["y"]), mlp.y[3:7])


def test_arrays_give_arrays(mlp: Mlp):
    made = mlp.scorer()({name: mlp.table[name].to_numpy() for name in mlp.table.schema.names})
    assert sorted(made) == ["id", "y"]
    assert made["y"].dtype == np.float32
    close(made["y"], mlp.y)


def test_one_array_for_the_only_input_gives_the_only_output(mlp: Mlp):
    close(bs.Scorer(mlp.path)(mlp.x), mlp.y)
    close(bs.Scorer(mlp.path)({"x": mlp.x})["y"], mlp.y)


def test_a_frame_gives_a_frame_with_its_index(mlp: Mlp):
    frame = mlp.table.to_pandas().set_index(pandas.Index([f"row {at}" for at in range(20)]))
    made = mlp.scorer()(frame)
    assert list(made.index) == list(frame.index)
    close(list(made["y"]), mlp.y)
    frame["a"] = frame["a"].astype("Float32")
    frame.loc["row 2", "a"] = pandas.NA
    made = mlp.scorer(errors="return")(frame)
    assert list(made.predictions.index) == [f"row {at}" for at in range(20) if at != 2]
    assert [error.row for error in made.errors] == [2]


def test_nan_in_a_frame_stays_one(mlp: Mlp):
    frame = mlp.table.to_pandas()
    frame.loc[0, "a"] = np.nan
    assert np.isnan(mlp.scorer()(frame)["y"][0]).all()


def test_rows_as_dicts_give_dicts(mlp: Mlp):
    made = mlp.scorer()(mlp.rows())
    assert [row["id"] for row in made] == list(range(20))
    close([row["y"] for row in made], mlp.y)


def test_whole_numbers_in_dicts_are_numbers_too(mlp: Mlp):
    made = mlp.scorer()([{"id": "a", "a": 1, "b": 2, "c": 3.5, "d": 4}])
    close(made[0]["y"], mlp.run(np.array([[1, 2, 3.5, 4]], np.float32))[0])


def test_polars_like_frames_come_back_as_tables(mlp: Mlp):
    class Frame:
        def __init__(self, table: pa.Table):
            self.table = table

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return self.table.__arrow_c_stream__(requested_schema)

    made = mlp.scorer()(Frame(mlp.table))
    close(ys(made["y"]), mlp.y)


def test_rows_that_fail_are_raised(mlp: Mlp):
    table = mlp.table.set_column(1, "a", pa.array([None if at == 7 else 1.0 for at in range(20)], pa.float32()))
    with pytest.raises(
        bs.RowsFailed, match=r"1 of 20 rows fail; the first, row 7 \{\"id\": 7\}: infer: null"
    ) as raised:
        mlp.scorer()(table)
    assert [(error.row, error.file, error.stage) for error in raised.value.errors] == [(7, '{"id": 7}', "infer")]
    assert pickle.loads(pickle.dumps(raised.value)).errors == raised.value.errors  # noqa: S301


def test_rows_that_fail_are_returned(mlp: Mlp):
    columns = {name: mlp.table[name].to_pylist() for name in mlp.table.schema.names}
    columns["a"][3] = columns["b"][9] = None
    types = mlp.table.schema
    made = mlp.scorer(errors="return")(pa.table(columns, schema=types))
    assert [error.row for error in made.errors] == [3, 9]
    assert made.predictions["id"].to_pylist() == [at for at in range(20) if at not in (3, 9)]
    close(ys(made.predictions["y"]), np.delete(mlp.y, [3, 9], axis=0))


def test_a_value_of_another_type_is_its_row_s_error(mlp: Mlp):
    rows = mlp.rows()
    rows[1]["b"] = "many"
    rows[4]["c"] = None
    made = mlp.scorer(errors="return")(rows)
    assert [(error.row, error.stage) for error in made.errors] == [(1, "read"), (4, "infer")]
    assert "'many' is no double" in made.errors[0].reason
    assert [row["id"] for row in made.predictions] == [at for at in range(20) if at not in (1, 4)]
    close([row["y"] for row in made.predictions], np.delete(mlp.y, [1, 4], axis=0))


def test_all_rows_may_fail_and_there_may_be_none(mlp: Mlp):
    scorer = mlp.scorer(errors="return")
    nothing = pa.table({**{name: mlp.table[name] for name in ("id", "b", "c", "d")}, "a": pa.nulls(20, pa.float32())})
    made = scorer(nothing)
    assert (made.predictions.num_rows, len(made.errors)) == (0, 20)
    assert made.predictions.schema == scorer(mlp.table).predictions.schema
    assert scorer(mlp.table.slice(0, 0)).predictions.schema == made.predictions.schema
    assert scorer([]) == ([], [])


def test_it_is_sent_to_another_process_and_called_from_threads(mlp: Mlp):
    scorer = pickle.loads(pickle.dumps(mlp.scorer(sample=mlp.table)))  # noqa: S301
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(scorer, [mlp.table] * 8))
    for table in made:
        close(ys(table["y"]), mlp.y)


def test_what_cannot_work_is_told_when_there_is_a_sample(mlp: Mlp):
    with pytest.raises(bs.UsageError, match=r"the data has no column 'z'"):
        mlp.scorer(columns={"x": ["a", "b", "c", "z"]}, sample=mlp.table)
    with pytest.raises(bs.UsageError, match="takes float32, which is narrower; add --narrow"):
        bs.Scorer(mlp.path, sample={"x": mlp.x.astype(np.float64)})
    assert mlp.scorer(schema=mlp.table.schema).output_schema().names == ["id", "y"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colums": {}}, "Scorer has no argument 'colums', did you mean 'columns'"),
        ({"columns": "x"}, r"columns is 'x', and a mapping is wanted"),
        ({"batch_size": 0}, "argument --batch_size: '0' is not a whole number above 0"),
        ({"prepare": "nothing"}, "there is no step 'nothing'"),
        ({"stages": 2, "placement": "distributed"}, "a Scorer has none"),
        ({"placement": "inline"}, "add --stages N"),
        ({"set": {"s": np.zeros((2, 2))}}, r"an array of shape \[2, 2\]"),
        ({"keep": ["id", "id"]}, "--keep names the column 'id' twice"),
        ({"nulls": {"a": 1, "nix": 2}}, "the column 'nix' is not in the data"),
    ],
)
def test_wrong_use_in_the_words_of_the_command(mlp: Mlp, options: dict, message: str):
    with pytest.raises(bs.UsageError, match=message):
        mlp.scorer(**{**{"sample": mlp.table}, **options})


def test_wrong_data(mlp: Mlp):
    with pytest.raises(bs.UsageError, match="the data is a int, which is no table"):
        mlp.scorer()(7)
    with pytest.raises(bs.UsageError, match=r"unlike numbers of rows \(x: 2, z: 3\)"):
        bs.Scorer(mlp.path)({"x": mlp.x[:2], "z": np.zeros(3)})
    with pytest.raises(bs.UsageError, match="errors is 'ignore'; it is 'raise' or 'return'"):
        bs.Scorer(mlp.path, errors="ignore")


@pytest.mark.parametrize("parts", [{"stages": 2}, {"shards": 2}])
def test_in_parts(mlp: Mlp, parts: dict):
    scorer = mlp.scorer(threads=1, micro_batch=8, **parts)
    made = scorer(mlp.table)
    close(ys(made["y"]), mlp.y)
    folder = Path(scorer._folder)
    assert folder.is_dir()
    del scorer
    assert not folder.exists()


def test_prepare_and_finish_and_nulls(mlp: Mlp):
    scorer = mlp.scorer(prepare="scale:column=a,mean=0,std=1", finish="argmax", nulls={"b": 0}, model_version=True)
    table = mlp.table.set_column(2, "b", pa.nulls(20, pa.float32()))
    made = scorer(table)
    x = mlp.x.copy()
    x[:, 1] = 0
    assert made["y_argmax"].to_pylist() == mlp.run(x).argmax(axis=1).tolist()
    assert len(set(made["model_version"].to_pylist())) == 1


def test_rows_of_unlike_shapes(tmp_path: Path):
    path = save(onnx_models.encoder(), tmp_path / "e.onnx")
    names = ["ids", "mask"]
    scorer = bs.Scorer(path)
    rng = np.random.default_rng(0)
    lengths = [3, 5, 3, 1]
    ids = [rng.integers(0, 40, size) for size in lengths]
    rows = [{names[0]: one, names[1]: np.ones(len(one), np.int64)} for one in ids]
    together = scorer(rows)
    alone = [scorer({name: row[name][np.newaxis] for name in names}) for row in rows]
    for one, other in zip(together, alone, strict=True):
        for name, value in other.items():
            np.testing.assert_allclose(np.array(one[name]), value[0], rtol=1e-5)
    # Lengths that differ from batch to batch are planned for once, not each.
    assert len(scorer._plans) <= 3


def test_several_outputs(tmp_path: Path):
    made = bs.Scorer(save(onnx_models.two_outputs(), tmp_path / "two.onnx"))(np.ones((3, 3), np.float32))
    assert made["total"].tolist() == [3, 3, 3]
    assert made["doubled"].tolist() == [[2, 2, 2]] * 3


def test_inputs_that_are_set(tmp_path: Path):
    path = save(onnx_models.constant_input(), tmp_path / "c.onnx")
    x = np.ones((3, 4), np.float32)
    assert bs.Scorer(path, set={"sr": 16000})({"x": x})["y"].tolist() == [[16000] * 4] * 3


def test_texts_and_decimals_are_objects(tmp_path: Path):
    scorer = bs.Scorer(save(onnx_models.string_output(), tmp_path / "s.onnx"))
    assert scorer({"code": np.array([1, 3, 7])})["word"].tolist() == ["red", "blue", "?"]
    scorer = bs.Scorer(save(onnx_models.string_input(), tmp_path / "t.onnx"))
    assert scorer({"word": np.array(["blue", "red"])})["code"].tolist() == [3, 1]
    assert scorer(np.array(["blue", "red"], dtype=object)).tolist() == [3, 1]


def test_rows_that_influence_one_another_run_alone(tmp_path: Path):
    scorer = bs.Scorer(save(onnx_models.mixes_rows(), tmp_path / "mix.onnx"))
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    together = scorer(x)
    alone = np.concatenate([scorer(x[at : at + 1]) for at in range(6)])
    np.testing.assert_array_equal(together, alone)
    assert any("one by one" in note for note in scorer.notes)


def test_what_is_no_table_is_told(mlp: Mlp):
    scorer = mlp.scorer()
    for data, told in [
        ([None], "a list whose item 0 is a NoneType"),
        ([{}, (1, 2)], "a list whose item 1 is a tuple"),
        (pa.chunked_array([[1]]), "a ChunkedArray"),
        (iter([]), "a list_iterator"),
    ]:
        with pytest.raises(bs.UsageError, match=f"the data is {told}, which is no table; give"):
            scorer(data)
    with pytest.raises(bs.UsageError, match="sample: the data is an empty list, which is no table"):
        mlp.scorer(sample=[])
    with pytest.raises(bs.UsageError, match=r"model is 'a.x00b'; give the path of a file"):
        bs.Scorer("a\0b")


def test_a_scorer_shows_what_it_was_made_with(mlp: Mlp):
    assert repr(bs.Scorer(mlp.path, keep="id", threads=1)) == f"Scorer({mlp.path!r}, keep='id', threads=1)"
