from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import content_hash
from beamsplit.pipelines import examples, score
from beamsplit.transforms.fetch import mlflow_models, pinned
from beamsplit.transforms.infer.fetched_model import localize, with_digest
from beamsplit.transforms.infer.model_watch import candidates, check_watched, state_of, take_copy
from tests import onnx_models
from tests.onnx_models import save


@pytest.fixture
def client(tmp_path, monkeypatch, cache):
    """MLflow's client of a registry in files."""
    store = f"file://{tmp_path}/mlflow"
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", store)
    from mlflow.tracking import MlflowClient

    return MlflowClient()


def log(client, folder) -> str:
    """Log a folder as `model`; the run's id."""
    found = client.get_experiment_by_name("e")
    run = client.create_run(found.experiment_id if found else client.create_experiment("e")).info.run_id
    for path in sorted(folder.iterdir()):
        client.log_artifact(run, str(path), "model")
    return run


@pytest.fixture
def registered(client, folder):
    """Two versions of a model, the first of which is the champion; the paths of their originals."""
    client.create_registered_model("churn")
    second = folder.parent / "second"
    second.mkdir()
    save(onnx_models.mlp(4, outputs=3), second / "m.onnx")
    (second / "MLmodel").write_text("flavors: {}\n")
    for one in (folder, second):
        run = log(client, one)
        client.create_model_version("churn", source=f"runs:/{run}/model", run_id=run)
    client.set_registered_model_alias("churn", "champion", "1")
    return folder / "m.onnx", second / "m.onnx"


def test_an_alias_means_its_version_and_external_data_comes_along(client, registered):
    first, second = registered
    assert pinned("models:/churn@champion") == pinned("models:/churn/1") == "models:/churn/1/m.onnx"
    assert content_hash(localize("models:/churn@champion")) == content_hash(str(first))
    assert content_hash(localize("models:/churn/2")) == content_hash(str(second))


def test_a_run(client, folder):
    run = log(client, folder)
    assert pinned(f"runs:/{run}/model") == f"runs:/{run}/model/m.onnx"
    assert content_hash(localize(f"runs:/{run}/model/m.onnx")) == content_hash(str(folder / "m.onnx"))


def test_the_latest_version(client, registered):
    assert pinned("models:/churn/latest") == "models:/churn/2/m.onnx"
    with pytest.raises(UsageError, match="has no version of 'none'"):
        pinned("models:/none/latest")


def test_a_version_of_another_registry_is_another_model(client, registered, monkeypatch, tmp_path, folder):
    """Also one that was made anew: the name and the number are the same."""
    first, second = registered
    assert content_hash(localize("models:/churn/1")) == content_hash(str(first))
    other = f"file://{tmp_path}/other"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", other)
    there = type(client)()
    there.create_registered_model("churn")
    run = log(there, second.parent)
    there.create_model_version("churn", source=f"runs:/{run}/model", run_id=run)
    assert content_hash(localize("models:/churn/1")) == content_hash(str(second))
    there.delete_registered_model("churn")
    there.create_registered_model("churn")
    run = log(there, folder)
    there.create_model_version("churn", source=f"runs:/{run}/model", run_id=run)
    assert content_hash(localize("models:/churn/1")) == content_hash(str(first))


def test_a_file_of_a_run_that_is_logged_again(client, registered, folder, monkeypatch):
    first, second = registered
    run = log(client, folder)
    name = f"runs:/{run}/model/m.onnx"
    planned = with_digest(name, localize(name))
    client.log_artifact(run, str(second), "model")
    assert content_hash(localize(planned)) == content_hash(str(first))  # workers of the job that was planned
    monkeypatch.setattr(mlflow_models, "_THIS_PROCESS", "another process")
    assert content_hash(localize(name)) == content_hash(str(second))
    with pytest.raises(UsageError, match="is another model: its SHA-256"):
        localize(planned)


def test_updates_follow_the_alias(client, registered, tmp_path):
    _, second = registered
    name = "models:/churn@champion"
    check_watched(name)
    (before,) = candidates(name)
    client.set_registered_model_alias("churn", "champion", "2")
    (after,) = candidates(name)
    assert (before.path, after.path) == ("models:/churn/1/m.onnx", "models:/churn/2/m.onnx")
    assert state_of(before, ("m.onnx.data",)) != state_of(after, ())
    (tmp_path / "to").mkdir()
    assert take_copy(after.path, str(tmp_path / "to")).version == content_hash(str(second))[:12]


def test_what_is_not_there_or_not_told(client, registered, folder):
    for name, words in (
        ("models:/none/1", "cannot be had from MLflow .*: check the name, MLFLOW_TRACKING_URI"),
        ("models:/churn@none", "cannot be had from MLflow"),
        ("models:/churn", "is no model of MLflow: name models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN/path"),
    ):
        with pytest.raises(UsageError, match=words):
            localize(name)
    save(onnx_models.mlp(4), folder / "n.onnx")
    with pytest.raises(UsageError, match=r"has 2 \.onnx files \(m\.onnx, n\.onnx\): name the file, runs:/.*/FILE"):
        pinned(f"runs:/{log(client, folder)}/model")
    with pytest.raises(UsageError, match="--model_updates models:/none@x cannot be looked at"):
        check_watched("models:/none@x")


PAGE = Path(__file__).parents[3] / "docs/how_to/model_places.md"


def test_the_example_of_the_page(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples.main(["."])
    client.create_registered_model("churn")
    (tmp_path / "logged").mkdir()
    (tmp_path / "mlp.onnx").rename(tmp_path / "logged" / "mlp.onnx")
    run = log(client, tmp_path / "logged")
    client.create_model_version("churn", source=f"runs:/{run}/model", run_id=run)
    client.set_registered_model_alias("churn", "champion", "1")
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    words = shlex.split(block.replace("\\\n", " "))
    assert words[:3] == ["python", "-m", "pipelines.score"]
    assert score.main([*words[3:], "--quiet"]) == 0
    assert "model_version" in pq.read_schema("preds.parquet").names


def test_a_job(command, client, registered):
    code, _, err = command.run("--quiet", model="models:/churn@champion")
    assert (code, err) == (0, "")
    assert "model       models:/churn/1/m.onnx" in command.run("--dry_run_plan", model="models:/churn@champion")[1]
