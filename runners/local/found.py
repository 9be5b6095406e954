"""What answers at a port of this machine: a Kafka broker, a Flink cluster, or something else, whoever started it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from beamsplit.runners.errors import RunnerError
from beamsplit.runners.listeners import describe_listener
from beamsplit.runners.local.topics import counted, topics_of
from beamsplit.runners.process import listens

SECONDS = 3.0
"""How long it may take to answer."""

MOST_TOPICS = 5
"""Topics that are named."""


class Found(NamedTuple):
    """What listens at a port."""

    known: bool
    """Whether it is what was looked for."""

    told: str
    """In words, with its process."""


def find_kafka(ports: Collection[int]) -> dict[str, Found]:
    """Address -> what listens there, with its topics if it is a broker."""
    return _find(ports, _broker)


def find_flink(ports: Collection[int]) -> dict[str, Found]:
    """Address -> what listens there, with its slots and jobs if it is a cluster."""
    return _find(ports, _cluster)


def _find(ports: Collection[int], describe: Callable[[str], str | None]) -> dict[str, Found]:
    found = {}
    for port in sorted(ports):
        if listens(port):
            address = f"127.0.0.1:{port}"
            what = describe(address)
            found[address] = Found(what is not None, f"{what or 'something else'} ({describe_listener(port)})")
    return found


def _broker(address: str) -> str | None:
    try:
        topics = topics_of(address, SECONDS)
    except RunnerError:
        return None
    named = ", ".join(f"{name} ({counted(number, 'partition')})" for name, number in list(topics.items())[:MOST_TOPICS])
    more = f" and {len(topics) - MOST_TOPICS} more" if len(topics) > MOST_TOPICS else ""
    return f"a Kafka broker, topics: {named or 'none'}{more}"


def _cluster(address: str) -> str | None:
    overview = _asked(f"http://{address}/overview")
    if overview is None or "slots-total" not in overview:
        return None
    jobs = (_asked(f"http://{address}/jobs/overview") or {"jobs": []})["jobs"]
    running = [f"{job['name']} ({job['jid']})" for job in jobs if job["state"] == "RUNNING"]
    slots = f"{overview['slots-available']} of {counted(overview['slots-total'], 'slot')} free"
    return f"a Flink cluster, {slots}, jobs: {', '.join(running) or 'none'}, its page: http://{address}"


def _asked(url: str) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return dict(json.load(answer))
    except (OSError, ValueError):
        return None
