"""What a job is: all that its results depend on. A run goes on only where nothing of that has changed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from beamsplit.models.graph.known_files import content_hash, hash_files
from beamsplit.pipelines.options.values import SCORE_GROUPS, ScoreOptions, is_given, option_of, value_of
from beamsplit.pipelines.resume.user_code import code_hash
from beamsplit.pipelines.sources.source import Source
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.spec import FUNCTION

NO_MATTER = frozenset(
    {
        # What a row gives is the same whoever scores it, and however many do.
        *("workers", "worker_type", "threads", "capacities", "cluster"),
        # What is asked of the whole job, at its end.
        *("output", "errors", "max_failed", "overwrite", "resume", "replan", "commit_id"),
        # Known otherwise: the files themselves, and what follows from other options.
        *("input", "model", "shard_source"),
    }
)
"""Options that change no result."""

GROUPS = ("binding", "source", "sink", "workers", "parallelism")
"""Of options: all others are of streams, of the runner, or of what is shown."""

PACKAGES = ("beamsplit", "onnxruntime", "onnxruntime-gpu", "apache-beam", "pyarrow", "numpy")

SHOWN = 3
"""Changes that are told, of several."""


class Facts(NamedTuple):
    """What a job is, for JSON."""

    options: dict[str, str]
    """Option -> what was said, for those that say other than their defaults."""

    contents: dict[str, str]
    """The model, files that options name, and code -> hash."""

    inputs: list[list[Any]]
    """[path, bytes, when it was changed, number on its disk] of each file; of stores [path, bytes, version]."""

    versions: dict[str, str]


def job_facts(options: ScoreOptions, source: Source, workers: int) -> Facts:
    """What a job of these options, files and workers is.

    Raises:
        UsageError: the model or a step's code cannot be found.
    """
    return Facts(
        options=_said(options, workers),
        contents=_contents(options) | _table(source),
        inputs=[[file.path, file.size, *_state(file)] for file in getattr(source, "inputs", ())],
        versions=_versions(),
    )


def _said(options: ScoreOptions, workers: int) -> dict[str, str]:
    names = [option_of(group, one.name) for group in GROUPS for one in fields(SCORE_GROUPS[group])]
    said = {name: value_of(options, name) for name in names if name not in NO_MATTER and is_given(options, name)}
    if said.get("partition") == "random":
        said["workers"] = workers
    else:
        # Ranges are dealt anew to the workers that there are.
        for name in ("partition", "seed"):
            said.pop(name, None)
    return {name: _text(value) for name, value in said.items()}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_text(one)}" for key, one in sorted(value.items()))
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    return str(value)


def _contents(options: ScoreOptions) -> dict[str, str]:
    binding, plan = options.binding, options.parallelism.plan
    contents = {f"the model {binding.model}": content_hash(localize(binding.model))}
    for spec in (*binding.prepare, *binding.finish):
        if FUNCTION.match(spec) and not _built_in(spec):
            contents[f"the code of {spec}"] = code_hash(spec)
    said = [*binding.prepare, *binding.finish, *binding.set.values(), *([plan] if plan else [])]
    contents |= {f"the file {path}": hash_files([path]) for path in _named_files(said)}
    return contents


def _table(source: Source) -> dict[str, str]:
    """Which version of a table is read, if one is: what it says of its files is part of the job."""
    table = getattr(source, "table", "")
    return {"the version of the table that is read": table} if table else {}


def _built_in(spec: str) -> bool:
    from beamsplit.transforms import finish, prepare

    return spec.partition(":")[0] in {step.NAME for step in (*prepare.BUILTINS, *finish.BUILTINS)}


def _named_files(texts: Iterable[str]) -> list[str]:
    """Files of this machine that texts such as `text:tokenizer.json,column=t` name."""
    parts = (part for text in texts for part in (text, *re.split(r"[:,=]", text)))
    return sorted({part for part in parts if part and os.path.isfile(part)})


def _state(file: InputFile) -> list[int | str | None]:
    """What is another when the content is, as far as that is known without reading: at a store its version; here when
    it was changed, and its number on the disk, by which a file that took its place with its time is told apart."""
    return [file.version] if file.stamp is None else [file.stamp[1], file.stamp[0]]


def _versions() -> dict[str, str]:
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def changes(before: Facts, now: Facts) -> list[str]:
    """What is another in a job than it was, in words; empty where nothing is.

    >>> a = Facts({"keep": "id"}, {"the model m.onnx": "1"}, [["a.csv", 10, 1]], {"pyarrow": "25"})
    >>> b = Facts({}, {"the model m.onnx": "2"}, [["a.csv", 20, 2], ["b.csv", 5, 3]], {"pyarrow": "25"})
    >>> changes(a, b)
    ['--keep was id, now not given', 'the model m.onnx is another', 'a.csv changed', 'b.csv is new']
    """
    told = []
    for name in sorted({*before.options, *now.options}):
        was, is_ = before.options.get(name, "not given"), now.options.get(name, "not given")
        if was != is_:
            told.append(f"--{name} was {was}, now {is_}")
    for name in sorted({*before.contents, *now.contents}):
        if before.contents.get(name) != now.contents.get(name):
            known = name in before.contents and name in now.contents
            told.append(f"{name} is {'another' if known else 'new' if name in now.contents else 'no more part of it'}")
    files = {path: rest for path, *rest in before.inputs}
    found = {path: rest for path, *rest in now.inputs}
    for path in sorted({*files, *found}):
        if files.get(path) != found.get(path):
            both = path in files and path in found
            told.append(f"{path} {'changed' if both else 'is new' if path in found else 'is gone'}")
    for name in sorted({*before.versions, *now.versions}):
        was, is_ = before.versions.get(name, "not there"), now.versions.get(name, "not there")
        if was != is_:
            told.append(f"{name} was {was}, now {is_}")
    return told


def told_changes(found: Sequence[str]) -> str:
    """The changes in one line.

    >>> told_changes(["a", "b", "c", "d", "e"])
    'a; b; c; and 2 more'
    """
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "; ".join([*found[:SHOWN], *more])
