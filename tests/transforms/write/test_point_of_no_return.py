from __future__ import annotations

from pathlib import Path

import pytest

from beamsplit.transforms.write.point_of_no_return import MARKER, check_wanted, give_up, renaming


def test_a_job_that_was_given_up_gives_no_file_its_name(tmp_path: Path):
    output = str(tmp_path / "p.csv")
    assert give_up(output, "job a")
    with pytest.raises(RuntimeError, match="interrupted"), renaming(output, "job a"):
        pytest.fail("must not be reached")
    with pytest.raises(RuntimeError, match="interrupted"):
        check_wanted("job a")
    check_wanted("job b")


def test_a_job_whose_files_get_their_names_is_not_given_up(tmp_path: Path):
    output = str(tmp_path / "p.csv")
    with renaming(output, "job c"):
        assert not give_up(output, "job c")
    assert not give_up(output, "job c")


def test_nor_one_that_another_process_finishes(tmp_path: Path):
    folder = tmp_path / ".p.csv-job d"
    folder.mkdir()
    (folder / MARKER).touch()
    assert not give_up(str(tmp_path / "p.csv"), "job d")


def test_renames_that_fail_may_be_tried_again_or_given_up(tmp_path: Path):
    folder = tmp_path / ".p.csv-job e"
    folder.mkdir()
    with pytest.raises(OSError, match="disk"), renaming(str(tmp_path / "p.csv"), "job e"):
        assert (folder / MARKER).exists()
        raise OSError("disk")
    assert not list(folder.iterdir())
    assert give_up(str(tmp_path / "p.csv"), "job e")
