"""What a run was made with: packages, the commit and its changes, the machine."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from runner import __version__

MAX_DIFF = 256 * 1024
"""Characters of uncommitted changes that are kept."""


def environment_of(folder: Path) -> dict[str, Any]:
    """Return packages and versions, Python, machine, and the git state of `folder`."""
    packages = {dist.name: dist.version for dist in distributions() if dist.name}
    return {
        "runner": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
        "git": _git(folder),
    }


def _git(folder: Path) -> dict[str, Any] | None:
    """Return commit and uncommitted changes of the repository around `folder`; None where there is none."""
    command = shutil.which("git")
    commit = _output(command, folder, "rev-parse", "HEAD") if command else None
    if commit is None:
        return None
    diff = _output(command, folder, "diff", "HEAD") or ""
    return {"commit": commit.strip(), "diff": diff[:MAX_DIFF], "diff_cut": len(diff) > MAX_DIFF}


def _output(command: str | None, folder: Path, *words: str) -> str | None:
    if command is None:
        return None
    try:
        done = subprocess.run(
            [command, "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout
