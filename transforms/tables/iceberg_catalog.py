"""Catalogs of Iceberg tables, which pyiceberg's files or environment configure, and how options name their tables."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError

if TYPE_CHECKING:
    from pyiceberg.table import Table

EXAMPLE = "iceberg://CATALOG/db.table"

_OF_STORES = {
    "s3.endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "s3.region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}
"""Settings of a catalog that say how S3 is reached -> what they are in all else of Amazon's, which goes where they are
not configured."""


@dataclass(frozen=True)
class IcebergName:
    """How an option names a table: `iceberg://CATALOG/db.table`, and `@` with a snapshot, branch or tag."""

    catalog: str
    table: str
    snapshot: str | None = None

    def __str__(self) -> str:
        """As it is typed."""
        return f"iceberg://{self.catalog}/{self.table}" + ("" if self.snapshot is None else f"@{self.snapshot}")


def parse_iceberg(name: str, option: str) -> IcebergName:
    """The table that a name says.

    >>> parse_iceberg("iceberg://prod/db.sales@123", "--input")
    IcebergName(catalog='prod', table='db.sales', snapshot='123')

    Raises:
        UsageError: it says none.
    """
    found = re.fullmatch(r"iceberg://([^/@]+)/([^/@]+\.[^/@]+)(?:@([^/@]+))?", name)
    if found is None:
        raise UsageError(f"{option} {name} is no table of a catalog; type {EXAMPLE}, or {EXAMPLE}@SNAPSHOT")
    return IcebergName(found[1], found[2], found[3])


def open_iceberg(name: IcebergName, option: str) -> Table:
    """The table, from its catalog, which pyiceberg's files or environment configure.

    Raises:
        UsageError: pyiceberg is not installed, the catalog is not configured or does not answer, or has no such table.
    """
    catalog = open_catalog(name, option)
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    try:
        return catalog.load_table(name.table)
    except (NoSuchTableError, NoSuchNamespaceError):
        raise UsageError(
            f"{option} {name}: the catalog {name.catalog} has no table {name.table}; check the name"
        ) from None
    except Exception as error:  # Whatever a catalog, its driver or a store tells.
        raise UsageError(f"{option} {name} cannot be opened: {told(error)}") from error


def open_catalog(name: IcebergName, option: str) -> Any:
    """The catalog.

    Raises:
        UsageError: as `open_iceberg`.
    """
    try:
        from pyiceberg.catalog import AVAILABLE_CATALOGS, CatalogType, load_catalog
    except ImportError:
        raise UsageError(
            f"{option} names an Iceberg table, which wants pyiceberg, which is not installed: "
            "pip install 'beamsplit[iceberg]'"
        ) from None
    AVAILABLE_CATALOGS[CatalogType.REST] = _load_rest
    try:
        catalog = load_catalog(name.catalog)
    except Exception as error:
        raise UsageError(
            f"{option} {name}: the catalog {name.catalog} cannot be opened: {told(error)}; configure it in "
            f".pyiceberg.yaml, or by PYICEBERG_CATALOG__{name.catalog.upper()}__URI"
        ) from error
    for setting, variables in _OF_STORES.items():
        found = next((os.environ[one] for one in variables if os.environ.get(one)), None)
        if found is not None:
            catalog.properties.setdefault(setting, found)
    return catalog


def _load_rest(name: str, settings: Any) -> Any:
    from beamsplit.transforms.tables.rest_catalog import rest_catalog

    return rest_catalog(name, settings)


def new_location(catalog: Any, name: IcebergName) -> str:
    """The folder of a table that is to be made: a REST catalog tells it, others have it in the warehouse, by its name.

    Raises:
        UsageError: the catalog has no warehouse, or does not tell.
    """
    if hasattr(catalog, "new_location"):
        try:
            return str(catalog.new_location(name.table))
        except Exception as error:  # Whatever a catalog tells.
            raise UsageError(f"--output {name} cannot be made: {told(error)}") from error
    warehouse = catalog.properties.get("warehouse")
    if not warehouse:
        raise UsageError(
            f"--output {name}: the catalog {name.catalog} has no warehouse, where a new table would lie; configure one "
            f"(PYICEBERG_CATALOG__{name.catalog.upper()}__WAREHOUSE), or create the table and add --append"
        )
    return posixpath.join(warehouse.rstrip("/"), *name.table.split("."))


def plain_path(path: str) -> str:
    """How a file of a table is read: programs of Java write paths of this machine, and those of S3, in several ways.

    >>> [plain_path(one) for one in ("file:///lake/a", "file:/lake/a", "/lake/a", "s3a://lake/a", "gs://lake/a")]
    ['/lake/a', '/lake/a', '/lake/a', 's3://lake/a', 'gs://lake/a']
    """
    if path.startswith("file:"):
        return "/" + path.removeprefix("file:").lstrip("/")
    return re.sub(r"^s3[an]://", "s3://", path)


_SECRETS = re.compile("TOKEN|CREDENTIAL|SECRET|PASSWORD|KEY")
"""What is in the names of settings that nobody is to see."""


def told(error: BaseException) -> str:
    """What an error says, in one line and without what may be a password.

    >>> told(ValueError("401 of http://me:secret@host/v1: Bearer abc123 has expired"))
    '401 of http://...@host/v1: Bearer ... has expired'
    """
    line = " ".join(str(error).split()) or type(error).__name__
    for name, value in os.environ.items():
        if name.startswith("PYICEBERG_CATALOG__") and _SECRETS.search(name):
            for one in {value, value.partition(":")[2]}:  # of a credential, also its secret alone
                line = line.replace(one, "...") if len(one) > 3 else line
    line = re.sub(r"://[^/@\s]*@", "://...@", line)
    return re.sub(r"\bBearer [^\s\"']+", "Bearer ...", line)[:300]
