"""The command run in this process, and small inputs for it: what the tests of the command share."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines.score import main
from tests import onnx_models
from tests.onnx_models import save

ROWS = 600

PROGRESS = re.compile(
    r"^(step \d+ of \d+: )?[\d,]+ (of [\d,]+ )?rows, [\d,]+ rows/s(, [^\n]+)?, [\d,]+ failed[^\n]*\n", re.MULTILINE
)
"""What a job says every ten seconds: whether it does depends on the machine."""


@dataclass
class Command:
    """`score` on a model x: [rows, 4] -> y: [rows, 2] and 600 rows of id, a, b, c, d in row groups of 100."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    overwrite: bool = True
    """Whether each run replaces what one before has written."""

    def __post_init__(self) -> None:
        self.model = save(onnx_models.mlp(4, outputs=2), self.folder / "m.onnx")
        rng = np.random.default_rng(0)
        columns = {name: rng.standard_normal(ROWS).astype(np.float32) for name in "abcd"}
        self.table = pa.table({"id": np.arange(ROWS), **columns})
        self.data = self.folder / "data.parquet"
        pq.write_table(self.table, self.data, row_group_size=100)
        self.output = self.folder / "out" / "preds.parquet"

    def run(self, *options: object, **changed: object) -> tuple[int, str, str]:
        """(exit code, stdout, stderr without progress).

        `changed` replaces --model, --input, --output or --columns; None leaves out.
        """
        given: dict[str, Any] = {"model": self.model, "input": self.data, "output": self.output}
        given |= {"columns": "x=a,b,c,d", **changed}
        argv = [str(part) for key, value in given.items() if value is not None for part in (f"--{key}", value)]
        if self.overwrite and not str(given["output"]).startswith("kafka://"):
            argv.append("--overwrite")
        code = main([*argv, *map(str, options)])
        out, err = self.capsys.readouterr()
        return code, out, without_progress(err)

    def error(self, *options: object, **changed: object) -> str:
        """The one line of a wrong use, which is exit code 2 and writes nothing."""
        code, out, err = self.run(*options, **changed)
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
        assert not self.output.parent.exists()
        return err.removeprefix("error: ").rstrip()

    def rows(self, name: str = "preds*.parquet") -> pa.Table:
        """What was written, by id: a number, also where it is the text of one, as ids out of CSV files are."""
        shards = sorted(self.output.parent.glob(name))
        table = pa.concat_tables(pq.read_table(path) for path in shards)
        at = table.schema.get_field_index("id")
        return table.set_column(at, "id", table["id"].cast(pa.int64())).sort_by("id")

    def written(self) -> list[str]:
        """All names in the output's folder, hidden ones too."""
        return sorted(path.name for path in self.output.parent.iterdir())


def without_progress(err: str) -> str:
    """What a command wrote to stderr, without the lines that only a slow machine sees."""
    return PROGRESS.sub("", err)


def lines(path: Path) -> list[dict[str, Any]]:
    """JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_table(path: Path, **columns: Any) -> Path:
    """A Parquet file of these columns."""
    pq.write_table(pa.table(columns), path)
    return path
