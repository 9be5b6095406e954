"""An Iceberg catalog of SQLite on this machine, as commands find it in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.utils.config import Config


def local_catalog(lake: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """The catalog `local` with the namespace `db`, all in a new folder."""
    lake.mkdir()
    for name, value in (("TYPE", "sql"), ("URI", f"sqlite:///{lake}/catalog.db"), ("WAREHOUSE", f"file://{lake}")):
        monkeypatch.setenv(f"PYICEBERG_CATALOG__LOCAL__{name}", value)
    reread_settings(monkeypatch)
    catalog = load_catalog("local")
    catalog.create_namespace("db")
    return catalog


def reread_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files and environment count, which are read once, where pyiceberg is imported."""
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
