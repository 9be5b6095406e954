"""The workers that a model is split over: so many like this one, or each described in a file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnxruntime as ort

from beamsplit.models.errors import UsageError
from beamsplit.models.plain import parse_json
from beamsplit.models.running.providers import short_name
from beamsplit.models.small_file import read_small

PROCESS_BYTES = 140e6
"""Private memory of a worker's process without a model: Python, Beam, pyarrow and ONNX Runtime (measured, on Linux)."""

LINKS = ("chain", "direct")
"""How a tensor reaches a stage further down: through all stages between, as it travels here, or straight."""

EXAMPLE = '[{"name": "gpu-box", "speed": {"cpu": 1, "cuda": 12}, "memory": "16GB", "bandwidth": "10Gbit"}]'
"""A cluster.json."""

MOST_WORKERS = 1_000
"""More are not planned for: equal ones are pods that do the same."""

MOST_SPEED = 1e6
"""Times this machine, either way: beyond it a number was not meant."""

_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_BITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_NUMBER = r"\s*(\d+(?:\.\d*)?|\.\d+)\s*"


@dataclass(frozen=True)
class ClusterWorker:
    """One worker."""

    name: str
    """E.g. `"worker-0"`."""

    speed: float = 1.0
    """How many times faster it runs a model than the session that was profiled here; above 0."""

    provider_speeds: Mapping[str, float] = field(default_factory=dict)
    """The same by execution provider (full name), where it was given so: `speed` is the best of them."""

    memory_bytes: float = math.inf
    """For the weights and activations of its stage."""

    bandwidth: float = math.inf
    """Bytes a second to other workers; infinite in one process."""

    local: bool = True
    """Whether it is a part of this machine, so that what is measured here holds for it."""

    links: str = "chain"
    """How tensors that skip stages travel between the workers, the same for all of them: one of `LINKS`."""


def read_cluster(
    text: str, *, memory_bytes: float = math.inf, bandwidth: float = math.inf
) -> tuple[ClusterWorker, ...]:
    """Read `--workers`.

    Args:
        text: a number of workers like this one, or the path of a JSON file: a list of objects with `name`, and
            `speed` (a number, or an object by provider), `memory` and `bandwidth` if they are known; `count` makes
            several such workers. Or an object with that list as `workers`, and `links`, one of `LINKS`.
        memory_bytes: `--stage_memory`, of workers that do not say.
        bandwidth: `--bandwidth`, bytes a second, of workers that do not say.

    Raises:
        UsageError: it is neither, or a description is wrong.
    """
    if re.fullmatch(r"\s*[+-]?\d+\s*", text):
        if len(text) > 20:
            raise UsageError(f"--workers {text.strip()[:20]}...: at most {MOST_WORKERS:,} are planned for")
        number = int(text)
        if number < 1:
            raise UsageError(f"--workers {text.strip()}: at least one worker is wanted: e.g. --workers 4")
        if number > MOST_WORKERS:
            raise UsageError(f"--workers {number:,}: at most {MOST_WORKERS:,} are planned for")
        one = ClusterWorker("", memory_bytes=memory_bytes, bandwidth=bandwidth)
        return _named([one] * number)
    return _read_file(text, memory_bytes, bandwidth)


MOST_COUNTED = 64
"""Largest number of workers of a range."""


def worker_counts(text: str) -> tuple[int, ...] | None:
    """The numbers of workers of a range, e.g. `1..4`: 1, 2, 3 and 4; None where the text is no range.

    Raises:
        UsageError: a range that is empty or too large.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*\.\.\s*(\d{1,6})\s*", text)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    if not 1 <= first <= last <= MOST_COUNTED:
        raise UsageError(
            f"--workers {text.strip()}: from 1 up to at most {MOST_COUNTED} is wanted: e.g. --workers 1..16"
        )
    return tuple(range(first, last + 1))


def limit_memory(workers: Sequence[ClusterWorker], stage_memory: float | None) -> Sequence[ClusterWorker]:
    """Workers with the memory that they have for weights and activations.

    What a description says is all the memory of a worker, of which its process takes `PROCESS_BYTES`.

    Args:
        workers: of `read_cluster`, with the memory that it says.
        stage_memory: most bytes of weights and activations in each; None is what is left beside the process.
    """
    return [
        replace(one, memory_bytes=min(max(one.memory_bytes - PROCESS_BYTES, 0.0), stage_memory or math.inf))
        for one in workers
    ]


def _read_file(path: str, memory_bytes: float, bandwidth: float) -> tuple[ClusterWorker, ...]:
    try:
        values = parse_json(read_small(path))
    except OSError as error:
        raise UsageError(
            f"--workers {path} is neither a number nor a file that can be read ({error.strerror}): "
            f"e.g. --workers 4, or a cluster.json such as {EXAMPLE}"
        ) from None
    except ValueError as error:
        raise UsageError(f"--workers {path} is not JSON ({error}): write e.g. {EXAMPLE}") from None
    links = LINKS[0]
    if isinstance(values, dict) and "workers" in values:
        unknown = [key for key in values if key not in ("workers", "links")]
        if unknown:
            raise UsageError(
                f"--workers {path}: {unknown[0]!r} is not known beside workers: use links, or leave it out"
            )
        links = values.get("links", links)
        if links not in LINKS:
            raise UsageError(f'--workers {path}: links is {links!r}, but "chain" or "direct" is wanted')
        values = values["workers"]
    if not isinstance(values, list) or not values or not all(isinstance(value, dict) for value in values):
        raise UsageError(f"--workers {path}: a list of one object or more is wanted: write e.g. {EXAMPLE}")
    workers: list[ClusterWorker] = []
    for at, value in enumerate(values):
        where = f"--workers {path}: worker {value.get('name', at)}"
        workers += [replace(one, links=links) for one in _worker(dict(value), where, memory_bytes, bandwidth)]
    if len(workers) > MOST_WORKERS:
        raise UsageError(f"--workers {path} describes {len(workers):,}: at most {MOST_WORKERS:,} are planned for")
    names = [worker.name for worker in workers if worker.name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--workers {path}: two workers are called {twice!r}: give each a name of its own")
    return _named(workers)


def _worker(value: dict[str, Any], where: str, memory_bytes: float, bandwidth: float) -> list[ClusterWorker]:
    known = ("name", "speed", "memory", "bandwidth", "count")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise UsageError(f"{where}: {unknown[0]!r} is not known: use {', '.join(known)}, e.g. {EXAMPLE}")
    name = value.get("name", "")
    if not isinstance(name, str):
        raise UsageError(f'{where}: its name is {name!r}, but a text is wanted: e.g. "name": "gpu-box"')
    count = value.get("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UsageError(f'{where}: count is {count!r}, but a whole number from 1 is wanted: e.g. "count": 4')
    if count > MOST_WORKERS:
        raise UsageError(f"{where}: count is {count:,}: at most {MOST_WORKERS:,} workers are planned for")
    speed = value.get("speed", 1.0)
    speeds: dict[str, float] = {}
    if isinstance(speed, dict):
        if not speed:
            raise UsageError(f'{where}: speed names no provider: e.g. "speed": {{"cpu": 1, "cuda": 12}}')
        speeds = {_provider(key, where): _speed(one, where) for key, one in speed.items()}
        speed = max(speeds.values())
    one = ClusterWorker(
        name,
        _speed(speed, where),
        speeds,
        _size(value.get("memory"), where, "memory", memory_bytes),
        _size(value.get("bandwidth"), where, "bandwidth", bandwidth),
        local=False,
    )
    if count == 1:
        return [one]
    return [
        ClusterWorker(
            f"{name}-{i}" if name else "", one.speed, one.provider_speeds, one.memory_bytes, one.bandwidth, False
        )
        for i in range(count)
    ]


def _named(workers: list[ClusterWorker]) -> tuple[ClusterWorker, ...]:
    taken = {worker.name for worker in workers}
    free = (f"worker-{i}" for i in range(2 * len(workers)) if f"worker-{i}" not in taken)
    return tuple(worker if worker.name else replace(worker, name=next(free)) for worker in workers)


def _provider(name: str, where: str) -> str:
    every = ort.get_all_providers()
    full = {short_name(one): one for one in every} | {one: one for one in every}
    if name not in full:
        words = ", ".join(short_name(one) for one in every)
        raise UsageError(f'{where}: {name!r} is no provider: use one of {words}, e.g. "speed": {{"cuda": 12}}')
    return str(full[name])


def _speed(value: object, where: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 1 / MOST_SPEED <= value <= MOST_SPEED:  # type: ignore[operator]
        raise UsageError(
            f"{where}: speed is {value!r}, but a number above 0, {MOST_SPEED:,.0f} at most, is wanted (2 is "
            'twice as fast as this machine): e.g. "speed": 2, or by provider "speed": {"cpu": 1, "cuda": 12}'
        )
    return float(value)  # type: ignore[arg-type]


def _size(value: object, where: str, key: str, default: float) -> float:
    if value is None:
        return default
    read = parse_bytes if key == "memory" else parse_bandwidth
    example = "2GB" if key == "memory" else "10Gbit"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f'{where}: {key} is {value!r}, but a size is wanted: e.g. "{key}": "{example}"')
    return read(str(value), f"{where}: {key}")


def parse_bytes(text: str, option: str = "--stage_memory") -> float:
    """Bytes of a text, e.g. `parse_bytes("2GB")` is 2e9 and `parse_bytes("2GiB")` 2147483648.

    Raises:
        UsageError: it is no size above 0, or has no unit: who types 20 means no 20 bytes.
    """
    if re.fullmatch(_NUMBER, text) and float(text):
        plain = text.strip()
        raise UsageError(f"{option} {plain} has no unit: write {plain}GB or {plain}MB, or {plain}B if you mean bytes")
    match = re.fullmatch(rf"{_NUMBER}([KMGT]?I?)(?:B|BYTES?)?\s*", text.upper())
    found = float(match[1]) * _BYTES[match[2]] if match and match[2] in _BYTES else 0.0
    if not 0 < found < math.inf:
        raise UsageError(f"{option} {text} is no number of bytes: write e.g. 2GB, 512MB or 1.5GiB")
    return found


def parse_bandwidth(text: str, option: str = "--bandwidth") -> float:
    """Bytes a second of a text, e.g. `parse_bandwidth("10Gbit")` is 1.25e9, as is `parse_bandwidth("1.25GB/s")`.

    Raises:
        UsageError: it is no bandwidth above 0.
    """
    plain = re.sub(r"(/s|ps)\s*$", "", text.strip(), flags=re.IGNORECASE)
    found = 0.0
    bits = re.fullmatch(rf"{_NUMBER}([KMGT]?)(?:bit|bits|b)", plain, flags=re.IGNORECASE)
    if bits and not plain.endswith("B"):
        found = float(bits[1]) * _BITS[bits[2].upper()] / 8
    else:
        nbytes = re.fullmatch(rf"{_NUMBER}([KMGT]?I?)B", plain, flags=re.IGNORECASE)
        if nbytes:
            found = float(nbytes[1]) * _BYTES.get(nbytes[2].upper(), 0)
    if not 0 < found < math.inf:
        raise UsageError(f"{option} {text} is no bandwidth: write e.g. 10Gbit, 100Mbit or 1.25GB/s")
    return found


def format_bytes(nbytes: float) -> str:
    """E.g. `3.1 GB`; three significant digits, and a thousand kB are a MB."""
    if nbytes == math.inf:
        return "any number of bytes"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= 0.9995 * size:
            return f"{_three(nbytes / size)} {unit}"
    return f"{nbytes:.0f} bytes"


def option_bytes(nbytes: float) -> str:
    """Bytes as they are typed for an option, rounded up, e.g. `3.101GB`: `parse_bytes` gives no less."""
    units = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3))
    unit, size = next((one for one in units if nbytes >= one[1]), ("B", 1.0))
    return f"{math.ceil(nbytes / size * 1000) / 1000:.3f}".rstrip("0").rstrip(".") + unit


def format_rate(rate: float) -> str:
    """Three significant digits, with separators, e.g. `2,590,000`, `41.3` or `0.0123`."""
    return _three(rate)


def _three(number: float) -> str:
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    digits = 2 - math.floor(math.log10(abs(number)))
    rounded = round(number, digits)
    text = f"{rounded:,.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
