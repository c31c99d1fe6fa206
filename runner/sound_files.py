"""Spec files that were found sound before, so that `validate` checks again only what changed.

Whether a spec is sound depends on its text, the texts of the files that it extends, the environment variables that
these name, what `--set` changes, and this program with the packages that it stands on. An entry holds the hashes of
all of them; the least difference and the spec is checked in full. Only sound specs are kept, never what is wrong
with one, and `plan`, `convert` and `launch` never ask here.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from runner.files import write_bytes
from runner.spec.environment import PLACEHOLDER
from runner.spec.problems import MachineError, how_to_install
from runner.spec.text_file import MAX_BYTES, UnreadableError, read_bytes

FORMAT = 1
PACKAGES = ("runner", "converters", "eval")
"""Whose files decide what is sound."""

KEPT = 2_000
"""Specs that are kept, the last found first."""


def place_of_cache(environ: Mapping[str, str]) -> Path | None:
    """Return the file that entries are kept in, in the user's folder for caches; None where there is no such folder."""
    base = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    return Path(base, "runner", "sound.json") if base.startswith("/") else None


@dataclass
class SoundFiles:
    """What is kept: for each spec and its `--set`, the files that were read and one hash of everything."""

    place: Path | None
    environ: Mapping[str, str]
    program: str
    entries: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def kept(cls, environ: Mapping[str, str]) -> SoundFiles:
        """Return what was stored by this same program; nothing where it cannot be read."""
        place = place_of_cache(environ)
        sound = cls(place, environ, program_hash())
        try:
            stored = json.loads(place.read_bytes()) if place else {}
            if stored.get("format") == FORMAT and stored.get("program") == sound.program:
                sound.entries = {
                    key: (tuple(read), digest) for key, (read, digest) in stored["specs"].items()
                }
        except (OSError, ValueError, AttributeError, KeyError, TypeError):
            pass  # of another program or damaged: everything is checked
        return sound

    def has(self, file: Path, sets: Sequence[str]) -> bool:
        """Return whether `file` with `sets` was found sound, and all that this rests on is as it was."""
        read, digest = self.entries.get(_key(file, sets), ((), ""))
        return bool(read) and hash_of(read, sets, self.environ) == digest

    def add(self, file: Path, sets: Sequence[str], read: Sequence[str], digest: str) -> None:
        """Keep that `file` with `sets` is sound; `read` and `digest` as `hash_of` takes and returns them."""
        key = _key(file, sets)
        self.entries.pop(key, None)  # the last found is the last in order
        self.entries[key] = (tuple(read), digest)
        self.changed = True

    def store(self) -> None:
        """Write what is kept. A cache that cannot be written is none, and no reason to fail."""
        if not self.changed or self.place is None:
            return
        last = dict(list(self.entries.items())[-KEPT:])
        value = {"format": FORMAT, "program": self.program, "specs": last}
        try:
            write_bytes(self.place, json.dumps(value).encode(), flushed=False)
        except MachineError:
            return


def hash_of(paths: Sequence[str], sets: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return the hash of what files and `--set` say now, and of the variables that they name.

    None where a file is gone, and where a text has a backslash: escaped letters may spell a variable's name, and only
    a reader of YAML would know. Such a spec is checked each time.
    """
    digest = hashlib.sha256()
    try:
        texts = [read_bytes(Path(path), MAX_BYTES) for path in paths]
    except UnreadableError:
        return None
    texts += [change.encode(errors="surrogateescape") for change in sets]
    if any(b"\\" in text for text in texts):
        return None
    for text in texts:
        names = PLACEHOLDER.findall(text.decode("utf-8", "replace"))
        values = [environ.get(name) for name, _ in names]
        digest.update(repr((len(text), values)).encode(errors="surrogateescape"))
        digest.update(text)
    return digest.hexdigest()


def program_hash() -> str:
    """Return a hash that changes with every file of this program, with its packages and with Python.

    Of our own files the size and the time of the last change are taken; of the packages that are installed the time at
    which one last came or went.
    """
    digest = hashlib.sha256(sys.version.encode())
    for package in PACKAGES:
        for entry in sorted(_below(_folder(package))):
            digest.update(repr(entry).encode())
    digest.update(repr(_folder("pydantic").parent.stat().st_mtime_ns).encode())
    return digest.hexdigest()


def _folder(package: str) -> Path:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise MachineError(f"the package {package} is not installed\n  {how_to_install()}")
    return Path(found.origin).parent


def _below(folder: Path) -> Iterable[tuple[str, int, int]]:
    """Yield path, size and time of change of each file below `folder`."""
    with os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _below(Path(entry.path))
            else:
                status = entry.stat()
                yield entry.path, status.st_size, status.st_mtime_ns


def _key(file: Path, sets: Sequence[str]) -> str:
    return json.dumps([str(file.absolute()), *sets])
