"""Numbers with units as people read and type them."""

from __future__ import annotations


def show_bytes(nbytes: float) -> str:
    """E.g. `25.6 MB`; decimal units, three digits."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= 0.9995 * size:
            return f"{_three(nbytes / size)} {unit}"
    return f"{nbytes:.0f} B"


def show_seconds(seconds: float) -> str:
    """E.g. `12.3 ms`; three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds / 1e-6)} µs" if seconds else "0 s"


def show_rate(rate: float) -> str:
    """A number a second, three digits or all before the point, e.g. `10.8` or `1,613`."""
    return _three(rate)


def _three(number: float) -> str:
    if number >= 999.5:
        return f"{number:,.0f}"
    return f"{number:.{0 if number >= 99.95 else 1 if number >= 9.995 else 2}f}"
