"""Imports Beam without what no beamsplit job uses: less than half of the time that `import apache_beam` takes.

Scoring a small input takes less time than importing Beam does. `apache_beam.io` imports its MongoDB and BigQuery
connectors with their clients (pymongo, requests, ...) whether they are used or not, and Beam's core a checker of type
hints, an HTTP client, YAML, Avro and more, of which nothing is called before a pipeline wants it.

Beam: no issue yet. To be reported: `import apache_beam` takes a second, more than half of it for connectors that the
pipeline does not name; they could be loaded by a module's `__getattr__`.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

from beamsplit.runners.beam_patches.bundle_ends import hasten_bundle_ends

_EMPTY = ("apache_beam.io.mongodbio",)
"""Modules that are imported with `*` and not guarded: an empty one stands in for each while Beam is imported."""

_STORES = {
    "gs": "apache_beam.io.gcp.gcsfilesystem",
    "s3": "apache_beam.io.aws.s3filesystem",
    "azfs": "apache_beam.io.azure.blobstoragefilesystem",
}
"""Scheme -> Beam's module for it, which imports the store's client where that is installed."""

_ABSENT = ("apache_beam.io.gcp.bigquery", "apache_beam.io.gcp.pubsub", *_STORES.values(), "pandas")
"""Modules that Beam does without if they cannot be imported; pandas would not find what stands in for dateutil."""

_LATER: dict[str, tuple[str, ...]] = {
    "cryptography.fernet": ("Fernet",),
    "dateutil": (),
    "dateutil.parser": (),
    "fastavro": ("parse_schema", "schemaless_reader", "schemaless_writer"),
    "fastavro.read": ("block_reader",),
    "fastavro.write": ("Writer",),
    "grpc.aio": (),
    "httplib2": (),
    "yaml": (),
}
"""Modules that are imported when something of them is used, and what Beam takes out of each only to call it."""


_HINTS, _HINT_ERRORS = "beartype.door", "beartype.roar"
"""Beam catches an error of the second of what it calls of the first, so both have stand-ins of their own."""

LEFT_OUT = (*_EMPTY, *_ABSENT, *_LATER, _HINTS, _HINT_ERRORS)
"""All that is not imported with Beam."""


class _Later(types.ModuleType):
    """Stands in for a module until something of it is used."""

    def __init__(self, name: str, called: tuple[str, ...]) -> None:
        super().__init__(name)
        for function in called:
            setattr(self, function, _call_later(name, function))

    def __getattr__(self, name: str) -> Any:
        # What the import machinery itself asks of a module is no use of it.
        if name.startswith("__") and name not in ("__version__", "__all__"):
            raise AttributeError(name)
        real = _real(self.__name__)
        if name == "__all__" and not hasattr(real, name):
            return [one for one in vars(real) if not one.startswith("_")]
        return getattr(real, name)


def _real(name: str) -> types.ModuleType:
    """The module itself, whether or not another still stands in for it."""
    parts = name.split(".")
    for part in (".".join(parts[: end + 1]) for end in range(len(parts))):
        if isinstance(sys.modules.get(part), _Later):
            del sys.modules[part]
    return importlib.import_module(name)


def _call_later(module: str, function: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(_real(module), function)(*args, **kwargs)

    return call


class _HintError(Exception):
    """Stands in for beartype's own error, which Beam catches."""


def _is_subhint(sub: Any, base: Any) -> bool:
    try:
        return bool(_real(_HINTS).is_subhint(sub, base))
    except _real(_HINT_ERRORS).BeartypeDoorException as error:
        raise _HintError(str(error)) from error


def _later() -> dict[str, types.ModuleType | None]:
    modules: dict[str, types.ModuleType | None] = {name: _Later(name, called) for name, called in _LATER.items()}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent in modules:
            setattr(modules[parent], child, module)
    hints, errors = _Later(_HINTS, ()), _Later(_HINT_ERRORS, ())
    vars(hints)["is_subhint"] = _is_subhint
    vars(errors)["BeartypeDoorException"] = _HintError
    return modules | {_HINTS: hints, _HINT_ERRORS: errors}


def import_beam(whole: bool = False) -> None:
    """Import Beam, leaving out what is not needed, unless it is imported already; let bundles end soon.

    What was left out can be imported as ever afterwards, by its own name, and what Beam itself took a stand-in of is
    imported when Beam uses it. But `beam.io` lacks what of BigQuery and of pandas it offers.

    Args:
        whole: leave nothing out: somebody else in this process may want all of it.
    """
    if whole:
        import apache_beam  # noqa: F401
    elif "apache_beam" not in sys.modules:
        _import_beam()
        _import_stores_when_used()
    hasten_bundle_ends()


def _import_stores_when_used() -> None:
    """Let Beam find the file system of an object store all the same: by its module's being imported."""
    from apache_beam.io.filesystems import FileSystems

    find = FileSystems.get_filesystem

    def get_filesystem(path: str) -> Any:
        module = _STORES.get(FileSystems.get_scheme(path))
        if module is not None and module not in sys.modules:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(module)
        return find(path)

    FileSystems.get_filesystem = staticmethod(get_filesystem)  # type: ignore[method-assign]


def _import_beam() -> None:
    hidden: dict[str, types.ModuleType | None] = {name: types.ModuleType(name) for name in _EMPTY}
    hidden |= dict.fromkeys(_ABSENT)
    hidden |= _later()
    hidden = {name: module for name, module in hidden.items() if name.split(".")[0] not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        import apache_beam  # noqa: F401
    finally:
        for name, module in hidden.items():
            if name in sys.modules and sys.modules[name] is module:
                del sys.modules[name]
