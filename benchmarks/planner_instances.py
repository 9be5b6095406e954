"""Instances of pipeline partitioning that others published, as problems of our solver."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from beamsplit.models.graph.order import components
from beamsplit.models.split.balance import Problem, Value, Weight, Worker

PIPEEDGE_BATCH = 8
"""Examples in a micro-batch of PipeEdge's profiles."""

LAYERS = {"llama2-7b-q40": 32, "llama3-8b-q40": 32, "llama2-13b-q40": 40}
WIDTHS = {"llama2-7b-q40": 4096, "llama3-8b-q40": 4096, "llama2-13b-q40": 5120}
"""Of the models of distributed-llama: layers, and values of a token between them."""

Q80_BYTES = 34 / 32
"""Of a value of distributed-llama's buffers: 32 of 8 bits share a scale of 16."""


@dataclass(frozen=True)
class Instance:
    """One problem, and the workers to solve it for."""

    name: str
    problem: Problem
    workers: tuple[Worker, ...]


@dataclass(frozen=True)
class TokenRow:
    """What distributed-llama published of one model on so many devices; seconds a token."""

    model: str
    device: str
    devices: int
    seconds: float


def read_partitioning(path: Path, links: str) -> Instance:
    """An instance of msr-fiddle/dnn-partitioning (Tarnawski et al. 2020), throughput, no CPUs.

    Nodes of one colour are one unit, as are those that wait for one another then. What costs nothing and follows from
    nothing else is a weight of each stage that reads it.

    Raises:
        ValueError: it is none.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not {"nodes", "edges", "maxFPGAs"} <= data.keys():
        raise ValueError(f"{path} has no nodes, edges and maxFPGAs")
    nodes = {str(node["id"]): node for node in data["nodes"]}
    follows: dict[str, list[str]] = {one: [] for one in nodes}
    first: dict[str, str] = {}
    for one, node in nodes.items():
        other = first.setdefault(str(node.get("colorClass", f"alone {one}")), one)
        follows[one].append(other)
        follows[other].append(one)
    sent: dict[str, tuple[float, set[str]]] = {}
    for edge in data["edges"]:
        source, reader = str(edge["sourceId"]), str(edge["destId"])
        follows[reader].append(source)
        cost, others = sent.get(source, (0.0, set()))
        sent[source] = (max(cost, float(edge["cost"])), others | {reader})
    groups = components(follows)
    group_of = {one: at for at, group in enumerate(groups) for one in group}
    seconds = [sum(float(nodes[one]["fpgaLatency"]) for one in group) for group in groups]
    before: list[set[int]] = [set() for _ in groups]
    for one, (_, readers) in sent.items():
        for reader in readers:
            before[group_of[reader]].add(group_of[one])
    free = set[int]()
    for at in range(len(groups)):
        if not seconds[at] and (before[at] - {at}) <= free:
            free.add(at)
    units = [at for at in range(len(groups)) if at not in free] or [0]
    number = {at: unit for unit, at in enumerate(units)}
    values, weights = [], []
    for one, (cost, readers) in sent.items():
        at = group_of[one]
        users = {number[group_of[reader]] for reader in readers if group_of[reader] in number}
        if at in number and users - {number[at]}:
            values.append(Value(cost, number[at], tuple(sorted(users - {number[at]}))))
    for one, node in nodes.items():
        at = group_of[one]
        users = {number[at]} if at in number else _readers(at, before, number)
        weights.append(Weight(float(node["size"]), tuple(sorted(users))))
    problem = Problem(tuple(seconds[at] for at in units), tuple(values), tuple(weights), links=links)
    worker = Worker(memory_bytes=float(data.get("maxSizePerFPGA") or "inf"), bandwidth=1.0)
    return Instance(path.stem, problem, (worker,) * int(data["maxFPGAs"]))


def _readers(at: int, before: Sequence[set[int]], number: Mapping[int, int]) -> set[int]:
    """Units that read what a weight becomes."""
    found, ahead = set[int](), [at]
    while ahead:
        one = ahead.pop()
        for reader, units in enumerate(before):
            if one in units and reader != one:
                if reader in number:
                    found.add(number[reader])
                else:
                    ahead.append(reader)
    return found


def read_pipeedge(folder: Path, devices: Sequence[int]) -> Iterator[tuple[Instance, float]]:
    """(an instance, seconds of a micro-batch on one device) for each model, kind of device and number of them.

    PipeEdge's profiles (Hu et al. 2022) of layers that follow one another: `models.yml` and `device_types.yml`.
    """
    import yaml

    models = yaml.safe_load((folder / "models.yml").read_text(encoding="utf-8"))
    kinds = yaml.safe_load((folder / "device_types.yml").read_text(encoding="utf-8"))
    for kind, device in kinds.items():
        for name, profiles in (device["model_profiles"] or {}).items():
            profile = next((one for one in profiles if one["batch_size"] == PIPEEDGE_BATCH and one["time_s"]), None)
            if profile is None or not models[name]["layers"]:
                continue
            model = models[name]
            nbytes = [4.0 * PIPEEDGE_BATCH * count for count in model["parameters_out"]]
            last = len(nbytes) - 1
            values = [Value(4.0 * PIPEEDGE_BATCH * model["parameters_in"], -1, (0,))]
            values += [Value(one, at, (at + 1,)) for at, one in enumerate(nbytes[:-1])]
            values.append(Value(nbytes[-1], last, (), True))
            weights = tuple(Weight(1e6 * held, (at,)) for at, held in enumerate(model["mem_MB"]))
            problem = Problem(tuple(profile["time_s"]), tuple(values), weights)
            worker = Worker(memory_bytes=1e6 * device["mem_MB"], bandwidth=1e6 * device["bw_Mbps"] / 8)
            for count in devices:
                label = f"{name.rpartition('/')[2]}, {kind}"
                yield Instance(label, problem, (worker,) * count), sum(problem.seconds)


def read_tokens(path: Path) -> list[TokenRow]:
    """Rows of distributed-llama's table, as CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            TokenRow(row["model"], row["device"], int(row["devices"]), float(row["ms_a_token"]) / 1e3)
            for row in csv.DictReader(file)
        ]
