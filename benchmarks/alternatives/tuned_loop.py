"""The limit on this machine: beamsplit's settings and threads that overlap everything, but no framework.

A thread a core; each takes the next piece of the input, reads it, scores it with the one session of one thread, and
writes. What is tuned is what beamsplit does: decoded batches that stay in cache, one buffer for the columns, runs of a
few thousand rows, no dictionaries in the output; images eight at a time; texts of equal length together, unpadded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.alternatives.common import Job, column_of, decode, decode_small, parse, pictures, some_at_a_time

ROWS = 4_096
"""Rows of a run of the model."""

CORES = len(os.sched_getaffinity(0))


def one_thread_session(model: Path) -> ort.InferenceSession:
    """A session that threads share, each running it by itself."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def in_threads(pieces: Iterable[Any], work: Callable[[Any], None]) -> None:
    """Give the pieces to a thread a core, each the next one as it is done."""
    left, lock = iter(pieces), threading.Lock()

    def run() -> None:
        while True:
            with lock:
                piece = next(left, None)
            if piece is None:
                return
            work(piece)

    with ThreadPoolExecutor(CORES) as pool:
        for done in [pool.submit(run) for _ in range(CORES)]:
            done.result()  # raises what the thread raised


def table(job: Job) -> None:
    """Row groups; where they are too few for the threads, batches that one thread at a time decodes."""
    session = one_thread_session(job.model)
    name = session.get_inputs()[0].name
    meta = pq.ParquetFile(job.source).metadata
    width = session.get_outputs()[0].shape[-1]
    kind = column_of(np.zeros((1, width), np.float32)).type
    writer = pq.ParquetWriter(job.output, pa.schema([("y", kind)]), use_dictionary=False)
    lock = threading.Lock()

    def decode(groups: list[int]) -> Iterator[pa.RecordBatch]:
        file = pq.ParquetFile(job.source, memory_map=True, metadata=meta)
        return file.iter_batches(131_072, row_groups=groups, use_threads=False)

    def score(batch: pa.RecordBatch) -> None:
        buffer = np.empty((ROWS, meta.num_columns), np.float32)
        columns = [column.to_numpy() for column in batch.columns]
        scores = np.empty((batch.num_rows, width), np.float32)
        for start in range(0, batch.num_rows, ROWS):
            stop = min(start + ROWS, batch.num_rows)
            x = buffer[: stop - start]
            for at, column in enumerate(columns):
                x[:, at] = column[start:stop]
            scores[start:stop] = session.run(None, {name: x})[0]
        with lock:
            writer.write_table(pa.table({"y": column_of(scores)}))

    def score_group(group: int) -> None:
        for batch in decode([group]):
            score(batch)

    groups = list(range(meta.num_row_groups))
    if len(groups) < 2 * CORES:
        in_threads(decode(groups), score)
    else:
        in_threads(groups, score_group)
    writer.close()


def images(job: Job) -> None:
    """Eight images at a time, decoded and run by the same thread."""
    session = one_thread_session(job.model)
    name = session.get_inputs()[0].name
    paths = sorted(Path(job.source).iterdir())
    scores: dict[int, np.ndarray] = {}

    def score(start: int) -> None:
        part = paths[start : start + 8]
        x = np.empty((len(part), 3, 224, 224), np.float32)
        for at, path in enumerate(part):
            x[at] = decode(path.read_bytes())
        scores[start] = session.run(None, {name: x})[0].reshape(len(part), -1)

    in_threads(range(0, len(paths), 8), score)
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.concatenate([scores[k] for k in sorted(scores)]))
    pq.write_table(pa.table({"key": [str(path) for path in paths], "value": tensor}), job.output)


def small(job: Job) -> None:
    """32 images at a time of a folder or a tar, decoded and run by the same thread."""
    session = one_thread_session(job.model)
    name = session.get_inputs()[0].name
    scores: dict[int, tuple[list[str], np.ndarray]] = {}

    def score(piece: tuple[int, list[tuple[str, bytes]]]) -> None:
        number, part = piece
        x = np.empty((len(part), 3, 64, 64), np.float32)
        for at, (_, data) in enumerate(part):
            x[at] = decode_small(data)
        scores[number] = [key for key, _ in part], session.run(None, {name: x})[0]

    in_threads(enumerate(some_at_a_time(pictures(job.source), 32)), score)
    parts = [scores[number] for number in sorted(scores)]
    keys, values = [key for part, _ in parts for key in part], np.concatenate([value for _, value in parts])
    pq.write_table(pa.table({"key": keys, "value": column_of(values)}), job.output)


def texts(job: Job) -> None:
    """A thousand texts at a time, those of equal length in runs of up to 32."""
    from tokenizers import Tokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    session = one_thread_session(job.model)
    tokenizer = Tokenizer.from_file(str(job.tokenizer))
    tokenizer.enable_truncation(128)
    data = pq.read_table(job.source)
    vectors = np.empty((data.num_rows, 384), np.float32)

    def score(start: int) -> None:
        encoded = tokenizer.encode_batch(data.column("text").slice(start, 1_000).to_pylist())
        lengths = np.array([len(one.ids) for one in encoded])
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            for at in range(0, len(rows), 32):
                run = rows[at : at + 32]
                ids = np.array([encoded[row].ids for row in run])
                feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
                vectors[start + run] = session.run(None, feeds)[0].mean(1)

    in_threads(range(0, data.num_rows, 1_000), score)
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(vectors)
    pq.write_table(pa.table({"key": data.column("id"), "value": tensor}), job.output)


if __name__ == "__main__":
    wanted = parse()
    {"table": table, "images": images, "small": small, "texts": texts}[wanted.kind](wanted)
