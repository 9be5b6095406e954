"""Where packages keep models."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])
