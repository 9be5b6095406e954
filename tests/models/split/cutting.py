"""Cut a model in several ways and compare the chain of its stages with the whole."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from beamsplit.models.cost.cluster import read_cluster
from beamsplit.models.cost.estimate import estimate_profile
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import SessionOptions, drop_session, get_session
from beamsplit.models.split.chain import ChainCheck, StageChain, check_chain, open_chain
from beamsplit.models.split.cuts import SplitGraph, split_graph
from beamsplit.models.split.plan import Plan
from beamsplit.models.split.planner import draw_stages
from beamsplit.models.split.stage import assign, save_stages

ONE_THREAD = SessionOptions(threads=1)


def graph_of(model: onnx.ModelProto | str | Path, folder: Path) -> SplitGraph:
    """The units of a model, given as a message or a file."""
    return split_graph(load_graph(file_of(model, folder)))


def file_of(model: onnx.ModelProto | str | Path, folder: Path) -> ModelFile:
    if not isinstance(model, onnx.ModelProto):
        return ModelFile(str(model))
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return ModelFile(str(path))


def equal_cut(graph: SplitGraph, stages: int) -> list[int]:
    """As many units in each stage."""
    return [i * stages // graph.most_stages for i in range(graph.most_stages)]


def random_cut(graph: SplitGraph, stages: int, seed: int) -> list[int]:
    cuts = sorted(random.Random(seed).sample(range(1, graph.most_stages), stages - 1))
    return [sum(i >= cut for cut in cuts) for i in range(graph.most_stages)]


def planned_cut(graph: SplitGraph, feeds: Mapping[str, np.ndarray[Any, Any]], stages: int) -> tuple[int, ...]:
    """Where the planner cuts, by estimated times."""
    shapes = {name: value.shape for name, value in feeds.items()}
    rows = max((shape[0] for shape in shapes.values() if shape), default=1)
    profile = estimate_profile(graph.model, rows=rows, input_shapes=shapes)
    return draw_stages(graph, profile, stages, read_cluster(str(stages))).balance.stage_of


def plan_of(graph: SplitGraph, stage_of: Iterable[int]) -> Plan:
    return Plan("model.onnx", "0", 1, assign(graph, list(stage_of)))


def chain_of(graph: SplitGraph, stage_of: Iterable[int], folder: Path) -> StageChain:
    plan = save_stages(graph.model, plan_of(graph, stage_of), str(folder))
    return open_chain(plan, str(folder), ONE_THREAD)


def check_cuts(
    model: onnx.ModelProto | str | Path,
    feeds: Mapping[str, np.ndarray[Any, Any]],
    folder: Path,
    *,
    ways: Iterable[int] = (2, 3, 5),
    seeds: Iterable[int] = (0,),
    equal: bool = True,
    tolerance: float | None = None,
    rewrites: tuple[str, ...] = (),
) -> list[ChainCheck]:
    """Cut as many ways as the model can be, as planned, equally and at random, and check each chain; one must be."""
    file = dataclasses.replace(file_of(model, folder), rewrites=rewrites)
    graph = split_graph(load_graph(file))
    whole = get_session(file, ONE_THREAD)
    checks = []
    for stages in ways:
        if stages > graph.most_stages:
            continue
        cuts: list[Sequence[int]] = [planned_cut(graph, feeds, stages)]
        cuts += [equal_cut(graph, stages)] if equal else []
        cuts += [random_cut(graph, stages, seed) for seed in seeds]
        for number, stage_of in enumerate(cuts):
            written = folder / f"{stages}-{number}"
            chain = chain_of(graph, stage_of, written)
            checks.append(check_chain(whole, chain, dict(feeds), tolerance))
            for session in chain.sessions:
                drop_session(session)
            shutil.rmtree(written)
    drop_session(whole)
    assert checks, f"only {graph.most_stages} units: {graph.notes}"
    return checks
