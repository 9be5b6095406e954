"""Our planner on instances that others published: period, bound and gap beside the best known.

python -m benchmarks.planner --instances DIR
python -m benchmarks.planner --shapes 6

DIR holds any of these, wherever in it: `*.json` of msr-fiddle/dnn-partitioning (throughput; Tarnawski et al. 2020),
`models.yml` and `device_types.yml` of usc-isi/PipeEdge, a `dllama.csv` of distributed-llama's table. What is predicted
from one device and the link stands beside what was measured there.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from beamsplit.models.split.balance import Balance, CannotSplit, Worker
from beamsplit.models.split.certified import certified
from beamsplit.models.strategy.cost import ReplicaTeam, Stage, busy
from beamsplit.models.strategy.exchange import ASSUMED
from benchmarks.planner_instances import (
    LAYERS,
    PIPEEDGE_BATCH,
    Q80_BYTES,
    WIDTHS,
    Instance,
    TokenRow,
    read_partitioning,
    read_pipeedge,
    read_tokens,
)
from benchmarks.planner_shapes import SHAPES, Network
from benchmarks.report import show

BEST_KNOWN = {
    "bert24_inference": 17.7899,
    "resnet50_inference": 34.2229,
    "gnmt_inference": 32.9107,
    "bert_l-3_operators_inference": 27.9186,
    "resnet50_operators_inference": 128.074,
    "bert_l-6_operators_inference": 33.9891,
}
"""Periods of exact solutions (Tarnawski et al. 2020), in the instances' unit of time, for direct links."""

PUBLISHED_SPEEDUP = {("vit-large-patch16-224, Minnowboard-E3845", 16): 10.6}
"""Of PipeEdge's measurements (Hu et al. 2022): times one device."""

DEVICES = (1, 2, 4, 8, 16)

LINK = 125e6
"""Bytes a second of the gigabit switch of distributed-llama's Raspberry Pi 4B."""

LINKS = ("direct", "chain")

HEADER = ["instance", "units", "workers", "links", "method", "period", "bound", "by", "gap", "seconds", "best known"]


def line(instance: Instance, seconds: float) -> list[str]:
    """The cells of one instance under `HEADER`."""
    begun = time.perf_counter()
    found = certified(instance.problem, instance.workers, seconds=seconds)
    took = time.perf_counter() - begun
    best = BEST_KNOWN.get(instance.name) if instance.problem.links == "direct" else None
    return [instance.name, str(len(instance.problem.seconds)), str(len(instance.workers)), *_told(found),
            f"{took:.2f}", "" if best is None else f"{best:g}"]  # fmt: skip


def _told(found: Balance) -> list[str]:
    period, bound = f"{found.period:.6g}", f"{found.lower_bound:.6g}"
    return [found.links, found.method, period, bound, found.bound_by, f"{found.gap:.2%}"]


def shapes(workers: int, seconds: float) -> Iterator[list[str]]:
    """The cells of graphs that are made here under `HEADER`; seconds and bytes differ by up to 30 %."""
    for name, make in SHAPES.items():
        network = Network(random.Random(1), 0.3)
        make(network)
        for links in LINKS:
            yield line(Instance(name, network.problem(links), (Worker(bandwidth=1.0),) * workers), seconds)


SPEED_HEADER = ["model, device", "devices", "rows/s", "times one", "gap", "published", "off"]


def speedups(folder: Path, seconds: float) -> Iterator[list[str]]:
    """The cells of PipeEdge's devices under `SPEED_HEADER`."""
    for instance, alone in read_pipeedge(folder, DEVICES):
        count = len(instance.workers)
        try:
            found = certified(instance.problem, instance.workers, seconds=seconds)
        except CannotSplit:
            yield [instance.name, str(count), "does not fit", *[""] * 4]
            continue
        times = alone / found.period
        published = PUBLISHED_SPEEDUP.get((instance.name, count))
        told = ["", ""] if published is None else [f"{published:g}", f"{times / published - 1:+.0%}"]
        yield [
            instance.name,
            str(count),
            f"{PIPEEDGE_BATCH / found.period:.3g}",
            f"{times:.2f}",
            f"{found.gap:.2%}",
            *told,
        ]


TOKEN_HEADER = ["model, device", "devices", "ms a token", "published", "off"]


def predicted_token(model: str, one_device: float, devices: int) -> float:
    """Seconds a token over shards of the model, from those on one device and the link.

    Each layer's shards meet twice; each time the root sends a token's values to the others and gets as many back.
    """
    nbytes = LAYERS[model] * 2 * WIDTHS[model] * Q80_BYTES
    team = ReplicaTeam(bandwidth=LINK)
    stage = Stage(
        (team,), shard_seconds=one_device / devices, shards=devices, scatter_bytes=nbytes, gather_bytes=nbytes,
        exchanges=2 * LAYERS[model], exchange_seconds=ASSUMED.block_seconds,
    )  # fmt: skip
    times = busy([stage], 0, team)
    # The shards wait for one another, and the root for all.
    return times.exchange + one_device / devices


def tokens(rows: Sequence[TokenRow]) -> Iterator[list[str]]:
    """The cells of distributed-llama's rows under `TOKEN_HEADER`, of devices whose link is known."""
    alone = {(row.model, row.device): row.seconds for row in rows if row.devices == 1}
    for row in rows:
        if row.device.startswith("RaspberryPi-4B") and row.devices > 1 and (row.model, row.device) in alone:
            told = predicted_token(row.model, alone[row.model, row.device], row.devices)
            off = f"{told / row.seconds - 1:+.0%}"
            yield [f"{row.model}, {row.device}", str(row.devices), f"{told * 1e3:.0f}", f"{row.seconds * 1e3:.0f}", off]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 2 where the folder holds nothing that is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planner", description=(__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--instances", type=Path, metavar="DIR", help="files as their authors published them")
    what.add_argument(
        "--shapes", type=int, metavar="WORKERS", help="graphs of such kinds, made here, for so many workers"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="for a mixed-integer bound, at most")
    asked = parser.parse_args(argv)
    folder, seconds = asked.instances, asked.seconds
    if asked.shapes:
        show(HEADER, list(shapes(asked.shapes, seconds)))
        return 0
    try:
        graphs = [read_partitioning(path, links) for path in sorted(folder.rglob("*.json")) for links in LINKS]
        found = [line(one, seconds) for one in graphs]
        devices = [row for path in sorted(folder.rglob("device_types.yml")) for row in speedups(path.parent, seconds)]
        llama = [row for path in sorted(folder.rglob("dllama.csv")) for row in tokens(read_tokens(path))]
    except (OSError, ValueError, KeyError) as error:
        print(f"error: --instances {folder}: {error}", file=sys.stderr)
        return 2
    if not (found or devices or llama):
        print(f"error: --instances {asked.instances} holds no *.json, device_types.yml or dllama.csv", file=sys.stderr)
        return 2
    tables = [
        (header, rows) for header, rows in ((HEADER, found), (SPEED_HEADER, devices), (TOKEN_HEADER, llama)) if rows
    ]
    for number, (header, rows) in enumerate(tables):
        print("\n" * bool(number), end="")
        show(header, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
