"""Finished files, kept by the content that they were made from: data folders, and results of stages.

An entry is a folder named by its key with the files and `entry.json`, their hashes. It is built
beside its place and renamed, so that two processes may store the same entry at once; it is copied,
not linked, so that nothing done to a run can change it; and each copy is hashed, so that an entry
that was damaged all the same is found and built again. A file that has several names already is
linked: whoever made it so (a store of recordings, gigabytes that are only read) has said that it is
never written to. An entry's folder has the time of its last use; of more than `kept` entries those
that were used longest ago are removed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner.files import sha256_of, write_json
from runner.spec.problems import MachineError

ENTRY = "entry.json"
KEPT = 20
"""Entries that are kept, the last used first."""


class DamagedEntryError(Exception):
    """A cache entry is not what was stored; the message says which file."""


@dataclass(frozen=True)
class DataCache:
    """A folder of entries."""

    root: Path
    kept: int | None = KEPT
    """How many entries are kept; None: all."""

    def fetch(self, key: str, target: Path) -> tuple[str, ...] | None:
        """Copy the files of an entry into `target`, an existing folder; None where there is none.

        Each file replaces one of its name there in one step.

        Returns:
            The names of the files, relative to `target`.

        Raises:
            DamagedEntryError: a file is missing or its hash is another; the entry is removed.
            MachineError: `target` cannot be written to.
        """
        entry = self.root / key
        if not entry.is_dir():
            return None
        try:
            hashes = _hashes(entry)
            for name, wanted in hashes.items():
                _copy(entry / name, target / name)
                if sha256_of(target / name) != wanted:
                    raise DamagedEntryError(f"{name} is not what was stored")
        except DamagedEntryError:
            self._remove(entry)
            raise
        with suppress(OSError):  # another user's entry, or removed a moment ago: it has been read whole
            os.utime(entry)
        return tuple(hashes)

    def store(self, key: str, source: Path, names: Sequence[str]) -> None:
        """Keep copies of the named files of `source`, also in folders below it; an entry that is there is left alone.

        Raises:
            MachineError: the cache folder cannot be written to; nothing half is left.
        """
        entry = self.root / key
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=f".{key[:16]}-", dir=self.root))
        except OSError as error:
            raise MachineError(f"cannot write {self.root}: {error.strerror or error}") from error
        try:
            for name in names:
                _copy(source / name, building / name)
            write_json(building / ENTRY, {name: sha256_of(building / name) for name in names})
            with suppress(OSError):  # another process was faster: its entry is the same
                building.rename(entry)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        self._prune(keep=entry)

    def _prune(self, keep: Path) -> None:
        """Remove what was used longest ago until `kept` entries are left; `keep` stays."""
        if self.kept is None:
            return
        used: dict[Path, int] = {}
        for entry in self.root.iterdir():
            with suppress(OSError):  # another process prunes too
                if not entry.name.startswith(".") and entry != keep:
                    used[entry] = entry.stat().st_mtime_ns
        for entry in sorted(used, key=used.__getitem__, reverse=True)[self.kept - 1 :]:
            self._remove(entry)

    def _remove(self, entry: Path) -> None:
        """Take an entry out of the way in one step, then delete it."""
        with suppress(OSError):
            aside = Path(tempfile.mkdtemp(prefix=".damaged-", dir=self.root))
            entry.rename(aside / "entry")
            shutil.rmtree(aside, ignore_errors=True)


def _hashes(entry: Path) -> Mapping[str, str]:
    try:
        value = json.loads((entry / ENTRY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedEntryError(f"{ENTRY} cannot be read: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise DamagedEntryError(f"{ENTRY} is not a list of hashes")
    return value


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise DamagedEntryError(f"{source.name} is missing")
    partial = target.with_name(f".{target.name}.copying")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        if source.stat().st_nlink == 1 or not _linked(source, partial):
            shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MachineError(f"cannot write {target}: {error.strerror or error}") from error


def _linked(source: Path, target: Path) -> bool:
    """Give a file one more name; False where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
