"""How a model is divided: the ways, the options, and the value that they make.

A way to divide is a module of `pipelines/execution/`, and here its name, and an argument, a field and a row for each of
its options.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beamsplit.pipelines.options.texts import positive, read_stage_providers, stages_count

if TYPE_CHECKING:
    from beamsplit.pipelines.execution.shard_source import ShardSource

Count = int | str
"""A whole number above 0, or `"auto"`."""

WAYS = ("sharded_stages", "stages", "shards", "whole")
"""Modules of `pipelines/execution/` (`ways.WayToRun`): who asks for more comes first; the last can always be taken."""

ROWS = """\
strategy             yes     -       -         yes     -       -       -       -       yes
stages               yes     yes     yes       way     yes     -       yes     -       -
plan                 yes     yes     yes       way     yes     yes     yes     -       -
shards               yes     yes     yes       way     yes     yes     yes     yes     -
placement            yes     yes     yes       -       yes     yes     yes     yes     yes
micro_batch          yes     yes     yes       -       yes     yes     yes     yes     yes
stage_memory         yes     yes     yes       -       yes     -       deep    yes     yes
stage_providers      yes     yes     yes       -       yes     yes     -       -       -
replan               yes     -       -         -       yes     yes     -       -       -"""
"""What its options go with: rows of the table in `modes.py`."""


@dataclass(frozen=True)
class Parallelism:
    """How the model is divided: by depth into stages, by width over shards, by a strategy's choice, or not at all."""

    stages: Count | None = None
    shards: Count | None = None
    strategy: str | None = None
    cluster: str | None = None
    """Path of a description of the workers that a strategy chooses for."""

    placement: str | None = None
    """`"inline"` or `"distributed"`; None where the model is whole, or a strategy chooses."""

    plan: str | None = None
    micro_batch: int | None = None
    stage_memory: float | None = None
    """Bytes."""

    stage_providers: tuple[tuple[str, int | None], ...] | None = None
    """(name, number of the GPU) of each stage."""

    replan: str | None = None
    shard_source: ShardSource | None = None
    """A division by width that is there already."""

    @property
    def by_depth(self) -> bool:
        """Whether `--stages` or `--plan` cut the model."""
        return self.stages is not None or self.plan is not None

    @property
    def in_parts(self) -> bool:
        """Whether it is known that no worker runs the whole model: this process runs it to plan and to check."""
        return self.by_depth or self.shards not in (None, "auto")

    @property
    def distributed(self) -> bool:
        """Whether stages and shards have workers of their own."""
        return self.placement == "distributed"


def add_division(p: argparse.ArgumentParser) -> None:
    """Add the options of a model split by depth or by width."""
    from beamsplit.models.strategy.kinds import KINDS

    split = p.add_argument_group("a model split by depth or by width")
    split.add_argument(
        "--stages",
        type=stages_count,
        metavar="N|auto",
        help="cut the model by depth into a chain of N stages, planned and checked: pipeline (layer-wise) parallelism",
    )
    split.add_argument(
        "--shards",
        type=stages_count,
        metavar="N|auto",
        help="divide the weights of the model's layers over N shards, checked beside the whole model: tensor "
        "(width-wise) parallelism; files are counted by --num_shards (default: as the model's ShardingSpecs say; 1 "
        "runs an annotated model whole); auto: as many as are fastest here and fit --stage_memory",
    )
    split.add_argument(
        "--strategy",
        choices=KINDS,
        help="choose replicas, stages or shards by what is fastest on this machine and fits --stage_memory",
    )
    split.add_argument(
        "--placement",
        choices=("inline", "distributed"),
        help="inline: every worker runs all stages or shards, overlapping (default); distributed: each stage or shard "
        "has workers of its own, which hold only its weights",
    )
    split.add_argument(
        "--plan",
        metavar="plan.json",
        help="stages, or shards, as planned by python -m pipelines.plan; or the model itself, if it names stages",
    )
    split.add_argument(
        "--micro_batch",
        type=positive,
        metavar="N",
        help="rows that go through the stages or shards together (default: planned)",
    )
    split.add_argument("--stage_memory", metavar="2GB", help="most bytes of weights in a stage, or in a shard's worker")
    split.add_argument(
        "--stage_providers",
        type=read_stage_providers,
        metavar="cuda:0,cuda:1,cpu",
        help="execution provider, and number of the GPU, of each stage",
    )
    split.add_argument("--replan", metavar="FILE.json", help="write the plan that what was measured would give")
