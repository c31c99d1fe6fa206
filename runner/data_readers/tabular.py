"""Tables: the cardiovascular disease CSV in its two layouts, and the UCI heart disease files."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.records import cardio, uci_heart
from converters.records.tabular import Row
from runner.data_readers.common import (
    MAX_WHOLE_BYTES,
    Asked,
    Input,
    Progress,
    hashed,
    named,
    reading,
    unchanged,
)
from runner.spec.problems import DataError, choices
from runner.spec.sources import CardioSource, UciHeartSource
from runner.spec.text_file import require_regular

MAX_BYTES = 32 << 20
"""A table may not be larger unpacked: a small .gz can stand for any number of bytes."""
LONGEST_LINE = 1 << 16
ENDINGS = (".csv", ".csv.gz")


# --------------------------------------------------------------------------------------------- cardio


@dataclass
class CardioReader:
    """One CSV of check-ups."""

    asked: Asked
    options: CardioSource
    root: Path
    inputs: Sequence[Input]
    layout: str = ""
    rows: int = 0
    differing: Counter[str] = field(default_factory=Counter)

    def raws(self, progress: Progress) -> Iterator[Row[CardioSource]]:
        """Yield the rows under their columns."""
        (item,) = self.inputs
        path = self.root / item.path
        lines = _text(path, unchanged(path, item)).splitlines()
        header, delimiter = _header(path, lines)
        self.layout = _layout(path, header)
        for number, cells in _cells(path, item.path, lines[1:], delimiter, first=2, columns=len(header)):
            progress(number - 1, len(lines), "rows")
            values = dict(zip(header, cells, strict=True))
            if self.layout == "derived":
                self.differing.update(cardio.recomputed(values))
            self.rows += 1
            yield Row(item.path, number, values, self.options)
        progress(len(lines), len(lines), "rows")

    def report(self) -> dict[str, Any]:
        """Return the layout, and how many derived cells were not what the rules give."""
        differing = {"recomputed_differently": dict(sorted(self.differing.items()))}
        return {"layout": self.layout, **(differing if self.layout == "derived" else {})}


def open_cardio(asked: Asked, progress: Progress) -> CardioReader:
    """Find and hash the CSV.

    Raises:
        DataError: nothing there, no CSV, several of which none is named, or a header of neither layout.
    """
    options = asked.options
    assert isinstance(options, CardioSource)
    path = _chosen(asked, options)
    header, _ = _header(path, [_first_line(path)])
    _layout(path, header)
    return CardioReader(asked, options, path.parent, hashed(path.parent, [path], progress))


def _chosen(asked: Asked, options: CardioSource) -> Path:
    """Return the CSV that `root` and `file` name."""
    root = Path(options.root)
    if root.is_file():
        if options.file is not None and root.name not in (options.file, f"{options.file}.gz"):
            raise DataError(
                f"{asked.key}.root is the file {root.name}, but {asked.key}.file asks for {options.file}\n"
                f"  give the folder as root, or pass --set {asked.key}.file=null"
            )
        return root
    if not root.is_dir():
        raise DataError(f"{asked.key}.root: no such file or folder: {root}\n{asked.remedy('root')}")
    with reading(root):
        found = sorted(file for file in root.iterdir() if file.name.endswith(ENDINGS) and file.is_file())
    names = [file.name for file in found]
    if not found:
        raise DataError(f"{asked.key}.root: no .csv or .csv.gz file in {root}\n{asked.remedy('root')}")
    if options.file is None:
        if len(found) > 1:
            raise DataError(
                f"{asked.key}.file is not given, and {root} holds {len(found)} tables\n"
                f"  set {asked.key}.file in the spec; {choices(names)}"
            )
        return found[0]
    for name in (options.file, f"{options.file}.gz"):
        if name in names:
            return root / name
    raise DataError(f"{asked.key}.file: no {options.file!r}, nor with .gz, in {root}; {choices(names)}")


def _header(path: Path, lines: Sequence[str]) -> tuple[list[str], str]:
    """Return the column names and the delimiter, which is read off them."""
    if not lines or not lines[0].strip():
        raise DataError(f"{path} is empty: its first line is to name the columns")
    delimiter = max(";,\t", key=lines[0].count)
    try:
        names = next(csv.reader([lines[0].strip()], delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path}:1: {error}\n  expected the names of the columns") from error
    return [name.strip() for name in names], delimiter


def _layout(path: Path, header: Sequence[str]) -> str:
    try:
        return cardio.layout_of(header)
    except cardio.HeaderError as error:
        raise DataError(
            f"{path} has another header than the cardiovascular disease table\n  {error}\n"
            f"  raw layout: {', '.join(cardio.RAW)}\n  derived layout: these and {', '.join(cardio.ADDED)}"
        ) from error


# ------------------------------------------------------------------------------------------ uci heart


@dataclass
class UciHeartReader:
    """The files of one or more sites."""

    options: UciHeartSource
    root: Path
    inputs: Sequence[Input]

    def raws(self, progress: Progress) -> Iterator[Row[UciHeartSource]]:
        """Yield the rows; their file is the name of the site."""
        for done, item in enumerate(self.inputs):
            progress(done, len(self.inputs), "files")
            path = self.root / item.path
            lines = _text(path, unchanged(path, item)).splitlines()
            for number, cells in _cells(path, item.path, lines, ",", first=1, columns=len(uci_heart.COLUMNS)):
                yield Row(
                    _site(item.path), number, dict(zip(uci_heart.COLUMNS, cells, strict=True)), self.options
                )
        progress(len(self.inputs), len(self.inputs), "files")

    def report(self) -> dict[str, Any]:
        """Return the sites."""
        return {"sites": [_site(item.path) for item in self.inputs]}


def open_uci_heart(asked: Asked, progress: Progress) -> UciHeartReader:
    """Find and hash the files of the sites.

    Raises:
        DataError: no such folder, no such site there, or a file with a header line.
    """
    options = asked.options
    assert isinstance(options, UciHeartSource)
    root = Path(options.root)
    if root.is_file():
        files, root = [root], root.parent
        if options.sites:
            raise DataError(
                f"{asked.key}.sites is given, but {asked.key}.root is one file\n  leave sites out"
            )
    elif root.is_dir():
        files = _sites_in(asked, options, root)
    else:
        raise DataError(f"{asked.key}.root: no such file or folder: {root}\n{asked.remedy('root')}")
    for path in files:
        first = _first_line(path)
        if first and not first[0].isdigit():
            raise DataError(
                f"{path} begins with {first!r:.60}; expected numbers: the UCI files have no header line\n"
                "  Kaggle's heart.csv is another table, with other codes and classes"
            )
    return UciHeartReader(options, root, hashed(root, files, progress))


def _sites_in(asked: Asked, options: UciHeartSource, root: Path) -> list[Path]:
    with reading(root):
        found = {_site(file.name): file for file in sorted(root.glob("processed.*.data"))}
    if not found:
        raise DataError(f"{asked.key}.root: no processed.<site>.data in {root}\n{asked.remedy('root')}")
    lacking = [site for site in options.sites if site not in found]
    if lacking:
        raise DataError(
            f"{asked.key}.sites: no processed.{lacking[0]}.data in {root}; {choices(list(found))}"
        )
    return [found[site] for site in sorted(set(options.sites)) or found]


def _site(name: str) -> str:
    """Return what the archive calls the hospital: `processed.cleveland.data` -> `cleveland`."""
    return name.removeprefix("processed.").removesuffix(".data")


# --------------------------------------------------------------------------------------------- shared


def _text(path: Path, content: bytes) -> str:
    """Return the text of a file, unpacked where it is a .gz."""
    if not path.name.endswith(".gz"):
        return _decoded(path, content)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            plain = file.read(MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, error) from error
    if len(plain) > MAX_BYTES:
        raise DataError(f"{path} holds more than {MAX_BYTES:,} bytes unpacked, which no such table has")
    return _decoded(path, plain)


def _first_line(path: Path) -> str:
    """Return the first line of a file, unpacked where it is a .gz, without white space around it."""
    with reading(path):
        require_regular(path, MAX_WHOLE_BYTES)
    with reading(path), path.open("rb") as file:
        if not path.name.endswith(".gz"):
            return _decoded(path, file.readline(LONGEST_LINE)).strip()
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _decoded(path, unpacked.readline(LONGEST_LINE)).strip()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(path, error) from error


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte {error.start + 1} is 0x{content[error.start]:02x}\n  save it as UTF-8"
        ) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be unpacked: {error}\n  copy or download it again")


def _cells(
    path: Path, name: str, lines: Sequence[str], delimiter: str, *, first: int, columns: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each line that is not blank.

    Raises:
        DataError: lines with another number of cells; names them, at the end.
    """
    wrong: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        try:
            cells = next(csv.reader([line], delimiter=delimiter))
        except csv.Error as error:  # a cell of more than 131,072 letters
            wrong.append((f"{name}:{number}", str(error)))
            continue
        if len(cells) == columns:
            yield number, cells
        else:
            wrong.append((f"{name}:{number}", f"{len(cells)} cells, expected {columns}"))
    if wrong:
        raise DataError(
            f"{len(wrong)} bad line{'' if len(wrong) == 1 else 's'} in {path}\n{named(wrong)}\n  mend or remove them; nothing was written"
        )
