"""`python -m tests.mutants`: puts faults into the source, one at a time, and tells which of them no test notices."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.lines import Given, Lines, parts, record, span
from tests.mutants.modules import modules
from tests.mutants.mutations import Mutation, mutations

ROOT = Path(__file__).parent.parent.parent
SOURCES = ("beamsplit.models", "beamsplit.transforms", "beamsplit.pipelines", "beamsplit.runners")
PYTEST = (sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider")
LEFT_OUT = ("beamsplit.runners.local", "beamsplit.runners.dataflow", "beamsplit.pipelines.demo")
"""What only tests of services, or another cloud, run."""
ALONE = "alone"
"""What tests.mutants.trial says of what it cannot try."""
NO_TIME = 0.1
"""Seconds below which a test costs next to nothing, however many there are."""
NO_TESTS = (4, 5)
"""How pytest ends where it finds none of the tests: nothing was tried."""


@dataclass(frozen=True)
class Fault:
    """One to be tried.

    Attributes:
        module: e.g. "beamsplit.models.split.balance".
        path: of its file, from the root.
        fault: what is changed in it.
    """

    module: str
    path: Path
    fault: Mutation


class Copy:
    """A copy of the repository's files, whose tests are run.

    Args:
        folder: takes the copy.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._env = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        for name in filter(None, listed.stdout.splitlines()):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)

    def tried(self, faults: Path, files: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Number of a fault, and what noticed it, as they are tried (see tests.mutants.trial)."""
        said = faults.parent / "said.jsonl"
        said.touch()
        if not files:
            return
        with open(faults.parent / "output", "w") as output, said.open() as lines:
            tests = subprocess.Popen(
                [*PYTEST, "-p", "tests.mutants.trial", "--basetemp", str(faults.parent / "pytest"), *files],
                cwd=self.folder, env=self._env | {"BEAMSPLIT_FAULTS": str(faults)}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip
            try:
                ended = False
                while not ended:
                    ended = tests.poll() is not None
                    yield from map(json.loads, iter(lines.readline, ""))
                    time.sleep(0.1)
            finally:
                tests.send_signal(signal.SIGINT)  # it ends the process that tries a fault
                tests.wait()
        if tests.returncode:
            raise SystemExit((faults.parent / "output").read_text())

    def alone(self, fault: Fault, tests: Sequence[str], seconds: float) -> str:
        """What notices a fault that is executed when its module is imported; "" if nothing."""
        source = (self.folder / fault.path).read_bytes()
        listed = self.folder.parent / "tests"
        listed.write_text("\n".join(tests))
        command = [*PYTEST, "-x", "--basetemp", str(self.folder.parent / "pytest"), f"@{listed}"]
        self.write(fault.path, fault.fault.applied(source))
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=120 + 20 * seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "tests that do not end"
        finally:
            self.write(fault.path, source)
        failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return "" if done.returncode in (0, *NO_TESTS) else (failed or [f"ended with {done.returncode}"])[0]

    def write(self, path: Path, source: bytes) -> None:
        """Put a source there; bytecode of the one before is not taken for it."""
        (self.folder / path).write_bytes(source)
        for stale in (self.folder / path).parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            stale.unlink()


def drawn(number: int, seed: int, only: str) -> list[Fault]:
    """A sample of the faults of all sources, each as likely."""
    every = [
        Fault(name, path.relative_to(ROOT), one)
        for name, path in modules(ROOT).items()
        if name.startswith(SOURCES) and not name.startswith(LEFT_OUT) and str(path.relative_to(ROOT)).startswith(only)
        for one in mutations(path.read_bytes())
    ]
    return random.Random(seed).sample(every, min(number, len(every)))


def chosen(seconds: Mapping[str, float], path: Path, most: float) -> list[str]:
    """Tests to run for a fault in a file, those that lie nearest first.

    Args:
        seconds: by test, those that execute the place.
        path: of the source, e.g. models/split/balance.py.
        most: seconds for all. Tests of no time are taken first, then of each file of tests the quick ones, in turn.
    """
    files: dict[str, list[str]] = {}
    for test in sorted(seconds, key=lambda one: (seconds[one], one)):
        files.setdefault(test.split("::")[0], []).append(test)
    mirrored = f"tests/{path.parent}/"

    def far(file: str) -> tuple[bool, bool, float, str]:
        return not file.startswith(f"{mirrored}test_{path.stem}"), not file.startswith(mirrored), len(files[file]), file

    order = sorted(files, key=far)
    at_once = [test for file in order for test in files[file] if seconds[test] < NO_TIME]
    in_turn = itertools.zip_longest(*([test for test in files[file] if seconds[test] >= NO_TIME] for file in order))
    taken, left = set(), most
    for test in itertools.chain(at_once, *in_turn):
        if test is not None and left > 0:
            taken.add(test)
            left -= seconds[test]
    return [test for file in order for test in files[file] if test in taken]


def trials(faults: Sequence[Fault], lines: Lines | Given, folder: Path, most: float) -> Iterator[tuple[Fault, str]]:
    """Try the faults, each with the test that noticed it, "" for none.

    Args:
        faults: to be tried.
        lines: what was recorded, or the tests to be tried.
        folder: for a copy of the repository.
        most: seconds of tests for a fault.
    """
    copy, tests, seconds = Copy(folder / "copy"), {}, {}
    told = folder / "faults.jsonl"
    with told.open("w") as file:
        for number, one in enumerate(faults):
            source = (ROOT / one.path).read_text(encoding="utf-8")
            found = lines.tests(str(one.path), source, *span(source, one.fault.line))
            tests[number] = chosen({test: lines.seconds[test] for test in found}, one.path, most)
            seconds[number] = sum(lines.seconds[test] for test in tests[number])
            if not tests[number]:
                yield one, ""
                continue
            about = {"begin": one.fault.begin, "end": one.fault.end, "after": one.fault.after}
            about |= {"number": number, "path": str(one.path), "tests": tests[number], "seconds": seconds[number]}
            file.write(json.dumps(about) + "\n")
    files = sorted({test.split("::")[0] for each in tests.values() for test in each})
    alone = []
    for number, said in copy.tried(told, files):
        if said == ALONE:
            alone.append(number)
            continue
        yield faults[number], said
    for number in alone:  # not before: they are put into the same files
        yield faults[number], copy.alone(faults[number], tests[number], seconds[number])


def collected(files: Sequence[str]) -> list[str]:
    """The tests of files."""
    listing = [*PYTEST, "-o", "addopts=", "--collect-only", *files]  # one -q: each test by its name
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return [line for line in done.stdout.splitlines() if "::" in line]


def options_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """What the command is given."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the sample (default: %(default)s)")
    parser.add_argument("--number", type=int, default=60, metavar="N", help="faults (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="PATH", help="sources whose path begins so, e.g. models/split/")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="of tests for a fault (default: 60)")
    parser.add_argument(
        "--lines", type=Path, default=ROOT / "build" / "mutants", metavar="FOLDER",
        help="what was recorded of which test executes which line (default: build/mutants)",
    )  # fmt: skip
    parser.add_argument(
        "--record", nargs="*", metavar="TESTS",
        help="record it first: of these folders of tests, or of all of which nothing is recorded",
    )  # fmt: skip
    parser.add_argument(
        "--tests", nargs="+", metavar="TESTS",
        help="files of tests that each fault is tried with, in place of those that were recorded to execute its line",
    )  # fmt: skip
    parser.add_argument("--unexecuted", action="store_true", help="list the faults in lines that no test executes")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if a fault went unnoticed."""
    options = options_of(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="beamsplit-mutants-") as name:
        if options.record is not None or not (options.lines.exists() or options.tests):
            copy = Copy(Path(name) / "recorded" / "copy")
            known = {path.name for path in options.lines.glob("*")}
            for part in options.record or [one for one in parts(ROOT) if one.replace("/", ".") not in known]:
                print(f"recording {part}", flush=True)
                record(copy.folder, part.rstrip("/"), options.lines)
        if options.unexecuted:
            return unexecuted(drawn(10**9, 0, options.only), Lines(options.lines))
        lines = Given(collected(options.tests)) if options.tests else Lines(options.lines)
        faults = drawn(options.number, options.seed, options.only)
        missed = []
        for done, (fault, test) in enumerate(trials(faults, lines, Path(name), options.seconds), 1):
            told = f"{fault.path}:{fault.fault.told((ROOT / fault.path).read_bytes())}"
            missed += [] if test else [told]
            print(f"{done}/{len(faults)} {f'noticed by {test}' if test else 'UNNOTICED'}: {told}", flush=True)
    found = len(faults) - len(missed)
    print(f"{found} of {len(faults)} noticed ({found / max(1, len(faults)):.0%}), seed {options.seed}")
    for line in missed:
        print(f"  no test notices {line}")
    return 1 if missed else 0


def unexecuted(faults: Sequence[Fault], lines: Lines) -> int:
    """List the faults that no test can notice, by file; 1 if there are any."""
    files: dict[Path, list[Mutation]] = {}
    for one in faults:
        files.setdefault(one.path, []).append(one.fault)
    missed = 0
    for path, each in sorted(files.items()):
        source = (ROOT / path).read_text(encoding="utf-8")
        seen = lines.executed(str(path), source)
        for fault in sorted(each, key=lambda one: one.begin):
            first, last = span(source, fault.line)
            if not seen & set(range(first, last + 1)):
                print(f"{path}:{fault.told(source.encode())}")
                missed += 1
    print(f"{missed} of {len(faults)} faults lie in lines that no test executes")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
