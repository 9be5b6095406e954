"""PyArrow without pandas, in processes that are ours alone.

PyArrow imports pandas at the first array that it makes, where pandas is installed: half a second in each process, for
what no step of ours uses. A user's own function gets it back (`transforms.user_function`).
"""

from __future__ import annotations

import sys


class _Absent:
    """A finder in whose eyes pandas is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def leave_pandas_out() -> None:
    """Have PyArrow take pandas for missing, unless it is imported already; others can import it as ever."""
    if "pandas" in sys.modules:
        return
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        import pyarrow

        # It looks once, and then only where a DataFrame is asked for.
        pyarrow.array(["a"])
    finally:
        sys.meta_path.remove(absent)
