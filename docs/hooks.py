"""What the documentation's pages take from elsewhere when the site is built: options, steps, and files of the root.

A page says `<!-- made: options of score -->` where something is put in that is never written by hand. Files that people
look for in the root of a repository, such as CONTRIBUTING.md, become pages too, and links to them lead there.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Files of the repository that are pages -> where they lie in the site."""

INSTEAD = {"README.md": "docs/index.md"}
"""Files of the repository that are no pages -> the page that says the same."""

MADE = re.compile(r"^<!-- made: (.+?) -->$", re.MULTILINE)
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)(#[^)\s]*)?\)")


def options_of(parser: argparse.ArgumentParser) -> str:
    """All options of a command, in their groups, with what its `--help` says of each."""
    formatter = parser._get_formatter()
    lines = []
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if not shown or group.title in ("positional arguments", "options"):
            continue
        lines.append(f"## {(group.title or '')[:1].upper()}{(group.title or '')[1:]}\n")
        if group.description:
            lines.append(f"{escape(group.description, quote=False)}\n")
        for action in shown:
            usage = formatter._format_action_invocation(action)
            anchor = action.option_strings[0].lstrip("-") if action.option_strings else action.dest
            text = escape(formatter._expand_help(action), quote=False).replace("*", r"\*").replace("_", r"\_")
            required = " *Required.*" if action.required else ""
            lines += [f"`{usage}`{{#{anchor}}}", f":   {text[:1].upper()}{text[1:]}.{required}\n"]
    return "\n".join(lines)


def options_of_score() -> str:
    """The options of `score`."""
    from beamsplit.pipelines.options.score import parser

    return options_of(parser())


def options_of_plan() -> str:
    """The options of `plan`."""
    from beamsplit.pipelines.options.plan import parser

    return options_of(parser())


def options_of_convert() -> str:
    """The options of `convert`."""
    from beamsplit.pipelines.options.convert import parser

    return options_of(parser())


def table_of_steps(steps: list[Any]) -> str:
    """A row a built-in step: its name, what it does, an example and its options."""
    lines = ["| step | what it does | example | options |", "|---|---|---|---|"]
    for step in steps:
        options = ", ".join(f"`{option}`" for option in step.options)
        lines.append(f"| `{step.name}` | {step.summary} | `{step.example}` | {options} |")
    lines.append("| `module:function` | your own: takes and gives a `pyarrow.RecordBatch` of as many rows | | |")
    return "\n".join(lines)


def steps_of_prepare() -> str:
    """The steps of `--prepare`."""
    from beamsplit.transforms.prepare import list_prepare

    return table_of_steps(list_prepare())


def steps_of_finish() -> str:
    """The steps of `--finish`."""
    from beamsplit.transforms.finish import list_finish

    return table_of_steps(list_finish())


def table_of_formats() -> str:
    """A row a file format: its extensions, and what is known of it."""
    from beamsplit.transforms.formats import FORMATS

    lines = ["| `--input_format` | read, by extension | written, by extension | values are text |", "|---|---|---|---|"]
    for one in (one for one in FORMATS.values() if not one.by_scheme):
        read, written = (
            ", ".join(f"`{extension}`" for extension in extensions)
            for extensions in (one.extensions, one.written_extensions)
        )
        lines.append(f"| `{one.name}` | {read or 'any other'} | {written} | {'yes' if one.text else ''} |")
    return "\n".join(lines)


def table_of_modes() -> str:
    """A row an option that does not go with everything."""
    from beamsplit.pipelines.options.modes import COLUMNS, GOES_WITH

    heads = {
        "files": "files", "range": "a topic to files", "stream": "a stream", "whole": "whole", "stages": "`--stages`",
        "plan": "`--plan`", "shards": "`--shards N`", "auto": "`--shards auto`", "strategy": "`--strategy`",
    }  # fmt: skip
    words = {
        "yes": "yes", "-": "", "way": "", "topic": "if a topic is written", "file": "if files are written",
        "table": "if a table is written", "deep": "with `--stages`",
    }  # fmt: skip
    lines = ["| option | " + " | ".join(heads[column] for column in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for option, marks in GOES_WITH.items():
        lines.append(f"| `--{option}` | " + " | ".join(words[marks[column]] for column in COLUMNS) + " |")
    return "\n".join(lines)


def python_api() -> str:
    """The public names of the package, each with its docstring."""
    import beamsplit

    return "\n\n".join(f"::: beamsplit.{name}" for name in beamsplit.__all__)


MAKERS: dict[str, Callable[[], str]] = {
    "options of score": options_of_score,
    "options of plan": options_of_plan,
    "options of convert": options_of_convert,
    "steps of --prepare": steps_of_prepare,
    "steps of --finish": steps_of_finish,
    "table of file formats": table_of_formats,
    "table of what goes together": table_of_modes,
    "Python API": python_api,
}
"""What a page may ask for -> what makes it."""


def fill(markdown: str) -> str:
    """The page with what it asks for put in.

    Raises:
        KeyError: it asks for something that nothing makes.
    """
    return MADE.sub(lambda found: MAKERS[found[1]](), markdown)


def follow(markdown: str, file: str, page: str) -> str:
    """The page with links that lead, in the site, where they lead in the repository.

    Args:
        markdown: the text.
        file: where it lies in the repository, e.g. `docs/data.md`.
        page: where it lies in the site, e.g. `data.md`.
    """

    def lead(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), found[1]))
        target = INSTEAD.get(target, target)
        target = PAGES.get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
        if target is None:
            return found[0]
        return f"]({posixpath.relpath(target, posixpath.dirname(page) or '.')}{found[2] or ''})"

    return LINK.sub(lead, markdown)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie elsewhere in the repository."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        path = ROOT / name
        if path.exists():
            files.append(File.generated(config, page, content=path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put in what is made, and turn links."""
    lies = {site: name for name, site in PAGES.items()}
    file = lies.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return follow(fill(markdown), file, page.file.src_uri)
