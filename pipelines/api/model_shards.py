"""What `bs.plan(shards=...)` gives: how a model is divided by width, to look at, to save, and to score with."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.page import framed, preformatted
from beamsplit.pipelines.api.paths import path_given

if TYPE_CHECKING:
    from beamsplit.models.shard.plan import ShardPlan
    from beamsplit.pipelines.planning.shards import DividedModel, LeftWhole


class ModelShards:
    """A model divided by width over shards: which layers, how, and where their parts meet.

    >>> import beamsplit as bs
    >>> columns = {"x": ["age", "height", "weight"]}
    >>> made = bs.plan("examples/mlp.onnx", sample="examples/table.parquet", columns=columns, shards=2)
    >>> made.shards, len(made.plan.layers)
    (2, 2)

    In a notebook it shows as its report.
    """

    def __init__(self, model: str, made: DividedModel | LeftWhole) -> None:
        """Use a division of the model at `model`, or that there is none."""
        from beamsplit.pipelines.planning.shards import LeftWhole

        self._model = model
        self._whole = made if isinstance(made, LeftWhole) else None
        self._made = None if isinstance(made, LeftWhole) else made

    @property
    def plan(self) -> ShardPlan | None:
        """The division itself: `layers`, `joins`, `kept_whole`, `steps`; None where the model stays whole."""
        return None if self._made is None else self._made.plan

    @property
    def shards(self) -> int:
        """How many; 1 where the model stays whole."""
        return 1 if self._made is None else self._made.plan.shards

    @property
    def verdict(self) -> str:
        """Why `shards="auto"` came to this; empty where the number was given."""
        if self._whole is not None:
            return self._whole.line
        assert self._made is not None
        return dict(self._made.facts).get("verdict", "")

    def save(self, folder: str | os.PathLike[str]) -> str:
        """Write the shards and `plan.json` into a folder, for `score(plan=...)` and the command's `--plan`; its path.

        The shards are compared with the whole model first.

        Raises:
            UsageError: the model stays whole, or the shards do not give what it gives.
            OSError: the files cannot be written.
        """
        from beamsplit.models.graph.known_files import data_hash
        from beamsplit.pipelines.planning.shards import save_shards
        from beamsplit.pipelines.planning.write import PLAN_FILE

        made, folder = self._divided(), path_given("folder", folder, "where to write")
        save_shards(made, replace(made.plan, data_hash=data_hash(made.rows.model.path)), folder)
        return f"{folder.rstrip('/')}/{PLAN_FILE}"

    def report(self, path: str | os.PathLike[str]) -> str:
        """Write the report, one HTML page with the layers, the joins and what each shard holds; the path.

        Raises:
            UsageError: the model stays whole.
            OSError: the file cannot be written.
        """
        from beamsplit.pipelines.planning.write import write_text

        path = path_given("path", path, "where to write")
        write_text(path, self.to_html())
        return path

    def to_html(self) -> str:
        """The report as a page.

        Raises:
            UsageError: the model stays whole.
        """
        from beamsplit.pipelines.report.html import render_shards

        return render_shards(self._divided().plan)

    def __getstate__(self) -> dict[str, Any]:
        """Refused where there are shards, whose weights are in no file yet.

        Raises:
            TypeError: with what to send instead.
        """
        if self._made is not None:
            raise TypeError(
                f"{self!r} holds the loaded model, which does not travel between processes: save it, and send the path "
                "that save('folder') gives, which goes as plan=..."
            )
        return dict(self.__dict__)

    def _divided(self) -> DividedModel:
        if self._made is None:
            raise UsageError(f"there are no shards to show or to write: {self.verdict}; give plan(shards=2), say")
        return self._made

    def __str__(self) -> str:
        """The table that the command prints, or why the model stays whole."""
        from beamsplit.pipelines.report import shard_table

        if self._made is None:
            return f"whole: {self.verdict}"
        return "\n".join(shard_table.table(self._made.plan, self._made.facts).plain_lines())

    def __repr__(self) -> str:
        """E.g. `ModelShards('m.onnx', shards=2)`."""
        return f"ModelShards({self._model!r}, shards={self.shards})"

    def _repr_html_(self) -> str:
        """Of notebooks: the report in a frame."""
        return preformatted(str(self)) if self._made is None else framed(self.to_html())
