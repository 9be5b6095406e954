"""The cases and programs of `benchmarks.stream`: models, messages, commands, and what beamsplit is to reach."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import stream_messages
from benchmarks.split_models import light
from benchmarks.stream_values import JSON, TENSOR, name_of

PRISM, FLINK, PLAIN, TUNED = "beamsplit on Prism", "beamsplit on Flink", "plain loop", "tuned loop"
PRISM_ONCE, FLINK_ONCE = f"{PRISM}, exactly once", f"{FLINK}, exactly once"
QUIX, BYTEWAX = "Quix Streams", "Bytewax"
OURS = (PRISM, FLINK, PRISM_ONCE, FLINK_ONCE)
PEERS = (QUIX, BYTEWAX)
PROGRAMS = (PLAIN, *OURS, TUNED, *PEERS)
PACKAGES = {QUIX: "quixstreams", BYTEWAX: "bytewax"}
TUNED_SHARE = 0.8
"""Goal: of what the tuned loop does."""
WAYS: dict[str, tuple[str, ...]] = {
    "whole": (),
    "2 stages inline": ("--stages", "2"),
    "2 shards inline": ("--shards", "2"),
    "2 stages distributed": ("--stages", "2", "--placement", "distributed"),
    "2 shards distributed": ("--shards", "2", "--placement", "distributed"),
}
"""Ways to run a model on Flink, with one worker for each part that has its own; the others are set beside the first."""
MODULES = {PLAIN: "kafka_loop", TUNED: "kafka_tuned_loop", QUIX: "quix_stream", BYTEWAX: "bytewax_stream"}

WAIT_MS = 20
"""Longest wait for more messages before a batch is run (linger), in each program that can be told."""

CHECKPOINT_SECONDS = 10
"""Between Flink's checkpoints."""

P99_MS, P99_RATIO = 100.0, 2.0
"""Goals on Prism: milliseconds, and times the plain loop's."""


@dataclass(frozen=True)
class StreamCase:
    """One model and its messages."""

    name: str
    model: Path
    payloads: Path
    messages: int
    """In the backlog that is read at saturation."""

    batch: int
    """Most messages of one run, in the programs that do not find it themselves."""

    seconds: float
    """How long saturation is looked at, from the first output."""

    steady_seconds: float
    """How long latencies are measured."""

    goal: float
    """Times the plain loop's rows a second."""

    checkpoint: str = f"{CHECKPOINT_SECONDS}s"
    """Between Flink's checkpoints."""

    more: tuple[str, ...] = ()
    """Other options of `score`."""

    format: str = TENSOR
    """Of the messages."""

    def command(self, program: str, servers: str, topics: tuple[str, str], group: str) -> list[str]:
        """The command of one program that reads the first topic from its beginning and writes to the second."""
        source, sink = topics
        if program not in (*OURS, *WAYS):
            module = f"benchmarks.alternatives.{MODULES[program]}"
            arguments = [servers, source, sink, group, str(self.model), str(self.batch), str(WAIT_MS), self.format]
            return [sys.executable, "-m", module, *arguments]
        command = [sys.executable, "-m", "pipelines.score", "--model", str(self.model), "--group", group, "--quiet"]
        command += ["--input", f"kafka://{servers}/{source}", "--output", f"kafka://{servers}/{sink}"]
        command += ["--format", self.format, "--output_format", self.format, "--max_latency_ms", str(WAIT_MS)]
        if self.format == JSON:
            command += ["--columns", "x=" + ",".join(map(name_of, range(stream_messages.FEATURES)))]
        if program in (PRISM_ONCE, FLINK_ONCE):
            command += ["--delivery", "exactly_once"]
        if program in WAYS:
            command += [*WAYS[program], "--parallelism", "1"]
        if program in (FLINK, FLINK_ONCE, *WAYS):
            return [*command, "--runner", "FlinkRunner", "--checkpoint", self.checkpoint, *self.more]
        return [*command, "--runner", "PrismRunner", *self.more]

    def expected(self) -> np.ndarray:
        """The right prediction of each payload, [payloads, values]."""
        return stream_messages.expected(self.model, self.payloads)


def missing_programs(programs: list[str]) -> dict[str, str]:
    """Program -> why it cannot run here."""
    return {
        program: f"{package} is not installed: pip install -e '.[bench]'"
        for program, package in PACKAGES.items()
        if program in programs and importlib.util.find_spec(package) is None
    }


def make_cases(names: list[str], folder: Path, quick: bool) -> list[StreamCase]:
    """The cases of these names, their models and payloads made if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds, steady = (3.0, 3.0) if quick else (8.0, 10.0)
    made = []
    for name in names:
        if name == "fnn":
            model, rows, messages, batch, goal = stream_messages.fnn(folder), 1_024, 800_000, 2_048, 0.9
        elif name == "wide":
            model, rows, messages, batch, goal = stream_messages.wide(folder), 1_024, 200_000, 2_048, 0.9
        elif name == "json":
            # 1.5 times the plain loop, which parses and writes with orjson.
            model, rows, messages, batch, goal = stream_messages.table(folder), 1_024, 800_000, 2_048, 1.5
        elif name == "resnet50":
            model, rows, messages, batch, goal = light(folder, "resnet50"), 32, 800, 8, 0.97
        else:
            raise SystemExit(f"no case {name!r}; cases are {', '.join((*CASES, *WAYS_CASES))}")
        payloads = stream_messages.payloads(folder, model, rows)
        messages //= 10 if quick else 1
        format = JSON if name == "json" else TENSOR
        made.append(StreamCase(name, model, payloads, messages, batch, seconds, steady, goal, format=format))
    return made


CASES, WAYS_CASES = ("fnn", "json", "resnet50"), ("wide",)
"""What is measured unless named otherwise: beside other programs, and one way beside the others."""
