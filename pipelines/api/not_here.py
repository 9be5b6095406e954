"""Options of the command that are no arguments of `Score`, `Scorer` and `OnnxModelHandler`, and why. No Beam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from beamsplit.pipelines.options.values import SCORE_GROUPS, option_of

OF_GROUPS: Mapping[str, str] = {
    "source": "rows come from whoever calls it",
    "sink": "predictions and errors go to whoever calls it, which counts and writes them",
    "runner": "the pipeline has its own runner",
    "watching": "nothing is shown; Beam's metrics count",
    "stream": "rows come from whoever calls it, and topics are read and written beside it",
}
"""Group of options (`options/values.py`) -> why none of it is an argument, but for those that are."""

OF_OPTIONS: Mapping[str, str] = {
    "model": "it is the first argument",
    "types": "rows have types; say others with schema=",
    "workers": "the runner has workers of its own",
    "worker_type": "the runner has workers of its own",
    "partition": "the runner deals the elements",
    "capacities": "the runner deals the elements",
    "seed": "the runner deals the elements",
    "strategy": "workers elsewhere cannot be timed; plan with bs.plan(strategy=...), and give plan=",
    "cluster": "workers elsewhere cannot be timed; plan with bs.plan(strategy=...), and give plan=",
    "replan": "the command writes plans",
    "shard_source": "plan= names it",
}
"""Option -> why it is no argument, of the groups of which some are."""


def why_not(option: str) -> str | None:
    """Why an option of the command is no argument; None for what is no option.

    >>> why_not("partition")
    'the runner deals the elements'
    """
    if option in OF_OPTIONS:
        return OF_OPTIONS[option]
    for group, reason in OF_GROUPS.items():
        if any(option_of(group, one.name) == option for one in fields(SCORE_GROUPS[group])):
            return reason
    return None
