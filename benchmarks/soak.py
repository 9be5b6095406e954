"""A stream through Flink that is hit while it runs: what is lost, what is doubled, how soon it goes on.

python -m benchmarks.soak                                   # 1M messages for each delivery; Java and Maven
python -m benchmarks.soak --messages 50000 --delivery exactly_once --hits worker,broker

sender --rate--> topic --> [ Flink: 2 TaskManagers, a worker a slot ] --> topic --> counter (committed messages)
                   ^            ^     ^              ^                      ^
                broker      JobManager, TaskManager, worker: SIGKILL     broker
                retention   the job: SIGTERM, and started again
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from beamsplit.runners.local import FlinkCluster, KafkaBroker
from benchmarks.soak_job import HITS, Outcome, Soak

SETTINGS = {"cluster.evenly-spread-out-slots": "true"}
"""Of the cluster: else one TaskManager may get all there is to do."""

DELIVERIES = ("at_least_once", "exactly_once")

PLANNED = "stop_and_start,worker,stop_and_start,task_manager,broker,retention,broker_away,stop_and_start,job_manager"
"""What hits a stream unless other blows are named."""


def run_soak(soak: Soak, messages: int, hits: Sequence[str], say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Send so many messages, or more where the hits take longer, with the hits spread evenly over them."""
    started = time.monotonic()
    seconds: dict[str, list[float]] = {}
    with soak:
        for number, what in enumerate(hits, 1):
            soak.sender.wait_for(messages * number // (len(hits) + 1))
            seconds.setdefault(what, []).append(soak.hit(what))
            say(f"  {what}: went on after {seconds[what][-1]:.1f} s")
        soak.sender.wait_for(messages)
        outcome = soak.finish()
    outcome.seconds, outcome.hits = round(time.monotonic() - started, 1), seconds
    return outcome


@contextlib.contextmanager
def _services(folder: Path) -> Iterator[tuple[KafkaBroker, FlinkCluster]]:
    with (
        KafkaBroker(folder / "kafka") as broker,
        FlinkCluster(folder / "flink", task_managers=2, slots=2, settings=SETTINGS) as cluster,
    ):
        yield broker, cluster


def main(argv: list[str] | None = None) -> int:
    """The command; 1 if anything was lost or misjudged, or doubled where it must not be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rate", type=float, default=5_000, metavar="N", help="messages a second (default: 5000)")
    parser.add_argument("--delivery", choices=(*DELIVERIES, "both"), default="both")
    parser.add_argument("--hits", default=PLANNED, metavar=",".join(HITS), help=f"in their order (default: {PLANNED})")
    parser.add_argument("--poison", type=int, default=0, metavar="N", help="one message of N cannot be scored")
    parser.add_argument("--checkpoint", default="5s", metavar="5s")
    parser.add_argument("--more", default="", metavar="OPTIONS", help="other options of score, e.g. '--shards 2'")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    options = parser.parse_args(argv)
    hits = [each for each in options.hits.split(",") if each]
    if unknown := [each for each in hits if each not in HITS]:
        parser.error(f"--hits {unknown[0]} is none of {', '.join(HITS)}")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="beamsplit-soak-") as name, _services(Path(name)) as (broker, cluster):
        for delivery in DELIVERIES if options.delivery == "both" else (options.delivery,):
            print(f"{delivery}: {options.messages:,} messages at {options.rate:,.0f}/s", flush=True)
            more = shlex.split(options.more)
            soak = Soak(broker, cluster, Path(name), delivery, options.rate, options.checkpoint, more, options.poison)
            outcome = run_soak(soak, options.messages, hits, lambda line: print(line, flush=True))
            outcomes.append(outcome)
            told = [
                f"{getattr(outcome, name):,} {name}" for name in ("lost", "doubled", "failed", "misjudged", "taken")
            ]
            print(f"  {outcome.sent:,} sent in {outcome.seconds:.0f} s: {', '.join(told)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=1) + os.linesep)
    return 0 if all(each.good for each in outcomes) else 1


if __name__ == "__main__":
    # Ctrl-C and a kill end the services in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
