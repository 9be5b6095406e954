from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from beamsplit.transforms.telemetry import endpoint as module
from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint, remove_dead_targets, serve, stop_serving
from beamsplit.transforms.telemetry.recorder import begin_recording, loading_model
from tests.waiting import DEADLINE

OTHER_PROCESS = """
import sys
from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint, serve
print(serve(MetricsEndpoint(int(sys.argv[1]), targets=sys.argv[2], job_name="other")), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "targets"
    for one in list(module._SERVERS):
        stop_serving(one)


def get(address: str, path: str = "/metrics") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=DEADLINE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_process_shows_its_numbers_at_one_port(folder: Path):
    endpoint = MetricsEndpoint(0, targets=str(folder), job_name="mine", model_version="a1")
    address = serve(endpoint)
    assert serve(endpoint) == address
    begin_recording().count("beamsplit_rows_read", 3)
    status, text = get(address)
    assert status == 200
    assert "\nbeamsplit_rows_read_total " in text
    assert "process_resident_memory_bytes" in text
    assert get(address, "/live") == (200, "live\n")
    assert get(address, "/nothing")[0] == 404
    (told,) = [json.loads(file.read_text()) for file in folder.iterdir()]
    assert told == [{"targets": [address], "labels": {"job_name": "mine"}}]
    stop_serving(endpoint)
    assert list(folder.iterdir()) == []
    with pytest.raises(urllib.error.URLError):
        get(address)


def test_ready_once_no_model_is_being_loaded(folder: Path):
    address = serve(MetricsEndpoint(0))
    with loading_model():
        assert get(address, "/ready")[0] == 503
    with pytest.raises(OSError, match="no such file"), loading_model():
        raise OSError("no such file")
    assert get(address, "/ready") == (200, "ready\n")


def test_another_process_takes_the_next_port_and_is_no_longer_told_of_when_it_is_killed(folder: Path):
    address = serve(MetricsEndpoint(0, targets=str(folder)))
    port = int(address.rpartition(":")[2])
    argv = [sys.executable, "-c", OTHER_PROCESS, str(port), str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = other.stdout.readline().strip()
        assert port < int(theirs.rpartition(":")[2]) < port + module.PORTS
        assert get(theirs, "/live")[0] == 200
        remove_dead_targets(str(folder))
        assert len(list(folder.iterdir())) == 2
        other.kill()
    remove_dead_targets(str(folder))
    assert [json.loads(file.read_text())[0]["targets"] for file in folder.iterdir()] == [[address]]


def test_no_port_is_free(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PORTS", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"--metrics {port} has no port free on 127.0.0.1"):
            serve(MetricsEndpoint(port))


def test_ipv6(folder: Path):
    try:
        address = serve(MetricsEndpoint(0, host="::1"))
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert address.startswith("[::1]:")
    assert get(address, "/live")[0] == 200
