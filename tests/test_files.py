"""Files of a run: whole or not at all, and readable by whom the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.files import write_json
from runner.spec.problems import MachineError


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022, 0o002], indirect=True, ids=oct)
def test_the_umask_says_who_may_read(umask: int, tmp_path: Path) -> None:
    file = tmp_path / "folder" / "value.json"
    for _ in range(2):  # the second time it takes the place of the first
        write_json(file, {"a": 1})
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o777 & ~umask
    assert [item.name for item in file.parent.iterdir()] == ["value.json"]


def test_a_file_that_cannot_be_written_leaves_the_old_one_alone(tmp_path: Path) -> None:
    file = tmp_path / "value.json"
    file.mkdir()
    (file / "inside").touch()
    with pytest.raises(MachineError, match="cannot write"):
        write_json(file, {"a": 1})
    assert [item.name for item in tmp_path.iterdir()] == ["value.json"]
