"""The cases of `benchmarks.batch`: inputs, models, commands, and what beamsplit is to reach."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import data, lakes

OURS, PLAIN, TUNED, RUN_INFERENCE = "beamsplit", "plain loop", "tuned loop", "RunInference"
DAFT, POLARS = "Daft", "Polars"
ARRAYS = "RunInference, bs"
"""RunInference with beamsplit's handler."""

HANDLER_GOAL = 10
"""How many times the rows a second of Beam's handler ours is to have."""

PROGRAMS = (OURS, PLAIN, TUNED, POLARS, DAFT, RUN_INFERENCE, ARRAYS)
MODULES = {
    PLAIN: "plain_loop",
    TUNED: "tuned_loop",
    RUN_INFERENCE: "run_inference",
    ARRAYS: "run_inference_arrays",
    DAFT: "daft_loop",
    POLARS: "polars_loop",
}


@dataclass(frozen=True)
class Case:
    """One input and one model."""

    name: str
    kind: str
    """`table`, `files` (of a row each), `images`, `small` (images, of a folder or a tar) or `texts`."""

    rows: int
    source: Path
    model: Path
    programs: tuple[str, ...]
    goals: dict[str, float] = field(default_factory=dict)
    """Program -> how many times its rows a second ours are to be."""

    tokenizer: Path | None = None

    text: bool = False
    """Rows are text, which may have columns beside those of the model."""

    lake: str = ""
    """`delta`: the rows of `source` are in a Delta table, and so are the predictions to be; `s3`: they are in files of
    those names at S3; empty: they are in `source`. The loops read and write files of this machine, for comparison."""

    def command(self, program: str, output: Path) -> list[str]:
        """The command of one program that writes to `output`."""
        if self.lake and program == OURS:
            return [*_score(self), "--output", _lake_output(self.lake, output), "--quiet"]
        if self.lake and program in (DAFT, POLARS):
            source, module = self.lake_source(), f"benchmarks.alternatives.{program.lower()}_lakes"
            written = _lake_output(self.lake, output).removeprefix("delta:")
            return [sys.executable, "-m", module, self.lake, source, str(self.model), written]
        if program == OURS:
            shards = output.with_name(f"{output.stem}-*{output.suffix}")
            return [*_score(self), "--output", str(shards), "--overwrite", "--quiet"]
        extra = [str(self.tokenizer)] if self.tokenizer else []
        module = f"benchmarks.alternatives.{MODULES[program]}"
        return [sys.executable, "-m", module, self.kind, str(self.source), str(self.model), str(output), *extra]

    def lake_source(self) -> str:
        """Where the rows are, as Daft names it."""
        if self.lake == "s3":
            return f"s3://{lakes.BUCKET}/{self.source.name}"
        return str(lakes.delta_table(self.source))


def _lake_output(lake: str, output: Path) -> str:
    if lake == "delta":
        return f"delta:{output}"
    return f"s3://{lakes.BUCKET}/{output.parent.name}/"


def _score(case: Case) -> list[str]:
    source = str(case.source)
    if case.lake:
        source = f"delta:{case.lake_source()}" if case.lake == "delta" else case.lake_source()
    command = [sys.executable, "-m", "pipelines.score", "--model", str(case.model), "--input", source]
    if case.text:
        command += ["--columns", "x=" + ",".join(f"f{column}" for column in range(data.COLUMNS))]
    if case.kind == "images":
        prepare = "image:size=224,mean=0.485/0.456/0.406,std=0.229/0.224/0.225"
        command += ["--prepare", prepare, "--keep", "path"]
    if case.kind == "small":
        column, key = ("jpg", "__key__") if case.source.suffix == ".tar" else ("bytes", "path")
        command += ["--prepare", f"image:size=64,resize=64,column={column}", "--keep", key]
    if case.kind == "texts":
        command += ["--prepare", f"text:{case.tokenizer},column=text,max_length=128", "--keep", "id"]
        command += ["--finish", "benchmarks.pooling:mean_of_tokens"]
    return command


def make_cases(names: list[str], folder: Path, scale: float) -> list[Case]:
    """The cases of these names, their data made if it is not there; `scale` below 1 gives fewer rows."""
    folder.mkdir(parents=True, exist_ok=True)
    daft = (DAFT,) if importlib.util.find_spec("daft") else ()
    polars = (POLARS,) if importlib.util.find_spec("polars") else ()
    loops = (OURS, PLAIN, TUNED)

    def rows(full: int) -> int:
        return max(100, int(full * scale))

    def tabular(name: str, full: int, goals: dict[str, float], *more: str) -> Case:
        count = rows(full)
        programs = (*loops, *polars, *daft, *more)
        return Case(name, "table", count, data.table(folder, count), data.mlp(folder), programs, goals)

    made = []
    for name in names:
        if name == "tabular_1m":
            made.append(
                tabular(
                    name, 1_000_000, {PLAIN: 0.75, POLARS: 1.0, DAFT: 1.0, RUN_INFERENCE: 20}, RUN_INFERENCE, ARRAYS
                )
            )
        elif name == "tabular_10m":
            made.append(tabular(name, 10_000_000, {PLAIN: 2.0, POLARS: 1.25, DAFT: 1.2, TUNED: 0.95}))
        elif name in ("delta_10m", "s3_1m"):
            lake, full, goal = ("delta", 10_000_000, 1.2) if name == "delta_10m" else ("s3", 1_000_000, 1.0)
            count = rows(full)
            source, programs = data.table(folder, count), (OURS, PLAIN, *polars, *daft)
            made.append(Case(name, "table", count, source, data.mlp(folder), programs, {DAFT: goal}, lake=lake))
        elif name == "embeddings_1m":
            count = rows(1_000_000)
            source, model = data.table(folder, count), data.embedder(folder)
            made.append(Case(name, "table", count, source, model, (*loops, *polars), {POLARS: 1.0, TUNED: 0.8}))
        elif name in IMAGE_CASES:
            count = rows(10_000)
            source = data.small_images(folder, count)
            source = source if name == "images_10k" else data.tar_of(source)
            made.append(Case(name, "small", count, source, data.small_cnn(folder), loops, {PLAIN: 1.0, TUNED: 0.8}))
        elif name in TEXT_CASES:
            form, mixed = TEXT_CASES[name]
            count = rows(1_000_000)
            source, model = data.text_table(folder, count, form, mixed), data.mlp(folder)
            programs = (OURS, PLAIN, *polars)
            made.append(Case(name, "table", count, source, model, programs, {POLARS: 1.0}, text=True))
        elif name == "files_10k":
            count = rows(10_000)
            source, model = data.small_files(folder, count), data.mlp(folder)
            made.append(Case(name, "files", count, source, model, (OURS, PLAIN), {PLAIN: 0.83}))
        elif name == "trees":
            count = rows(2_000_000)
            source = data.table(folder, count)
            made.append(Case(name, "table", count, source, data.trees(folder), (*loops, *polars, *daft), {PLAIN: 1.0}))
        elif name == "cnn":
            count = rows(2_000)
            goals = {PLAIN: 1.25, TUNED: 0.97}
            source = data.photos(folder, count)
            made.append(Case(name, "images", count, source, data.squeezenet(folder), loops, goals))
        elif name == "encoder":
            count = rows(5_000)
            tokenizer = data.tokenizer(folder)
            source, model = data.texts(folder, count), data.encoder()
            made.append(Case(name, "texts", count, source, model, loops, {PLAIN: 1.0}, tokenizer))
        else:
            raise SystemExit(f"no case {name!r}; cases are {', '.join(CASES)}")
    return made


TEXT_CASES = {
    "csv_1m": ("csv", False),
    "csv_gz_1m": ("csv.gz", False),
    "csv_mixed_1m": ("csv", True),
    "jsonl_1m": ("jsonl", False),
    "jsonl_gz_1m": ("jsonl.gz", False),
    "jsonl_mixed_1m": ("jsonl", True),
}
"""Case -> (extension, whether names, days and times stand beside the numbers)."""

IMAGE_CASES = ("images_10k", "images_tar_10k")

CASES = (
    *("tabular_1m", "tabular_10m", "embeddings_1m", *TEXT_CASES, "files_10k", "cnn", *IMAGE_CASES),
    *("encoder", "trees", "delta_10m", "s3_1m"),
)
