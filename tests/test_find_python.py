"""`make` finds a Python that fits, by running each that it meets: a name alone says nothing (pyenv has shims)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "find_python"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="make needs a POSIX shell")


def found(folder: Path, *wanted: str, **pythons: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) where PATH has these programs; "" is one that does not run."""
    there = folder / "bin"
    there.mkdir()
    for name, version in pythons.items():
        program = there / name.replace("_", ".")
        program.write_text(f"#!/bin/sh\n[ -n '{version}' ] && echo {version}\n")
        program.chmod(0o755)
    env = {"PATH": f"{there}:/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(["/bin/sh", SCRIPT, *wanted], env=env, capture_output=True, text=True)
    return done.returncode, done.stdout.removeprefix(f"{there}/").strip(), done.stderr


def test_python3_where_it_fits(tmp_path: Path):
    assert found(tmp_path, python3="3.11", python3_13="3.13") == (0, "python3", "")


def test_the_newest_that_fits_where_python3_does_not(tmp_path: Path):
    assert found(tmp_path, python3="3.9", python3_13="", python3_12="3.12", python3_11="3.11")[:2] == (0, "python3.12")


def test_the_one_that_is_named(tmp_path: Path):
    assert found(tmp_path, "python3.12", python3="3.11", python3_12="3.12")[:2] == (0, "python3.12")


def test_a_version_is_found_where_pyenv_has_it(tmp_path: Path):
    there = tmp_path / ".pyenv" / "versions" / "3.12.1" / "bin"
    there.mkdir(parents=True)
    (there / "python3").write_text("#!/bin/sh\necho 3.12\n")
    (there / "python3").chmod(0o755)
    assert found(tmp_path, "3.12", python3="3.11", python3_12="")[:2] == (0, str(there / "python3"))


@pytest.mark.parametrize("wanted", ["python3.9", "3.9"])
def test_one_that_does_not_fit_is_told_with_those_that_do(tmp_path: Path, wanted: str):
    code, out, err = found(tmp_path, wanted, python3="3.8", python3_9="3.9", python3_12="3.12")
    assert (code, out) == (1, "")
    assert err.startswith("error: beamsplit needs Python 3.10 or newer with its venv module; python3.9 is 3.9")
    assert f"type make PYTHON={tmp_path}/bin/python3.12 ..." in err


def test_one_that_is_not_there(tmp_path: Path):
    code, _, err = found(tmp_path, "pypy3", python3="3.12")
    assert code == 1 and "there is no pypy3 that runs" in err
