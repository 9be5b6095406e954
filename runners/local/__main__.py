"""`python -m runners.local up|down|status|topic`: Kafka, Flink and a schema registry on this machine."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from beamsplit.runners.cache import cache_folder
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.local import FlinkCluster, KafkaBroker, SchemaRegistry
from beamsplit.runners.local.found import Found, find_flink, find_kafka
from beamsplit.runners.local.topics import (
    consume,
    counted,
    create_topic,
    produce_lines,
    shown,
    shown_whole,
)

KAFKA_PORT, FLINK_PORT, REGISTRY_PORT = 9092, 8081, 8085
OK, FAILED = 0, 1
INTERRUPTED = 130

EXAMPLES = """\
examples:
  python -m runners.local up
  python -m runners.local up --kafka --registry
  python -m runners.local topic create in --partitions 4
  python -m runners.local topic produce in rows.jsonl
  python -m runners.local topic consume out --count 10 --full
  python -m runners.local down
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runners.local",
        description="A Kafka broker and a Flink cluster on this machine, for trying things out.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    places = argparse.ArgumentParser(add_help=False)
    places.add_argument("--dir", type=Path, metavar="FOLDER", help="state, logs and pids (default: the user's cache)")
    services = argparse.ArgumentParser(add_help=False, parents=[places])
    services.add_argument(
        "--kafka", action="store_true", help="the broker only (without it and the others: broker and cluster)"
    )
    services.add_argument("--flink", action="store_true", help="the cluster only")
    services.add_argument("--registry", action="store_true", help="a schema registry, with its schemas in memory")
    services.add_argument(
        "--kafka_port", type=int, default=KAFKA_PORT, metavar="N", help="default: %(default)s; 0: any"
    )
    services.add_argument(
        "--flink_port", type=int, default=FLINK_PORT, metavar="N", help="default: %(default)s; 0: any"
    )
    services.add_argument(
        "--registry_port", type=int, default=REGISTRY_PORT, metavar="N", help="default: %(default)s; 0: any"
    )
    services.add_argument("--task_managers", type=int, default=1, metavar="N", help="default: %(default)s")
    services.add_argument("--slots", type=int, default=2, metavar="N", help="of a TaskManager (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="up|down|status|topic")
    commands.add_parser("up", parents=[services], help="start what does not run", allow_abbrev=False)
    commands.add_parser("down", parents=[services], help="end what was started here", allow_abbrev=False)
    status = "what runs here, and what others run on its ports; exit code 0 if there is something"
    commands.add_parser("status", parents=[services], help=status, allow_abbrev=False)
    topic = commands.add_parser("topic", help="make, fill and show topics", allow_abbrev=False)
    _add_topics(topic.add_subparsers(dest="action", required=True, metavar="create|produce|consume"), places)
    return parser


def _add_topics(actions: argparse._SubParsersAction[argparse.ArgumentParser], places: argparse.ArgumentParser) -> None:
    which = argparse.ArgumentParser(add_help=False, parents=[places])
    which.add_argument("name", metavar="TOPIC")
    which.add_argument("--broker", metavar="HOST:PORT", help="default: the broker of --dir, else localhost:9092")
    create = actions.add_parser("create", parents=[which], help="make a topic", allow_abbrev=False)
    create.add_argument("--partitions", type=_above_0, default=4, metavar="N", help="default: %(default)s")
    produce = actions.add_parser("produce", parents=[which], help="send each line as a message", allow_abbrev=False)
    produce.add_argument("files", nargs="*", type=Path, metavar="FILE", help="of lines (default: standard input)")
    consume = actions.add_parser(
        "consume", parents=[which], help="print messages, a line each: all that are there", allow_abbrev=False
    )
    consume.add_argument("--count", type=_above_0, metavar="N", help="so many, waiting for them")
    consume.add_argument("--follow", action="store_true", help="wait for more until Ctrl-C")
    consume.add_argument("--start", choices=("earliest", "latest"), default="earliest", help="default: %(default)s")
    consume.add_argument("--full", action="store_true", help="with key, headers, timestamp and place, as JSON")


def _above_0(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; gives the exit code."""
    options = _parser().parse_args(argv)
    folder = options.dir or cache_folder() / "local"
    try:
        if options.command == "topic":
            return _topic(options, folder / "kafka")
        both = not (options.kafka or options.flink or options.registry)
        codes = []
        if both or options.kafka:
            codes.append(_kafka(options, folder / "kafka"))
        if both or options.flink:
            codes.append(_flink(options, folder / "flink"))
        if options.registry or (both and SchemaRegistry(folder / "registry").process.pid is not None):
            codes.append(_registry(options, folder / "registry"))
        return max(codes)
    except RunnerError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has enough
        sys.stderr.close()
        return OK


def _kafka(options: argparse.Namespace, folder: Path) -> int:
    broker = KafkaBroker(folder, settings={"auto.create.topics.enable": "true", "num.partitions": "4"})
    if options.command == "up":
        if broker.process.pid is None and options.kafka_port:
            broker.port = options.kafka_port
        broker.start()
    elif options.command == "down":
        broker.stop()
    ports = {broker.port, options.kafka_port} - {0}
    return _tell("kafka", broker.address, [broker.process.pid], folder, options.command, find_kafka(ports))


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
    ports = {cluster.port, options.flink_port} - {0}
    return _tell("flink", cluster.address, pids, folder, options.command, find_flink(ports))


def _registry(options: argparse.Namespace, folder: Path) -> int:
    registry = SchemaRegistry(folder)
    if options.command == "up":
        if registry.process.pid is None and options.registry_port:
            registry.port = options.registry_port
        registry.start()
    elif options.command == "down":
        registry.stop()
    return _tell("registry", registry.url, [registry.process.pid], folder, options.command, {})


def _tell(name: str, address: str, pids: list[int | None], folder: Path, command: str, found: dict[str, Found]) -> int:
    """Say what runs, also of others.

    Args:
        name: of the service.
        address: where ours listens, if it runs.
        pids: of its processes; None for those that do not run.
        folder: of its files.
        command: that asks.
        found: what answers at the ports looked at, by its address.
    """
    running = [str(pid) for pid in pids if pid is not None]
    more = f"; {found.pop(address).told}" if running and address in found else ""
    state = f"up at {address} (pid {', '.join(running)}){more}" if running else "down"
    print(f"{name}  {state}, files in {folder}")
    for other, one in found.items():
        print(f"{name}  not started from this folder: {other} has {one.told}")
    there = len(running) == len(pids) if running else any(one.known for one in found.values())
    return OK if command != "status" or there else FAILED


def _topic(options: argparse.Namespace, folder: Path) -> int:
    broker = options.broker or KafkaBroker(folder, port=0 if (folder / "ports.json").exists() else KAFKA_PORT).address
    if options.action == "create":
        create_topic(broker, options.name, options.partitions)
        print(f"topic {options.name} with {counted(options.partitions, 'partition')} at {broker}")
    elif options.action == "produce":
        sent = produce_lines(broker, options.name, _lines(options.files))
        print(f"{counted(sent, 'message')} sent to {options.name} at {broker}", file=sys.stderr)
    else:
        show = shown_whole if options.full else shown
        for message in consume(broker, options.name, options.count, options.follow, options.start == "latest"):
            sys.stdout.buffer.write(show(message))
            sys.stdout.buffer.flush()
    return OK


def _lines(files: Sequence[Path]) -> Iterator[bytes]:
    """The lines of the files, one after another, or of the standard input."""
    with contextlib.ExitStack() as opened:
        try:
            sources: list[BinaryIO] = [opened.enter_context(open(file, "rb")) for file in files]
        except OSError as error:
            raise RunnerError(f"{error.filename} cannot be read: {error.strerror}") from error
        for source in sources or [sys.stdin.buffer]:
            yield from source


if __name__ == "__main__":
    sys.exit(main())
