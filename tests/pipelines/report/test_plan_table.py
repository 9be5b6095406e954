from __future__ import annotations

import io
from dataclasses import replace

import pytest

from beamsplit.pipelines.report.plan_table import plain_lines, show
from beamsplit.pipelines.report.units import show_bytes, show_rate, show_seconds
from tests.models.split.plans import residual_plan


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines():
    lines = plain_lines(residual_plan(2, 2)[0])
    assert lines[:4] == [
        "stage  nodes  weights     time      in     out  replicas  worker",
        "0          7  8.00 MB  4.00 ms  602 kB  602 kB         1  worker 0",
        "1          7  11.1 MB  4.48 ms  602 kB  602 kB         1  worker 1",
        "",
    ]
    assert lines[4:] == [
        "model    resnet.onnx, micro-batches of 8 rows, CPUExecutionProvider, 1 thread, measured",
        "period   4.48 ms",
        "bound    4.39 ms, gap 2.0% (exact: chain), for tensors handed from stage to stage",
        "rows/s   1,786 predicted",
        "others   2 replicas of the whole model: 1,900 rows/s measured, 60.0 MB a worker",
        "         the whole model with all cores: 1,500 rows/s predicted, 60.0 MB a worker",
        "verdict  2 replicas of the whole model are 1.3x faster; split only if a worker has less than 60 MB.",
        "note     2 nodes that make shapes are recomputed in each stage that needs them",
    ]


def test_terminal_gets_a_table_and_names_are_no_markup(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    plan, _ = residual_plan(2, 2)
    plan = replace(plan, stages=(replace(plan.stages[0], workers=("[red]box[/red]",)), plan.stages[1]))
    stream = Terminal()
    show(plan, stream)
    text = stream.getvalue()
    assert "[red]box[/red]" in text
    assert "11.1 MB" in text
    assert "verdict" in text


@pytest.mark.parametrize(
    ("nbytes", "text"), [(0, "0 B"), (999, "999 B"), (999.9e3, "1.00 MB"), (25_557_032, "25.6 MB"), (3.1e9, "3.10 GB")]
)
def test_bytes(nbytes: float, text: str):
    assert show_bytes(nbytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (47.5e-6, "47.5 µs"), (0.00496, "4.96 ms"), (0.9999, "1.00 s"), (12.34, "12.3 s")]
)
def test_seconds(seconds: float, text: str):
    assert show_seconds(seconds) == text


def test_rate():
    assert [show_rate(rate) for rate in (1613.4, 172_535_805, 10.81, 0.5)] == ["1,613", "172,535,805", "10.8", "0.50"]
