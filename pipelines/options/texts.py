"""What the texts of single options say. Each raises what argparse shows with the option's name."""

from __future__ import annotations

import argparse
import re

from beamsplit.transforms.failures.limit import FailureLimit, parse_limit


def read_workers(text: str) -> int | str:
    """A number, or the path of a cluster.json."""
    return text if text.endswith(".json") else positive(text)


def read_max_failed(text: str) -> FailureLimit:
    """A share or a number of rows."""
    try:
        return parse_limit(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_milliseconds(text: str) -> int | None:
    """A time such as 500ms, 10s or 2m in milliseconds; None for off."""
    if text == "off":
        return None
    found = re.fullmatch(r"(\d+)(ms|s|m)", text)
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'off' nor a time such as 500ms, 10s or 2m")
    return int(found[1]) * {"ms": 1, "s": 1000, "m": 60_000}[found[2]]


def read_seconds(text: str) -> float:
    """A time such as 500ms, 60s or 2m in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 500ms, 60s or 2m")
    return float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[found[2]]


def read_count_of_seconds(text: str) -> float:
    """A number of seconds such as 0.5 or 60, or a time such as 2m."""
    if re.fullmatch(r"\d+(?:\.\d+)?", text) and float(text):
        return float(text)
    return read_seconds(text)


def read_stage_providers(text: str) -> tuple[tuple[str, int | None], ...]:
    """(name, number of the GPU) of each stage."""
    stages = []
    for part in text.split(","):
        match = re.fullmatch(r"(\w+)(?::(\d+))?", part.strip())
        if match is None:
            raise argparse.ArgumentTypeError(f"{part!r} is no provider such as cpu, cuda or cuda:1")
        stages.append((match[1], int(match[2]) if match[2] else None))
    return tuple(stages)


def read_batch_size(text: str) -> int | str:
    """A number of rows, or `auto`."""
    return text if text == "auto" else positive(text)


AUDITED_ROWS = 100
"""Of a job, unless said otherwise."""


def read_audit(text: str) -> tuple[int, bool]:
    """(rows, whether a difference is only told) of `N`, `warn` or `N:warn`."""
    count, _, word = text.partition(":")
    if text == "warn":
        return AUDITED_ROWS, True
    if not re.fullmatch(r"\d+", count) or int(count) < 1 or word not in ("", "warn") or text.endswith(":"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of N, warn and N:warn, such as 100") from None
    return int(count), word == "warn"


def read_capacities(text: str) -> tuple[float, ...] | str:
    """Speeds of the workers, or `measured`."""
    if text == "measured":
        return text
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'measured' nor numbers above 0 such as 1,1,2")
    return tuple(numbers)


def positive(text: str) -> int:
    """A whole number above 0."""
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


MOST_THREADS = 1_024
"""Of a session: more than the cores of any machine; ONNX Runtime begins all of them."""


def threads_count(text: str) -> int:
    """A number of threads."""
    positive(text)
    if len(text) > len(str(MOST_THREADS)) or int(text) > MOST_THREADS:
        raise argparse.ArgumentTypeError(
            f"{text[:20]} is more than {MOST_THREADS:,} threads, which no machine has cores for"
        )
    return int(text)


MOST_FILES = 100_000
"""Files of an output: their names have five digits, and each is written, also without a row."""


def files_count(text: str) -> int:
    """A number of files."""
    positive(text)
    if len(text) > len(str(MOST_FILES)) or int(text) > MOST_FILES:
        raise argparse.ArgumentTypeError(f"{text[:20]} is more than {MOST_FILES:,} files, the most of an output")
    return int(text)


MOST_PARTS = 1_000
"""Stages or shards; as many as workers that are planned for."""


def stages_count(text: str) -> int | str:
    """A number of stages or shards, or `auto`."""
    if text == "auto":
        return text
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'auto' nor a whole number above 0")
    if len(text) > len(str(MOST_PARTS)) or int(text) > MOST_PARTS:
        raise argparse.ArgumentTypeError(f"{text} is more than {MOST_PARTS:,}, the most that are planned for")
    return int(text)
