"""What each node of a model costs: seconds by ONNX Runtime's own profiler, bytes of each tensor; cached.

loaded graph --ONNX Runtime--> optimised graph --profiler--> seconds a node --fusion.py--> seconds a given node
     |
     +--- run once more as it is, unoptimised: the shape of every tensor, and how to deal a fused node's seconds
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime as ort

from beamsplit.models.cost import profile_cache
from beamsplit.models.cost.estimate import MachineRate, estimate_profile, tensor_bytes
from beamsplit.models.cost.fusion import Wires, spread_seconds
from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.cost.trace import Trace, time_runs, traced_runs
from beamsplit.models.graph.parts import parts_of
from beamsplit.models.running.providers import CPU, short_name
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.values.tensors import Array

BUDGET_SECONDS = 2.0
"""For the timed runs of one profile, about; loading and the warm runs not counted."""


def measure_profile(model: ir.Model, run: SampleRun, *, budget_seconds: float = BUDGET_SECONDS) -> Profile:
    """Measure a loaded graph on sample rows, or take what was measured before.

    The graph is run optimised, under the profiler and then without it, and as it is, one after the other, so that
    its weights are in memory once at a time.

    Args:
        model: of `load_graph`; every node has a name of its own.
        run: what it is measured on; its file is where its external data is found.
        budget_seconds: for the timed runs.

    Raises:
        UsageError: ONNX Runtime cannot load the model.
        ModelRunError: it cannot run it on these feeds.
    """
    feeds, options, rows = run.feeds, run.options, run.rows
    source, folder, key = _cached(model, run)
    known = _known(model, folder, key)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="beamsplit-profile-") as hidden:
        optimised, ran, total = _run_optimised(source, run, hidden, budget_seconds)
        plain = _run_plain(source, run, hidden)
    del source
    sizes = _value_bytes(model, feeds, plain)
    notes: list[str] = []
    shares = _shares(model, plain, sizes, options)
    seconds = dict(optimised.node_seconds)
    if any(provider not in ("", CPU) for provider in optimised.providers.values()):
        # What the profiler times there is the start of work that goes on behind.
        seconds = dict.fromkeys(seconds, 0.0)
        name = short_name(options.providers[0])
        notes.append(f"seconds of nodes on {name} are dealt by estimate: the profiler does not see when they end")
    given = [Wires(name, part.reads, part.makes) for name, part in parts_of(model).items()]
    spread = spread_seconds(given, ran, seconds, shares)
    found = spread.node_seconds if any(spread.node_seconds.values()) else shares
    whole = sum(found.values())
    if whole and spread.unmapped > 0.02 * whole:
        notes.append(f"{spread.unmapped / whole:.0%} of the seconds belong to no node by name and are dealt to all")
    scaled = {name: value * total / whole if whole else total / len(found) for name, value in found.items()}
    profile = Profile(rows, scaled, sizes, total, "measured", options.providers[0], options.threads, tuple(notes))
    if folder is not None:
        profile_cache.write(folder, key, dataclasses.asdict(profile))
    return profile


def known_profile(model: ir.Model, run: SampleRun) -> Profile | None:
    """What `measure_profile` has measured before of the same; None where nothing is known."""
    _, folder, key = _cached(model, run)
    return _known(model, folder, key)


def _cached(model: ir.Model, run: SampleRun) -> tuple[bytes, str | None, str]:
    """(the graph as bytes, the folder of what was measured before, the name of it there)."""
    source = ir.to_proto(model).SerializeToString(deterministic=True)
    folder = profile_cache.default_folder() if run.cache_folder == "" else run.cache_folder
    return source, folder, profile_cache.key(source, run.feeds, run.options, run.rows)


def _known(model: ir.Model, folder: str | None, key: str) -> Profile | None:
    known = None if folder is None else profile_cache.read(folder, key, Profile)
    if isinstance(known, Profile) and known.node_seconds.keys() == {str(node.name) for node in model.graph}:
        return known
    return None


def _run_optimised(
    source: bytes, run: SampleRun, hidden: str, budget_seconds: float
) -> tuple[Trace, list[Wires], float]:
    path = os.path.join(hidden, "optimised.onnx")
    if os.name == "posix":
        # Nobody reads the weights, and of a large model writing them takes longer than all runs.
        os.symlink(os.devnull, os.path.join(hidden, "weights"))

    def configure(settings: ort.SessionOptions) -> None:
        _profile_into(hidden)(settings)
        settings.optimized_model_filepath = path
        # A message holds at most 2 GB, so that weights have to lie beside it; only its nodes are read.
        settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        settings.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")

    with _session(source, run, configure) as session:
        ran = _optimised_nodes(path)
        trace = traced_runs(session, run.feeds, budget_seconds / 2)
        total = time_runs(lambda: session.run(run.feeds), budget_seconds / 2)
    if not ran:
        ran = [Wires(name, (), ()) for name in trace.node_seconds]
    return trace, ran, total


def _run_plain(source: bytes, run: SampleRun, hidden: str) -> Trace:
    def configure(settings: ort.SessionOptions) -> None:
        _profile_into(hidden)(settings)
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL

    with _session(source, run, configure) as session:
        return traced_runs(session, run.feeds, 0.0, least=1)


def _profile_into(folder: str) -> Callable[[ort.SessionOptions], None]:
    def configure(settings: ort.SessionOptions) -> None:
        settings.enable_profiling = True
        settings.profile_file_prefix = os.path.join(folder, "trace")

    return configure


@contextlib.contextmanager
def _session(source: bytes, run: SampleRun, configure: Callable[[ort.SessionOptions], None]) -> Iterator[Session]:
    """A session that nobody else uses, and whose memory is free again behind the block."""
    session = Session(run.model_file, run.options, source=source, configure=configure)
    try:
        yield session
    finally:
        del session


def _optimised_nodes(path: str) -> list[Wires]:
    """Nodes of the graph that ONNX Runtime runs; none where it cannot write it (compiled subgraphs)."""
    if not os.path.exists(path):
        return []
    proto = onnx.load(path, load_external_data=False)
    for file in Path(path).parent.iterdir():
        if file.name in ("optimised.onnx", "weights"):
            file.unlink()
    return [Wires(node.name, tuple(node.input), tuple(node.output)) for node in proto.graph.node]


def _value_bytes(model: ir.Model, feeds: Mapping[str, Array], plain: Trace) -> dict[str, float]:
    """Bytes of each input and each node's outputs, of their real shapes and the types that the graph gives them."""
    sizes: dict[str, float] = {}
    for value in model.graph.inputs:
        name = str(value.name)
        if name in feeds:
            sizes[name] = tensor_bytes(value, feeds[name].shape)
    for node in model.graph:
        made = [value for value in node.outputs if value.name]
        shapes = plain.shapes.get(str(node.name), ())
        if len(shapes) != len(made):
            # Sequences have no shape; a node in a graph that was compiled whole is not seen.
            shapes = ()
        for i, value in enumerate(made):
            sizes[str(value.name)] = tensor_bytes(value, shapes[i] if shapes else None)
    return sizes


def _shares(model: ir.Model, plain: Trace, sizes: Mapping[str, float], options: SessionOptions) -> dict[str, float]:
    """How much of a fused node's seconds each given node gets: its own seconds unfused, where they are measured."""
    names = list(_computed(model))
    on_cpu = all(provider in ("", CPU) for provider in plain.providers.values())
    if on_cpu and any(plain.node_seconds.get(name) for name in names):
        return {name: plain.node_seconds.get(name, 0.0) for name in names}
    rate = MachineRate(threads=options.threads)
    estimate = estimate_profile(model, rows=1, sizes=sizes, rate=rate, provider=options.providers[0])
    return {name: estimate.node_seconds[name] for name in names}


def _computed(model: ir.Model) -> Iterator[str]:
    """Nodes that depend on the rows: the others are computed once, when the model is loaded."""
    known = {str(value.name) for value in model.graph.initializers.values()}
    for name, part in parts_of(model).items():
        if part.reads and known.issuperset(part.reads):
            known.update(part.makes)
        elif part.reads or part.node.op_type.startswith(("Random", "Bernoulli", "Multinomial")):
            yield name
        else:
            known.update(part.makes)
