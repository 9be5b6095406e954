"""Where a model may lie, by the scheme of its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

from beamsplit.models.errors import UsageError
from beamsplit.transforms.stores.schemes import SCHEMES

_SCHEME = re.compile(r"([a-z][-a-z0-9+.]+):/")
_DIGEST = re.compile(r"(.*)#sha256=(.*)", re.DOTALL)


class ModelPlace(Protocol):
    """What a module of `MODEL_SCHEMES` offers. A name is given without its digest, a folder as `place` gives it."""

    FIXED: bool
    """Whether a pinned name means the same for ever: what was fetched is then not asked about again."""

    def pin(self, name: str, digest: str) -> str:
        """The name of the version that it means now: an alias or a branch becomes what it leads to.

        Raises:
            UsageError: it is no such name, or there is no such model.
        """

    def place(self, name: str) -> tuple[str, str]:
        """(what a pinned name and its external data have in common, the name of the file)."""

    def state(self, folder: str, inner: str) -> list[Any] | None:
        """What changes when a file does; None where that is not known."""

    def copy(self, folder: str, inner: str, target: str) -> None:
        """Copy a file to one of this machine.

        Raises:
            UsageError: it cannot be read.
        """


@dataclass(frozen=True)
class ModelScheme:
    """A kind of place."""

    example: str
    module: str
    """Is a `ModelPlace`; imported where a name has the scheme."""

    extra: str | None = None
    """What is installed for it: `beamsplit[EXTRA]`."""

    def place(self) -> ModelPlace:
        """The module.

        Raises:
            UsageError: its library is not installed.
        """
        try:
            return cast(ModelPlace, import_module(f"beamsplit.transforms.fetch.{self.module}"))
        except ImportError as error:
            raise UsageError(
                f"models such as {self.example} need a library that is not installed ({error}): "
                f"pip install 'beamsplit[{self.extra}]'"
            ) from None


MODEL_SCHEMES: dict[str, ModelScheme] = {
    "https": ModelScheme("https://HOST/m.onnx#sha256=...", "web"),
    "http": ModelScheme("https://HOST/m.onnx#sha256=...", "web"),
    "models": ModelScheme("models:/NAME/3 or models:/NAME@ALIAS", "mlflow_models", "mlflow"),
    "runs": ModelScheme("runs:/RUN/path/m.onnx", "mlflow_models", "mlflow"),
    "hf": ModelScheme("hf://ORG/REPO/path/m.onnx@REVISION", "hub", "hf"),
}
"""Place by scheme; whatever else has one is a file of a store."""

_STORED = ModelScheme("s3://BUCKET/m.onnx", "stored")


def is_elsewhere(path: str) -> bool:
    """Whether a model is not a file of this machine.

    >>> is_elsewhere("models:/churn@champion"), is_elsewhere("s3://b/m.onnx"), is_elsewhere("m.onnx")
    (True, True, False)
    """
    found = _SCHEME.match(path)
    return "://" in path or (found is not None and found[1] in MODEL_SCHEMES)


def is_registered(path: str) -> bool:
    """Whether a model is fetched from one of `MODEL_SCHEMES`, and not from a store."""
    return is_elsewhere(path) and scheme_of(path) is not _STORED


def scheme_of(path: str) -> ModelScheme:
    """The kind of place that a model which is elsewhere is in."""
    found = _SCHEME.match(path)
    return _STORED if found is None or found[1] in SCHEMES else MODEL_SCHEMES.get(found[1], _STORED)


def split_digest(path: str) -> tuple[str, str]:
    """(name, the SHA-256 behind it or "").

    >>> split_digest("s3://b/m.onnx#sha256=" + "0" * 64)[0]
    's3://b/m.onnx'

    Raises:
        UsageError: the digest is none.
    """
    found = _DIGEST.fullmatch(path)
    if found is None:
        return path, ""
    if not re.fullmatch("[0-9a-fA-F]{64}", found[2]):
        raise UsageError(
            f"--model {path}: behind #sha256= go the 64 hexadecimal digits that `sha256sum` shows of the model (with "
            "its data: cat m.onnx m.onnx.data | sha256sum)"
        )
    return found[1], found[2].lower()


def pinned(path: str) -> str:
    """The name of the very model that a name means now, for all workers and for as long as the job lasts.

    Raises:
        UsageError: there is no such model, or it cannot be asked for.
    """
    if not is_elsewhere(path):
        return path
    name, digest = split_digest(path)
    found = scheme_of(name).place().pin(name, digest)
    return f"{found}#sha256={digest}" if digest else found
