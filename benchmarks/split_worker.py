"""A worker process that holds one model: `python -m benchmarks.split_worker FEEDS.npz [MODEL.onnx]`.

It imports what a worker of a distributed stage imports, loads the model and runs it; without one it shows what the
process itself takes.
"""

from __future__ import annotations

import sys

import numpy as np

RUNS = 5


def main(feeds_path: str, model_path: str | None = None) -> None:
    """Load the feeds and the model, and run it a few times."""
    import beamsplit.transforms.infer.run_steps  # noqa: F401
    from beamsplit.models.graph.model_file import ModelFile
    from beamsplit.models.running.providers import CPU
    from beamsplit.models.running.session import SessionOptions, get_session

    with np.load(feeds_path) as stored:
        feeds = {name: stored[name] for name in stored.files}
    if model_path is not None:
        session = get_session(ModelFile(model_path), SessionOptions((CPU,), 1))
        wanted = {spec.name for spec in session.signature.inputs}
        for _ in range(RUNS):
            session.run({name: value for name, value in feeds.items() if name in wanted})


if __name__ == "__main__":
    main(*sys.argv[1:])
