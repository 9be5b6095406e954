"""Models of MLflow's registry and runs, by mlflow-skinny: `models:/NAME/3`, `models:/NAME@ALIAS`, `runs:/RUN/path`.

The server is that of MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI, with MLflow's own credentials. A name may lead to
a folder, as MLflow's `onnx` flavour logs models, if there is one .onnx file in it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# MLflow tells each download on a bar of its own, and its makers of each start.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A server that is away is asked for half a minute, not for several.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow.artifacts  # reads the variables
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from beamsplit.models.errors import UsageError

FIXED = True

_VERSION = re.compile(r"models:/([^/@]+)/(\d+)(?:/(.+))?")
_ALIAS = re.compile(r"models:/([^/@]+)@([^/@]+)")
_RUN = re.compile(r"runs:/([^/]+)/(.+)")


def pin(name: str, digest: str) -> str:
    """`models:/NAME/VERSION/FILE.onnx` or `runs:/RUN/path/FILE.onnx`."""
    with _told(name):
        alias = _ALIAS.fullmatch(name)
        if alias is not None:
            name = f"models:/{alias[1]}/{MlflowClient().get_model_version_by_alias(alias[1], alias[2]).version}"
        elif not _VERSION.fullmatch(name) and not _RUN.fullmatch(name):
            raise UsageError(
                f"--model {name} is no model of MLflow: name models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN/path"
            )
        return name if name.endswith(".onnx") else f"{name}/{_only_model(name)}"


def place(name: str) -> tuple[str, str]:
    """The folder, and the name of the file."""
    folder, _, inner = name.rpartition("/")
    return folder, inner


def state(folder: str, inner: str) -> list[Any] | None:
    """Not asked for: versions and runs stay as they are."""
    return None


def copy(folder: str, inner: str, target: str) -> None:
    """Download a file."""
    with _told(f"{folder}/{inner}"), tempfile.TemporaryDirectory() as at:
        found = mlflow.artifacts.download_artifacts(artifact_uri=f"{_where(folder)}/{inner}", dst_path=at)
        shutil.move(found, target)


def _only_model(folder: str) -> str:
    found = [one.path for one in mlflow.artifacts.list_artifacts(artifact_uri=_where(folder)) if not one.is_dir]
    models = sorted(path.rsplit("/", 1)[-1] for path in found if path.endswith(".onnx"))
    if len(models) != 1:
        what = f"has {len(models)} .onnx files ({', '.join(models)})" if models else "has no .onnx file"
        raise UsageError(f"--model {folder} {what}: name the file, {folder}/FILE.onnx")
    return models[0]


def _where(folder: str) -> str:
    """Where the files of a version really lie."""
    found = _VERSION.fullmatch(folder)
    if found is None:
        return folder
    source = MlflowClient().get_model_version_download_uri(found[1], found[2])
    return f"{source}/{found[3]}" if found[3] else source


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
            "MLFLOW_REGISTRY_URI"
        ) from None
