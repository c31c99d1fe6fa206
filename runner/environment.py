"""What a run was made with: packages, the commit and its changes, the machine."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from runner import __version__


def environment_of(folder: Path) -> dict[str, Any]:
    """Return packages and versions, Python, machine, and the git state of `folder`.

    Of uncommitted changes the names of the files and a hash are kept, never their text: the folder is
    the user's, and what was changed in it may be private.
    """
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
    """Return commit, changed files and the hash of the changes; None where there is no repository."""
    command = shutil.which("git")
    commit = _output(command, folder, "rev-parse", "HEAD") if command else None
    if commit is None:
        return None
    diff = _output(command, folder, "diff", "HEAD") or ""
    names = (_output(command, folder, "diff", "--name-only", "HEAD") or "").splitlines()
    digest = hashlib.sha256(diff.encode()).hexdigest() if diff else None
    return {"commit": commit.strip(), "changed": names, "diff_sha256": digest}


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
