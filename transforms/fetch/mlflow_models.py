"""Models of MLflow's registry and runs, by mlflow-skinny: `models:/NAME/3`, `models:/NAME@ALIAS`, `runs:/RUN/path`.

The server is that of MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI, with MLflow's own credentials. A name may lead to
a folder, as MLflow's `onnx` flavour logs models, if there is one .onnx file in it. `models:/m-ID` is a logged model.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# MLflow tells each download on a bar of its own, and its makers of each start.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A server that is away is asked for half a minute, not for several.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow
import mlflow.artifacts  # reads the variables
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from beamsplit.models.errors import UsageError

FIXED = False

_VERSION = re.compile(r"models:/([^/@]+)/(\d+)(?:/(.+))?")
_ALIAS = re.compile(r"models:/([^/@]+)@([^/@]+)")
_LATEST = re.compile(r"models:/([^/@']+)/latest")
_LOGGED = re.compile(r"models:/(m-[0-9a-f]{32})(?:/(.+))?")
_RUN = re.compile(r"runs:/([^/]+)/(.+)")

_THIS_PROCESS = uuid.uuid4().hex


def pin(name: str, digest: str) -> str:
    """`models:/NAME/VERSION/FILE.onnx` or `runs:/RUN/path/FILE.onnx`."""
    with _told(name):
        alias, latest = _ALIAS.fullmatch(name), _LATEST.fullmatch(name)
        if alias is not None:
            name = f"models:/{alias[1]}/{MlflowClient().get_model_version_by_alias(alias[1], alias[2]).version}"
        elif latest is not None:
            name = f"models:/{latest[1]}/{_newest(latest[1])}"
        elif not any(kind.fullmatch(name) for kind in (_VERSION, _LOGGED, _RUN)):
            raise UsageError(
                f"--model {name} is no model of MLflow: name models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN/path"
            )
        return name if name.endswith(".onnx") else f"{name}/{_only_model(name)}"


def place(name: str) -> tuple[str, str]:
    """The folder, and the name of the file."""
    folder, _, inner = name.rpartition("/")
    return folder, inner


def state(folder: str, inner: str) -> list[Any] | None:
    """Which registry's version it is, and when it was made: another server has others, and one that was made anew.

    A run's file may be logged again, and nothing tells: each process that does not know its digest fetches it once.
    """
    server = [_hashed(mlflow.get_registry_uri()), _hashed(mlflow.get_tracking_uri())]
    found = _VERSION.fullmatch(folder)
    if found is None:
        return [*server, None if _LOGGED.fullmatch(folder) else _THIS_PROCESS]
    with _told(f"{folder}/{inner}"):
        version = MlflowClient().get_model_version(found[1], found[2])
    return [*server, version.source, version.run_id, version.creation_timestamp]


def copy(folder: str, inner: str, target: str) -> None:
    """Download a file."""
    with _told(f"{folder}/{inner}"), tempfile.TemporaryDirectory() as at:
        found = mlflow.artifacts.download_artifacts(artifact_uri=f"{_where(folder)}/{inner}", dst_path=at)
        shutil.move(found, target)


def _newest(name: str) -> int:
    versions = [int(one.version) for one in MlflowClient().search_model_versions(f"name='{name}'")]
    if not versions:
        raise UsageError(f"--model models:/{name}/latest: MLflow's registry has no version of {name!r}")
    return max(versions)


def _hashed(uri: str) -> str:
    """It may hold a password."""
    return hashlib.sha256(uri.encode()).hexdigest()


def _only_model(folder: str) -> str:
    found = [one.path for one in mlflow.artifacts.list_artifacts(artifact_uri=_where(folder)) if not one.is_dir]
    models = sorted(path.rsplit("/", 1)[-1] for path in found if path.endswith(".onnx"))
    if len(models) != 1:
        what = f"has {len(models)} .onnx files ({', '.join(models)})" if models else "has no .onnx file"
        raise UsageError(f"--model {folder} {what}: name the file, {folder}/FILE.onnx")
    return models[0]


def _where(folder: str) -> str:
    """Where the files of a version, or of a logged model, really lie."""
    version, logged = _VERSION.fullmatch(folder), _LOGGED.fullmatch(folder)
    if version is not None:
        source, inner = MlflowClient().get_model_version_download_uri(version[1], version[2]), version[3]
    elif logged is not None:
        source, inner = MlflowClient().get_logged_model(logged[1]).artifact_location, logged[2]
    else:
        return folder
    return f"{source}/{inner}" if inner else str(source)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, OSError) as error:
        if isinstance(error, UsageError):
            raise
        why = " ".join(str(error).split())[:300]
        raise UsageError(
            f"the model {name} cannot be had from MLflow ({why}): check the name, MLFLOW_TRACKING_URI and "
            "MLFLOW_REGISTRY_URI, and MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD, where it asks who you are"
        ) from None
