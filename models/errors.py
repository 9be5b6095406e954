"""The one exception that a user's own mistake raises."""

from __future__ import annotations


class UsageError(ValueError):
    """A model, an option or a schema that cannot work, found before the pipeline starts.

    The message is one line that names both sides (what is wanted, what there is) and the fix. The command
    prints it without a traceback and exits with code 2.

    >>> raise UsageError("--keep names nix, and the data has the columns id, age; name columns of the data")
    Traceback (most recent call last):
    beamsplit.models.errors.UsageError: --keep names nix, and the data has the columns id, age; name columns of the data
    """
