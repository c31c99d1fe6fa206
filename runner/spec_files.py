"""Which spec files the words of a command line mean."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runner.spec.nearest import nearest
from runner.spec.problems import UsageError

SUFFIXES = (".yaml", ".yml")
RUN_FILES = frozenset({"plan.json", "resolved.yaml"})
"""Files by which a run directory is known."""


@dataclass(frozen=True)
class Trust:
    """Whose specs are checked: one's own, which may name any file and variable, or those of others."""

    untrusted: bool = False
    root: Path | None = None
    """The folder that untrusted specs are read from; without it, each spec's own."""

    def folder_of(self, file: Path) -> Path | None:
        """Return the folder outside of which no file is read for the spec `file`; None where all may be."""
        return (self.root or file.parent) if self.untrusted else None


EVERYTHING = Trust()
"""The specs are one's own."""


def find_specs(paths: Iterable[Path]) -> list[Path]:
    """Return the spec files that `paths` name: files as they are, folders with all specs below them.

    In a folder, specs are the `*.yaml` and `*.yml` files at any depth. Hidden files and folders are
    passed over, and so are files whose name starts with `_`: these are parts for `extends`. So are run
    directories: what lies in them was written by a launch, and its paths hold where the spec lay.

    Raises:
        UsageError: a path does not exist (names the nearest one that does), or a folder holds no spec.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if _is_dir(path):
            specs = sorted(_below(path))
            if not specs:
                raise UsageError(
                    f"no spec in {path}\n  a spec is a file *.yaml or *.yml; hidden files and files whose name "
                    "starts with _ (parts for `extends`) are passed over, and so are run directories"
                )
            found.update(dict.fromkeys(specs))
        elif _exists(path):
            found[path] = None
        else:
            raise UsageError(missing_text(path))
    return list(found)


def _is_dir(path: Path) -> bool:
    return _exists(path) and path.is_dir()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def _below(folder: Path) -> Iterable[Path]:
    for here, folders, files in os.walk(folder):
        if RUN_FILES.issubset(files):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.endswith(SUFFIXES) and not name.startswith((".", "_")):
                yield Path(here, name)


def missing_text(path: Path) -> str:
    """Return what to say of a path that does not exist, with the nearest one that does."""
    gone = path  # the first part of the path that is missing
    while gone.parent != gone and not _is_dir(gone.parent):
        gone = gone.parent
    names = _names_in(gone.parent)
    alike = (name for name in names if Path(name).stem in (gone.name, gone.stem))  # `a.yml` for `a.yaml`
    near = next(alike, None) or nearest(gone.name, names)
    message = f"no file or folder {path}"
    if near is None:
        return message if gone == path else f"{message}\n  {gone} does not exist"
    whole = gone.parent / near / path.relative_to(gone)
    return f"{message}\n  nearest: {whole if _exists(whole) else gone.parent / near}"


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    except OSError:  # one that may not be read
        return []
