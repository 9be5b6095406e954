"""Iceberg catalogs that are asked by HTTP, as pyiceberg does it, but not for ever."""

from __future__ import annotations

from typing import Any

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

SECONDS = (20.0, 120.0)
"""Longest that a connection, and then an answer, is waited for; pyiceberg waits for ever."""

RETRY = Retry(
    3, backoff_factor=0.3, status_forcelist=(429, 503), raise_on_status=False, allowed_methods=("GET", "HEAD")
)
"""What is asked again where it was not heard. What changes a table is no such thing: who commits looks first."""

SETTINGS = {"snapshot-loading-mode": "all", "scan-planning-mode": "client"}
"""However a catalog is configured: a commit is known by any of the snapshots, and files by their manifests."""


class _Adapter(HTTPAdapter):
    def __init__(self, authorities: str | bool | None) -> None:
        super().__init__(max_retries=RETRY)
        self._authorities = authorities

    def send(self, request: PreparedRequest, *given: Any, **named: Any) -> Response:
        named["timeout"] = named.get("timeout") or SECONDS
        if isinstance(self._authorities, str):  # of the catalog's settings, which REQUESTS_CA_BUNDLE would replace
            named["verify"] = self._authorities
        return super().send(request, *given, **named)


class Catalog(RestCatalog):
    """pyiceberg's, with limits to how long an answer is waited for."""

    def _create_session(self) -> Session:
        session = super()._create_session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(session.verify))
        return session

    def new_location(self, table: str) -> str:
        """Where a table of this name will lie, of which nothing is made by asking.

        Raises:
            Exception: the catalog's, or that of the connection.
        """
        any_schema = Schema(NestedField(1, "row", LongType()))
        return str(self.create_table_transaction(table, any_schema).table_metadata.location)


def rest_catalog(name: str, settings: dict[str, Any]) -> Catalog:
    """The catalog of these settings, which is asked for its own at once."""
    return Catalog(name, **{**settings, **SETTINGS})
