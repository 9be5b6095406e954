"""What a user's own function is made of: the files of its module, and of those of the user's that it uses."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from types import ModuleType

from beamsplit.transforms.user_function import load_function

_NOT_OURS = "beamsplit"
"""Of another version: that is told by its number."""


def code_hash(target: str) -> str:
    """SHA-256, hex, of the file that `package.module:function` is in, and of those of the user's that it uses.

    Modules that are installed are known by their versions and are left out.

    Raises:
        UsageError: there is no such function.
    """
    load_function(target)
    digest = hashlib.sha256()
    for name, path in sorted(_sources(sys.modules[target.partition(":")[0]]).items()):
        digest.update(name.encode())
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()


def _sources(first: ModuleType) -> dict[str, str]:
    """Module -> file, of a module and of all that it reaches."""
    found: dict[str, str] = {}
    waiting = [first]
    while waiting:
        module = waiting.pop()
        path = getattr(module, "__file__", None)
        if path is None or module.__name__ in found or (module is not first and _installed(module.__name__, path)):
            continue
        if os.path.isfile(path):
            found[module.__name__] = path
        waiting += _used(module)
    return found


def _used(module: ModuleType) -> list[ModuleType]:
    """Modules that a module has imported, or things of which."""
    used = []
    for value in list(vars(module).values()):
        if not isinstance(value, ModuleType):
            value = sys.modules.get(getattr(value, "__module__", None) or "")
        if isinstance(value, ModuleType):
            used.append(value)
    # What its package does comes before it does.
    parent = module.__name__.rpartition(".")[0]
    return [*used, *([sys.modules[parent]] if parent in sys.modules else [])]


def _installed(name: str, path: str) -> bool:
    if name == _NOT_OURS or name.startswith(f"{_NOT_OURS}."):
        return True
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    real = os.path.realpath(path)
    return any(real.startswith(os.path.realpath(folder) + os.sep) for folder in folders)
