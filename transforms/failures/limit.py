"""How many rows may fail before a job is given up: `--max_failed`. No Beam."""

from __future__ import annotations

import re
from dataclasses import dataclass

from beamsplit.transforms.failures.kinds import FailureKind

STREAM_ROWS = 100
"""Messages of a stream before a share of them tells anything."""


class TooManyFailedError(Exception):
    """More rows failed than may; the message is one line with the counts and the commonest reason."""


@dataclass(frozen=True)
class FailureLimit:
    """What may fail: a number of rows, or a share of those read."""

    text: str
    """As the user gave it."""

    rows: int | None = None
    share: float | None = None
    """From 0 to 1."""

    def passed(self, failed: int, total: int) -> bool:
        """Whether more failed, of so many read."""
        return failed > (self.rows if self.rows is not None else (self.share or 0.0) * total)

    def passed_so_far(self, failed: int, read: int, total: int | None = None) -> bool:
        """Whether it is sure, or of a stream likely, that more will have failed in the end.

        Args:
            failed: rows so far.
            read: rows so far, those included.
            total: rows that there will be; None for a stream, whose share is that of the messages so far.
        """
        if self.share is not None and total is None and read < STREAM_ROWS:
            return False
        return self.passed(failed, read if total is None else total)

    def error(self, failed: int, total: int | None, commonest: FailureKind | None) -> TooManyFailedError:
        """What to raise."""
        of = f" of {total:,} rows ({failed / total:.1%})" if total else " rows"
        why = f"; most often, {commonest}" if commonest is not None else ""
        return TooManyFailedError(f"{failed:,}{of} failed, more than --max_failed {self.text} allows{why}")


def parse_limit(text: str) -> FailureLimit:
    """`5%` or `100`.

    >>> parse_limit("2.5%").share, parse_limit("10").rows
    (0.025, 10)

    Raises:
        ValueError: it is neither a number of rows nor a share from 0% to 100%.
    """
    if re.fullmatch(r"\d+", text):
        return FailureLimit(text, rows=int(text))
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)%", text)
    if found is None or float(found[1]) > 100:
        raise ValueError(f"{text!r} is neither a number of rows, such as 100, nor a share of them, such as 5%")
    return FailureLimit(text, share=float(found[1]) / 100)
