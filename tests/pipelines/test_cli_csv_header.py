"""`--csv_header` of score and plan."""

from __future__ import annotations

import json

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.pipelines import plan
from beamsplit.pipelines.options.name_lists import read_csv_header
from beamsplit.transforms.read import splits as read_splits
from tests.command import Command, lines


def test_values():
    assert [read_csv_header(text) for text in ("yes", "no", '"no"', 'a,"b, c",yes')] == [
        True,
        False,
        ("no",),
        ("a", "b, c", "yes"),
    ]
    for text, why in {"a,,b": "an empty name", '""': "an empty name", "a,b,a": "'a' twice", 'a,"b': "quote"}.items():
        with pytest.raises(UsageError, match=f"--csv_header .*{why}"):
            read_csv_header(text)


def bare(command: Command, name: str = "bare.csv"):
    """The table of the command as CSV without a header, and what it gives."""
    path = command.folder / name
    pyarrow.csv.write_csv(command.table, path, pyarrow.csv.WriteOptions(include_header=False))
    return path


def test_the_same_rows_as_with_names_in_the_file(command: Command, monkeypatch):
    monkeypatch.setattr(read_splits, "LEAST_BYTES", 2_000)  # Many splits, in a file of 30 kB.
    path = bare(command)
    path.write_text(path.read_text() + "600,x,1,2,3\n")
    errors = command.folder / "e.jsonl"
    assert "looks like a row" in command.error(input=path)
    code, _, err = command.run("--keep", "id", "--quiet")
    assert code == 0, err
    wanted = command.rows()
    options = ["--keep", "id", "--quiet", "--workers", 2, "--worker_type", "thread", "--errors", errors]
    code, _, err = command.run("--csv_header", "id,a,b,c,d", *options, input=path)
    assert code == 0, err
    assert command.rows()["y"].to_pylist() == wanted["y"].to_pylist()
    assert command.rows()["id"].to_pylist() == list(range(600))
    (failed,) = lines(errors)
    assert (failed["row"], failed["file"]) == (600, str(path))
    command.output = command.folder / "numbered" / "preds.parquet"
    options[1] = "column_1"
    columns = "x=column_2,column_3,column_4,column_5"
    code, _, err = command.run("--csv_header", "no", *options, input=path, columns=columns)
    assert code == 0, err
    written = pq.read_table(sorted(command.output.parent.glob("*.parquet")))
    assert written["column_1"].to_pylist() == [str(at) for at in range(600)]
    assert written["y"].to_pylist() == wanted["y"].to_pylist()


def test_worker_processes_and_partitions_read_the_first_row_too(command: Command):
    path = bare(command)
    options = ["--keep", "id", "--quiet", "--workers", 2, "--worker_type", "process", "--partition", "contiguous"]
    code, _, err = command.run("--csv_header", "id,a,b,c,d", *options, input=path)
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == list(range(600))


def test_what_is_refused(command: Command):
    path = bare(command)
    wrong = command.error("--csv_header", "id,a,b", input=path)
    assert wrong.startswith(f"{path} has 5 cells a row, and --csv_header names 3 (id, a, b): name each")
    assert command.error("--csv_header", "no") == (
        f"--csv_header is for CSV, and {command.data} is read as parquet; leave it out, or say --input_format csv"
    )
    topic = command.error("--csv_header", "no", input="kafka://localhost:1/t", output="kafka://localhost:1/u")
    assert topic == "--csv_header is for an input of files, and --input kafka://localhost:1/t is a stream; leave it out"


@pytest.mark.parametrize(
    ("given", "columns"), [("id,a,b,c,d", "x=a,b,c,d"), ("no", "x=column_2,column_3,column_4,column_5")]
)
@pytest.mark.parametrize("more", [[], ["--stages", "2"]])
def test_an_empty_file_has_the_columns_that_are_named(command: Command, given, columns, more):
    path = command.folder / "zero.csv"
    path.touch()
    options = ["--csv_header", given, "--keep", "id", "--num_shards", 1, *more]
    code, _, err = command.run(
        *options, input=path, columns=columns.replace("c", "column_") if given == "no" else columns
    )
    assert code == 0, err
    assert pq.read_table(command.output).column_names == ["id", "y"]


def test_plan_reads_a_sample_so(command: Command, capsys):
    path, output = bare(command), command.folder / "plan.json"
    argv = ["--model", command.model, "--columns", "x=a,b,c,d", "--stages", 1, "--micro_batch", 8, "--output", output]
    assert plan.main([*map(str, argv), "--sample", str(path), "--csv_header", "id,a,b,c,d"]) == 0
    assert json.loads(output.read_text())["micro_batch"] == 8
    capsys.readouterr()
    assert plan.main([*map(str, argv), "--sample", str(path)]) == 2
    assert "--csv_header yes" in capsys.readouterr().err
    assert plan.main(["--model", str(command.model), "--csv_header", "no"]) == 2
    assert "--csv_header is for sample rows" in capsys.readouterr().err
