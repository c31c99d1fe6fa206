"""Images by name in folders and in tar files; of a tar, only what is needed is taken out, and nothing is trusted.

A tar file is read from its beginning to its end, for a compressed one has no other way in. What was found in it is
remembered beside the cache, so that it is read again only for images that nobody asked for before.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runner.data_readers.common import Progress, reading
from runner.files import canonical_sha256, write_bytes, write_json
from runner.spec.problems import DataError

TARS = (".tar", ".tar.gz", ".tgz")
MOST_BYTES = 512 << 20
"""Largest member that is taken out of a tar."""


@dataclass(frozen=True)
class Found:
    """An image file, and where it was."""

    path: Path
    came_from: str


@dataclass(frozen=True)
class ImageFiles:
    """Some folders and tar files, in the order in which they are asked.

    Args:
        folders: hold images at the paths that rows name.
        tars: tar files.
        cache: folder of what is taken out of tars.
    """

    folders: tuple[Path, ...]
    tars: tuple[Path, ...]
    cache: Path

    def find(self, names: Sequence[str], progress: Progress) -> Mapping[str, Found]:
        """Return those of the images that are there.

        Raises:
            DataError: a name leads out of its folder, or a tar is damaged or holds what no tar of images does.
        """
        for name in names:
            if not is_below(name):
                raise DataError(
                    f"the image path {name!r} leads out of its folder; it must be relative, without .."
                )
        found: dict[str, Found] = {}
        for name in names:
            for folder in self.folders:
                if _is_there(path := folder / name):
                    found[name] = Found(path, str(path))
                    break
        for number, tar in enumerate(self.tars):
            progress(number, len(self.tars), "tar files")
            wanted = [name for name in names if name not in found]
            if not wanted:
                break
            found |= self._from_tar(tar, wanted)
        return found

    def places(self) -> list[list[str | int]]:
        """Return the folders, and the tar files with size and time."""
        found: list[list[str | int]] = [[str(folder)] for folder in self.folders]
        for tar in self.tars:
            with reading(tar):
                found.append([str(tar), tar.stat().st_size, tar.stat().st_mtime_ns])
        return found

    def _from_tar(self, tar: Path, wanted: Sequence[str]) -> dict[str, Found]:
        """Return the wanted members of a tar, taken out into the cache."""
        with reading(tar):
            state = tar.stat()
        key = canonical_sha256({"path": str(tar), "bytes": state.st_size, "time": state.st_mtime_ns})
        place = self.cache / "tars" / f"{key}.json"
        known = _remembered(place)
        if known is None or self._to_take(known, wanted):
            known = self._passed(tar, set(wanted), known or {})
            write_json(place, known)
        found = {}
        for name in wanted:
            if (digest := known.get(name)) is not None:
                found[name] = Found(self._place(name, digest), f"{tar}:{name}")
        return found

    def _to_take(self, known: Mapping[str, str | None], wanted: Sequence[str]) -> bool:
        """Return whether the tar has a wanted image that is not in the cache."""
        return any(
            name in known and ((digest := known[name]) is None or not self._place(name, digest).is_file())
            for name in wanted
        )

    def _place(self, name: str, digest: str) -> Path:
        return self.cache / "unpacked" / digest[:2] / f"{digest}{PurePosixPath(name).suffix.lower()}"

    def _passed(self, tar: Path, wanted: set[str], known: Mapping[str, str | None]) -> dict[str, str | None]:
        """Read a tar through; return its members, each with the digest of what was taken out."""
        members: dict[str, str | None] = {}
        for member, content in _members(tar, wanted):
            if content is None:
                members[member] = known.get(member)
                continue
            digest = hashlib.sha256(content).hexdigest()
            place = self._place(member, digest)
            if not place.is_file():
                write_bytes(place, content)
            members[member] = digest
        return members


def is_below(name: str) -> bool:
    r"""Return whether a path stays in the folder that it is relative to.

    >>> is_below("a/b.png"), is_below("../b.png"), is_below("/b.png"), is_below("a\\..\\b.png")
    (True, False, False, False)
    """
    path = PurePosixPath(name)
    return (
        bool(name)
        and "\0" not in name
        and "\\" not in name
        and not path.is_absolute()
        and ".." not in path.parts
    )


def open_places(places: Iterable[Path], cache: Path) -> ImageFiles:
    """Return the images of some places: folders, tar files, folders with tar files directly in them.

    Raises:
        DataError: a place that is not there, or is no folder and no tar.
    """
    folders: list[Path] = []
    tars: list[Path] = []
    for place in places:
        if place.is_dir():
            folders.append(place)
            with reading(place):
                tars += sorted(item for item in place.iterdir() if item.is_file() and _is_tar(item))
        elif place.is_file() and _is_tar(place):
            tars.append(place)
        elif place.exists():
            raise DataError(f"{place} is no folder, and no tar file by its name ({', '.join(TARS)})")
        else:
            raise DataError(f"no such file or folder: {place}")
    return ImageFiles(tuple(folders), tuple(tars), cache)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for any file
        return False


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith(TARS)


def _members(tar: Path, wanted: set[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield the name of each file in a tar, with its content where it is wanted.

    Raises:
        DataError: a member leads out of the folder, is a link or a device, or is too large; or the tar is damaged.
    """
    count = 0
    try:
        with tarfile.open(tar, mode="r|*") as opened:
            for member in opened:
                count += 1
                _require_harmless(tar, member)
                if not member.isfile():
                    continue
                name = PurePosixPath(member.name).as_posix()
                taken = opened.extractfile(member) if name in wanted else None
                yield name, None if taken is None else taken.read()
    except OSError as error:
        if (
            isinstance(error, tarfile.TarError) or error.errno is None
        ):  # gzip's own are OSErrors without a number
            raise _damaged(tar, count, error) from error
        raise DataError(f"cannot read {tar}: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _damaged(tar, count, error) from error


def _damaged(tar: Path, count: int, error: Exception) -> DataError:
    return DataError(
        f"{tar} is cut off or damaged after {count} members: {error!s:.100}\n"
        "  download it again, and compare its checksum with the published one"
    )


def _require_harmless(tar: Path, member: tarfile.TarInfo) -> None:
    what = None
    if not is_below(member.name) and PurePosixPath(member.name).parts:
        what = "leads out of the folder"
    elif member.issym() or member.islnk():
        what = f"is a link to {member.linkname!r}"
    elif not (member.isfile() or member.isdir()):
        what = "is a device, a pipe or something else that is no file"
    elif member.isfile() and member.size > MOST_BYTES:
        what = f"has {member.size:,} bytes; an image has at most {MOST_BYTES:,}"
    if what is not None:
        raise DataError(
            f"{tar}: the member {member.name!r} {what}, which no tar of images needs\n"
            "  the file is not what was published, or was made to do harm: nothing more is taken from it"
        )


def _remembered(place: Path) -> dict[str, str | None] | None:
    """Return what is known of a tar; None where nothing is, or it cannot be read."""
    try:
        value = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
