from __future__ import annotations

import pytest

from beamsplit.pipelines.options.score import parse
from beamsplit.pipelines.running.interrupt import what_is_left
from tests.command import Command

TOPICS = {"input": "kafka://127.0.0.1:1/in", "output": "kafka://127.0.0.1:1/out", "columns": None}


@pytest.mark.parametrize(
    ("options", "changed", "said"),
    [
        (["--replan", "plan.json", "--stages", "2"], {}, "--replan is for an input of files"),
        ([], {"output": "out.parquet"}, "type --output kafka://HOST:PORT/TOPIC, or --until_end to read what is there"),
        (["--until_end", "--max_latency_ms", "5"], {"output": "o.csv"}, "--max_latency_ms does not go with"),
        (["--until_end", "--model_version", "header"], {"output": "o.csv"}, "type --model_version column"),
        (["--until_end"], {"output": "o.txt"}, "names no format that can be written"),
        ([], {"output": "kafka://127.0.0.1:1/in"}, "is the topic that --input reads; name another"),
        ([], {"output": "kafka://127.0.0.1:2/out"}, "a stream stays on one cluster"),
        (["--errors", "gs://b/e.jsonl"], {}, "go to a topic or a local file"),
        (["--errors", "kafka://127.0.0.1:1/out"], {}, "--errors and --output are both the topic out"),
        (["--kafka_config", "nowhere.properties"], {}, "cannot read 'nowhere.properties'"),
        (["--start", "yesterday"], {}, "is none of committed, earliest, latest, a time"),
        (["--model_updates", "models", "--shards", "2"], {}, "and --shards divides it; leave one of them out"),
        (["--model_updates", "models", "--stages", "2"], {}, "and --stages divides it; leave one of them out"),
        (
            ["--shards", "2", "--placement", "distributed", "--runner", "flink", "--num_concurrent_checkpoints=2"],
            {},
            "leave it out, or type --placement inline",
        ),
        (["--model_version", "footer"], {}, "choose from"),
        (["--transaction_ms", "100"], {}, "--transaction_ms is for --delivery exactly_once"),
        (["--delivery", "exactly_once", "--runner", "flink", "--checkpoint", "off"], {}, "type --checkpoint 10s"),
        (["--delivery", "exactly_once", "--runner", "SparkRunner"], {}, "use FlinkRunner or DirectRunner"),
        (["--stop_after_idle", "0"], {}, "is not a number of seconds above 0"),
    ],
)
def test_what_cannot_be_a_stream_is_told_before_a_broker_is_asked(command: Command, options, changed, said: str):
    assert said in command.error(*options, **{**TOPICS, **changed})


@pytest.mark.parametrize(
    ("options", "changed", "said"),
    [
        (["--group", "g"], {}, "--group is for a stream"),
        (["--model_updates", "models"], {}, "--model_updates is for a stream"),
        (["--model_version", "header"], {}, "type --model_version column"),
        (["--delivery", "exactly_once"], {}, "--delivery is for a stream"),
        (["--output_format", "json"], {}, "--output_format is for a stream"),
        (["--start", "latest"], {"output": "kafka://127.0.0.1:1/out"}, "--start is for a stream"),
        (["--num_shards", "2"], {"output": "kafka://127.0.0.1:1/out"}, "--num_shards is for files, and --output kafka"),
        (
            ["--errors", "kafka://127.0.0.1:2/e"],
            {"output": "kafka://127.0.0.1:1/out"},
            "--output is on 127.0.0.1:1 and --errors on 127.0.0.1:2; name one cluster",
        ),
        (
            ["--errors", "kafka://127.0.0.1:1/out"],
            {"output": "kafka://127.0.0.1:1/out"},
            "--output and --errors are both the topic out; name another",
        ),
    ],
)
def test_what_is_for_streams_is_refused_for_files(command: Command, options, changed, said: str):
    assert said in command.error(*options, **changed)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (("a.parquet", "b.parquet"), "nothing was written"),
        (("a.parquet", "kafka://h:1/out"), "what was sent to kafka://h:1/out stays there, and running it again sends"),
        (("kafka://h:1/in", "kafka://h:1/out"), "what its group committed is done, and the rest will be read again"),
        (("kafka://h:1/in", "b.parquet"), "nothing was written"),
    ],
)
def test_what_a_job_that_failed_leaves_is_told(ends: tuple[str, str], said: str):
    assert what_is_left(parse(["--model", "m", "--input", ends[0], f"--output={ends[1]}"])[0]).startswith(said)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("latest", "latest"),
        ("1700000000000", 1_700_000_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000_000),
    ],
)
def test_a_start_is_a_word_or_a_time(text: str, start: str | int):
    assert parse(["--model", "m", "--input", "i", "--output", "o", "--start", text])[0].stream.start == start
