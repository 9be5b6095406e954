from __future__ import annotations

from beamsplit.pipelines.running.stream_failures import FailuresElsewhere
from beamsplit.transforms.kafka.ending import JobEndsError
from tests.waiting import wait_until

OTHER = "RuntimeException: Error received from SDK harness\nRuntimeError: --input kafka://h:1/in: no broker"
ENDS = f"""java.lang.RuntimeException: Error received from SDK harness for instruction 4: Traceback (most recent ...):
  File "/x/apache_beam/runners/common.py", line 1500, in process
    raise JobEndsError(
{JobEndsError.__module__}.JobEndsError: --output kafka://h:1/out: the topic was deleted [while running 'Write-ptr-7']

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient$ResponseStreamObserver.onNext(FnApi.java:1)
"""


class Runner:
    """Tells of failures: the next each time it is asked, and the last from then on."""

    def __init__(self, *texts: str):
        self._texts, self.asked = list(texts), 0

    def failures(self) -> str:
        self.asked += 1
        return self._texts.pop(0) if len(self._texts) > 1 else self._texts[0]


def test_why_a_worker_elsewhere_cannot_go_on_is_told_once():
    told: list[str] = []
    runner = Runner("", OTHER, f"{ENDS}\n{OTHER}\n{ENDS}")
    with FailuresElsewhere(runner, told.append, seconds=0.001):
        wait_until(lambda: told, "it is told")
    assert told == ["--output kafka://h:1/out: the topic was deleted"] and runner.asked == 3


def test_the_failures_of_several_bundles_stand_in_one_text():
    """As in the log of Flink on this machine."""
    raised = "a.b.JobEndsError: topic gone"
    step = "[while running 'Write/ParDo(SendBlocksDoFn)']"
    for text in (raised, f"{raised} Traceback (most recent call last):\n  File x", f"{raised} {step}\n{raised}"):
        told: list[str] = []
        with FailuresElsewhere(Runner(f"Traceback:\n{text}\n\tat java"), told.append, seconds=0.001):
            wait_until(lambda told=told: told, "it is told")
        assert told == ["topic gone"]


def test_what_starting_again_may_mend_is_left_to_the_runner():
    told: list[str] = []
    runner = Runner("", OTHER)
    with FailuresElsewhere(runner, told.append, seconds=0.001):
        wait_until(lambda: runner.asked > 3, "it is looked at")
    assert not told


def test_runners_that_tell_of_no_failures_are_not_asked():
    for runner in (None, object()):
        with FailuresElsewhere(runner, lambda _: None) as watching:
            assert not watching._thread.is_alive()
