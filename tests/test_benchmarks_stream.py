from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks import stream, stream_messages
from benchmarks.alternatives.stream_common import Model, StreamJob
from benchmarks.measure import ProgramFailed
from benchmarks.stream_cases import FLINK, PLAIN, PRISM, QUIX, WAYS, StreamCase
from benchmarks.stream_messages import KEY
from benchmarks.stream_outputs import Numbers, Outputs, rate_of
from benchmarks.stream_send import send
from benchmarks.stream_trace import checkpoints_in
from benchmarks.stream_values import decode, encode


def test_a_rate_is_told_between_whole_instants():
    assert rate_of(np.repeat(np.arange(1.0, 6.0), 8)) == 8.0
    assert rate_of(np.arange(1000) / 50) == pytest.approx(50.0)


def test_a_slow_start_and_a_last_output_that_comes_late_do_not_count():
    steady = 100 + np.arange(1000) / 50
    assert rate_of(np.concatenate([[0.0], steady, [500.0]])) == pytest.approx(50.0)


def test_two_instants_tell_no_rate():
    with pytest.raises(ProgramFailed, match="too few"):
        rate_of(np.repeat([1.0, 2.0], 100))


def outputs(numbers: list[int], sent_us: list[int], read_us: list[int], values: list[float]) -> Outputs:
    keys = np.array(list(zip(numbers, sent_us, strict=True)), KEY)
    rows = np.array(values, np.float32).reshape(-1, 1)
    return Outputs(keys, rows, np.zeros(len(numbers), np.int64), np.array(read_us))


def test_latencies_are_of_each_message_once_and_none_of_the_warm_up():
    found = outputs([-8, 0, 1, 2, 1], [0, 0, 1000, 2000, 1000], [5000, 9000, 4000, 2500, 8000], [0] * 5)
    assert found.latencies_ms(1).tolist() == [3.0, 0.5]


def test_outputs_of_the_warm_up_and_doubles_are_not_taken_for_the_loads():
    seen = Numbers()
    seen.add(np.array([-32, -64, -32]))
    assert seen.count == 0
    seen.add(np.array([2, 0, 2, -32]))
    seen.add(np.array([0, 1, 200_000]))
    assert seen.count == 4


def test_predictions_are_compared_by_the_number_in_the_key():
    expected = np.array([[1.0], [2.0]], np.float32)
    assert outputs([3, -2, 0], [0] * 3, [0] * 3, [2, 1, 1]).difference(expected) == 0.0
    assert outputs([0, 1], [0] * 2, [0] * 2, [1, 1]).difference(expected) == 1.0


class Producer:
    """Keeps what it is given; refuses every third message once, as a full queue does."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int, int]] = []
        self.calls = self.polls = 0

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, timestamp: int) -> None:
        self.calls += 1
        if self.calls % 3 == 0:
            raise BufferError
        number, sent_us = struct.unpack("<qq", key)
        assert sent_us // 1000 == timestamp
        self.sent.append((value, number, partition))

    def poll(self, seconds: float) -> None:
        self.polls += 1


@pytest.mark.parametrize("rate", [None, 5_000.0])
def test_the_sender_sends_each_message_once_in_order(rate: float | None):
    producer = Producer()
    seconds = send(producer, "in", [b"a", b"b"], 10, rate, 4)
    assert producer.sent == [(b"ab"[i % 2 : i % 2 + 1], i, i % 4) for i in range(10)]
    assert seconds >= (9 / rate if rate else 0)


def test_the_networks_have_the_parameters_that_they_are_named_for(tmp_path: Path):
    import onnx

    model = stream_messages.fnn(tmp_path)
    assert sum(int(np.prod(weight.dims)) for weight in onnx.load(model).graph.initializer) == 27_562
    inputs = stream_messages.payloads(tmp_path, model, 40)
    assert np.load(inputs).shape == (40, 784)
    scores = stream_messages.expected(model, inputs)
    assert scores.shape == (40, 10) and np.allclose(scores.sum(1), 1, atol=1e-5)
    wide = onnx.load(stream_messages.wide(tmp_path))
    assert sum(int(np.prod(weight.dims)) for weight in wide.graph.initializer) == 2_913_290


CASE = StreamCase("fnn", Path("m"), Path("p"), 100, 8, 1.0, 1.0, 0.9)


def result(program: str, rate: float, p99: float, offered: float = 50.0, **more: object) -> stream.Result:
    return stream.Result("fnn", program, [rate], offered, p99 / 2, p99, **more)  # type: ignore[arg-type]


def test_goals_are_met_or_not():
    found = [result(PLAIN, 100, 40), result(PRISM, 95, 70), result(FLINK, 50, 400), result(QUIX, 96, 20)]
    assert stream.verdicts(CASE, found) == [
        "fnn: beamsplit on Prism 0.95x plain loop at saturation, goal 0.9x: met",
        "fnn: beamsplit on Prism 0.99x Quix Streams at saturation, goal 1x: NOT met",
        "fnn: beamsplit on Prism p99 70 ms, goal under 100 ms: met",
        "fnn: beamsplit on Prism p99 1.75x the plain loop's, goal at most 2x: met",
    ]


@pytest.mark.parametrize("format", ["tensor", "json"])
def test_loops_score_messages_of_each_format_and_the_tuned_one_alike(tmp_path: Path, format: str):
    pytest.importorskip("orjson")
    model, rows = stream_messages.table(tmp_path), np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    job = StreamJob("", "", "", "", str(model), 8, 0.02, format)
    plain, tuned = (decode(format, Model(job, tuned).score(encode(format, rows))) for tuned in (False, True))
    np.save(tmp_path / "rows.npy", rows)
    np.testing.assert_allclose(plain, stream_messages.expected(model, tmp_path / "rows.npy"), atol=1e-5)
    np.testing.assert_allclose(tuned, plain, atol=1e-6)


def test_a_log_of_flink_tells_when_checkpoints_began_and_ended():
    log = [
        "90 [main] INFO CheckpointCoordinator - No checkpoint found during restore.",
        "100 [Timer] INFO CheckpointCoordinator - Triggering checkpoint 1 (type=x) @ 1796061437476 for job 2",
        "350 [io] INFO CheckpointCoordinator - Completed checkpoint 1 for job 2 (9 bytes, checkpointDuration=250 ms)",
    ]
    found = [(round(when, 3), what.split(" checkpoint")[0]) for when, what in checkpoints_in("\n".join(log))]
    assert found == [(1796061437.476, "Triggering"), (1796061437.726, "Completed")]


def test_what_was_lost_or_failed_meets_no_goal():
    told = stream.verdicts(CASE, [result(PLAIN, 100, 40), result(PRISM, 95, 70, lost=3)])
    assert [line.endswith(": met") for line in told] == [True, False, False]
    assert stream.verdicts(CASE, [result(PLAIN, 100, 40), result(PRISM, 0, 0, failure="no outputs")]) == [
        "fnn: beamsplit on Prism failed: no outputs"
    ]


def test_what_came_late_is_told_with_how_late_and_is_not_lost():
    found = stream.Result("fnn", PLAIN)
    steady = stream.Steady(outputs([0, 1, 2], [0] * 3, [1000, 2000, 7_500_000], [1.0] * 3), 10.0, 3, 0)
    stream._take(found, steady)
    assert (found.lost, found.late, found.worst_ms) == (0, 1, 7500.0)
    at = stream.header().index("p99 ms")
    found.saturation = [10.0]
    assert stream.rows_of_table([found])[0][at].endswith(" (1 late, by 7.5 s at most)")


def test_latencies_under_different_loads_have_no_ratio():
    lines = stream.rows_of_table([result(PLAIN, 200, 40), result(QUIX, 20, 30, offered=5), result(PRISM, 190, 60)])
    at = stream.header().index("p99 x plain")
    assert [line[at] for line in lines] == ["1.00", "", "1.50"]
    assert lines[1][2:4] == ["20.0", "0.10"]


def test_what_an_exchange_costs_is_told_beside_the_same_parts_in_one_worker():
    shards = [result("2 shards inline", 80, 60), result("2 shards distributed", 40, 200)]
    found = [result("whole", 100, 50), *shards, result("2 stages distributed", 0, 0, failure="it ended")]
    assert stream.costs(found) == [
        "fnn: 2 shards distributed beside 2 shards inline: +70 ms at p50, +140 ms at p99, 0.50x the rows/s"
    ]
    lines = stream.rows_of_table(found, stream.BESIDE_WAYS)
    table = [dict(zip(stream.header(stream.BESIDE_WAYS), line, strict=True)) for line in lines]
    assert [line["x whole"] for line in table] == ["1.00", "0.80", "0.40", ""]
    assert [line["p99 x whole"] for line in table] == ["1.00", "1.20", "4.00", ""]


def test_each_way_is_a_command_of_its_own_with_one_worker_a_part():
    commands = {way: CASE.command(way, "b:9092", ("in", "out"), "g") for way in WAYS}
    for way, command in commands.items():
        assert way.startswith("whole") == ("--stages" not in command and "--shards" not in command)
        assert way.endswith("distributed") == ("distributed" in command)
        assert command[command.index("--runner") + 1] == "FlinkRunner"
        assert command[command.index("--parallelism") + 1] == "1"


class FakeBench:
    """Gives outputs without a broker; one program fails, one gives wrong predictions."""

    def __init__(self) -> None:
        self.loads: dict[str, float] = {}

    def backlog(self, case: StreamCase) -> str:
        return "backlog"

    def drop(self, *topics: str) -> None:
        assert topics == ("backlog",)

    def saturate(self, case: StreamCase, program: str, backlog: str) -> Outputs:
        if program == FLINK:
            raise ProgramFailed("it ended")
        step = {PLAIN: 10, PRISM: 11, QUIX: 100}[program]
        found = outputs(list(range(100)), [0] * 100, [0] * 100, [1.0] * 100)
        found.appended_ms = np.arange(100) * step
        return found

    def live_rate(self, case: StreamCase, program: str, rate: float) -> float:
        assert (program, rate) in ((PLAIN, 100.0), (QUIX, 10.0))
        return 0.8 * rate

    def steady(self, case: StreamCase, program: str, rate: float) -> stream.Steady:
        self.loads[program] = rate
        right = 1.0 if program != PRISM else 5.0
        return stream.Steady(outputs([0, 1, 2], [0] * 3, [1000, 2000, 3000], [right] * 3), rate, 4, 1)


def test_a_case_offers_each_program_what_it_can_do_and_goes_on_when_one_fails(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(StreamCase, "expected", lambda self: np.array([[1.0]], np.float32))
    bench = FakeBench()
    found = stream.run_case(bench, CASE, [PLAIN, PRISM, FLINK, QUIX], 2)  # type: ignore[arg-type]
    by_program = {one.program: one for one in found}
    assert bench.loads == {PLAIN: 40.0, PRISM: 40.0, QUIX: 4.0}
    assert by_program[PLAIN].saturation == [100.0, 100.0] and by_program[PLAIN].lost == 1
    assert by_program[FLINK].failure == "it ended"
    assert "differs from the right predictions" in by_program[PRISM].failure


def test_ways_of_one_model_are_given_the_load_of_the_slowest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(StreamCase, "expected", lambda self: np.array([[1.0]], np.float32))
    bench = FakeBench()
    stream.run_case(bench, CASE, [FLINK, PLAIN, QUIX], 1, alike=True)  # type: ignore[arg-type]
    assert bench.loads == {PLAIN: 4.0, QUIX: 4.0}
    assert stream.run_case(bench, CASE, [FLINK], 1)[0].failure  # type: ignore[arg-type]
