"""Imports Beam without the connectors that no beamsplit job uses: a quarter of the time that `import` takes.

Scoring a small input takes less time than importing Beam does. `apache_beam.io` imports its MongoDB and BigQuery
connectors with their clients (pymongo, requests, cryptography, ...) whether they are used or not.
"""

from __future__ import annotations

import sys
import types

_EMPTY = ("apache_beam.io.mongodbio",)
"""Modules that are imported with `*` and not guarded: an empty one stands in for each while Beam is imported."""

_ABSENT = ("apache_beam.io.gcp.bigquery", "apache_beam.io.gcp.pubsub")
"""Modules that Beam does without if they cannot be imported."""


def import_beam() -> None:
    """Import Beam, leaving out what is not needed; does nothing where Beam is imported already.

    What was left out can be imported as ever afterwards, by its own name.
    """
    if "apache_beam" in sys.modules:
        return
    hidden = {name: types.ModuleType(name) for name in _EMPTY} | dict.fromkeys(_ABSENT)
    hidden = {name: module for name, module in hidden.items() if name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        import apache_beam  # noqa: F401
    finally:
        for name, module in hidden.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
