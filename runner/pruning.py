"""What the runs of a folder share and no run uses: records, recordings and images that outlive a run that was deleted.

```text
RUNS/.cache/data/<key>/       the records of a text or image run: a copy, used by a run whose splits have its hashes
RUNS/.cache/data/ecg-*.h5     recordings; the file of a run is a second name of it
RUNS/.cache/images/           pages drawn, images taken out of tar files; records name them
```
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.files import read_json
from runner.run_dir import RunDir
from runner.spec.problems import MachineError, UsageError
from runner.spec.text_file import UnreadableError, require_regular

CACHE = ".cache"
KEY = re.compile(r"[0-9a-f]{64}")
STORE = re.compile(r"ecg-[0-9a-f]{32}\.h5")
LEFTOVER = re.compile(r"\.(?:[0-9a-f]{16}|damaged)-[a-z0-9_]{8}|\.ecg-[0-9a-f]{32}\.h5\.making")
"""Folders of a process that was killed: of `data_cache`, and of `native.conversion`."""
_HASH = r"[0-9a-f]{64}"
IMAGE = re.compile(
    rf"tars/\.?{_HASH}\.json(?P<tar>\.[0-9a-f]{{8}})?"
    rf"|pages/[0-9a-f]{{2}}/\.?{_HASH}\.(?:png|json|mask\.png)(?P<page>\.[0-9a-f]{{8}})?"
    rf"|rgb/[0-9a-f]{{2}}/\.?{_HASH}\.png(?P<rgb>\.[0-9a-f]{{8}})?"
    rf"|unpacked/[0-9a-f]{{2}}/\.?{_HASH}(?:\.[^./]+)?(?P<taken>\.[0-9a-f]{{8}})?"
)
"""Files of `pages`, `image_checks` and `image_files`; with a dot before and a number behind while they are written."""


@dataclass(frozen=True)
class Entry:
    """Something in the cache that can be removed by itself."""

    path: Path
    bytes: int
    """What removing it frees: nothing where a run has the same file."""
    used: bool


@dataclass(frozen=True)
class Pruning:
    """What was removed, or would be."""

    removed: tuple[Entry, ...]
    kept: tuple[Entry, ...]
    left: tuple[Path, ...] = ()
    """What lies there and is not ours by its name."""

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(entry.bytes for entry in self.removed)


def prune(runs: Path, *, used_too: bool, dry_run: bool) -> Pruning:
    """Remove what no run below `runs` uses from what they share. No run is deleted or changed.

    Args:
        runs: the folder of run directories.
        used_too: also what runs use; each has its own copy of records and recordings, but not of images.
        dry_run: remove nothing, and say what would go.

    Raises:
        UsageError: there is no such folder.
        MachineError: a folder of what is shared is a link; a run in it is being executed, and may use anything; or something cannot be removed.
    """
    if not runs.is_dir():
        raise UsageError(f"no folder of runs at {runs}; nothing was removed\n  name it with --runs")
    for folder in _walked(runs):
        if folder.is_symlink():
            raise MachineError(
                f"{folder} is a link, and what it leads to may be anybody's; nothing was removed\n"
                "  put a folder in its place, or remove the link"
            )
    if held := [run for run in _run_dirs(runs) if RunDir(run).is_held()]:
        others = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise MachineError(
            f"{held[0]}{others} is being run and may use what is shared; nothing was removed\n"
            "  prune when it has ended"
        )
    found = [*_of_records(runs), *_of_images(runs)]
    entries = [entry for entry in found if isinstance(entry, Entry)]
    left = tuple(path for path in found if isinstance(path, Path))
    going = tuple(entry for entry in entries if used_too or not entry.used)
    for entry in () if dry_run else going:
        _remove(entry.path)
    return Pruning(going, tuple(entry for entry in entries if entry not in going), left)


def _run_dirs(runs: Path) -> list[Path]:
    """Return the run directories, and the folders of sweeps, which have locks of their own."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(runs, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        if Path(place) == runs and CACHE in folders:
            folders.remove(CACHE)
        if {"plan.json", ".lock"} & {*files}:
            found.append(Path(place))
        if "plan.json" in files:
            folders.clear()
    return sorted(found)


def _walked(runs: Path) -> Iterator[Path]:
    """Yield the folders that are looked into, links to folders among them; none is followed."""
    cache = runs / CACHE
    yield from (cache, cache / "data", cache / "images")
    for place, folders, _ in os.walk(cache / "images"):
        yield from (Path(place) / name for name in folders)


def _of_records(runs: Path) -> Iterator[Entry | Path]:
    hashes = {digest for run in _run_dirs(runs) for digest in _splits(run)}
    folder = runs / CACHE / "data"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        folder_or_link = path.is_symlink() or path.is_dir()
        if STORE.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
            yield Entry(path, _size(path), path.lstat().st_nlink > 1)
        elif KEY.fullmatch(path.name) and folder_or_link:
            yield Entry(path, _size(path), _records_of(path) <= hashes)
        elif LEFTOVER.fullmatch(path.name) and folder_or_link:
            yield Entry(path, _size(path), used=False)
        else:
            yield path


def _splits(run: Path) -> Iterator[str]:
    """Yield the hashes of a run's own records, as its manifest has them."""
    try:
        yield from (part["sha256"] for part in read_json(run / "data" / "manifest.json")["splits"].values())
    except (MachineError, KeyError, TypeError, AttributeError):
        return  # no data stage that ended: there is nothing that the run would use


def _records_of(entry: Path) -> frozenset[str]:
    """Return the hashes of an entry's records; of a damaged one a word that no run has."""
    try:
        found = read_json(entry / "entry.json")
        return frozenset(
            digest for name, digest in found.items() if name.endswith(".jsonl") and name != "inputs.jsonl"
        )
    except (MachineError, AttributeError, TypeError):
        return frozenset({"damaged"})


def _of_images(runs: Path) -> Iterator[Entry | Path]:
    folder = runs / CACHE / "images"
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    named = {stem for run in _run_dirs(runs) for stem in _named(run)} if files else set()
    there = {path.name.partition(".")[0] for path in files} & named
    for path in files:
        match = IMAGE.fullmatch(path.relative_to(folder).as_posix())
        half = match is not None and path.name.startswith(".")
        if match is None or (half and match.lastgroup is None) or not (path.is_symlink() or path.is_file()):
            yield path
            continue
        if half:
            yield Entry(path, _size(path), used=False)
            continue
        listing = path.parent.name == "tars"  # what is in a tar file: of use while something out of one is
        yield Entry(path, _size(path), used=bool(there) if listing else path.name.partition(".")[0] in there)


def _named(run: Path) -> Iterator[str]:
    """Yield the names, without what follows the first dot, of the images that the records of a run name."""
    for file in sorted((run / "data").glob("*.jsonl")):
        try:
            require_regular(file)
        except UnreadableError:
            continue
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    yield from (Path(image).name.partition(".")[0] for image in json.loads(line)["images"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue


def _size(path: Path) -> int:
    files = [path] if path.is_symlink() or not path.is_dir() else list(path.rglob("*"))
    found = [file.lstat() for file in files if file.is_symlink() or file.is_file()]
    return sum(state.st_size for state in found if state.st_nlink == 1)


def _remove(path: Path) -> None:
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
    except OSError as error:
        raise MachineError(f"cannot remove {path}: {error.strerror or error}") from error
