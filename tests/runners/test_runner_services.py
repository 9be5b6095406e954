"""Java, Maven, processes and the cache, without any service."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from beamsplit.runners import prism as prism_module
from beamsplit.runners.beam_patches.bundle_ends import SAMPLING_MS
from beamsplit.runners.cache import cache_folder, made_once, one_at_a_time
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.flink_job_server import EMBEDDED, FlinkJobServer
from beamsplit.runners.java import find_java
from beamsplit.runners.local.__main__ import main
from beamsplit.runners.maven import maven_jars
from beamsplit.runners.prism import find_prism, prism
from beamsplit.runners.process import Process, free_ports, listens
from tests.waiting import DEADLINE, running, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    find_java.cache_clear()


def script(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_no_java_is_one_line_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["up", "--kafka", "--kafka_port", "0"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: this needs Java 17 or newer, and there is no java in PATH; install Java 17")
    assert err.count("\n") == 1


def test_an_old_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script(tmp_path / "bin", "java", "echo 'java version \"1.8.0_392\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(RunnerError, match=r"needs Java 11 or newer, and .*java is Java 8; install Java 17"):
        find_java()


def test_no_maven_is_one_line_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunnerError, match="g:a:1 is fetched by Maven, and there is no mvn in PATH; install it"):
        maven_jars("g:a:1")


def test_what_maven_says_is_told_and_nothing_half_fetched_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script(tmp_path / "bin", "mvn", 'echo "[ERROR] could not find g:a:1"; exit 1')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(RunnerError, match="mvn could not fetch g:a:1: could not find g:a:1; check the network"):
        maven_jars("g:a:1")
    assert [path.name for path in (cache_folder() / "jars").iterdir() if path.is_dir()] == []


def test_a_folder_is_made_once_however_many_ask():
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "jar").write_text("x")

    threads = [threading.Thread(target=made_once, args=("a/b", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and (made_once("a/b", make) / "jar").read_text() == "x"


def test_one_process_at_a_time_is_in_where_two_would_spoil_a_cache():
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with one_at_a_time("there"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80


def test_a_process_is_found_and_ended_by_its_pid_file(tmp_path: Path):
    sleeper = [sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(600)", str(tmp_path)]
    process = Process("sleeper", tmp_path, sleeper)
    process.start()
    process.wait_until(lambda: "ready" in process.logged(), DEADLINE)
    other = Process("sleeper", tmp_path)
    assert other.pid == process.pid is not None
    process.kill()
    assert process.pid is None and other.pid is None


def test_a_pid_of_another_program_is_not_ours(tmp_path: Path):
    (tmp_path / "x.pid").write_text("1")
    assert Process("x", tmp_path).pid is None


def test_a_process_that_ends_at_its_start_tells_its_log(tmp_path: Path):
    process = Process("p", tmp_path, [sys.executable, "-c", "raise SystemExit('no such thing')", str(tmp_path)])
    process.start()
    with pytest.raises(RunnerError, match=r"p ended at its start: no such thing; from .*p\.log:\nno such thing"):
        process.wait_until(lambda: False, DEADLINE)


def test_free_ports_differ_and_nobody_listens():
    ports = free_ports(5)
    assert len(set(ports)) == 5 and not any(map(listens, ports))


@pytest.mark.skipif(sys.platform != "linux", reason="ports are given out in another way elsewhere")
def test_free_ports_are_kept_for_who_names_them():
    (port,) = free_ports(1)
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))
    with socket.socket() as named:
        named.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java and Go do
        named.bind(("127.0.0.1", port))
        named.listen()
        assert listens(port)


def test_a_tied_process_ends_with_us_even_if_we_are_killed(tmp_path: Path):
    code = (
        "import sys, time; from pathlib import Path; from beamsplit.runners.process import Process\n"
        "Process('child', Path(sys.argv[1]), ['sleep', '600'], tied=True).start(); print('on', flush=True)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdout.readline() == "on\n"
    pid = int((tmp_path / "child.pid").read_text())
    assert running(pid)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not running(pid), "the child ends")


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(location: str | None, version: str) -> str:
        raise RunnerError("Beam cannot download it (no network)")

    monkeypatch.setattr(prism_module, "_download", refuse)


def test_prism_is_built_with_go_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_download: None):
    calls = tmp_path / "calls"
    built = f"echo \"$@\" >> {calls}; printf '#!/bin/sh\\necho prism of go\\n' > $GOBIN/prism; chmod 755 $GOBIN/prism"
    script(tmp_path / "bin", "go", built)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for _ in range(2):
        program = find_prism(None, "2.77.0")
        assert Path(program).is_relative_to(cache_folder())
        assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "prism of go\n"
    assert calls.read_text() == "install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0\n"


def test_a_prism_that_cannot_be_built_leaves_nothing_and_tells_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_download: None
):
    script(tmp_path / "bin", "go", "echo 'no route to the proxy' >&2; touch $GOBIN/half; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(RunnerError) as raised:
        find_prism(None, "2.77.0")
    assert "Beam cannot download it (no network); go cannot build it (no route to the proxy)" in str(raised.value)
    assert "build it with GOBIN=DIR go install" in str(raised.value)
    assert [path.name for path in cache_folder().iterdir() if path.is_dir()] == []


def test_without_go_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_download: None):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunnerError, match=r"there is no go in PATH to build it with; build it .* --prism_location"):
        find_prism(None, "2.77.0")


class NoProcess:
    """Stands for a program that is up at once."""

    def __init__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        pass

    def stop(self, seconds: float) -> None:
        pass

    def wait_until(self, *_: object) -> None:
        pass


def test_bundles_of_prism_end_soon_since_its_workers_are_in_this_process(monkeypatch: pytest.MonkeyPatch):
    from apache_beam.runners.worker.statesampler import DEFAULT_SAMPLING_PERIOD_MS, StateSampler

    monkeypatch.setattr("beamsplit.runners.prism.Process", NoProcess)
    monkeypatch.setattr(StateSampler.__init__, "__defaults__", (DEFAULT_SAMPLING_PERIOD_MS,))
    with prism("prism"):
        assert StateSampler.__init__.__defaults__ == (SAMPLING_MS,)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("kill -9 $$", "Flink's job server was killed (SIGKILL), perhaps because memory was short"),
        ("kill -15 $$", "Flink's job server was ended by SIGTERM"),
        ("echo no room; exit 3", "Flink's job server ended by itself, with exit code 3: no room; from "),
    ],
)
def test_what_ended_a_job_server_is_told(tmp_path: Path, end: str, told: str):
    server = FlinkJobServer(["java"], EMBEDDED, tmp_path, 1)
    server.process = Process("job-server", tmp_path, ["sh", "-c", end], tied=True)
    server.process.start()
    assert (server.why_it_ended(DEADLINE) or "").startswith(told)


@pytest.mark.parametrize(
    ("master", "streaming", "found"), [(EMBEDDED, True, 2), (EMBEDDED, False, 0), ("h:1", True, 0)]
)
def test_blocks_of_a_stream_have_room_between_two_steps(tmp_path: Path, master: str, streaming: bool, found: int):
    """A batch job needs its network memory otherwise, and a cluster is configured by whoever runs it."""
    server = FlinkJobServer(["java"], master, tmp_path, 1, streaming)
    assert len(re.findall(r"(?m)^taskmanager.network.memory.\S+: 256$", server._settings)) == found


def test_a_job_server_that_runs_has_not_ended(tmp_path: Path):
    server = FlinkJobServer(["java"], EMBEDDED, tmp_path, 1)
    server.process = Process("job-server", tmp_path, ["sleep", "600"], tied=True)
    server.process.start()
    assert server.why_it_ended(0.0) is None
    server.process.kill()
