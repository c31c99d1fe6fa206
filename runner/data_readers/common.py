"""What the readers share: the files with their hashes, what is asked, and how faults of reading are said."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from converters.records.record import Raw
from runner.files import sha256_of
from runner.spec.environment import PLACEHOLDER
from runner.spec.nearest import nearest
from runner.spec.problems import DataError
from runner.spec.sources import SourceSection
from runner.spec.text_file import UnreadableError, read_bytes, require_regular

if TYPE_CHECKING:
    from runner.data_readers.images import ImageSetup

MAX_NAMED = 20
"""Causes that are named one by one in a message; the others are counted."""
MAX_PLACES = 5
"""Places that are named of one cause."""
MAX_WHOLE_BYTES = 256 << 20
"""Of a file that is read as a whole. The largest that is known of a published set, a table, has 3 MiB."""
_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
"""What differs between two faults of one cause: a value that was given, a count, a column."""

Progress = Callable[[int, int | None, str], None]
"""done, total (None: not known), unit."""

LOCAL = ("./", "../", "/", "~/")
"""How a text begins that names a local file, not one of the hub."""


@dataclass(frozen=True)
class Input:
    """One file that a source was read from; `path` is relative to the source's root."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Asked:
    """One source of the spec: its options with every placeholder replaced, and how it is written."""

    options: SourceSection
    key: str
    """`data`, or `data.components[0]`."""
    written: Mapping[str, Any]
    """The same options with their placeholders."""
    images: ImageSetup | None = None
    """What holds for all images; None for records without any."""
    stands_in: bool = False
    """Whether it is read in place of a part that is not at hand, in a rehearsal."""

    def remedy(self, option: str) -> str:
        """Return the line that says how to set a path: the key, and the variable where it is one."""
        names = [match["name"] for match in PLACEHOLDER.finditer(str(self.written.get(option) or ""))]
        ways = [f"set {self.key}.{option} in the spec", f"pass --set {self.key}.{option}=PATH"]
        return "  " + ", or ".join([*(f"set the environment variable {name}" for name in names), *ways])

    def place(self, option: str, relative: str | None) -> Path:
        """Return a place below `data.root` that an option names.

        Raises:
            DataError: no root is given, or there is nothing.
        """
        assert self.images is not None
        if relative is None:
            raise DataError(f"{self.key}.{option}: none is given, and this source needs one")
        root = self.images.root
        if root is None and not Path(relative).is_absolute():
            raise DataError(
                f"{self.key}.{option}: {relative!r} is relative to data.root, which is not given\n"
                "  set data.root in the spec, or pass --set data.root=FOLDER"
            )
        found = (root or Path()) / relative
        if not found.exists():
            near = (
                nearest(found.name, [item.name for item in found.parent.iterdir()])
                if found.parent.is_dir()
                else None
            )
            hint = f"nearest: {found.parent / near}; or" if near else "put it there, or"
            raise DataError(
                f"{self.key}.{option}: nothing at {found}\n  {hint} pass --set data.root=FOLDER or "
                f"--set {self.key}.{option}=PATH"
            )
        return found


class Reader(Protocol):
    """One source, found and hashed."""

    @property
    def inputs(self) -> Sequence[Input]:
        """The files, sorted by name."""

    def raws(self, progress: Progress) -> Iterator[Raw]:
        """Yield the raw things in a fixed order; a `DataError` at the end names every damaged file."""

    def report(self) -> dict[str, Any]:
        """Return what the manifest says of the source beside its counts; complete after `raws`."""


def listed(lines: Iterable[str]) -> str:
    """Return the first lines, indented, and how many more there are."""
    every = list(lines)
    more = [f"  ... and {len(every) - MAX_NAMED} more"] if len(every) > MAX_NAMED else []
    return "\n".join([*(f"  {line}" for line in every[:MAX_NAMED]), *more])


def named(faults: Iterable[tuple[str, str]]) -> str:
    """Return each cause of (place, cause) once, with a count and up to five places, the most frequent ones first.

    Causes that differ only in a value or a number are one; it is told as it is at the first place.

    >>> print(named([("a:1", "no id"), ("a:2", "cell 'x'"), ("a:5", "cell 'y'")]))
      2 like this: cell 'x': a:2, a:5
      a:1: no id
    """
    causes: dict[str, list[tuple[str, str]]] = {}
    for place, cause in faults:
        causes.setdefault(_VALUE.sub("", cause), []).append((place, cause))
    ordered = sorted(causes.values(), key=len, reverse=True)
    return listed(_told(several) for several in ordered)


def _told(faults: Sequence[tuple[str, str]]) -> str:
    place, cause = faults[0]
    if len(faults) == 1:
        return f"{place}: {cause}"
    places = ", ".join(place for place, _ in faults[:MAX_PLACES])
    more = f" and {len(faults) - MAX_PLACES} more" if len(faults) > MAX_PLACES else ""
    return f"{len(faults)} like this: {cause}: {places}{more}"


class reading:  # noqa: N801 - reads as a word: `with reading(path):`
    """Turns what goes wrong with reading `path` into a `DataError` that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnreadableError):
            raise DataError(f"{self.path} {error}") from error
        if isinstance(error, OSError):
            place = error.filename or self.path
            raise DataError(f"cannot read {place}: {error.strerror or error}") from error


def visible_files(folder: Path, suffix: str | None = None) -> list[Path]:
    """Return the files below `folder` that are not hidden, sorted; with `suffix`, those that end with it."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and (suffix is None or file.suffix == suffix)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def hashed(root: Path, files: Sequence[Path], progress: Progress) -> tuple[Input, ...]:
    """Return each file with its size and hash, named from `root`."""
    inputs = []
    for done, file in enumerate(files):
        progress(done, len(files), "files hashed")
        with reading(file):
            require_regular(file)
            inputs.append(Input(file.relative_to(root).as_posix(), file.stat().st_size, sha256_of(file)))
    progress(len(files), len(files), "files hashed")
    return tuple(inputs)


def unchanged(path: Path, item: Input) -> bytes:
    """Return the file's bytes.

    Raises:
        DataError: it cannot be read, is larger than what is read as a whole, or is not what was hashed.
    """
    with reading(path):
        content = read_bytes(path, MAX_WHOLE_BYTES)
    if hashlib.sha256(content).hexdigest() != item.sha256:
        raise changed(path)
    return content


def changed(path: Path) -> DataError:
    """Return the error of a file that is not what was hashed."""
    return DataError(f"{path} changed while it was read\n  wait until it is complete, then start again")
