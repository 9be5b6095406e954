"""Options given as keywords are those that the command line gives."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options import plan, score
from beamsplit.pipelines.options.values import BindingOptions, PlanOptions, ScoreOptions, is_given

ENDS = ("--model", "m.onnx", "--input", "a.csv", "--output", "o.csv")

CASES: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    ([], {"columns": None, "workers": None, "quiet": False, "audit": False, "model_version": False}),
    (["--columns", "x=a,b", 'y="l, f"', "z=c"], {"columns": {"x": ["a", "b"], "y": "l, f", "z": ("c",)}}),
    (["--columns", "x=a,b"], {"columns": "x=a,b"}),
    (["--columns", "x=a,b", "y=c"], {"columns": ["x=a,b", "y=c"]}),
    (["--keep", 'id,"l, f"'], {"keep": ["id", "l, f"]}),
    (["--keep", "id,name"], {"keep": "id,name"}),
    (["--nulls", "nan", "age=0", 'city="a,b"'], {"nulls": ["nan", "age=0", 'city="a,b"']}),
    (["--nulls", "age=0", 'city="a,b"', "x=nan"], {"nulls": {"age": 0, "city": "a,b", "x": float("nan")}}),
    (["--nulls", "nan"], {"nulls": float("nan")}),
    (
        ["--types", 'id:string,"a:b":timestamp[us, UTC],e:list<float32>[3],d:decimal128(12,2),f:list<int8>'],
        {
            "types": {
                "id": "string",
                "a:b": pa.timestamp("us", "UTC"),
                "e": pa.list_(pa.float32(), 3),
                "d": pa.decimal128(12, 2),
                "f": pa.list_(pa.int8()),
            }
        },
    ),
    (["--types", "id:string,n:float64"], {"types": {"id": pa.string(), "n": pa.float64()}}),
    (["--set", "sr=16000", "v=1,2", "t=a=b"], {"set": {"sr": np.int64(16000), "v": [1, 2], "t": "a=b"}}),
    (["--prepare", "a", "--prepare", "b", "--finish", "softmax"], {"prepare": ["a", "b"], "finish": "softmax"}),
    (["--audit"], {"audit": True}),
    (["--audit", "5:warn"], {"audit": "5:warn"}),
    (["--stages", "2", "--stage_memory", "20MB"], {"stages": 2, "stage_memory": 20_000_000}),
    (["--stages", "auto", "--stage_memory", "2GB"], {"stages": "auto", "stage_memory": "2GB"}),
    (["--stages", "2", "--stage_providers", "cpu,cuda:1"], {"stages": 2, "stage_providers": ["cpu", "cuda:1"]}),
    (["--runner", "FlinkRunner", "--checkpoint", "off"], {"runner": "FlinkRunner", "checkpoint": False}),
    (["--runner", "FlinkRunner", "--checkpoint", "500ms"], {"runner": "FlinkRunner", "checkpoint": 0.5}),
    (["--run_timeout", "60s"], {"run_timeout": datetime.timedelta(minutes=1)}),
    (["--run_timeout", "1500ms"], {"run_timeout": 1.5}),
    (
        ["--partition", "proportional", "--capacities", "1,2.5"],
        {"partition": "proportional", "capacities": [1, 2.5]},
    ),
    (["--csv_header", "no", "--quiet"], {"csv_header": False, "quiet": True}),
    (["--csv_header", 'id,"l, f"'], {"csv_header": ["id", "l, f"]}),
    (["--csv_header", '"no"'], {"csv_header": ["no"]}),
    (["--max_failed", "5%"], {"max_failed": "5%"}),
    (["--max_failed", "7", "--seed", "-3"], {"max_failed": 7, "seed": -3}),
    (["--providers", "cuda,cpu", "--batch_size", "8"], {"providers": ["cuda", "cpu"], "batch_size": 8}),
    (["--errors", "e.jsonl"], {"errors": Path("e.jsonl")}),
    (
        ["--start", "2023-11-14T22:13:20+00:00"],
        {"start": datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc)},
    ),
]


@pytest.mark.parametrize(("argv", "keywords"), CASES)
def test_keywords_say_what_the_command_line_says(argv: list[str], keywords: dict[str, Any]):
    made = score.score_options(model="m.onnx", input="a.csv", output="o.csv", **keywords)
    assert (made, []) == score.parse([*ENDS, *argv])


def test_nothing_but_the_model_is_the_values_by_themselves():
    assert score.score_options(model=Path("m.onnx")) == ScoreOptions(BindingOptions("m.onnx"))
    assert (
        plan.plan_options(model="m.onnx") == plan.parse(["--model", "m.onnx"]) == PlanOptions(BindingOptions("m.onnx"))
    )


@pytest.mark.parametrize(
    ("argv", "keywords"),
    [
        (["--workers", "0"], {"workers": 0}),
        (["--stages", "auto2"], {"stages": "auto2"}),
        (["--placement", "inline"], {"placement": "inline"}),
        (["--keep", "a,a"], {"keep": ["a", "a"]}),
        (["--columns", "x="], {"columns": {"x": []}}),
        (
            ["--input", "kafka://h:1/t", "--types", "id:string"],
            {"input": ["a.csv", "kafka://h:1/t"], "types": "id:string"},
        ),
        (["--errors", ""], {"errors": ""}),
    ],
)
def test_what_is_wrong_is_said_in_the_same_words(argv: list[str], keywords: dict[str, Any]):
    with pytest.raises(UsageError) as typed:
        score.parse([*ENDS, *argv])
    with pytest.raises(UsageError) as given:
        score.score_options(**{"model": "m.onnx", "input": "a.csv", "output": "o.csv", **keywords})
    assert str(typed.value) == str(given.value)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"wrokers": 2}, "'wrokers' is no option; did you mean workers?"),
        ({"help": True}, "'help' is no option"),
        ({"narrow": 1}, "--narrow is on or off, and it is given 1"),
        ({"workers": False}, "--workers is given False; give it a value, or leave it out"),
        ({"workers": True}, "--workers is given True; give it a value, or leave it out"),
        ({"set": {"x": object()}}, "has no text that says the same; give it as it is typed"),
    ],
)
def test_what_no_command_line_says_is_refused(keywords: dict[str, Any], message: str):
    with pytest.raises(UsageError) as error:
        score.score_options(model="m.onnx", **keywords)
    assert message in str(error.value)


def test_whether_an_option_is_given():
    options = score.score_options(model="m.onnx", until_end=True, checkpoint=10, runner="FlinkRunner", seed=0)
    assert [
        is_given(options, name) for name in ("until_end", "checkpoint", "runner", "seed", "columns", "workers")
    ] == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]
