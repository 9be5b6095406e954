"""Every kind of input that a job with `--resume` reads, cut into a dozen splits or more."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.transforms.formats import FORMATS
from tests import onnx_models
from tests.onnx_models import save
from tests.transforms.in_formats import write

FILES, ROWS = 12, 2000
"""Of tables: files, and rows of each."""

IMAGES = 36

TABLE = ("--model", "m.onnx", "--columns", "x=a,b,c,d", "--keep", "id")
IMAGE = ("--model", "cnn.onnx", "--keep")


@dataclass(frozen=True)
class Input:
    """A kind of input."""

    make: Callable[[Path], str]
    """Writes it into a folder; what `--input` names, seen from there."""

    options: tuple[str, ...] = TABLE
    """The model, and what of the input goes to it and is kept."""

    key: str = "id"
    """The kept column that tells rows apart."""

    rows: int = FILES * ROWS


def table(number: int, rows: int = ROWS) -> pa.Table:
    """The rows of one file: id, and a to d, of which every 997th d is null."""
    rng = np.random.default_rng(number)
    ids = np.arange(rows) + number * rows
    columns = {name: rng.standard_normal(rows).astype(np.float32) for name in "abcd"}
    return pa.table({"id": ids, **columns, "d": pa.array(columns["d"], mask=ids % 997 == 0)})


def whole() -> pa.Table:
    """The rows of all files."""
    return pa.concat_tables(table(number) for number in range(FILES))


def models(folder: Path) -> None:
    """The two models that are scored."""
    save(onnx_models.mlp(4, outputs=2), folder / "m.onnx")
    save(onnx_models.image_cnn(), folder / "cnn.onnx")


def _files(format: str, extension: str, each: int = 1) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "in").mkdir()
        for number in range(FILES):
            for part, some in enumerate(table(number).to_batches(ROWS // each)):
                write(FORMATS[format], folder / "in" / f"{number:02}-{part:03}{extension}", some)
        return "in"

    return make


def _gzipped(folder: Path) -> str:
    _files("csv", ".csv")(folder)
    for path in (folder / "in").iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
    return "in"


def _one(format: str, name: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        write(FORMATS[format], folder / name, *(block for k in range(FILES) for block in table(k).to_batches()))
        return name

    return make


def _row_groups(folder: Path) -> str:
    pq.write_table(whole(), folder / "in.parquet", row_group_size=700)
    return "in.parquet"


def _arrow(folder: Path) -> str:
    with pa.OSFile(str(folder / "in.arrow"), "wb") as out, pa.ipc.new_file(out, table(0).schema) as file:
        for number in range(FILES):
            file.write_table(table(number))
    return "in.arrow"


def _tfrecord(folder: Path) -> str:
    from beamsplit.transforms.formats.tfrecord import _checksum, _example

    example, crc = _example(), _checksum()
    with open(folder / "in.tfrecord", "wb") as out:
        for row in whole().select(["id", "a", "b", "c", "d"]).to_pylist():
            one = example()
            one.features.feature["id"].int64_list.value.append(row["id"])
            for name in "abcd":
                if row[name] is not None:
                    one.features.feature[name].float_list.value.append(row[name])
            data = one.SerializeToString()
            head = struct.pack("<Q", len(data))
            out.write(head + struct.pack("<I", crc(head)) + data + struct.pack("<I", crc(data)))
    return "in.tfrecord"


def _images() -> list[bytes]:
    """PNGs, of which every tenth is broken."""
    from PIL import Image

    rng = np.random.default_rng(5)
    made = []
    for number in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(file := io.BytesIO(), "png")
        made.append(b"broken" if number % 10 == 4 else file.getvalue())
    return made


def _image_files(folder: Path) -> str:
    (folder / "in").mkdir()
    for number, image in enumerate(_images()):
        (folder / "in" / f"{number:03}.png").write_bytes(image)
    return "in"


def _tar(folder: Path) -> str:
    with tarfile.open(folder / "in.tar", "w") as tar:
        for copy in range(4):
            for number, image in enumerate(_images()):
                (info := tarfile.TarInfo(f"{copy * IMAGES + number:03}.png")).size = len(image)
                tar.addfile(info, io.BytesIO(image))
    return "in.tar"


def _delta(folder: Path) -> str:
    from deltalake import DeltaTable, write_deltalake

    for number in range(FILES):
        write_deltalake(folder / "in", table(number), mode="append")
    DeltaTable(folder / "in").delete("id < 10")
    return "delta:in"


def _iceberg(folder: Path) -> str:
    from pyiceberg.catalog import load_catalog

    catalog = load_catalog("local", **iceberg_properties(folder))
    catalog.create_namespace("db")
    made = catalog.create_table("db.t", schema=table(0).schema)
    for number in range(FILES):
        made.append(table(number))
    return "iceberg://local/db.t"


def iceberg_properties(folder: Path) -> dict[str, str]:
    """Of the catalog `local` of a folder."""
    return {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/lake"}


def iceberg_environment(folder: Path) -> dict[str, str]:
    """The same for commands."""
    return {f"PYICEBERG_CATALOG__LOCAL__{key.upper()}": value for key, value in iceberg_properties(folder).items()}


def _lance(folder: Path) -> str:
    import lance

    lance.write_dataset(whole(), folder / "in.lance", max_rows_per_file=ROWS)
    return "lance:in.lance"


INPUTS: Mapping[str, Input] = {
    "parquet": Input(_files("parquet", ".parquet")),
    "row groups": Input(_row_groups),
    "csv": Input(_one("csv", "in.csv")),
    "csv.gz": Input(_gzipped),
    "many files": Input(_files("jsonl", ".jsonl", each=20)),
    "arrow": Input(_arrow),
    "avro": Input(_one("avro", "in.avro")),
    "orc": Input(_files("orc", ".orc")),
    "tfrecord": Input(_tfrecord),
    "webdataset": Input(_tar, (*IMAGE, "__key__", "--prepare", "image:column=png,size=16"), "__key__", 4 * IMAGES),
    "images": Input(_image_files, (*IMAGE, "path", "--prepare", "image:size=16"), "path", IMAGES),
    "delta": Input(_delta, rows=FILES * ROWS - 10),
    "iceberg": Input(_iceberg),
    "lance": Input(_lance),
}
"""By name."""
