"""The options of what a job reads and writes. Imports no Beam."""

from __future__ import annotations

import argparse

from beamsplit.pipelines.options.shared import MODEL_HELP, add_csv_header
from beamsplit.pipelines.options.texts import files_count, positive, read_max_failed
from beamsplit.transforms.formats import FILE_FORMATS


def add_job(p: argparse.ArgumentParser) -> None:
    """Add them to the parser."""
    job = p.add_argument_group("the job")
    job.add_argument("--model", required=True, metavar="M.onnx", help=MODEL_HELP)
    job.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="PATTERN",
        help="files, globs or folders; gs:// and s3:// too; or a table, delta:PATH or lance:PATH, also @VERSION, "
        "iceberg://CATALOG/db.table, postgresql://HOST/DB#schema.table, sqlite:PATH#table, or a query, sql:FILE.sql; "
        "or a topic, kafka://host:port/topic",
    )
    job.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="where predictions go: exactly this file, .parquet, .csv, .jsonl, .avro or .orc; or many files, "
        "'out/preds-*.parquet', where * is their number, or those of a folder, out/; or a table, delta:PATH, "
        "lance:PATH, iceberg://CATALOG/db.table, postgresql://HOST/DB#schema.table or sqlite:PATH#table",
    )
    job.add_argument("--overwrite", action="store_true", help="replace outputs and errors of an earlier run")
    job.add_argument("--append", action="store_true", help="add the rows to a table that is there, or make it")
    job.add_argument(
        "--merge_on",
        default="",
        metavar="COL[,COL]",
        help="rows take the place of those of a table that have the same in these columns; others are added",
    )
    job.add_argument(
        "--overwrite_where",
        metavar="CONDITION",
        help="the rows take the place of those of a table that a condition is true for, as --where has it; rows that "
        "it is not true for fail",
    )
    job.add_argument(
        "--commit_id",
        metavar="ID",
        help="what a table knows the job's rows by: those of an ID that it has are not written again "
        "(default: one of each run's own)",
    )
    job.add_argument(
        "--lance_index",
        default="",
        metavar="COL[:KIND[:METRIC]],...",
        help="make indexes of a Lance dataset that is written: IVF_FLAT, IVF_PQ or IVF_HNSW_SQ of vectors, by l2, "
        "cosine or dot; BTREE or BITMAP of single values",
    )
    job.add_argument(
        "--resume",
        action="store_true",
        help="keep what is finished beside the output: the same command, killed and started again, goes on there",
    )
    job.add_argument(
        "--errors",
        metavar="FILE.jsonl",
        help="where rows that could not be scored go (dead letters), with the reason: .jsonl, or as --output",
    )
    job.add_argument(
        "--max_failed",
        type=read_max_failed,
        metavar="5%|N",
        help="give the job up, with exit code 1, if more rows fail (default: any may); of a stream the share is that "
        "of its messages so far, from the 100th on",
    )
    job.add_argument(
        "--num_shards",
        type=files_count,
        metavar="N",
        help="files to write (default: 1, or as many as come where --output has a * or is a folder); --shards divides "
        "the model",
    )
    job.add_argument(
        "--json_nan",
        choices=("error", "null", "string"),
        help="NaN and infinity in JSON Lines and JSON messages, which have no such numbers: error fails the row "
        '(default), null writes null and counts, string writes "NaN", "Infinity" and "-Infinity"',
    )
    job.add_argument(
        "--encoding", metavar="latin-1", help="of CSV and JSON Lines that are not UTF-8: any encoding that Python knows"
    )
    job.add_argument(
        "--input_format",
        choices=FILE_FORMATS,
        help="default: by extension; files: each file is one row (columns path, bytes)",
    )
    add_csv_header(job)
    job.add_argument(
        "--limit", type=positive, metavar="N", help="read the first N rows of the input only, in its order"
    )
    job.add_argument(
        "--replay",
        metavar="ERRORS",
        help="score only the rows of the input that failed before: those that this errors output (a file or a topic) "
        "names; predictions tell which row they are of",
    )
    job.add_argument(
        "--where",
        metavar="CONDITION",
        help="score only rows for which this is true, in SQL's words: \"date >= '2026-11-01' and country in ('de', "
        "'fr')\"; others are counted. What cannot hold such rows (row groups of Parquet) is not read",
    )
