"""Beam without what it does not use, in processes of their own, since Beam is imported here already."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAD = "import sys; from beamsplit.runners.beam_patches.lean_import import import_beam; import_beam()\n"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", HEAD + code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_not_used_is_not_imported():
    heavy = ["beartype", "httplib2", "yaml", "fastavro", "dateutil", "cryptography", "grpc.aio", "pymongo"]
    assert run(f"print([name for name in {heavy} if name in sys.modules])").strip() == "[]"


def test_object_stores_are_found_when_they_are_used():
    code = """
from apache_beam.io.filesystems import FileSystems
print(any("filesystem" in name and ("gcp" in name or "aws" in name) for name in sys.modules))
for path in ("s3://bucket/a", "gs://bucket/a", "nowhere://a"):
    try:
        print(type(FileSystems.get_filesystem(path)).__name__)
    except ValueError:  # without the store's client, as without a file system of that name
        print("none")
"""
    first, s3, gs, nowhere = run(code).splitlines()
    assert first == "False" and nowhere == "none"
    assert s3 in ("S3FileSystem", "none") and gs in ("GCSFileSystem", "none")
    installed = find_spec("google.cloud.storage") if find_spec("google") and find_spec("google.cloud") else None
    assert gs == "GCSFileSystem" or installed is None


def test_pandas_is_neither_needed_nor_spoilt(tmp_path: Path):
    # It asks C modules for what nothing can stand in for, so that importing it meanwhile would end the command.
    (tmp_path / "pandas.py").write_text("import dateutil.tz\nVALUE = dateutil.tz.UTC\n")
    path = f"sys.path.insert(0, {str(tmp_path)!r})"
    code = HEAD.replace("import_beam()", f"{path}; import_beam()")
    code += "print('pandas' in sys.modules); import pandas; print(pandas.VALUE)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout.split() == ["False", "tzutc()"], done.stderr


def test_what_is_used_while_beam_is_imported_stays_imported(tmp_path: Path):
    (tmp_path / "apache_beam").mkdir()
    (tmp_path / "apache_beam" / "__init__.py").write_text(
        "import sys, yaml\nUSED = yaml.safe_load('[1]')\nREAL = sys.modules['yaml']\n"
        "import httplib2\ndel sys.modules['httplib2']\n"
    )
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from beamsplit.runners.beam_patches import lean_import
lean_import._import_beam()
import apache_beam, httplib2, yaml
print(apache_beam.USED, yaml is apache_beam.REAL, httplib2.Http.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout == "[1] True Http\n", done.stderr


@pytest.mark.parametrize(
    ("code", "prints"),
    [
        ("import apache_beam.typehints.typehints as t; print(t.is_consistent_with(bool, int))", "True"),
        ("import apache_beam.typehints.typehints as t; print(t.is_consistent_with(str, int))", "False"),
        # Beam catches beartype's error for what is no hint.
        ("import apache_beam.typehints.typehints as t; print(t.is_consistent_with('no hint!', int))", "False"),
        ("from apache_beam.internal import http_client as h; print(h.httplib2.Http.__name__)", "Http"),
        ("from apache_beam.utils.timestamp import Timestamp as T; print(T.from_rfc3339('1970-01-01T00:00:07Z'))", "7"),
        ("from apache_beam.transforms.external import yaml; print(yaml.safe_load('[1]'))", "[1]"),
        ("import grpc; print(grpc.aio.insecure_channel.__name__)", "insecure_channel"),
        # As Google's libraries do, which Beam imports where they are installed.
        ("from grpc.experimental.aio import Call; print(Call.__name__)", "Call"),
        ("from yaml import *; print(safe_load('[1]'))", "[1]"),
        ("import grpc.aio; print(grpc.aio.insecure_channel.__name__)", "insecure_channel"),
        ("import yaml, httplib2, fastavro.read; print(yaml.__name__, fastavro.read.__name__)", "fastavro.read"),
        ("import dateutil.parser, beartype.door; print(dateutil.parser.parse('1970-01-02').day)", "2"),
        ("import apache_beam.io.gcp.bigquery as b; print(b.WriteToBigQuery.__name__)", "WriteToBigQuery"),
    ],
)
def test_all_is_there_when_it_is_used(code: str, prints: str):
    assert prints in run(code)


def test_avro_is_written_and_read(tmp_path: Path):
    code = f"""
import apache_beam as beam
schema = {{"type": "record", "name": "row", "fields": [{{"name": "a", "type": "int"}}]}}
with beam.Pipeline("FnApiRunner") as p:
    p | beam.Create([{{"a": 1}}, {{"a": 2}}]) | beam.io.WriteToAvro({str(tmp_path / "t")!r}, schema)
with beam.Pipeline("FnApiRunner") as p:
    p | beam.io.ReadFromAvro({str(tmp_path / "t*")!r}) | beam.Map(lambda row: print("row", row["a"]))
"""
    assert sorted(run(code).split()) == ["1", "2", "row", "row"]


def test_the_end_of_a_bundle_waits_for_the_sampling_thread_no_longer_than_that_may_sleep():
    code = """
import apache_beam as beam
from apache_beam.runners.worker import statesampler
from beamsplit.runners.beam_patches.bundle_ends import SAMPLING_MS

def told(_):
    print("sleeps", statesampler.get_current_tracker().sampling_period_ms, SAMPLING_MS)

with beam.Pipeline("FnApiRunner") as p:
    p | beam.Create([1]) | beam.Map(told)
"""
    sleeps, longest = map(int, run(code).split()[1:])
    assert sleeps == longest
