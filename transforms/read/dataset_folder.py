"""Folders that Hugging Face `datasets` saves (`save_to_disk`): which of their files hold rows.

one dataset                          several, by name
dataset_info.json                    dataset_dict.json     {"splits": ["train", "test"]}
state.json        names the files    train/  a dataset
data-00000-of-00002.arrow            test/   a dataset
data-00001-of-00002.arrow
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.models.small_file import small_bytes

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def data_files(folder: str, names: Collection[str]) -> list[str] | None:
    """The files with rows of a folder that is a dataset, in its order; None where it is none.

    Args:
        folder: a local path.
        names: of what is in it.

    Raises:
        UsageError: it holds several datasets, rows that were chosen of others, or is not as `datasets` leaves it.
    """
    if SPLITS in names:
        splits = [os.path.join(folder, str(name)) for name in _field(folder, SPLITS, "splits")]
        raise UsageError(f"{folder} holds {len(splits)} datasets: name one or some of them: --input {' '.join(splits)}")
    if not {STATE, INFO} <= set(names):
        return None
    if _field(folder, STATE, "_indices_data_files", []):
        raise UsageError(
            f"{folder} is a dataset of rows that were chosen of others: save it anew, without the choice: "
            "dataset.flatten_indices().save_to_disk(...)"
        )
    found = []
    for entry in _field(folder, STATE, "_data_files"):
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(name, str) or os.path.basename(name) != name or name not in names:
            raise UsageError(f"{folder} has no file {name!r}, which its {STATE} names: save the dataset anew")
        found.append(os.path.join(folder, name))
    if not found:
        raise UsageError(f"{folder} is a dataset without rows, which has no file that tells its columns")
    return found


def _field(folder: str, file: str, key: str, otherwise: Any = None) -> list[Any]:
    path = os.path.join(folder, file)
    try:
        with open(path, "rb") as opened:
            told = json.loads(small_bytes(opened))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error}): save the dataset anew, or name its files") from error
    value = told.get(key, otherwise) if isinstance(told, dict) else None
    if value is None and otherwise is not None:
        value = otherwise
    if not isinstance(value, list):
        raise UsageError(f"{path} is no dataset's (no list {key!r}): save the dataset anew, or name its files")
    return value
