"""Weights and states are readable by whom the umask says, as every file of a run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from torch import nn

from runner.native.snapshots import Snapshots


class Stateless:
    def state_dict(self) -> dict[str, object]:
        return {}


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_the_umask_says_who_may_read_a_snapshot(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        snapshots = Snapshots(tmp_path / "train", 1)
        snapshots.save_best(1, nn.Linear(2, 2))
        snapshots.save(1, nn.Linear(2, 2), Stateless(), {"best_step": 1})  # type: ignore[arg-type]
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"state.json", "state.safetensors", "weights.safetensors"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}
