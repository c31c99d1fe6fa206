"""Tables that a set comes with, where a folder of another level was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.records.ecg.tables import read_table
from runner.spec.problems import DataError


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("all", "it lies in .*/all/ptb-xl: give that folder"),
        ("all/ptb-xl/records100", "it lies in .*/all/ptb-xl: give that folder"),
        ("all/ptb-xl/exams.csv", "it lies in .*/all/ptb-xl: give that folder"),
        ("elsewhere", "give the folder that holds exams.csv"),
    ],
    ids=["above", "below", "the file itself", "another"],
)
def test_a_folder_of_another_level_is_answered_with_the_right_one(
    given: str, hint: str, tmp_path: Path
) -> None:
    for folder in ("all/ptb-xl/records100", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "all/ptb-xl/exams.csv").write_text("id\n1\n")
    with pytest.raises(DataError, match=rf"cannot read .*exams\.csv: [^\[]*\n  {hint}$"):
        read_table(tmp_path / given / "exams.csv", ["id"])
