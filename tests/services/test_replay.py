"""Messages that failed, read again by their offsets: from an errors topic, and after retention took some."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines.replay import main
from beamsplit.runners.local import KafkaBroker
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.errors import error_json
from tests.services.retention import delete_below
from tests.services.streams import Stream, rows

pytest.importorskip("confluent_kafka")


def test_the_messages_that_an_errors_topic_names(
    broker: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stream = Stream(broker, tmp_path)
    stream.send(rows(3_000), partition=0)
    stream.send(rows(4), partition=1)
    errors = broker.create_topic(f"errors-{stream.input}")
    wanted = [(0, 3), (0, 5), (0, 3), (0, 2_500), (1, 2)]
    stream.send([error_json(RowError(f"{stream.input}/{p}", o, "read", "r")) for p, o in wanted], errors)

    def replay(*options: object) -> tuple[int, list[tuple[int, int]], str]:
        output = tmp_path / "again.parquet"
        given = [stream.uri(errors), "--model", stream.model, "--output", output, "--overwrite", "--workers", "2"]
        code = main([str(one) for one in (*given, *options)])
        err = capsys.readouterr().err
        if code in (1, 2):
            return code, [], err
        made = pq.read_table(output)
        # x is [i, 1, 2, 3] of message i
        assert len(np.unique(np.array(made["y"].to_pylist()), axis=0)) == len(set(made["input_offset"].to_pylist()))
        return (
            code,
            sorted(zip(made["input_partition"].to_pylist(), made["input_offset"].to_pylist(), strict=True)),
            err,
        )

    summary = tmp_path / "s.json"
    code, found, err = replay("--summary", summary)
    assert (code, found) == (0, sorted(set(wanted))), err
    assert json.loads(summary.read_text())["rows_in"] == 4

    delete_below(stream, 0, 5)
    code, found, err = replay("--errors", tmp_path / "e.jsonl")
    assert (code, found) == (3, [(0, 5), (0, 2_500), (1, 2)]), err
    assert f"{stream.input}/0: offsets 3 to 3 are gone" in err
    assert [json.loads(line)["offset"] for line in (tmp_path / "e.jsonl").read_text().splitlines()] == [3]
    code, _, err = replay("--on_gap", "fail")
    assert code == 1 and "offsets 3 to 3 are gone" in err

    stream.send([error_json(RowError(f"{stream.input}/1", 900, "read", "r"))], errors)
    code, _, err = replay()
    assert code == 2 and f"names offset 900 of {stream.input}/1, which ends at 4" in err and err.count("\n") == 1
