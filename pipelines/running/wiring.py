"""The steps of a job, wired one behind the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beamsplit.transforms.step import Step

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.execution.execution import Execution


@dataclass(frozen=True)
class SideWorkers:
    """Workers of what stands before the model and behind it, as resource hints; empty leaves them to the runner."""

    before: Mapping[str, str] = field(default_factory=dict)
    behind: Mapping[str, str] = field(default_factory=dict)


def side_workers(divided: Execution) -> SideWorkers:
    """The workers of the model's first and last step: what they have need not be handed over, which on a stream takes a
    bundle's end. Empty where every worker has the whole model."""
    if divided.distributed is None:
        return SideWorkers()
    from beamsplit.transforms.infer.run_steps import worker_memory

    memory, stages = worker_memory(divided.distributed), divided.distributed.stages
    first, last = memory[stages[0], None], memory[stages[-1], None]
    return SideWorkers({"min_ram": first}, {"min_ram": last})


def run_steps(
    blocks: PCollection,
    steps: Sequence[tuple[str, Step]],
    divided: Execution,
    job_dir: str | None,
    ends: SideWorkers = SideWorkers(),
) -> tuple[PCollection, list[PCollection]]:
    """(blocks that went through all steps, rows that failed in each).

    Args:
        blocks: as they are read.
        steps: (stage, step), the stage one of `read`, `prepare`, `infer` and `finish`.
        divided: where the parts of its model have workers of their own, they stand in the place of `infer`.
        job_dir: folder that local workers share.
        ends: workers of the steps before and behind the model.
    """
    from beamsplit.transforms.apply import FAILED, ApplyStep

    failed = []
    hints = ends.before
    for number, (stage, step) in enumerate(steps):
        last = number == len(steps) - 1
        if stage == "infer" and divided.distributed is not None:
            from beamsplit.transforms.infer.run_steps import RunSteps

            hints = ends.behind
            blocks, unscored = blocks | f"{number}: model" >> RunSteps(divided.distributed, last)
        else:
            applied = blocks | f"{number}: {stage}" >> ApplyStep(step, stage, job_dir, last).with_resource_hints(
                **hints
            )
            blocks, unscored = applied.blocks, applied[FAILED]
        failed.append(unscored)
    return blocks, failed
