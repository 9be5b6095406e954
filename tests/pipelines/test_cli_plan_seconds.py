"""`--plan_seconds`: where planning may not run the model often the outcome is the same; what is left out is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamsplit.models.running.session import Session
from tests.command import Command
from tests.pipelines.close import close

NONE = ("--plan_seconds", "0.000001")
MEASURED = "takes longer than planning may"


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    return Command(tmp_path, capsys)


def test_the_whole_model_gives_the_same(command: Command):
    assert command.run("--keep", "id")[0] == 0
    usual = command.rows()
    assert command.run("--keep", "id", *NONE)[0] == 0
    close(command.rows(), usual, "y")


@pytest.mark.parametrize(
    ("options", "left_out"),
    [
        (("--stages", "2"), True),
        (("--stages", "2", "--placement", "distributed"), True),
        (("--stages", "2", "--micro_batch", "4"), True),
        (("--shards", "2"), False),
        (("--shards", "2", "--placement", "distributed"), False),
        (("--stages", "2", "--shards", "2"), True),
    ],
    ids=["stages", "stages-distributed", "micro-batch", "shards", "shards-distributed", "both"],
)
def test_parts_give_what_the_whole_gives(command: Command, options: tuple[str, ...], left_out: bool):
    assert command.run("--keep", "id", "--limit", 40)[0] == 0
    whole = command.rows()
    code, _, err = command.run("--keep", "id", "--limit", 40, "--worker_type", "thread", *options, *NONE)
    assert code == 0, err
    close(command.rows(), whole, "y")
    assert (MEASURED in err) == left_out


def test_stages_are_not_run_to_be_timed(command: Command, monkeypatch: pytest.MonkeyPatch):
    runs = []
    real = Session.run

    def run(self: Session, feeds):
        runs.append(self.model.path)
        return real(self, feeds)

    monkeypatch.setattr(Session, "run", run)
    assert command.run("--stages", "2", "--batch_size", 1, *NONE, "--dry_run_plan")[0] == 0
    # Two rows alone, these together, and one whole and in stages.
    assert len(runs) == 2 + 1 + 1 + 2


def test_what_was_measured_before_is_taken(command: Command):
    told = command.run("--stages", "2", "--micro_batch", 1, "--dry_run_plan")[2]
    assert MEASURED not in told
    _, out, err = command.run("--stages", "2", "--micro_batch", 1, *NONE, "--dry_run_plan")
    assert MEASURED in err + out
    assert "estimated" not in err + out


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1d", ""])
def test_what_is_no_time(command: Command, text: str):
    assert "is no time such as" in command.error(f"--plan_seconds={text}")


@pytest.mark.parametrize("text", ["60", "0.5", "500ms", "60s", "2m"])
def test_what_is_a_time(command: Command, text: str):
    assert command.run("--plan_seconds", text, "--dry_run_plan")[0] == 0
