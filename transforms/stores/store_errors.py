"""What goes wrong at a store, in one line that says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError

if TYPE_CHECKING:
    from beamsplit.transforms.stores.schemes import Scheme


class StoreError(UsageError, OSError):
    """A store cannot be used, or not as is wanted; one line."""

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.strerror = line

    def __str__(self) -> str:
        return str(self.args[0])


class NotThere(StoreError, FileNotFoundError):
    """There is no such file, or no such bucket."""


class NoCredentials(Exception):
    """Where credentials should come from gives none; says why."""


_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "TokenRetrievalError")
_NOT_GIVEN = ("NoCredentials", "CredentialRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError")
"""Credentials are to come from somewhere, and do not."""

_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired")

_REFUSED = ("401", "403", "Forbidden", "AccessDenied", "Access Denied", "Anonymous caller", "InvalidAccessKeyId")
_UNREACHED = ("EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError", "ClientConnectorDNSError")


@contextlib.contextmanager
def told(scheme: Scheme, path: str, doing: str) -> Iterator[None]:
    """Around what is done with a file: what the library raises becomes a `StoreError`.

    Args:
        scheme: of the store.
        path: the whole name.
        doing: what is done with it, e.g. "read".
    """
    try:
        yield
    except (StoreError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise _told(scheme, path, doing, error) from error


def _told(scheme: Scheme, path: str, doing: str, error: Exception) -> StoreError:
    why = " ".join(str(error).split()) or type(error).__name__
    names = {type(one).__name__ for one in _chain(error)}
    if names.intersection(_NO_CREDENTIALS):
        return StoreError(f"{path} cannot be {doing}: no credentials for {scheme.title} were found; {scheme.log_in}")
    if names.intersection(_NOT_GIVEN) or _is_of_this_machine(error, path):
        return StoreError(
            f"{path} cannot be {doing}: no credentials for {scheme.title} can be had ({why[:300]}); {scheme.log_in}"
        )
    if any(code in _EXPIRED for code in map(_said, _chain(error))):
        return StoreError(f"{path} cannot be {doing}: the credentials have expired ({why[:300]}); get new ones")
    if isinstance(error, FileNotFoundError):
        # A file may be written anywhere in a bucket that is there.
        if "bucket does not exist" in why or doing == "written":
            bucket = path.split("://")[1].split("/")[0]
            return NotThere(
                f"{path} cannot be {doing}: there is no bucket {bucket} at {scheme.title}; make it, or check the name"
            )
        return NotThere(f"{path} is not there: check the path")
    if isinstance(error, PermissionError) or any(word in why for word in _REFUSED) or "401" in str(_code(error)):
        return StoreError(
            f"{path} may not be {doing} ({why[:300]}): give these credentials the permission, or use "
            f"others ({scheme.log_in})"
        )
    if names.intersection(_UNREACHED):
        return StoreError(
            f"{path} cannot be {doing}: {scheme.title} is not reached ({why[:300]}); check the network, and "
            "the variables that name an endpoint"
        )
    return StoreError(f"{path} cannot be {doing} ({why[:300]}): run it again, or check the store")


def _code(error: Exception) -> object:
    return getattr(error, "code", None) or getattr(error, "status", "")


def _is_of_this_machine(error: Exception, path: str) -> bool:
    """Whether a file is missing that is none of the store, that of a token say."""
    name = error.filename if isinstance(error, FileNotFoundError) else None
    return name is not None and not path.endswith(str(name).lstrip("/"))


def _said(error: BaseException) -> object:
    """The word for what is wrong, as the store has it."""
    answer = getattr(error, "response", None)
    return answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
