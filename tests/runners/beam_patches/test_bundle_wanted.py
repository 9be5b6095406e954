"""Hearing that a runner has no more for a bundle while its one element is at work."""

from __future__ import annotations

import threading

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker.data_plane import _GrpcDataChannel

from beamsplit.runners.beam_patches.bundle_wanted import end_is_wanted


def elements(**of_one: object) -> beam_fn_api_pb2.Elements:
    data = beam_fn_api_pb2.Elements.Data(instruction_id="1", transform_id="read", **of_one)
    return beam_fn_api_pb2.Elements(data=[data])


def test_the_end_is_wanted_when_the_runner_says_that_nothing_more_comes():
    channel, told = _GrpcDataChannel(), threading.Event()

    def runner():
        yield elements(data=b"what to read")
        told.wait()
        yield elements(is_last=True)

    thread = threading.Thread(target=lambda: channel._read_inputs(runner()))
    thread.start()
    given = channel.input_elements("1", ["read"])
    assert next(given).data == b"what to read"
    # At work, as a reader is.
    assert not end_is_wanted()
    told.set()
    thread.join()
    assert end_is_wanted()
    assert list(given) == []


def test_outside_of_a_bundle_that_is_known_the_end_is_wanted():
    found = []
    thread = threading.Thread(target=lambda: found.append(end_is_wanted()))
    thread.start()
    thread.join()
    assert found == [True]
