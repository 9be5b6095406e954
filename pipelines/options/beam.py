"""Options that are Beam's: those that say the same as one of ours, and those that nobody knows."""

from __future__ import annotations

import argparse
import contextlib
import difflib
from collections.abc import Sequence
from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.values import WorkerOptions


def check_beam_options(beam_args: Sequence[str], more: Sequence[str] = ()) -> None:
    """Raise for an option that is not ours, Beam's or one of `more`: a typing mistake must not pass silently."""
    if not beam_args:
        return
    from apache_beam.options.pipeline_options import PipelineOptions

    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in [PipelineOptions, *PipelineOptions.__subclasses__()]:
        add = getattr(options, "_add_argparse_args", None)
        if add is not None:
            with contextlib.suppress(argparse.ArgumentError):
                add(known)
    for name in more:
        known.add_argument(f"--{name}", nargs="?")
    _, unknown = known.parse_known_args(beam_args)
    if unknown:
        from beamsplit.pipelines.options.score import parser

        names = [name for p in (parser(), known) for name in p._option_string_actions]
        close = difflib.get_close_matches(unknown[0].split("=")[0], names, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; see --help, and Beam's options for the runner"
        raise UsageError(f"{unknown[0]!r} is no option of score or of Beam{hint}")


def read_direct(workers: WorkerOptions, beam_args: list[str]) -> tuple[WorkerOptions, list[str]]:
    """Beam's own words for `--worker_type` and `--workers`; (the workers, what is left for Beam)."""
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    modes = {"multi_processing": "process", "multi_threading": "thread", "in_memory": "thread"}
    words.add_argument("--direct_running_mode", choices=modes)
    words.add_argument("--direct_num_workers", type=int)
    try:
        found, rest = words.parse_known_args(beam_args)
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from error
    mode = modes.get(found.direct_running_mode)
    if mode is not None and workers.worker_type not in (None, mode):
        raise UsageError(
            f"--direct_running_mode {found.direct_running_mode} means --worker_type {mode}, "
            f"and --worker_type is {workers.worker_type}; leave one out"
        )
    # 0 is Beam's word for as many as there are cores.
    count = workers.count or found.direct_num_workers or None
    return replace(workers, worker_type=mode or workers.worker_type, count=count), rest
