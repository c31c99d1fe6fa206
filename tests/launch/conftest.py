"""A launcher in a folder of its own, for the tests that go the whole way with the real engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
WAIT_S = 300.0


class Launcher:
    """Types `runner launch ...` in one folder."""

    quickstart = ROOT / "specs" / "quickstart" / "llm.yaml"
    medquad = ROOT / "specs" / "distilgpt2_medquad.yaml"
    wait_s = WAIT_S

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "runner", "launch", *map(str, words)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, out, err

    def launch(self, *words: str | Path) -> Path:
        """Return the run directory of a launch that ends well."""
        code, out, err = self.finish(self.start(*words))
        assert code == 0, err
        return self.folder / out.splitlines()[-1]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    pytest.importorskip("axolotl", reason="needs the extra `train`")
    return Launcher(tmp_path_factory.mktemp("launch"))
