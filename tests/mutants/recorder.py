"""A plugin of pytest: which lines of the sources each test executes, in this process and in those that it starts.

`pytest -p tests.mutants.recorder`, with the folder for the data in BEAMSPLIT_LINES. The processes that a test starts
measure themselves (coverage's a1_coverage.pth), in the context that BEAMSPLIT_TEST names; what is killed tells nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest

CONFIG = """\
[run]
source = {sources}
data_file = {folder}/data
parallel = true
core = ctrace
context = ${{BEAMSPLIT_TEST-}}
patch = _exit
disable_warnings = no-data-collected, module-not-imported, module-not-measured
"""
FOLDER = Path(os.environ["BEAMSPLIT_LINES"])
ROOT = Path(__file__).parent.parent.parent
SOURCES = ("beamsplit", "models", "transforms", "pipelines", "runners")


def _begin() -> coverage.Coverage:
    config = FOLDER / "coveragerc"
    sources = "".join(f"\n    {ROOT / name}" for name in SOURCES)
    config.write_text(CONFIG.format(sources=sources, folder=FOLDER))
    measured = coverage.Coverage(config_file=str(config))
    measured.start()
    os.environ["COVERAGE_PROCESS_START"] = str(config)
    return measured


_measured = _begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """The lines from here on are this test's: its fixtures' too, where it is the first that needs them."""
    os.environ["BEAMSPLIT_TEST"] = item.nodeid
    _measured.switch_context(item.nodeid)
    result = yield
    _measured.switch_context("")
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """How long each took, and whether it passed without any fault."""
    with (FOLDER / "times.jsonl").open("a") as file:
        file.write(json.dumps([report.nodeid, round(report.duration, 3), report.outcome]) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Keep what was seen."""
    _measured.stop()
    _measured.save()
