"""The documentation's pages: what is made for them when the site is built, and where their links lead."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from beamsplit.pipelines.options import modes, plan, score
from beamsplit.transforms.formats import FORMATS

ROOT = Path(__file__).parent.parent
MARKDOWN = sorted((ROOT / "docs").rglob("*.md")) + [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")
]


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("command", [score, plan], ids=["score", "plan"])
def test_every_option_stands_in_the_reference(hooks: ModuleType, command: ModuleType):
    page = hooks.fill(f"<!-- made: options of {command.__name__.rpartition('.')[2]} -->")
    options = [
        action.option_strings[-1] for action in command.parser()._actions if "--help" not in action.option_strings
    ]
    assert len(options) > 20
    assert [option for option in options if not re.search(rf"^`.*{option}\b", page, re.MULTILINE)] == []


def test_every_step_stands_in_the_reference(hooks: ModuleType):
    page = hooks.fill((ROOT / "docs/reference/steps.md").read_text(encoding="utf-8"))
    for name in ("image", "augment", "text", "bytes", "scale", "onehot", "softmax", "argmax", "top_k", "expand"):
        assert f"| `{name}` |" in page


def test_every_format_stands_in_the_table(hooks: ModuleType):
    page = hooks.fill((ROOT / "docs/data.md").read_text(encoding="utf-8"))
    for one in FORMATS.values():
        assert bool(re.search(rf"^\| `{one.name}` \|", page, re.MULTILINE)) == (not one.by_scheme)


def test_the_table_of_what_goes_together_stands_in_the_reference(hooks: ModuleType):
    page = hooks.fill((ROOT / "docs/reference/score.md").read_text(encoding="utf-8"))
    assert "| `--limit` | yes |  |  | yes |" in page
    assert "`--limit N`" in page and r"in its order [files only]" in page
    assert all(f"| `--{option}` | " in page for option in modes.GOES_WITH)


def test_a_page_that_asks_for_something_unknown_fails(hooks: ModuleType):
    with pytest.raises(KeyError):
        hooks.fill("<!-- made: options of train -->")


@pytest.mark.parametrize(
    ("link", "file", "page", "leads"),
    [
        ("../README.md", "docs/data.md", "data.md", "index.md"),
        ("../benchmarks/README.md#results", "docs/comparison.md", "comparison.md", "benchmarks.md#results"),
        ("docs/data.md#nulls", "CHANGELOG.md", "changelog.md", "data.md#nulls"),
        ("../docs/concepts/streams.md", "benchmarks/README.md", "benchmarks.md", "concepts/streams.md"),
        ("../../CONTRIBUTING.md", "docs/how_to/text.md", "how_to/text.md", "../contributing.md"),
        ("https://onnx.ai", "docs/index.md", "index.md", "https://onnx.ai"),
        ("#steps", "docs/index.md", "index.md", "#steps"),
    ],
)
def test_links_lead_in_the_site_where_they_lead_in_the_repository(
    hooks: ModuleType, link: str, file: str, page: str, leads: str
):
    assert hooks.follow(f"[x]({link})", file, page) == f"[x]({leads})"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_the_repository_lead_to_a_file(path: Path):
    targets = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


WORDS = "period bubble gap verdict boundary team replica partition stage shard join all-reduce all-gather backpressure"
PAIRS = ("data parallelism", "pipeline parallelism", "tensor parallelism", "dead letters")


@pytest.mark.parametrize("word", [*WORDS.split(), *PAIRS])
def test_words_that_need_one_have_an_explanation(word: str):
    assert word in (ROOT / "docs/glossary.md").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize(
    ("command", "option", "says"),
    [
        (score, "--stages", "pipeline (layer-wise) parallelism"),
        (score, "--shards", "tensor (width-wise) parallelism; files are counted by --num_shards"),
        (score, "--num_shards", "--shards divides the model"),
        (score, "--workers", "data parallelism"),
        (score, "--errors", "dead letters"),
        (plan, "--stages", "pipeline (layer-wise) parallelism"),
        (plan, "--shards", "tensor (width-wise) parallelism"),
    ],
)
def test_help_says_the_fields_words(command: ModuleType, option: str, says: str):
    (found,) = (action for action in command.parser()._actions if option in action.option_strings)
    assert says in (found.help or "")


def test_examples_in_docstrings_are_shown_as_code():
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("doctests", ROOT / "docs/doctests.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = "Doubles.\n\n>>> a = 2\n>>> double(a)\n4\n\nMore.\n\n    >>> 1\n    1"
    fences = (
        "Doubles.\n\n```pycon\n>>> a = 2\n>>> double(a)\n4\n```\n\nMore.\n\n    ```pycon\n    >>> 1\n    1\n    ```"
    )
    assert module.fenced(text) == fences
    assert module.fenced("Nothing here.") == "Nothing here."


def test_every_page_is_in_the_sites_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if not re.search(rf": {re.escape(page)}$", menu, re.MULTILINE)] == []
