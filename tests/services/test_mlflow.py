"""Models of a real MLflow server, which has users and hands out what it keeps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import content_hash
from beamsplit.models.graph.model_copy import model_version
from beamsplit.runners.errors import RunnerError
from beamsplit.transforms.fetch import pinned
from beamsplit.transforms.infer.fetched_model import localize
from tests import onnx_models
from tests.command import Command
from tests.fault_proxy import FaultProxy
from tests.onnx_models import save
from tests.services.mlflow_server import PASSWORD, USER, MlflowServer, mlflow_server
from tests.services.streams import Stream, origins, rows
from tests.waiting import DEADLINE, wait_until

pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def server(users_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server."""
    try:
        with mlflow_server(tmp_path_factory.mktemp("mlflow")) as found:
            yield found
    except RunnerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def client(server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Its client."""
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    from mlflow.tracking import MlflowClient

    return MlflowClient()


def version_of(message: Any) -> str:
    return dict(message.headers())["model.version"].decode()


def register(client: Any, name: str, model: Any) -> tuple[str, str]:
    """Log a model as MLflow's flavour of ONNX does, as the next version of a name; (run, id of what was logged)."""
    import mlflow
    import mlflow.onnx

    mlflow.set_experiment("tests")
    with mlflow.start_run() as run:
        logged = mlflow.onnx.log_model(model, name="model", registered_model_name=name)
    return run.info.run_id, logged.model_id


def test_versions_aliases_runs_and_logged_models(client: Any, tmp_path: Path):
    models = [onnx_models.mlp(4, outputs=2, seed=seed) for seed in (1, 2)]
    originals = [save(model, tmp_path / f"{at}.onnx") for at, model in enumerate(models)]
    first, second = (register(client, "churn", model) for model in models)
    client.set_registered_model_alias("churn", "champion", "1")
    for name, means, version in (
        ("models:/churn/1", "models:/churn/1/model.onnx", 0),
        ("models:/churn@champion", "models:/churn/1/model.onnx", 0),
        ("models:/churn/latest", "models:/churn/2/model.onnx", 1),
        ("models:/churn/2/model.onnx", "models:/churn/2/model.onnx", 1),
        (f"runs:/{first[0]}/model", f"runs:/{first[0]}/model/model.onnx", 0),
        (f"models:/{second[1]}", f"models:/{second[1]}/model.onnx", 1),
    ):
        assert pinned(name) == means
        expected, found = (ort.InferenceSession(path) for path in (originals[version], localize(name)))
        feeds = {"x": np.ones((2, 4), np.float32)}
        np.testing.assert_array_equal(found.run(None, feeds)[0], expected.run(None, feeds)[0])
    with pytest.raises(UsageError, match="is another model"):
        localize(f"models:/churn@champion#sha256={content_hash(localize('models:/churn/2'))}")


def test_external_data_comes_along(client: Any, tmp_path: Path):
    (tmp_path / "from").mkdir()
    path = save(onnx_models.mlp(4, outputs=2), tmp_path / "from" / "m.onnx", external="m.onnx.data")
    run = client.create_run(client.create_experiment("by hand")).info.run_id
    client.log_artifacts(run, str(tmp_path / "from"), "deep/model")
    assert content_hash(localize(f"runs:/{run}/deep/model")) == content_hash(path)


def test_a_job_with_a_user_and_a_password(client: Any, command: Command, monkeypatch: pytest.MonkeyPatch):
    register(client, "by_name", onnx_models.mlp(4, outputs=2))
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    summary = command.folder / "summary.json"
    assert command.run("--quiet", "--summary", summary, model="models:/by_name/1")[0] == 0
    assert command.output.exists() and "models:/by_name/1/model.onnx" in summary.read_text()
    assert PASSWORD not in summary.read_text()


@pytest.mark.parametrize("how", ["nothing", "token", "password"])
def test_who_may_not_is_told_in_one_line(client: Any, command: Command, monkeypatch: pytest.MonkeyPatch, how: str):
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    if how == "token":
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "geheim")
    elif how == "password":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "geheim")
    error = command.error(model="models:/churn/1")
    assert "models:/churn/1 cannot be had from MLflow" in error and "401" in error and "geheim" not in error
    assert "MLFLOW_TRACKING_TOKEN" in error


def test_a_server_that_is_away_or_fails(
    client: Any, server: MlflowServer, command: Command, monkeypatch: pytest.MonkeyPatch
):
    register(client, "away", onnx_models.mlp(4, outputs=2))
    proxy = FaultProxy("127.0.0.1", server.port)
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        # An answer that is cut, and one that says to come again, are asked for again.
        proxy.fault = lambda request: "503" if request.number % 2 == 0 else None
        assert command.run("--quiet", model="models:/away/1")[0] == 0
        shutil.rmtree(command.output.parent)
        proxy.fault = lambda request: "500"
        assert "cannot be had from MLflow" in command.error(model="models:/away/1")
    finally:
        proxy.close()
    assert "cannot be had from MLflow" in command.error(model="models:/away/1")


def test_a_stream_follows_an_alias(client: Any, stream: Stream, tmp_path: Path):
    models = [onnx_models.mlp(4, outputs=2, seed=seed) for seed in (1, 2)]
    for model in models:
        register(client, "followed", model)
    client.set_registered_model_alias("followed", "champion", "1")
    name = "models:/followed@champion"
    process = stream.start("--model", name, "--model_updates", name, "--model_version", "header")
    told: list[str] = []
    assert process.stderr is not None
    listener = threading.Thread(target=told.extend, args=(process.stderr,))
    listener.start()
    first, second = (model_version(localize(f"models:/followed/{at}")) for at in (1, 2))

    def versions() -> set[str]:
        return {version_of(message) for message in stream.read(stream.output)}

    sent = stream.send(rows(50))
    wait_until(lambda: stream.written() >= sent or process.poll() is not None)
    assert process.poll() is None, "".join(told)
    assert versions() == {first}
    client.set_registered_model_alias("followed", "champion", "2")
    wait_until(lambda: "takes over from" in "".join(told) or process.poll() is not None)
    sent += stream.send(rows(50, first=sent))
    wait_until(lambda: stream.written() >= sent or process.poll() is not None)
    assert versions() == {first, second}
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    out = process.stdout.read()
    listener.join(DEADLINE)
    assert process.wait(DEADLINE) == 0, "".join(told)
    assert "models   1 took over" in out, out
    inputs = {(one.partition(), one.offset()): json.loads(one.value())["x"] for one in stream.read(stream.input)}
    sessions = {
        model_version(path): ort.InferenceSession(path)
        for path in (localize(f"models:/followed/{at}") for at in (1, 2))
    }
    outputs = stream.read(stream.output)
    assert len(outputs) == sent
    for message, (_, partition, offset) in zip(outputs, origins(outputs), strict=True):
        feeds = {"x": np.array([inputs[partition, offset]], np.float32)}
        expected = sessions[version_of(message)].run(None, feeds)[0][0]
        np.testing.assert_allclose(json.loads(message.value())["y"], expected, rtol=1e-5)
