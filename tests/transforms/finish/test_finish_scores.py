from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import to_numpy
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.finish import list_finish, parse_finish
from beamsplit.transforms.finish.labels import load_labels
from beamsplit.transforms.finish.top_k import top_k
from tests.transforms.finish.scores import RAGGED, SCORES, block_of, run

ARRAYS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=12).filter(lambda shape: shape[-1] > 1),
    elements=st.floats(-80, 80, width=32),
)


def squeezed(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), *[size for size in values.shape[1:] if size != 1])


@settings(max_examples=50, deadline=None)
@given(ARRAYS)
def test_softmax_is_numpys(scores: np.ndarray):
    block, failures = run("softmax:axis=-1", block_of(s=scores))
    made = to_numpy(block.column("s"))
    wide = np.exp(scores.astype(np.float64))
    np.testing.assert_allclose(made, squeezed(wide / wide.sum(axis=-1, keepdims=True)), rtol=1e-5, atol=1e-12)
    assert made.dtype == np.float32 and failures == []


def test_softmax_of_great_scores_and_float16():
    block, _ = run("softmax", block_of(s=np.array([[60000.0, 60000.0], [-60000.0, 0.0]], dtype=np.float16)))
    assert to_numpy(block.column("s")).tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert to_numpy(block.column("s")).dtype == np.float16


def test_softmax_of_rows_of_unlike_length():
    block, failures = run("softmax:s", block_of(s=RAGGED))
    made = block.column("s").to_pylist()
    for row, scores in zip(made, [[1.0, 3.0], [2.0, 2.0, 5.0], []], strict=True):
        np.testing.assert_allclose(row, np.exp(scores) / np.exp(scores).sum(), rtol=1e-6)
    assert failures == [(1, "null in column 's'")]


@settings(max_examples=50, deadline=None)
@given(ARRAYS)
def test_argmax_is_numpys(scores: np.ndarray):
    block, _ = run("argmax:axis=-1", block_of(s=scores))
    assert to_numpy(block.column("s_argmax")).tolist() == squeezed(np.argmax(scores, axis=-1)).tolist()


def test_argmax_replaces_or_keeps():
    block = block_of(id=["a", "b"], s=SCORES)
    assert run("argmax", block)[0].schema.names == ["id", "s_argmax", "_origin_file", "_origin_row"]
    assert run("argmax:keep", block)[0].schema.names[:3] == ["id", "s", "s_argmax"]
    assert run("argmax:s,output=best", block)[0].column("best").to_pylist() == [1, 0]
    with pytest.raises(UsageError, match=r"holds 1 a row; type threshold:0.5,column=s"):
        parse_finish("argmax").output_schema(block_of(s=SCORES[:, :1]).schema)


def test_argmax_of_rows_of_unlike_length():
    block, failures = run("argmax", block_of(s=RAGGED))
    assert block.column("s_argmax").to_pylist() == [1, 2]
    assert failures == [(1, "null in column 's'"), (3, "no scores in column 's'")]


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 40)), elements=st.integers(-3, 3).map(float)),
    st.integers(1, 40),
)
def test_top_k_is_a_stable_sort(scores: np.ndarray, k: int):
    indices, values = top_k(scores, k)
    expected = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
    assert indices.tolist() == expected.tolist()
    assert values.tolist() == np.take_along_axis(scores, expected, axis=-1).tolist()


def test_top_k_makes_two_columns():
    block, _ = run("top_k:2", block_of(id=["a", "b"], s=SCORES))
    assert block.schema.names[:3] == ["id", "s_top_k", "s_top_k_values"]
    assert to_numpy(block.column("s_top_k")).tolist() == [[1, 2], [0, 1]]
    assert np.array_equal(to_numpy(block.column("s_top_k_values")), SCORES[[0, 0, 1, 1], [1, 2, 0, 1]].reshape(2, 2))


def test_top_k_of_rows_of_unlike_length_and_of_several_axes():
    block, failures = run("top_k:2", block_of(s=RAGGED))
    assert block.column("s_top_k").to_pylist() == [[1, 0], [2, 0], []]
    assert block.column("s_top_k_values").to_pylist() == [[3.0, 1.0], [5.0, 2.0], []]
    assert failures == [(1, "null in column 's'")]
    block, _ = run("top_k:1,axis=-1", block_of(s=SCORES.reshape(1, 2, 3)))
    assert to_numpy(block.column("s_top_k")).tolist() == [[[1], [0]]]


def test_labels_of_argmax_and_top_k(tmp_path: Path):
    file = tmp_path / "labels.txt"
    file.write_text("cat\ndog\r\ncow\n")
    block = block_of(s=SCORES)
    best, _ = run(f"labels:{file}", run("argmax", block)[0], ["s"])
    assert best.column("s_argmax").to_pylist() == ["dog", "cat"]
    best, _ = run(f"labels:{file}", run("top_k:2", block)[0], ["s"])
    assert best.column("s_top_k").to_pylist() == [["dog", "cow"], ["cat", "dog"]]
    best, _ = run(f"top_k:2,labels={file}", block)
    assert best.column("s_top_k").to_pylist() == [["dog", "cow"], ["cat", "dog"]]
    file.unlink()
    with pytest.raises(UsageError, match=r"cannot read .*labels.txt"):
        parse_finish(f"labels:{file}")


def test_numbers_without_a_label_fail_alone(tmp_path: Path):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"0": "cat", "2": "cow"}))
    block, failures = run(f"labels:{file}", block_of(c=pa.array([2, 1, None, 0, 3, -1])))
    assert block.column("c").to_pylist() == ["cow", "cat"]
    assert failures == [
        (1, f"class 1 in column 'c' has no label in {file}"),
        (2, "null in column 'c'"),
        (4, f"class 3 in column 'c' has no label in {file}"),
        (5, f"class -1 in column 'c' has no label in {file}"),
    ]
    block, failures = run(f"labels:{file}", block_of(c=pa.array([[0, 1], [0], [2, 2, 0]])))
    assert block.column("c").to_pylist() == [["cat"], ["cow", "cow", "cat"]]
    assert [failure.row for failure in failures] == [0]
    block, failures = run(f"top_k:1,labels={file}", block_of(s=SCORES))
    assert block.column("s_top_k").to_pylist() == [["cat"]]
    assert failures == [(0, f"one of its best 1 classes has no label in {file}")]


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ('["a", "b"]', ("a", "b")),
        ('{"1": "b", "0": "a"}', ("a", "b")),
        ('{"a": 0, "b": 1}', ("a", "b")),
        ('{"id2label": {"0": "a"}, "hidden": 3}', ("a",)),
        ('{"0": ["n01", "a"], "1": ["n02", "b"]}', ("a", "b")),
        ("\ufeffa b\n\nc\n\n", ("a b", "", "c")),
    ],
)
def test_forms_of_label_files(tmp_path: Path, content: str, labels: tuple):
    path = tmp_path / "labels"
    path.write_text(content, encoding="utf-8")
    assert load_labels(str(path)) == labels


@pytest.mark.parametrize(
    "content", ["", "[1, 2]", '{"a": "b"}', "[", '{"99999999999": "a"}', '{"0": 5}', '{"a": null}']
)
def test_files_without_labels(tmp_path: Path, content: str):
    path = tmp_path / "labels"
    path.write_text(content)
    with pytest.raises(UsageError, match="holds no labels"):
        load_labels(str(path))


def test_threshold():
    block, _ = run("threshold:0.5", block_of(p=np.array([0.4, 0.5], dtype=np.float32)))
    assert block.column("p_threshold").to_pylist() == [False, True]
    block, _ = run("threshold:0.5,keep", block_of(p=SCORES))
    assert block.schema.names[:2] == ["p", "p_threshold"]
    assert to_numpy(block.column("p_threshold")).tolist() == (SCORES >= 0.5).tolist()
    block, failures = run("threshold:2", block_of(p=RAGGED))
    assert block.column("p_threshold").to_pylist() == [[False, True], [True, True, True], []]
    assert len(failures) == 1


def test_a_chain():
    steps = [parse_finish(spec, ["s"]) for spec in ("softmax", "argmax:keep", "top_k:2")]
    schema = block_of(weight=np.zeros(1), s=SCORES[:1]).schema
    assert chain_schema(steps, schema).names[:4] == ["weight", "s_top_k", "s_top_k_values", "s_argmax"]


def test_which_column_is_meant(tmp_path: Path):
    two = block_of(id=[1], a=SCORES[:1], b=SCORES[:1]).schema
    with pytest.raises(UsageError, match=r"softmax wants one column of several float scores a row.* 2: a, b; type"):
        parse_finish("softmax").output_schema(two)
    assert parse_finish("argmax", ["b"]).output_schema(two).names[:3] == ["id", "a", "b_argmax"]
    with pytest.raises(
        UsageError, match=r"there is none: the columns are id: int64.*keep the column in the step before"
    ):
        parse_finish("softmax").output_schema(block_of(id=[1]).schema)
    with pytest.raises(UsageError, match=r"column 'scors' .*did you mean 'scores'"):
        parse_finish("softmax:scors").output_schema(block_of(scores=SCORES).schema)
    file = tmp_path / "labels"
    file.write_text("a")
    with pytest.raises(UsageError, match=r"only scores \(a, b\); type --finish argmax:a"):
        parse_finish(f"labels:{file}", ["a", "b"]).output_schema(two)
    with pytest.raises(UsageError, match="type --finish argmax:b before it"):
        parse_finish(f"labels:{file},column=b").output_schema(two)
    with pytest.raises(UsageError, match="holds 1 labels, and column 'a' has 3 classes"):
        parse_finish(f"top_k:1,column=a,labels={file}").output_schema(two)
    with pytest.raises(UsageError, match="top_k wants 5 of the 3 scores of column 'a'; type top_k:3"):
        parse_finish("top_k:5,column=a").output_schema(two)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("topk:5", "there is no step 'topk', did you mean 'top_k'"),
        ("top_k", "k is missing; for example: --finish top_k:5"),
        ("top_k:0", "k=0 is not a whole number of at least 1"),
        ("threshold:high", "least=high is not a number"),
        ("threshold:nan", "not a finite number"),
    ],
)
def test_wrong_options(spec: str, message: str):
    with pytest.raises(UsageError, match=message):
        parse_finish(spec)


def test_an_empty_block(tmp_path: Path):
    file = tmp_path / "labels"
    file.write_text("a\nb\nc")
    for spec in ("softmax", "argmax", "top_k:2", f"top_k:2,labels={file}", "threshold:1"):
        assert run(spec, block_of(s=SCORES[:0]))[0].num_rows == 0
        assert run(spec, block_of(s=RAGGED.slice(0, 0)))[0].num_rows == 0


def test_help_shows_each_step():
    shown = {step.name: step for step in list_finish()}
    assert list(shown) == ["softmax", "argmax", "top_k", "labels", "threshold", "expand"]
    assert shown["top_k"].example.startswith("top_k:5")
    assert "k=" in shown["top_k"].options and "keep=false" in shown["top_k"].options
