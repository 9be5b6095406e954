"""The examples of the README, the tutorial and the how-to pages, run as they stand, in an empty folder."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/how_to").glob("*.md")))
MAKE_DATA = "python -m pipelines.examples out/examples\n"


def blocks_of(page: Path) -> list[str]:
    """The examples of a page, but for the one that makes their data."""
    blocks = re.findall(r"```(sh|python)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    shell = [block if language == "sh" else f"python - <<'EOF'\n{block}EOF\n" for language, block in blocks]
    return [block for block in shell if not block.endswith(MAKE_DATA)]


FRAMEWORKS = ("daft",)

EXAMPLES = list(dict.fromkeys(block for page in PAGES for block in blocks_of(page)))
"""Each once, though several pages show it."""


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as a user would who has activated the environment."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    made = run(MAKE_DATA, folder)
    assert made.returncode == 0, made.stderr
    return folder


def prepare(block: str, folder: Path) -> None:
    """Run first what writes the files that the block reads: each test may run in a process of its own."""
    for path in re.findall(
        r"(?:--(?:plan|measured) |--input (?:delta|lance|sqlite):|\"sqlite:)([^\s@#\"/][^\s@#\"]*)", block
    ):
        if (folder / path).exists():
            continue
        writers = [other for other in EXAMPLES for made in re.findall(WRITES, other) if path.startswith(made)]
        assert writers, f"no example before writes {path}"
        prepare(writers[0], folder)
        assert run(writers[0], folder).returncode == 0


WRITES = (
    r"(?:--(?:save_stages|save_shards|summary) |write_deltalake\(\"|write_dataset\(.*, \"|connect\(\"file:)([^\s\"?]+)"
)


def title(block: str) -> str:
    """The output or the last words of an example, to tell the tests apart."""
    found = re.search(r"--(?:output|report) (\S+)", block)
    return (found[1] if found else block.split()[0]) + (" dry" if "dry_run" in block else "")


def test_each_page_says_how_its_data_is_made_or_is_behind_one_that_does():
    assert all(MAKE_DATA in page.read_text(encoding="utf-8") for page in (*PAGES[:2], ROOT / "docs/how_to/tables.md"))


@pytest.mark.parametrize("block", EXAMPLES, ids=[f"{i}: {title(block)}" for i, block in enumerate(EXAMPLES)])
def test_example(block: str, folder: Path):
    # Too large to be installed for one page each: run where somebody has them.
    lacking = [name for name in FRAMEWORKS if f"import {name}" in block or f"from {name}" in block]
    lacking = [name for name in lacking if importlib.util.find_spec(name) is None]
    if lacking:
        pytest.skip(f"{', '.join(lacking)} is not installed")
    prepare(block, folder)
    done = run(block, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if "pipelines.score" in block and "--dry_run_plan" not in block:
        assert " scored, " in done.stdout
