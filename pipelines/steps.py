"""The steps of a job, wired one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transforms.step import Step

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from pipelines.divided import Divided


def run_steps(
    blocks: PCollection, steps: Sequence[tuple[str, Step]], divided: Divided, job_dir: str | None
) -> tuple[PCollection, list[PCollection]]:
    """(blocks that went through all steps, rows that failed in each).

    Args:
        blocks: as they are read.
        steps: (stage, step), the stage one of `read`, `prepare`, `infer` and `finish`.
        divided: where the parts of its model have workers of their own, they stand in the place of `infer`.
        job_dir: folder that local workers share.
    """
    from transforms.apply import FAILED, ApplyStep

    failed = []
    for number, (stage, step) in enumerate(steps):
        last = number == len(steps) - 1
        if stage == "infer" and divided.stage_steps:
            from transforms.stages import RunStages

            blocks, unscored = blocks | f"{number}: stages" >> RunStages(divided.stage_steps, last)
        elif stage == "infer" and divided.shard_steps is not None:
            from transforms.shards import RunShards

            blocks, unscored = blocks | f"{number}: shards" >> RunShards(divided.shard_steps, last)
        else:
            applied = blocks | f"{number}: {stage}" >> ApplyStep(step, stage, job_dir, last)
            blocks, unscored = applied.blocks, applied[FAILED]
        failed.append(unscored)
    return blocks, failed
