"""Does the simulator foretell what processes of this machine do?  python -m benchmarks.apart --help

Each way to use 1, 2 and 4 processes is run as processes of one thread each, linked by sockets, in turn, and its rows a
second stand beside what the simulator says of the same way: from the profile of the whole model, what a block costs
from process to process, and the cores, which four processes share.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from beamsplit.models.cost.cluster import read_cluster
from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.graph.feeds import find_id_limits, make_feeds
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.providers import CPU
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.shard.plan import ShardPlan
from beamsplit.models.shard.planner import divide
from beamsplit.models.split.alternatives import core_count
from beamsplit.models.split.cuts import SplitGraph, split_graph
from beamsplit.models.split.planner import make_plan
from beamsplit.models.split.profiled import profile_model
from beamsplit.models.split.sharded_stages import divide_stages, one_chain
from beamsplit.models.split.stage import save_stages
from beamsplit.models.split.staged import tensors_of
from beamsplit.models.strategy.candidate import candidates
from beamsplit.models.strategy.exchange import measure_exchange
from beamsplit.models.strategy.local_timings import time_locally
from beamsplit.models.strategy.planner import HERE_SECONDS
from beamsplit.models.strategy.simulate import simulate
from beamsplit.models.strategy.teams import apart
from beamsplit.models.strategy.width import make_widths
from beamsplit.models.values.tensors import Array
from benchmarks import data
from benchmarks.apart_worker import Step, rate
from benchmarks.measure import ROOT, save_tensors
from benchmarks.report import show
from benchmarks.split_models import SplitCase, large

GOAL = 0.15
"""Share by which what was measured may differ from what was simulated."""

ONE = SessionOptions((CPU,), 1)


@dataclass(frozen=True)
class Way:
    """So many pods of stages of shards."""

    stages: int
    shards: int
    pods: int = 1

    @property
    def processes(self) -> int:
        """All together."""
        return self.stages * self.shards * self.pods

    @property
    def name(self) -> str:
        """E.g. `2 stages x 2 shards`."""
        parts = [f"{count} {word}" for word, count in (("stages", self.stages), ("shards", self.shards)) if count > 1]
        return " x ".join(parts) or ("the whole model" if self.pods == 1 else f"{self.pods} replicas")


WAYS = (Way(1, 1), Way(1, 1, 2), Way(2, 1), Way(1, 2), Way(1, 1, 4), Way(4, 1), Way(1, 4), Way(2, 2))


@dataclass(frozen=True)
class ApartResult:
    """One model run one way."""

    model: str
    way: str
    processes: int
    rows: int
    simulated: list[float]
    """Rows a second in each run, from the whole model as it was timed just before."""

    measured: list[float]
    """The same."""

    @property
    def off(self) -> float:
        """By how much what was measured is above what was simulated, by the median of the runs."""
        return statistics.median(b / a for a, b in zip(self.simulated, self.measured, strict=True)) - 1


@dataclass(frozen=True)
class Chain:
    """The saved steps of one way."""

    plan: ShardPlan | None
    """None: the whole model."""

    folder: str
    stages: int


class Case:
    """A model, its rows, and what its parts cost."""

    def __init__(self, case: SplitCase):
        self.name, self.rows, self.model = case.name, case.rows, ModelFile(str(case.model))
        self.graph: SplitGraph = split_graph(load_graph(self.model))
        session = Session(self.model, ONE)
        self.feeds: dict[str, Array] = make_feeds(
            session.signature, case.rows, id_limits=find_id_limits(self.graph.model)
        )
        del session
        self.run = SampleRun(self.model, self.feeds, ONE, case.rows, None)
        self.alone: Profile = profile_model(self.graph, self.run)

    def simulated(self, way: Way) -> float:
        """Rows a second, from the whole model's profile alone, timed anew: what else the machine does falls on both."""
        here = time_locally(self.model, self.feeds, ONE, HERE_SECONDS, own_weights=way.pods > 1)
        if way.processes == 1:
            here = replace(here, together=here.alone)
        seen = here.profile(self.alone)
        exchange = measure_exchange()
        workers = read_cluster(str(way.processes), bandwidth=exchange.bandwidth())
        counts = (way.shards,) if way.shards > 1 else ()
        widths, _ = make_widths(self.model, self.feeds, self.graph, seen, counts)
        # These processes wait for each micro-batch to be joined.
        found = candidates(widths[-1:], workers, self.rows, way.stages, replace(apart(exchange), in_flight=1))
        (one,) = (one for one in found if one.stages == way.stages)
        return simulate(one, self.rows, cores=core_count()).rows_per_second

    def save(self, way: Way, folder: str) -> Chain:
        """The models of the way's processes."""
        if way.stages == 1:
            return Chain(divide(self.model, self.feeds, way.shards, folder) if way.shards > 1 else None, folder, 1)
        workers = read_cluster(str(way.stages))
        plan = make_plan(self.run, way.stages, workers, timed="stages", graph=self.graph, profile=self.alone)
        plan = save_stages(self.graph.model, plan, folder)
        if way.shards > 1:
            sessions = [Session(ModelFile(os.path.join(folder, str(stage.file))), ONE) for stage in plan.stages]
            plan, _ = divide_stages(plan, folder, tensors_of(sessions, self.feeds), way.shards)
            return Chain(one_chain(plan), folder, way.stages)
        steps = [_whole(str(one.file), one.inputs, one.outputs, one.index) for one in plan.stages]
        Path(folder, "steps.json").write_text(json.dumps(steps))
        return Chain(None, folder, way.stages)


def _whole(file: str, inputs: Sequence[str], outputs: Sequence[str], depth: int = 0) -> Step:
    return Step(sharded=False, files=[file], inputs=list(inputs), outputs=list(outputs), depth=depth)


def steps_of(case: Case, chain: Chain) -> list[Step]:
    """Each step as a process is told of it."""
    if chain.plan is not None:
        return [
            Step(sharded=one.sharded, files=one.files, inputs=one.inputs, outputs=one.outputs, depth=one.depth)
            for one in chain.plan.steps
        ]
    if chain.stages > 1:
        return list(json.loads(Path(chain.folder, "steps.json").read_text()))
    graph = case.graph.model.graph
    takes, gives = ([str(value.name) for value in side] for side in (graph.inputs, graph.outputs))
    return [_whole(os.path.abspath(case.model.path), takes, gives)]


def run(case: Case, way: Way, chain: Chain, micro_batches: int, folder: Path) -> float:
    """Rows a second of all pods together, when they are full."""
    feeds = folder / "feeds.npz"
    save_tensors(feeds, case.feeds)
    steps = steps_of(case, chain)
    of_stage = [[step for step in steps if step["depth"] == stage] for stage in range(way.stages)]
    started: list[subprocess.Popen[str]] = []
    last: list[subprocess.Popen[str]] = []
    try:
        for pod in range(way.pods):
            before: socket.socket | None = None
            for stage, own in enumerate(of_stage):
                behind, far = _connected() if stage + 1 < way.stages else (None, None)
                pairs = [_connected() for _ in range(way.shards - 1)]
                later = {name for one in of_stage[stage + 1 :] for step in one for name in step["inputs"]}
                so_far = [name for one in of_stage[: stage + 1] for step in one for name in step["outputs"]]
                made = [*case.feeds, *so_far]
                job = {
                    "folder": os.path.abspath(chain.folder), "steps": own, "feeds": str(feeds), "count": micro_batches,
                    "before": None if before is None else before.fileno(), "leader": None,
                    "behind": None if behind is None else behind.fileno(),
                    "shards": [ours.fileno() for ours, _ in pairs],
                    "hands_on": [name for name in dict.fromkeys(made) if name in later],
                }  # fmt: skip
                ends = [one for one in (before, behind, *(ours for ours, _ in pairs)) if one is not None]
                started.append(_start(job, ends, folder / f"{pod}-{stage}.json"))
                for at, (_, theirs) in enumerate(pairs, 1):
                    shard = {**job, "leader": theirs.fileno(), "shard": at}
                    helper = _start(shard, [theirs], folder / f"{pod}-{stage}-{at}.json")
                    started.insert(0, helper)
                for one in [*ends, *(theirs for _, theirs in pairs)]:
                    one.close()
                before = far
            last.append(started[-1])
        return case.rows * sum(rate(_done(process)) for process in last)
    finally:
        for process in started:
            process.kill()
            process.wait()


def _connected() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection over the loopback, as workers of a runner have."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for end in (one, other):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


def _start(job: dict[str, object], ends: Sequence[socket.socket], path: Path) -> subprocess.Popen[str]:
    path.write_text(json.dumps(job))
    command = [sys.executable, "-m", "benchmarks.apart_worker", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, pass_fds=[one.fileno() for one in ends]
    )


def _done(process: subprocess.Popen[str]) -> list[float]:
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a worker ended with {process.returncode}")
    return [float(one) for one in json.loads(out.splitlines()[-1])]


def measure(case: Case, ways: Sequence[Way], runs: int, micro_batches: int, folder: Path) -> list[ApartResult]:
    """Each way, in turn."""
    chains = {way: case.save(way, str(folder / f"{way.stages}x{way.shards}")) for way in ways}
    results = {way: ApartResult(case.name, way.name, way.processes, case.rows, [], []) for way in ways}
    for _ in range(runs):
        for way, result in results.items():
            result.simulated.append(case.simulated(way))
            result.measured.append(run(case, way, chains[way], micro_batches, folder))
    return list(results.values())


MODELS: dict[str, Callable[[Path], SplitCase]] = {
    "mlp": lambda folder: SplitCase("mlp", large(folder, 1_024, 8), 64),
    "encoder": lambda folder: SplitCase("encoder", data.encoder(), 16),
}
"""By name, made in a folder if they are not there."""

HEADER = ["model", "way", "processes", "rows/s simulated", "measured", "off"]


def goals(results: Sequence[ApartResult]) -> list[str]:
    """For each model and number of processes the worst of its ways."""
    told = []
    for model in dict.fromkeys(one.model for one in results):
        for processes in sorted({one.processes for one in results}):
            ways = [one for one in results if (one.model, one.processes) == (model, processes)]
            worst = max(ways, key=lambda one: abs(one.off))
            met = "met" if abs(worst.off) <= GOAL else "NOT met"
            told.append(f"{model}, {processes} processes: at most {worst.off:+.0%} off, goal 15 %: {met}")
    return told


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.apart", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="of each way")
    parser.add_argument("--micro_batches", type=int, default=40, help="of a run; the second half counts")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), help="default: all")
    parser.add_argument("--quick", action="store_true", help="one small model, one run")
    parser.add_argument("--data", type=Path, default=Path("benchmarks/data"), help="folder of the models")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"), help="folder of the results")
    options = parser.parse_args(argv)
    for folder in (options.data, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    models = options.models or (["mlp"] if options.quick else list(MODELS))
    results = []
    for name in models:
        with tempfile.TemporaryDirectory(prefix="apart-") as folder:
            case, runs = Case(MODELS[name](options.data)), 1 if options.quick else options.runs
            results += measure(case, WAYS, runs, options.micro_batches, Path(folder))
        print(f"{results[-1].model}: measured", flush=True)
    lines = []
    for one in results:
        simulated, measured = (f"{statistics.median(each):,.1f}" for each in (one.simulated, one.measured))
        lines.append([one.model, one.way, str(one.processes), simulated, measured, f"{one.off:+.0%}"])
    show(HEADER, lines)
    reached = goals(results)
    print("\n" + "\n".join(reached))
    path = options.out / "apart.json"
    path.write_text(json.dumps({"results": [asdict(one) for one in results], "goals": reached}, indent=2) + "\n")
    print(f"\n{path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
