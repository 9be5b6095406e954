"""What `bs.plan(strategy=...)` gives: which of replicas, stages and shards is best on the workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from beamsplit.pipelines.api.page import preformatted
from beamsplit.pipelines.api.paths import path_given

if TYPE_CHECKING:
    from beamsplit.models.strategy.choose import Strategy


class ModelStrategy:
    """Ways to run a model on some workers, the best first, with a bound on what any could reach.

    >>> import beamsplit as bs
    >>> made = bs.plan("examples/mlp.onnx", strategy="auto", workers=2)
    >>> made.strategy.workers, made.strategy.chosen.rows_per_second > 0
    (2, True)

    In a notebook it shows as the command's table.
    """

    def __init__(self, model: str, strategy: Strategy) -> None:
        """Use a choice for the model at `model`."""
        self._model = model
        self.strategy = strategy
        """The choice itself: `chosen`, `candidates` with rows a second and memory, `bound`, `verdict`, `notes`."""

    @property
    def verdict(self) -> str:
        """What was chosen, and why, in a sentence."""
        return self.strategy.verdict

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write all candidates as JSON; the path.

        Raises:
            OSError: the file cannot be written.
        """
        from beamsplit.models.strategy.planner import to_json
        from beamsplit.pipelines.planning.write import write_text

        path = path_given("path", path, "where to write")
        write_text(path, to_json(self.strategy))
        return path

    def __str__(self) -> str:
        """The table that the command prints."""
        from beamsplit.pipelines.planning.strategy import table

        return "\n".join(table(self.strategy).plain_lines())

    def __repr__(self) -> str:
        """E.g. `ModelStrategy('m.onnx', 'stages=2')`."""
        return f"ModelStrategy({self._model!r}, {self.strategy.chosen.name!r})"

    def _repr_html_(self) -> str:
        """Of notebooks: the table."""
        return preformatted(str(self))
