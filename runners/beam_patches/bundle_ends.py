"""Lets a bundle end when its work is done.

Beam samples what a worker's thread is at, on a thread that sleeps up to 200 ms between two looks, and a bundle's end
waits until that one has woken: 100 ms on average in which a stream's messages wait, and as long at the end of a batch
job's step (`StateSampler.stop` in Beam 2.77).

Beam: https://github.com/apache/beam/pull/5466 met the same in tests and begins with short sleeps. To be reported:
`stop` should wake the thread, and the period should be an option.
"""

from __future__ import annotations

SAMPLING_MS = 10
"""Longest sleep of the sampling thread, milliseconds; it wakes for some microseconds."""


def hasten_bundle_ends() -> None:
    """Let the sampling thread of each bundle begun from now on in this process sleep `SAMPLING_MS` at most."""
    from apache_beam.runners.worker import statesampler

    made = statesampler.StateSampler.__init__
    if made.__defaults__ == (statesampler.DEFAULT_SAMPLING_PERIOD_MS,):
        made.__defaults__ = (SAMPLING_MS,)
