"""Names of files, columns and tensors are UTF-8, also where the locale knows ASCII only (`LANG=C`)."""

from __future__ import annotations

import codecs
import io
import os
import sys

_MODE = "PYTHONUTF8"


def speak_utf8() -> None:
    """Begin the command anew in Python's UTF-8 mode where names would be ASCII; print what stdout cannot say escaped.

    In ASCII Python neither opens a file of another name nor reads such a name from the command line as it was typed.
    It takes this mode by itself for most such locales, unless it was told not to.
    """
    ascii_only = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    if ascii_only and os.environ.get(_MODE) != "1":
        os.environ[_MODE] = "1"  # the workers' too
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        # PYTHONIOENCODING, a pipe in another encoding, or a path that is no UTF-8.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
