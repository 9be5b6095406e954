"""Shows what the workers of this machine tell of new models, and of gaps, while a stream runs."""

from __future__ import annotations

import sys
from typing import TextIO

from beamsplit.pipelines.running.poller import Poller
from beamsplit.transforms.infer.model_news import TAKEN, read_news
from beamsplit.transforms.kafka.gaps import read_gaps

LOOK_SECONDS = 0.5


class ShowNews(Poller):
    """Prints each line once while the block of code inside it runs, whichever of the workers tell it.

    Args:
        job_dir: folder of the job; None where the workers are elsewhere, whose log has it.
        quiet: only what was refused.
    """

    def __init__(self, job_dir: str | None, quiet: bool, stream: TextIO | None = None):
        self._job_dir, self._quiet = job_dir, quiet
        self._stream = stream if stream is not None else sys.stderr
        self._shown: set[str] = set()
        super().__init__("model-news", LOOK_SECONDS, self._show if job_dir is not None else None, at_end=True)

    def _show(self) -> bool:
        assert self._job_dir is not None
        for line in [*read_news(self._job_dir), *(f"warning: {gap.line}" for gap in read_gaps(self._job_dir))]:
            if line not in self._shown and not (self._quiet and line.startswith(TAKEN)):
                print(line, file=self._stream, flush=True)
            self._shown.add(line)
        return False
