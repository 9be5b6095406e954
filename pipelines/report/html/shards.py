"""The report of a division by width."""

from __future__ import annotations

from beamsplit.models.shard.plan import ShardPlan
from beamsplit.pipelines.report import shard_table
from beamsplit.pipelines.report.html.render import page


def render_shards(plan: ShardPlan) -> str:
    """The report as one HTML page, which needs no other file.

    Raises:
        UsageError: jinja2 is not installed.
    """
    held = [plan.shard_bytes(shard) for shard in range(plan.shards)]
    names = plan.devices or tuple(f"shard {shard}" for shard in range(plan.shards))
    most = max(*held, plan.whole_bytes, 1)
    bars = [(name, size, size / most) for name, size in (*zip(names, held, strict=True), ("whole", plan.whole_bytes))]
    return page(
        "shards.html.jinja",
        plan=plan,
        header=shard_table.HEADER,
        rows=shard_table.layer_rows(plan),
        left=shard_table.LEFT,
        bars=bars,
        joins=shard_table.joins(plan),
        steps=shard_table.steps(plan),
    )
