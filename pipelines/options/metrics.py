"""The options of metrics: where the processes of a job show them. Imports no Beam."""

from __future__ import annotations

import argparse
from typing import Any


def add_metrics(group: Any) -> None:
    """Add them to a group of the parser."""
    group.add_argument(
        "--metrics",
        type=_port,
        metavar="PORT|0",
        help="show metrics for Prometheus at http://127.0.0.1:PORT/metrics, of each process at the next port that is "
        "free; 0 for any port",
    )
    group.add_argument(
        "--metrics_host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="of the interface for --metrics; 0.0.0.0 for all (default: %(default)s, which only this machine reaches)",
    )
    group.add_argument(
        "--metrics_targets",
        metavar="FOLDER",
        help="folder in which each process with --metrics tells its address, a file for Prometheus' file_sd_configs",
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; type e.g. 9400, or 0 for any that is free")
    return int(text)
