"""`python -m tests.mutants`: puts faults into the source, one at a time, and tells which of them no test notices."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.mutations import Mutation, mutations
from tests.mutants.reach import concerned, modules

ROOT = Path(__file__).parent.parent.parent
SOURCES = ("beamsplit.models", "beamsplit.transforms", "beamsplit.pipelines", "beamsplit.runners")
LEFT_OUT = ("beamsplit.runners.local", "beamsplit.runners.dataflow", "beamsplit.pipelines.demo")
"""What only tests of services, or another cloud, run."""


class Copy:
    """A copy of the repository's files, whose tests are run.

    Args:
        folder: takes the copy.
        patience: seconds for the tests of one fault; what takes longer does not end, which is noticed.
    """

    def __init__(self, folder: Path, patience: float):
        self.folder, self._patience = folder, patience
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        for name in filter(None, listed.stdout.splitlines()):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)

    def write(self, path: Path, source: bytes) -> None:
        """Put a source there; bytecode of the one before is not taken for it."""
        (self.folder / path).write_bytes(source)
        for stale in (self.folder / path).parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            stale.unlink()

    def noticed(self, tests: Sequence[Path]) -> bool:
        """Whether one of these test files fails."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
        env = os.environ | {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        temporary = self.folder.parent / "pytest"
        command += ["--basetemp", str(temporary), *map(str, tests)]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=self._patience
            )
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0


def drawn(number: int, seed: int, only: str) -> list[tuple[str, Path, Mutation]]:
    """A sample of the faults of all sources, each as likely: (module, file, fault)."""
    every = [
        (name, path.relative_to(ROOT), one)
        for name, path in modules(ROOT).items()
        if name.startswith(SOURCES) and not name.startswith(LEFT_OUT) and str(path.relative_to(ROOT)).startswith(only)
        for one in mutations(path.read_bytes())
    ]
    return random.Random(seed).sample(every, min(number, len(every)))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if a fault went unnoticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the sample (default: %(default)s)")
    parser.add_argument("--number", type=int, default=60, metavar="N", help="faults (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="PATH", help="sources whose path begins so, e.g. models/split/")
    parser.add_argument("--near", type=int, default=2, metavar="N", help="test files that are tried first")
    parser.add_argument("--files", type=int, default=200, metavar="N", help="test files at most (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=1800, metavar="SECONDS", help="for the tests of one fault")
    options = parser.parse_args(argv)
    tests, missed = concerned(ROOT), []
    faults = drawn(options.number, options.seed, options.only)
    with tempfile.TemporaryDirectory(prefix="beamsplit-mutants-") as name:
        copy = Copy(Path(name) / "copy", options.patience)
        for done, (module, path, fault) in enumerate(faults, 1):
            source, begun = (copy.folder / path).read_bytes(), time.monotonic()
            named = f"test_{path.stem}.py"
            order = sorted(tests[module], key=lambda one: (one[1].name != named, one))
            files = [one.relative_to(ROOT) for _, one in order][: options.files]
            copy.write(path, fault.applied(source))
            # Most faults are noticed by the nearest.
            parts = [files[: options.near], files[options.near :]]
            noticed = any(copy.noticed(part) for part in parts if part)
            copy.write(path, source)
            word = "noticed" if noticed else "UNNOTICED"
            took = time.monotonic() - begun
            print(f"{done}/{len(faults)} {word} ({took:.0f} s): {path}:{fault.told(source)}", flush=True)
            missed += [] if noticed else [f"{path}:{fault.told(source)}"]
    found = len(faults) - len(missed)
    print(f"{found} of {len(faults)} noticed ({found / max(1, len(faults)):.0%}), seed {options.seed}")
    for line in missed:
        print(f"  no test notices {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
