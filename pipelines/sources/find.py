"""Which source `--input` names, by the table of schemes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.modes import mode_of
from beamsplit.pipelines.options.schemes import FILES, scheme_of

if TYPE_CHECKING:
    from beamsplit.pipelines.options.values import ScoreOptions
    from beamsplit.pipelines.sources.source import Source


def find_source(options: ScoreOptions, job_dir: str | None, local: bool) -> Source:
    """The source that the options name.

    Args:
        options: of the job.
        job_dir: folder that workers on this machine share.
        local: whether workers run on this machine.

    Raises:
        UsageError: there is nothing to read, or it is not named as it must be.
    """
    names = options.source.input
    systems = [scheme_of(name) for name in names]
    first = next((system for system in systems if system is not FILES), FILES)
    if any(system is not first for system in systems) and not first.is_topic:
        raise UsageError(f"--input {' '.join(names)} names several systems; name one")
    found: Source = import_module(first.sources[mode_of(options)]).find(options, job_dir, local)
    if options.source.replay is not None:
        from beamsplit.pipelines.sources.replayed import replay

        return replay(found, options)
    return found
