"""`python -m runners.local` where nothing of it runs: what others run is found, and named."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from beamsplit.runners.listeners import describe_listener, listener
from beamsplit.runners.local import KafkaBroker
from beamsplit.runners.local.__main__ import main
from beamsplit.runners.local.ports import keep_ports, kept_ports

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell who listens")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens, and answers nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@ON_LINUX
def test_who_listens_is_found(taken: int):
    assert listener(taken) == os.getpid()
    assert describe_listener(taken).startswith(f"pid {os.getpid()}, ")


def test_a_port_that_nobody_has_is_nobodys(taken: int):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert listener(free.getsockname()[1]) is None


@pytest.mark.parametrize("kept", ["", "{", "[1, 2]", '["a", 1, 2]', "[0, 1, 2]", "[1, 2, 70000]", "7"])
def test_damaged_ports_are_chosen_anew(tmp_path: Path, kept: str):
    (tmp_path / "ports.json").write_text(kept)
    assert kept_ports(tmp_path, 3) is None
    keep_ports(tmp_path, [7001, 7002, 7003])
    assert kept_ports(tmp_path, 3) == [7001, 7002, 7003]
    assert KafkaBroker(tmp_path).address == "127.0.0.1:7001"


class Flink(http.server.BaseHTTPRequestHandler):
    """A cluster's REST service."""

    def do_GET(self) -> None:
        answers = {
            "/overview": {"slots-total": 2, "slots-available": 1},
            "/jobs/overview": {"jobs": [{"name": "mine", "jid": "4711", "state": "RUNNING"}]},
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answers[self.path]).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_cluster_that_another_started_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_port}"
    try:
        where = ["--flink", "--dir", str(tmp_path), "--flink_port", str(server.server_port)]
        assert main(["status", *where]) == 0
        down, other = capsys.readouterr().out.splitlines()
        assert main(["up", *where]) == 1
        err = capsys.readouterr().err
    finally:
        server.shutdown()
        server.server_close()
    assert down == f"flink  down, files in {tmp_path / 'flink'}"
    assert other.startswith(
        f"flink  not started from this folder: {address} has a Flink cluster, 1 of 2 slots free, jobs: mine (4711), "
        f"its page: http://{address} ("
    )
    assert f"port {server.server_port} is taken" in err or "needs Java" in err


def test_what_is_no_broker_is_no_broker(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch, taken: int):
    pytest.importorskip("confluent_kafka")
    monkeypatch.setattr("beamsplit.runners.local.found.SECONDS", 0.2)
    assert main(["status", "--kafka", "--dir", str(tmp_path), "--kafka_port", str(taken)]) == 1
    assert f"127.0.0.1:{taken} has something else (" in capsys.readouterr().out


def test_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", "--dir", str(tmp_path), "--kafka_port", "0", "--flink_port", "0"]) == 1
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["kafka  down", "flink  down"]


def test_a_broker_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    pytest.importorskip("confluent_kafka")
    monkeypatch.setattr("beamsplit.runners.local.topics.SECONDS", 0.2)
    monkeypatch.setattr("beamsplit.runners.local.topics.topics_of.__defaults__", (0.2,))
    for action in ("create", "produce", "consume"):
        assert main(["topic", action, "in", "--broker", "127.0.0.1:1"]) == 1
        err = capsys.readouterr().err
        assert err.startswith("error: no Kafka broker answers at 127.0.0.1:1 (") and err.count("\n") == 1
        assert "python -m runners.local up --kafka" in err


def test_files_that_are_not_there_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setattr("beamsplit.runners.local.__main__.produce_lines", lambda _, __, lines: len(list(lines)))
    (tmp_path / "a").write_text("1\n2\n")
    assert main(["topic", "produce", "in", str(tmp_path / "a"), str(tmp_path / "a"), "--broker", "x:1"]) == 0
    assert capsys.readouterr().err == "4 messages sent to in at x:1\n"
    assert main(["topic", "produce", "in", str(tmp_path / "b"), "--broker", "x:1"]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'b'} cannot be read: No such file or directory\n"


@pytest.mark.parametrize("wrong", [["--partitions", "0"], ["--partitions", "x"]])
def test_wrong_numbers_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["topic", "create", "in", *wrong])
    assert "is no whole number above 0" in capsys.readouterr().err


def test_help_shows_examples():
    done = subprocess.run([sys.executable, "-m", "beamsplit.runners.local", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "topic produce in rows.jsonl" in done.stdout
