"""Timers in processing time that hold back no watermark.

Beam: https://github.com/apache/beam/issues/20705 (Python takes no output timestamp for a timer, as Java does) and
https://github.com/apache/beam/issues/21554 (a timer without a hold).
"""

from __future__ import annotations

from typing import Any


def without_hold(timer: Any, window: Any) -> Any:
    """The timer, which then holds back no watermark while it is set.

    A timer in processing time holds it at the time of the element that set it: as long as it is set, no window behind
    could close, though nothing comes out of it.

    Args:
        timer: of a DoFn's `TimerParam`.
        window: of the element; at its end the watermark may be held.
    """
    timer._input_timestamp = window.max_timestamp()
    return timer
