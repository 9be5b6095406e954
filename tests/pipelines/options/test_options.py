from __future__ import annotations

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.score import parse
from beamsplit.pipelines.options.values import BindingOptions, ScoreOptions, SinkOptions, SourceOptions

NEEDED = ["--model", "m.onnx", "--input", "a.csv", "--output", "o.csv"]


def test_defaults():
    options, rest = parse(NEEDED)
    assert rest == []
    assert (options.binding.model, options.source.input, options.sink.output) == ("m.onnx", ("a.csv",), "o.csv")
    given = ScoreOptions(BindingOptions("m.onnx"), SourceOptions(("a.csv",)), SinkOptions("o.csv"))
    assert options == given, "what the values are made with by themselves"
    assert options.runner.name == "DirectRunner" and options.workers.batch_size == options.workers.providers == "auto"


def test_lists_may_be_given_at_once_or_one_by_one():
    options, _ = parse([*NEEDED, "--input", "b.csv", "c.csv", "--columns", "x=a,b", "m=k", "--columns", "n=l"])
    assert options.source.input == ("a.csv", "b.csv", "c.csv")
    assert options.binding.columns == {"x": ("a", "b"), "m": ("k",), "n": ("l",)}
    options, _ = parse([*NEEDED, "--set", "sr=16000", "path=/a=b.npy", "--prepare", "a", "--prepare", "b"])
    assert options.binding.set == {"sr": "16000", "path": "/a=b.npy"} and options.binding.prepare == ("a", "b")
    assert parse([*NEEDED, "--keep", "id,name"])[0].binding.keep == ("id", "name")


def test_what_is_not_known_is_left_for_beam():
    assert parse([*NEEDED, "--project", "x", "--region=y"])[1] == ["--project", "x", "--region=y"]
    assert parse([*NEEDED, "--work", "3"])[1] == ["--work", "3"], "no option is abbreviated"


def test_capacities_say_how_many_workers_there_are():
    options, _ = parse([*NEEDED, "--partition", "proportional", "--capacities", "1,2.5"])
    assert (options.workers.capacities, options.workers.count) == ((1.0, 2.5), 2)
    options, _ = parse([*NEEDED, "--partition", "proportional", "--capacities", "measured"])
    assert (options.workers.capacities, options.workers.count) == ("measured", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "--workers: '0' is not a whole number above 0"),
        (["--threads", "-1"], "--threads"),
        (["--threads", "1025"], "more than 1,024 threads"),
        (["--threads", "1" * 40], "more than 1,024 threads"),
        (["--num_shards", "1.5"], "--num_shards: '1.5' is not a whole number above 0"),
        (["--batch_size", "many"], "--batch_size: 'many'"),
        (["--capacities", "inf,1"], "'inf,1' is neither 'measured' nor numbers above 0"),
        (["--capacities", "0,1"], "'0,1' is neither"),
        (["--capacities", ""], "'' is neither"),
        (["--partition", "contiguous", "--capacities", "1,1"], "--capacities is for --partition proportional"),
        (["--worker_type", "fibre"], "invalid choice: 'fibre'"),
        (["--columns", "=a"], "not of the form INPUT=VALUE"),
        (["--num_shards", "100001"], "100001 is more than 100,000 files, the most of an output"),
        (["--set", "a="], "not of the form INPUT=VALUE"),
    ],
)
def test_wrong_values(options: list[str], message: str):
    with pytest.raises(UsageError) as error:
        parse([*NEEDED, *options])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(["--modle", "m.onnx"], "--model"), (["--help-me"], "--help"), (["--outptu=p.csv", "--limit", "2"], "--output")],
)
def test_the_option_that_may_have_been_meant(typed: list[str], meant: str):
    with pytest.raises(UsageError, match=f"are required: .*; there is no --[^ =]+, did you mean {meant}\\?$"):
        parse([*typed, "--quiet"])


def test_missing_options_are_named():
    with pytest.raises(UsageError, match="required: --model, --input, --output; see --help"):
        parse([])
