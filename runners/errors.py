"""What a runner tells when it cannot run."""

from __future__ import annotations


class RunnerError(Exception):
    """A runner or a service that it needs cannot start: one line with what is wanted, what is there, and the fix."""
