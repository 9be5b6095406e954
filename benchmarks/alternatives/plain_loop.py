"""A plain loop of pyarrow and ONNX Runtime, with their defaults: what most people write first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.alternatives.common import (
    Job,
    column_of,
    decode,
    decode_small,
    mean_of_tokens,
    parse,
    pictures,
    some_at_a_time,
    text_batches,
)


def table(job: Job) -> None:
    """Read in batches, stack the columns, run, write."""
    session = ort.InferenceSession(job.model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    writer = None
    is_text = job.source.suffix != ".parquet"
    for batch in text_batches(job.source, 65_536) if is_text else pq.ParquetFile(job.source).iter_batches(65_536):
        x = np.column_stack([column.to_numpy() for column in batch.columns]).astype(np.float32, copy=False)
        out = pa.table({"y": column_of(session.run(None, {name: x})[0])})
        writer = writer or pq.ParquetWriter(job.output, out.schema)
        writer.write_table(out)
    if writer:
        writer.close()


def files(job: Job) -> None:
    """Read a file, run its rows; write all at the end."""
    from pyarrow import csv

    session = ort.InferenceSession(job.model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scores = []
    for path in sorted(job.source.iterdir()):
        table = csv.read_csv(path)
        x = np.column_stack([column.to_numpy() for column in table.columns]).astype(np.float32)
        scores.append(session.run(None, {name: x})[0][:, 0])
    pq.write_table(pa.table({"y": np.concatenate(scores)}), job.output)


def images(job: Job) -> None:
    """Decode 32, run 32."""
    session = ort.InferenceSession(job.model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    paths = sorted(Path(job.source).iterdir())
    keys, scores = [], []
    for start in range(0, len(paths), 32):
        part = paths[start : start + 32]
        x = np.stack([decode(path.read_bytes()) for path in part])
        scores.append(session.run(None, {name: x})[0].reshape(len(part), -1))
        keys += [str(path) for path in part]
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.concatenate(scores))
    pq.write_table(pa.table({"key": keys, "value": tensor}), job.output)


def small(job: Job) -> None:
    """Decode 32 of a folder or a tar, run 32."""
    session = ort.InferenceSession(job.model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    keys, scores = [], []
    for part in some_at_a_time(pictures(job.source), 32):
        scores.append(session.run(None, {name: np.stack([decode_small(data) for _, data in part])})[0])
        keys += [key for key, _ in part]
    pq.write_table(pa.table({"key": keys, "value": column_of(np.concatenate(scores))}), job.output)


def texts(job: Job) -> None:
    """Tokenize 32, padded to the longest, run 32, average the tokens."""
    from tokenizers import Tokenizer

    session = ort.InferenceSession(job.model, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(job.tokenizer))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding()
    data = pq.read_table(job.source)
    vectors = []
    for batch in data.to_batches(32):
        encoded = tokenizer.encode_batch(batch.column("text").to_pylist())
        ids = np.array([one.ids for one in encoded])
        mask = np.array([one.attention_mask for one in encoded])
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        vectors.append(mean_of_tokens(session.run(None, feeds)[0], mask))
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.concatenate(vectors).astype(np.float32))
    pq.write_table(pa.table({"key": data.column("id"), "value": tensor}), job.output)


if __name__ == "__main__":
    wanted = parse()
    {"table": table, "files": files, "images": images, "small": small, "texts": texts}[wanted.kind](wanted)
