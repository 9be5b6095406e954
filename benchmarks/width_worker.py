"""A worker process that holds what one worker of a divided model holds.

`python -m benchmarks.width_worker FEEDS.npz [MODEL.onnx | FOLDER PART]`: PART is `whole` for the steps that stay whole,
the number of a shard, or `all`; without a model it shows what the process itself takes.
"""

from __future__ import annotations

import os
import sys

import numpy as np

RUNS = 5


def main(feeds_path: str, path: str | None = None, part: str = "all") -> None:
    """Import what a worker imports, load the part's models and run each a few times on its part of the tensors."""
    import beamsplit.transforms.infer.run_steps  # noqa: F401
    from beamsplit.models.graph.model_file import ModelFile
    from beamsplit.models.running.providers import CPU
    from beamsplit.models.running.session import SessionOptions, get_session
    from beamsplit.models.shard.plan import read_plan

    if path is None:
        return
    files = [path]
    if os.path.isdir(path):
        plan = read_plan(os.path.join(path, "plan.json"))
        files = [
            os.path.join(path, file)
            for stage in plan.steps
            for shard, file in enumerate(stage.files)
            if part == "all" or part == (str(shard) if stage.sharded else "whole")
        ]
    sessions = [get_session(ModelFile(file), SessionOptions((CPU,), 1)) for file in files]
    with np.load(feeds_path) as stored:
        for session in sessions:
            feeds = {spec.name: stored[spec.name] for spec in session.signature.inputs}
            for _ in range(RUNS):
                session.run(feeds)


if __name__ == "__main__":
    main(*sys.argv[1:])
