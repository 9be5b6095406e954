from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

from beamsplit.models.owned_folder import remove_abandoned, temporary
from beamsplit.models.running.session import forget_sessions
from beamsplit.runners.cache import cache_folder
from tests.caches import link_programs
from tests.command import Command
from tests.dealing import deal, first_cases

SERVICES = Path(__file__).parent / "services"
TEMPORARY = "beamsplit-tests-"

# How long an example takes, or is looked for, says nothing on a machine that runs other tests too. The examples are the
# same in each run; HYPOTHESIS_PROFILE=explore looks for others.
common = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("tests", common, derandomize=True)
settings.register_profile("explore", common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "tests"))

# Commands and workers that tests start would compile all of the source anew, each of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "of each test function only the first case; see .ci/versions"
    parser.addoption("--first-cases", action="store_true", help=about)


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """What `--numprocesses auto` means: each of these may have a broker, a Flink and large models of its own.

    Tests of services wait half of their time: with them there is one more, which computes meanwhile.
    """
    cores = yield
    folders = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    waiting = any(folder == SERVICES or folder in SERVICES.parents for folder in folders)
    return min(cores + waiting, 8, max(2, int(psutil.virtual_memory().available / 3e9)))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """What pipelines and processes that tests start, and kill, leave in the temporary folder goes with the session.

    Beam leaves `beam-pipeline-temp...` of each pipeline that is made and not run, and files of each model that
    processes share in what was the temporary folder when it was imported: hence before any test is. What a session
    leaves that was killed is removed by the next one.
    """
    config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # which is not in it
    remove_abandoned(tempfile.gettempdir(), f"{TEMPORARY}.*")
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    folder = stack.enter_context(temporary(TEMPORARY))
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setenv("TMPDIR", folder)
    patch.setattr(tempfile, "tempdir", folder)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--first-cases"):
        items[:] = first_cases(items, lambda item: item.nodeid.split("[")[0])
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = deal(items, workers, lambda item: item.path, lambda item: SERVICES in item.path.parents, os.cpu_count())


@pytest.fixture(scope="session", autouse=True)
def users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test leaves measured profiles in the user's cache folder, nor rests on those that are there."""
    real, own = cache_folder(), tmp_path_factory.mktemp("cache")
    link_programs(real, own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEAMSPLIT_CACHE", str(own))
        yield real


@pytest.fixture(autouse=True)
def _temporary_folder_stays() -> Iterator[None]:
    """A test that removes the temporary folder of all is named in the summary, and those behind it have one again."""
    yield
    folder = tempfile.gettempdir()
    if not os.path.isdir(folder):
        os.makedirs(folder)
        warnings.warn(f"{folder}, which is the temporary folder of all tests, was gone", stacklevel=1)


@pytest.fixture(autouse=True)
def _sessions_of_its_own() -> Iterator[None]:
    """The models of one test do not stay in memory until the last one has run."""
    yield
    forget_sessions()


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command with a small model and a small table in a folder of its own."""
    return Command(tmp_path, capsys)
