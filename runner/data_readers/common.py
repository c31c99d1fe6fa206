"""What the readers share: the files with their hashes, what is asked, and how faults of reading are said."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from converters.records.record import Raw
from runner.files import sha256_of
from runner.spec.environment import PLACEHOLDER
from runner.spec.nearest import nearest
from runner.spec.problems import DataError
from runner.spec.sources import SourceSection

if TYPE_CHECKING:
    from runner.data_readers.images import ImageSetup

MAX_NAMED = 20
"""Things that are named one by one in a message; the others are counted."""
EXAMPLES = 5
"""Places that are named of one cause; the others are counted."""
MOST_IN_MEMORY = 1 << 30
"""Bytes of the largest file that is read whole."""

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


def named(lines: Iterator[str] | Sequence[str], limit: int = MAX_NAMED) -> str:
    """Return the first `limit` lines, indented, and how many more there are."""
    every = list(lines)
    more = [f"  ... and {len(every) - limit} more"] if len(every) > limit else []
    return "\n".join([*(f"  {line}" for line in every[:limit]), *more])


@dataclass
class _Cause:
    """One thing that is wrong, and where."""

    said: str
    count: int = 0
    alike: bool = True
    """Whether every place has it in the same words."""
    places: list[tuple[str, str]] = field(default_factory=list)
    """The first few places, each with the words that it has it in."""


@dataclass
class Faults:
    """What is wrong with lines, rows or files: each cause once, with its count and the first places.

    Words that differ in numbers, or in what stands in quotes, are one cause. However many faults there are, few are
    kept.
    """

    count: int = 0
    causes: dict[str, _Cause] = field(default_factory=dict)
    others: int = 0
    """Faults of causes that came after the twentieth."""

    def add(self, place: str, said: str) -> None:
        """Count one fault."""
        self.count += 1
        kind = re.sub(r"'[^']*'|\"[^\"]*\"|[-+.\d]+", "#", said)
        if kind not in self.causes and len(self.causes) == MAX_NAMED:
            self.others += 1
            return
        cause = self.causes.setdefault(kind, _Cause(said))
        cause.count += 1
        cause.alike &= said == cause.said
        if len(cause.places) < EXAMPLES:
            cause.places.append((place, said))

    def __str__(self) -> str:
        lines: list[str] = []
        for cause in self.causes.values():
            more = cause.count - len(cause.places)
            if cause.alike and cause.count > 1:
                rest = f" and {more} more" if more else ""
                lines.append(f"{cause.count} times: {cause.said}")
                lines.append(f"  at {', '.join(place for place, _ in cause.places)}{rest}")
                continue
            lines += [f"{place}: {said}" for place, said in cause.places]
            if more:
                lines.append(f"... and {more} more of this kind")
        if self.others:
            lines.append(f"... and {self.others} of other kinds")
        return "\n".join(f"  {line}" for line in lines)


class reading:  # noqa: N801 - reads as a word: `with reading(path):`
    """Turns an `OSError` of reading `path` into a `DataError` that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            place = error.filename or self.path
            raise DataError(f"cannot read {place}: {error.strerror or error}") from error


def require_file(path: Path, most_bytes: int | None = None) -> None:
    """Refuse what is no plain file before it is opened: a pipe would wait for ever, a device has no end.

    Args:
        path: what is to be read.
        most_bytes: the largest size; None where it is read piece by piece.

    Raises:
        DataError: no such file, a pipe or a device, or one that is too large.
    """
    with reading(path):
        found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path} is a folder; expected a file")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(
            f"{path} is a pipe, a socket or a device; expected a plain file\n  copy it into a file"
        )
    if most_bytes is not None and found.st_size > most_bytes:
        raise DataError(
            f"{path} has {found.st_size:,} bytes; at most {most_bytes:,} are read of such a file\n"
            "  it is not what was published, or was never written to its end"
        )


def visible_files(folder: Path, suffix: str | None = None) -> list[Path]:
    """Return the files below `folder` that are not hidden, sorted; with `suffix`, those that end with it."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and (suffix is None or file.suffix == suffix)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def hashed(
    root: Path, files: Sequence[Path], progress: Progress, most_bytes: int | None = None
) -> tuple[Input, ...]:
    """Return each file with its size and hash, named from `root`.

    Raises:
        DataError: one is no plain file, has more than `most_bytes`, or cannot be read.
    """
    inputs = []
    for done, file in enumerate(files):
        progress(done, len(files), "files hashed")
        require_file(file, most_bytes)
        with reading(file):
            inputs.append(Input(file.relative_to(root).as_posix(), file.stat().st_size, sha256_of(file)))
    progress(len(files), len(files), "files hashed")
    return tuple(inputs)


def unchanged(path: Path, item: Input) -> bytes:
    """Return the file's bytes.

    Raises:
        DataError: it cannot be read, is too large, or is not what was hashed.
    """
    require_file(path, MOST_IN_MEMORY)
    with reading(path):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != item.sha256:
        raise changed(path)
    return content


def changed(path: Path) -> DataError:
    """Return the error of a file that is not what was hashed."""
    return DataError(f"{path} changed while it was read\n  wait until it is complete, then start again")
