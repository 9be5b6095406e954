"""The options of a stream: what `score` takes beside those of files. Imports no Beam."""

from __future__ import annotations

import argparse
import datetime
import re

from beamsplit.pipelines.options.model_check import add_model_check
from beamsplit.pipelines.options.registry import REGISTERED
from beamsplit.pipelines.options.texts import positive


def add_stream(p: argparse.ArgumentParser) -> None:
    """Add them to the parser."""
    stream = p.add_argument_group("streams (a kafka:// input)")
    stream.add_argument(
        "--format",
        choices=("json", "arrow", "tensor", "raw", *REGISTERED),
        help="what messages hold: a JSON object (default), an Arrow IPC stream, the bytes of the inputs, any bytes, or "
        f"{', '.join(REGISTERED)} with --schema_registry",
    )
    stream.add_argument(
        "--output_format",
        choices=("json", "arrow", "tensor", *REGISTERED),
        help=f"of the messages written (default: json); {', '.join(REGISTERED)} with --schema_registry",
    )
    stream.add_argument(
        "--schema",
        metavar="NAME:TYPE[SIZES],...",
        help="fields of a message (default: what the model's inputs want); TYPE json is anything",
    )
    stream.add_argument(
        "--kafka_config", metavar="FILE|env:NAME", help="client properties (TLS, SASL), read by each worker"
    )
    stream.add_argument("--group", metavar="NAME", help="consumer group (default: beamsplit-IN-OUT)")
    stream.add_argument(
        "--start",
        type=_start,
        metavar="committed|earliest|latest|TIMESTAMP",
        help="where partitions begin that the group has no offset for (default: committed, then earliest)",
    )
    stream.add_argument(
        "--max_latency_ms",
        type=positive,
        metavar="MS",
        help="longest wait for more messages before a block is scored: the linger of producers (default: 20)",
    )
    stream.add_argument(
        "--delivery",
        choices=("at_least_once", "exactly_once"),
        help="exactly_once writes in transactions, for readers with isolation.level=read_committed (default: "
        "at_least_once)",
    )
    stream.add_argument(
        "--transaction_ms", type=positive, metavar="MS", help="how long a transaction lasts (default: 200)"
    )
    stream.add_argument(
        "--event_time",
        metavar="COLUMN",
        help="field with a message's time, for the watermark: milliseconds since 1970, ISO 8601, or an Arrow timestamp "
        "(default: the message's timestamp)",
    )
    stream.add_argument(
        "--model_updates",
        metavar="FOLDER|M.onnx",
        help="watch it for new models of the same inputs and outputs: the newest good one takes over between blocks",
    )
    add_model_check(stream)
    stream.add_argument(
        "--on_gap",
        choices=("continue", "fail"),
        help="where messages are gone before they were read (retention): tell and count them and go on (default), or "
        "end with exit code 1",
    )
    stream.add_argument("--until_end", action="store_true", help="end where the topic ended at the start")
    stream.add_argument("--stop_after_idle", type=_seconds, metavar="SECONDS", help="end when nothing came for so long")
    stream.add_argument("--prism_location", metavar="FILE", help="the Prism program, on which local streams run")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _start(text: str) -> str | int:
    """A word, or milliseconds since 1970 of a time in ISO 8601 or in those milliseconds."""
    if text in ("committed", "earliest", "latest"):
        return text
    if re.fullmatch(r"\d{12,14}", text):
        return int(text)
    try:
        time = datetime.datetime.fromisoformat(text.removesuffix("Z") + ("+00:00" if text.endswith("Z") else ""))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of committed, earliest, latest, a time such as 2026-01-31T12:00:00Z, or milliseconds"
        ) from None
    return round(time.timestamp() * 1000)
