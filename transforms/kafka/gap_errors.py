"""Gaps in a topic become errors: one for each, with its first offset and its range; counted, and told in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection

from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.gaps import STAGE, Gap, gaps_of, write_gaps

_LOG = logging.getLogger(__name__)

GAPS = "gaps"
"""Tag of the output with what `gap_error` makes."""

LOST = "messages_lost"
"""The metric: messages that were gone before they were read, at most."""


def gap_error(gap: Gap) -> RowError:
    """The error that tells of a gap."""
    return RowError(f"{gap.topic}/{gap.partition}", gap.begin, STAGE, gap.reason)


class GapTeller:
    """Counts gaps and tells of them.

    Args:
        job_dir: folder that local workers share; None on a cluster.
    """

    def __init__(self, job_dir: str | None):
        self._job_dir = job_dir
        self._lost = Metrics.counter("beamsplit", LOST)

    def __call__(self, gaps: Sequence[Gap]) -> list[RowError]:
        """The errors of some gaps."""
        if not gaps:
            return []
        self._lost.inc(sum(gap.lost for gap in gaps))
        for gap in gaps:
            _LOG.warning("%s", gap.line)
        if self._job_dir is not None:
            write_gaps(self._job_dir, gaps)
        return [gap_error(gap) for gap in gaps]


class _TakeGaps(beam.DoFn):
    def __init__(self, tell: GapTeller):
        self._tell = tell

    def process(self, block: pa.RecordBatch) -> Iterator[Any]:
        for error in self._tell(gaps_of(block)):
            yield beam.pvalue.TaggedOutput(GAPS, error)
        if block.num_rows:
            yield block


class TakeGaps(beam.PTransform):
    """PCollection of blocks -> outputs `blocks` (main) and `GAPS` (PCollection of RowError).

    Args:
        job_dir: folder that local workers share; None on a cluster.
    """

    def __init__(self, job_dir: str | None = None):
        super().__init__()
        self._dofn = _TakeGaps(GapTeller(job_dir))

    def expand(self, blocks: PCollection) -> beam.pvalue.DoOutputsTuple:
        """Wire: one ParDo with two outputs."""
        made = blocks | beam.ParDo(self._dofn).with_output_types(pa.RecordBatch).with_outputs(GAPS, main="blocks")
        made[GAPS].element_type = RowError
        return made
