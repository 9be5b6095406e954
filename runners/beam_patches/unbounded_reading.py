"""Beam's own reading of unbounded sources, for sources that are elements of a PCollection.

`ReadFromUnboundedSource` takes one source and makes its parts restrictions of one element, all of which Flink gives to
one task.

Beam: https://github.com/apache/beam/issues/19137, https://github.com/apache/beam/pull/38724 (where it came from). To be
reported: a `ReadAllFromUnboundedSources`, as bounded files have it.
"""

from __future__ import annotations

import apache_beam as beam
from apache_beam.io import unbounded_source

MOST_RECORDS = 1_000_000
"""Elements after which a bundle ends in any case."""


def reading_dofn(bundle_seconds: float) -> beam.DoFn:
    """The DoFn that reads a source which it is given as an element.

    Args:
        bundle_seconds: how long a bundle lasts while there is work; when there is none, the readers themselves wait.
    """
    dofn: beam.DoFn = unbounded_source._ReadFromUnboundedSourceDoFn(
        poll_interval=0.0, max_records_per_bundle=MOST_RECORDS, max_read_time_seconds=bundle_seconds
    )
    return dofn
