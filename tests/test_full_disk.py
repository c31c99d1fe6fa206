"""A disk that is really full, a megabyte in memory: exit code 3 whoever meets it first, and nothing half left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ecg_run import Run, spec_of

from runner.execute import execute
from runner.files import full_disk, write_text
from runner.machine import Machine
from runner.plan import make_plan
from runner.progress import Silent
from runner.run_dir import RunDir
from runner.spec.problems import MachineError, StageError
from runner.stage import Stage

CPU = Machine("Linux", 2, 8.0, 0, None, None, False, False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a disk: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


RAISES = """
import sys
from pathlib import Path
from runner.stages.common import stage_main
def body(settings, events):
    with open("filled", "wb") as file: file.write(bytes(4 << 20))
stage_main("fills", body)
"""
FOREIGN = """
import sys
try:
    with open("filled", "wb") as file: file.write(bytes(4 << 20))
except OSError as error: sys.exit(f"some library: I/O error: {error.strerror} (os error 28)")
"""
SILENT = """
import sys
try:
    with open("filled", "wb") as file:
        while True: file.write(bytes(1 << 12))
except OSError: sys.exit(1)
"""


@pytest.mark.parametrize("body", [RAISES, FOREIGN, SILENT], ids=["ours", "a-library-says-so", "nothing-said"])
def test_a_stage_that_meets_a_full_disk_ends_the_run_with_3(
    body: str,
    small_disk: Path,
    tmp_path: Path,
    make_spec: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_text(tmp_path / "modules" / "fills_stage.py", body)
    root = Path(__file__).parent.parent
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'modules'}{os.pathsep}{root}")
    plan = replace(
        make_plan(make_spec(), CPU), stages=(Stage("fills", "fills_stage", (), ("filled",)),), files=()
    )
    run = RunDir(small_disk / "run")
    run.path.mkdir()
    said: list[str] = []
    outcome = execute(plan, run, Silent(), environ=os.environ, say=said.append)
    assert (outcome.state, outcome.exit_code) == ("failed", 3)
    assert "make room, then go on with runner launch --resume" in outcome.reason


def test_the_data_stage_leaves_no_half_copy_and_says_the_path(small_disk: Path, tmp_path: Path) -> None:
    """The store is made in a cache on another disk, and copied to where 60 recordings of 12 KiB have room; a filler takes it."""
    run = Run(small_disk / "run", spec_of())
    (small_disk / "filler").write_bytes(bytes(700 << 10))
    with pytest.raises(
        MachineError, match=r"cannot write .*data/records\.h5: No space left on device"
    ) as raised:
        run.call("data", cache=str(tmp_path / "cache"))
    assert full_disk(raised.value)
    assert [path.name for path in (run.path / "data").iterdir()] == []


def test_an_error_that_a_full_disk_led_to_is_known_by_what_it_came_from() -> None:
    full = OSError(errno.EDQUOT, "whatever", "/a/b")
    assert full_disk(full) == "cannot write /a/b: Disk quota exceeded"
    later = StageError("the trainer failed")
    later.__cause__ = full
    assert full_disk(later) == "cannot write /a/b: Disk quota exceeded"
    assert (
        full_disk(RuntimeError("I/O error: No space left on device (os error 28)"))
        == "cannot write: No space left on device"
    )
    assert full_disk(OSError(errno.EACCES, "Permission denied", "/a")) is None
    assert full_disk(StageError("nothing of that kind")) is None


def test_a_command_that_meets_a_limit_ends_with_3_and_names_the_file(tmp_path: Path) -> None:
    """Files may not grow beyond 100 bytes: a plan that is written to a file by `convert` does not fit."""
    spec = Path(__file__).parent.parent / "specs" / "quickstart" / "llm.yaml"
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        f"from runner.cli import main; main(['convert', {str(spec)!r}, '--out', {str(tmp_path / 'out')!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 3, done.stderr
    assert "out/config/axolotl.yaml: File too large" in done.stderr
