"""`python -m runners.local up|down|status`: a Kafka broker and a Flink cluster on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from beamsplit.runners.cache import cache_folder
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.local import FlinkCluster, KafkaBroker

KAFKA_PORT, FLINK_PORT = 9092, 8081
OK, FAILED = 0, 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m runners.local",
        description="A Kafka broker and a Flink cluster on this machine, for trying things out.",
        epilog="without --kafka and --flink: both",
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=("up", "down", "status"))
    parser.add_argument("--kafka", action="store_true", help="the broker only")
    parser.add_argument("--flink", action="store_true", help="the cluster only")
    parser.add_argument("--dir", type=Path, metavar="FOLDER", help="state, logs and pids (default: the user's cache)")
    parser.add_argument("--kafka_port", type=int, default=KAFKA_PORT, metavar="N", help="default: %(default)s; 0: any")
    parser.add_argument("--flink_port", type=int, default=FLINK_PORT, metavar="N", help="default: %(default)s; 0: any")
    parser.add_argument("--task_managers", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--slots", type=int, default=2, metavar="N", help="of a TaskManager (default: %(default)s)")
    options = parser.parse_args(argv)
    folder = options.dir or cache_folder() / "local"
    both = options.kafka == options.flink
    try:
        code = OK
        if both or options.kafka:
            code |= _kafka(options, folder / "kafka")
        if both or options.flink:
            code |= _flink(options, folder / "flink")
        return code
    except RunnerError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


def _kafka(options: argparse.Namespace, folder: Path) -> int:
    broker = KafkaBroker(folder, settings={"auto.create.topics.enable": "true", "num.partitions": "4"})
    if options.command == "up":
        if broker.process.pid is None and options.kafka_port:
            broker.port = options.kafka_port
        broker.start()
    elif options.command == "down":
        broker.stop()
    return _tell("kafka", broker.address, [broker.process.pid], folder, options.command)


def _flink(options: argparse.Namespace, folder: Path) -> int:
    there = len(list(folder.glob("taskmanager-*.pid")))
    cluster = FlinkCluster(folder, max(there, options.task_managers), options.slots)
    if options.command == "up":
        if cluster.job_manager.pid is None and options.flink_port:
            cluster.port = options.flink_port
        cluster.start()
    elif options.command == "down":
        cluster.stop()
    pids = [each.pid for each in (cluster.job_manager, *cluster.task_managers)]
    return _tell("flink", cluster.address, pids, folder, options.command)


def _tell(name: str, address: str, pids: list[int | None], folder: Path, command: str) -> int:
    running = [str(pid) for pid in pids if pid is not None]
    state = f"up at {address} (pid {', '.join(running)})" if running else "down"
    print(f"{name}  {state}, files in {folder}")
    return OK if command != "status" or len(running) == len(pids) else FAILED


if __name__ == "__main__":
    sys.exit(main())
