from __future__ import annotations

import json

import pyarrow as pa
import pytest

from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.infer.model_version import with_version
from beamsplit.transforms.kafka.blocks import block_of
from beamsplit.transforms.kafka.clients import may_pass
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.deliveries import Deliveries
from beamsplit.transforms.kafka.errors import SendErrors, append_lines, error_json
from beamsplit.transforms.kafka.outgoing import Messages
from beamsplit.transforms.kafka.sink import encode_rows, headers_of
from tests.transforms.kafka.brokers import settings
from tests.transforms.kafka.fake_message import FakeMessage


def predictions() -> pa.RecordBatch:
    block = block_of(
        [
            FakeMessage(b"", 3, 7, b"k", [("h", b"1"), ("input.offset", b"99")], 5),
            FakeMessage(b"", 0, 9, None, None, -1),
        ],
        "in",
    )
    return block.set_column(0, "y", pa.array([1.5, float("nan")]))


def test_outputs_tell_where_their_input_is_once():
    own = [("input.topic", b"in"), ("input.partition", b"3"), ("input.offset", b"7")]
    first, second = headers_of(predictions())
    assert list(first) == [("h", b"1"), *own]
    assert list(second) == [("input.topic", b"in"), ("input.partition", b"0"), ("input.offset", b"9")]


def test_a_slice_has_the_headers_of_its_rows():
    assert list(headers_of(predictions().slice(1))[0])[-1] == ("input.offset", b"9")


def test_the_version_of_the_model_is_a_header_or_a_field():
    block = with_version(predictions(), "_model_version", "3f2a")
    assert list(headers_of(block)[0])[-1] == ("model.version", b"3f2a")
    assert list(headers_of(block)[1])[-1] == ("model.version", b"3f2a")
    assert encode_rows("json", block)[0] == b'{"y":1.5}'
    block = with_version(predictions(), "model_version", "3f2a")
    assert "model.version" not in dict(headers_of(block)[0])
    assert encode_rows("json", block)[0] == b'{"y":1.5,"model_version":"3f2a"}'


def test_values_hold_the_users_columns_only():
    block = predictions()
    assert encode_rows("json", block) == [b'{"y":1.5}', b'{"y":null}']
    assert encode_rows("tensor", block.slice(0, 1)) == [b"\0\0\0\0\0\0\xf8\x3f"]
    with pa.ipc.open_stream(encode_rows("arrow", block)[0]) as reader:
        assert reader.read_all().to_pylist() == [{"y": 1.5}]


def test_errors_are_json_with_topic_partition_and_offset(tmp_path):
    told = error_json(RowError("in.v1/3", 17, "read", "bad \ud800"))
    assert json.loads(told.decode()) | {"reason": ""} == {
        "topic": "in.v1",
        "partition": 3,
        "offset": 17,
        "stage": "read",
        "code": "unreadable",
        "reason": "",
    }
    path = tmp_path / "new" / "errors.jsonl"
    append_lines(str(path), [told + b"\n"])
    append_lines(str(path), [told + b"\n", told + b"\n"])
    assert path.read_bytes() == (told + b"\n") * 3


NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    "to_errors, told", [(False, f"--output kafka://{NOBODY}/out"), (True, f"--errors kafka://{NOBODY}/bad")]
)
def test_what_is_not_delivered_is_told_with_the_option_that_names_its_topic(monkeypatch, to_errors: bool, told: str):
    pytest.importorskip("confluent_kafka")
    monkeypatch.setenv("CLIENT", "delivery.timeout.ms=100\n")
    settings(monkeypatch)
    bad = Topic(NOBODY, "bad")
    deliveries = Deliveries(ClientConfig(NOBODY, "env:CLIENT"), Topic(NOBODY, "out"), errors_topic=bad)
    deliveries.send(Messages([b"v"], [None], [[]], [-1], topic=bad if to_errors else None))
    with pytest.raises(RuntimeError, match=f"^{told}: 1 messages were not delivered"):
        deliveries.check()
    deliveries.abandon()


def test_a_step_of_errors_calls_its_topic_errors(monkeypatch):
    pytest.importorskip("confluent_kafka")
    monkeypatch.setenv("CLIENT", "delivery.timeout.ms=100\n")
    settings(monkeypatch)
    step = SendErrors(ClientConfig(NOBODY, "env:CLIENT"), Topic(NOBODY, "bad"))._dofn
    step.start_bundle()
    step.process(RowError("in/3", 17, "read", "bad"))
    with pytest.raises(RuntimeError, match=f"^--errors kafka://{NOBODY}/bad: 1 messages"):
        step.finish_bundle()
    step.teardown()


def test_what_passes_by_itself_is_asked_again():
    kafka = pytest.importorskip("confluent_kafka")
    codes = kafka.KafkaError
    passing = [codes.NOT_COORDINATOR, codes.COORDINATOR_NOT_AVAILABLE, codes.COORDINATOR_LOAD_IN_PROGRESS]
    passing += [codes._TRANSPORT, codes._TIMED_OUT, codes._ALL_BROKERS_DOWN, codes._WAIT_COORD]
    assert all(may_pass(kafka.KafkaError(code)) for code in passing)
    lasting = [codes._AUTHENTICATION, codes.GROUP_AUTHORIZATION_FAILED, codes.PRODUCER_FENCED]
    assert not any(may_pass(kafka.KafkaError(code)) for code in lasting)
