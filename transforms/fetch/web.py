"""Models at a web server: `https://HOST/m.onnx#sha256=...`; without a digest the server could choose the model."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from beamsplit.models.errors import UsageError

FIXED = True

TRIES = 5
WAIT_SECONDS = (10, 60)
"""For a connection, and for the next bytes."""

_HERE = ("localhost", "127.0.0.1", "::1")
_SECRET = re.compile(r"(?i)(^|[&?])(x-amz-|x-goog-|sig=|signature=|token=|key=|password=)")


def pin(name: str, digest: str) -> str:
    """The name itself, which the digest makes mean one model.

    Raises:
        UsageError: there is no digest, the connection would not be safe, or the name has a secret in it.
    """
    parts = urlsplit(name)
    if "@" in parts.netloc or _SECRET.search(parts.query):
        raise UsageError(
            "--model has a user, password or signature in its URL, which logs and summaries would show: leave it out, "
            "or download the model and name the file"
        )
    if parts.scheme != "https" and parts.hostname not in _HERE:
        raise UsageError(f"--model {name} would come without encryption: name it by https://")
    if not digest:
        raise UsageError(
            f"--model {name}: whoever has that server could give another model; add what it is to be, "
            f"{name}#sha256=..., as `sha256sum` shows it of a copy that you trust"
        )
    return name


def place(name: str) -> tuple[str, str]:
    """The folder, and the name of the file."""
    folder, _, inner = name.rpartition("/")
    return folder, inner


def state(folder: str, inner: str) -> list[Any] | None:
    """Not asked for."""
    return None


def copy(folder: str, inner: str, target: str) -> None:
    """Download a file; what is cut is begun again."""
    url = f"{folder}/{inner}"
    for left in reversed(range(TRIES)):
        try:
            _download(url, target)
            return
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if not left:
                raise UsageError(
                    f"the model {url} cannot be read ({_short(error)}): check the name and the network"
                ) from None
            time.sleep(0.2 * 2 ** (TRIES - 1 - left))


def _download(url: str, target: str) -> None:
    with requests.Session() as session:
        tries = Retry(total=TRIES, backoff_factor=0.2, status_forcelist=(429, 500, 502, 503, 504), connect=2, read=0)
        session.mount("https://", HTTPAdapter(max_retries=tries))
        session.mount("http://", HTTPAdapter(max_retries=tries))
        session.max_redirects = 5
        session.hooks["response"].append(_check_redirect)
        with session.get(url, stream=True, timeout=WAIT_SECONDS) as answer:
            if answer.status_code != 200:
                why = f"{answer.status_code} {answer.reason}"
                raise UsageError(f"the model {url} cannot be read ({why}): check the name")
            with open(target, "wb") as file:
                for data in answer.iter_content(1 << 20):
                    file.write(data)


def _check_redirect(answer: requests.Response, **_: Any) -> None:
    there = urlsplit(urljoin(answer.url, answer.headers.get("Location", "")))
    if answer.is_redirect and there.scheme != "https" and there.hostname not in _HERE:
        raise UsageError(f"the model {answer.url} leads to {there.scheme}://{there.hostname}, without encryption")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
