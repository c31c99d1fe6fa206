"""What is said to nobody: streams that were closed, or that nobody reads any more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


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
