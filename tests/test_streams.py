"""What is said to nobody: streams that were closed, or that nobody reads any more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "specs" / "quickstart" / "llm.yaml"


def test_a_run_goes_on_when_nobody_reads_what_it_tells() -> None:
    """`runner launch SPEC 2>&1 | tee log` whose reader ends: hours of training do not end with it."""
    code = (
        "from runner.progress import PlainLines, tell\n"
        "for text in ('one', 'two', 'three'):\n"
        "    PlainLines().event({'event': 'note', 'stage': 'train', 'text': text})\n"
        "    tell(text)\n"
        "print('went on')"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, "went on\n")


@pytest.mark.parametrize("closed", ["1", "2"])
def test_validate_says_its_code_to_who_closed_its_streams(closed: str, tmp_path: Path) -> None:
    command = f'exec "$0" -m runner validate "$1" {closed}>&-'
    environ = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, SPEC], env=environ, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_answer_that_the_disk_has_no_room_for_is_said_without_a_traceback(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "runner", "explain", "data"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 3
    assert done.stderr == "runner: cannot write the answer: No space left on device\n"
