"""What is said of a model divided by width after the job: each shard's rows, busy time and weights, and the joins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beamsplit.models.shard.plan import ShardPlan
from beamsplit.pipelines.report.units import show_bytes, show_seconds


@dataclass(frozen=True)
class ShardsReport:
    """What the shards did, for the summary."""

    plan: ShardPlan
    """With stages, that of their chain."""

    def __call__(self, counters: Mapping[str, int], rows: int, replan: str | None) -> Mapping[str, dict[str, Any]]:
        """Of so many rows; `after_shards`."""
        return {"shards": after_shards(self.plan, counters, rows)}


def after_shards(plan: ShardPlan, counters: Mapping[str, int], rows: int) -> dict[str, Any]:
    """What the shards did, for the summary.

    Args:
        plan: of the model; with stages, that of their chain.
        counters: of the job, by name.
        rows: that the model ran on; inline, all shards ran on them.
    """
    each = [
        {
            "shard": shard,
            "device": plan.devices[shard] if plan.devices else None,
            "rows": counters.get(f"shard_{shard}_rows", rows),
            "busy_seconds": counters.get(f"shard_{shard}_busy_usec", 0) / 1e6,
            "weight_bytes": plan.shard_bytes(shard),
            "stage_bytes": _stage_bytes(plan, shard),
        }
        for shard in range(plan.shards)
    ]
    whole = sum(counters.get(f"stage_{step}_busy_usec", 0) for step in range(len(plan.steps)))
    found = {
        "shards": each,
        "whole": {
            "busy_seconds": counters.get("shards_whole_usec", whole) / 1e6,
            "weight_bytes": plan.whole_bytes,
        },
        "joins": {"a_block": plan.meetings, "done": counters.get("shard_joins", 0)},
        "sharded_bytes": plan.sharded_bytes,
        "kept_whole": [
            {"layer": one.node, "weight_bytes": one.weight_bytes, "why": one.why} for one in plan.kept_whole
        ],
    }
    return {**found, "lines": _lines(found)}


def _stage_bytes(plan: ShardPlan, shard: int) -> list[int]:
    """Bytes of weights that the shard's worker of each stage holds; one number where there are no stages."""
    held = [0] * (1 + max(step.depth for step in plan.steps))
    for step in plan.steps:
        held[step.depth] += step.weight_bytes[shard] if step.sharded else 0
    return held


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for one in found["shards"]:
        device = f" ({one['device']})" if one["device"] not in (None, f"shard-{one['shard']}") else ""
        lines.append(
            f"shard {one['shard']:<2} {one['rows']:,} rows, busy {show_seconds(one['busy_seconds'])}, "
            f"{' + '.join(map(show_bytes, one['stage_bytes']))} of weights{device}"
        )
    whole, joins = found["whole"], found["joins"]
    lines.append(
        f"joins    {joins['done']:,}, {joins['a_block']} a block; whole steps busy "
        f"{show_seconds(whole['busy_seconds'])}, {show_bytes(whole['weight_bytes'])} of weights"
    )
    kept = found["kept_whole"]
    if kept:
        first = f"{kept[0]['layer']} ({show_bytes(kept[0]['weight_bytes'])}): {kept[0]['why']}"
        lines.append(f"whole    {first}" + (f"; and {len(kept) - 1} smaller" if len(kept) > 1 else ""))
    return lines
