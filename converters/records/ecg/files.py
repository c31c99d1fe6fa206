"""Files of recordings, looked at before they are read: what each is, how large, and what it would take to hold.

A set comes from somebody else. A link to a device, a pipe, a header that announces terabytes, a compressed chunk that
grows to gigabytes: each is a fault of one recording, said with its reason, and not the end of the machine. Every
reader of recordings opens its files here, and no limit is anywhere else.
"""

from __future__ import annotations

import csv
import math
import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from converters.records.ecg.record import (
    BAD_METADATA,
    NO_NUMBERS,
    NO_SIGNAL,
    TOO_LARGE,
    TRUNCATED,
    UNREADABLE,
    WRONG_SHAPE,
    FloatArray,
)

MAX_VALUES = 2**24
"""Samples of all leads of one recording: 46 minutes of 12 leads at 500 Hz."""
MAX_FILE_BYTES = 256 * 2**20
"""Of a file that is read from end to end: a table, a `.csv`, a signal file of WFDB."""
MAX_HEADER_BYTES = 2**20
"""Of a WFDB header, 10,000 times the usual size, and of the description in front of a `.npy` array."""
MAX_CHUNK_BYTES = 256 * 2**20
"""Of one chunk of an HDF5 data set, which is unpacked as a whole whatever is asked for."""
_MISSING = ("", "na", "n/a", "nan", "null", "none")
"""What tables write for "no sample", in lower case."""


class UnfitError(ValueError):
    """A file that is not read; `reason` is one of `record`'s, the text says what was found."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def first_line(error: BaseException) -> str:
    r"""Return what a library says, in one line of at most 160 characters.

    >>> first_line(ValueError("bad magic\nload it by pickle"))
    'bad magic'
    """
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return f"{text:.160}"


# ------------------------------------------------------------------------------------------------ places


def is_regular(path: Path) -> bool:
    """Return whether `path` is a file, or a link to one: no folder, pipe or device, and no name that cannot be."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False


def below(root: Path, name: str) -> Path:
    """Return the place of the file `name` of a table, which must be below `root`.

    Raises:
        UnfitError: it is not, or no file can have that name.
    """
    path = root / name
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise UnfitError(BAD_METADATA, f"no file can be named {name!r:.60}: {first_line(error)}") from error
    if not inside:
        raise UnfitError(BAD_METADATA, f"its file {name!r:.60} is not below the folder")
    return path


def opened(path: Path, at_most: int = MAX_FILE_BYTES) -> BinaryIO:
    """Open a file for reading, if it is a file and not larger than `at_most` bytes. Never waits for a pipe.

    Raises:
        UnfitError: it is missing, no file, too large, or may not be read.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnfitError(NO_SIGNAL, error.strerror or first_line(error)) from None
    except (OSError, ValueError) as error:
        raise UnfitError(UNREADABLE, getattr(error, "strerror", None) or first_line(error)) from error
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode):
        os.close(number)
        raise UnfitError(UNREADABLE, "it is no file but a folder, a pipe or a device")
    if found.st_size > at_most:
        os.close(number)
        raise UnfitError(TOO_LARGE, f"it has {found.st_size:,} bytes; at most {at_most:,} are read")
    return os.fdopen(number, "rb")


def content_of(path: Path, n_bytes: int | None = None, at_most: int = MAX_FILE_BYTES) -> bytes:
    """Return what a file holds, or its first `n_bytes`, of which there may be fewer.

    Raises:
        UnfitError: as `opened`; with `n_bytes`, which may not be above `at_most`, a file may have any size.
    """
    limit = at_most if n_bytes is None else 2**63
    with opened(path, limit) as file:
        try:
            return file.read(at_most if n_bytes is None else n_bytes)
        except OSError as error:
            raise UnfitError(UNREADABLE, error.strerror or first_line(error)) from error


# ----------------------------------------------------------------------------------------------- numbers


def require_numbers(dtype: np.dtype[Any]) -> None:
    """Refuse what is stored as anything but whole or floating numbers.

    Raises:
        UnfitError: texts, truth values, complex numbers, structures, Python objects; says which, and what to save.
    """
    what = {"b": "True and False", "c": "complex numbers", "O": "Python objects", "V": "structures"}
    if dtype.kind not in "fiu":
        kind = what.get(dtype.kind, "texts or dates")
        raise UnfitError(NO_NUMBERS, f"it holds {kind} ({str(dtype)!s:.60}); save float32 or whole numbers")


def require_room(shape: Sequence[int]) -> None:
    """Refuse a recording of more values than are read.

    Raises:
        UnfitError: says the shape and the limit.
    """
    if any(length < 0 for length in shape):
        raise UnfitError(WRONG_SHAPE, f"it announces the shape {_shown(shape)}")
    if math.prod(shape) > MAX_VALUES:
        raise UnfitError(TOO_LARGE, f"its shape is {_shown(shape)}; at most {MAX_VALUES:,} values are read")


def _shown(shape: Sequence[int]) -> str:
    return f"({', '.join(f'{length}' if abs(length) < 10**15 else '10^15 or more' for length in shape)})"


# ------------------------------------------------------------------------------------------------- .npy


def npy_of(path: Path) -> NDArray[Any]:
    """Return the array of a `.npy` file, mapped: nothing but its description is read.

    Raises:
        UnfitError: it is no such file, is damaged or cut off, or holds something else than numbers.
    """
    with opened(path, at_most=2**63) as file:
        start = file.read(4)
        if start.startswith(b"PK"):
            raise UnfitError(UNREADABLE, "it is a .npz archive; save each array by itself with np.save")
        if not start:
            raise UnfitError(UNREADABLE, "it is empty")
        if start != b"\x93NUM":
            raise UnfitError(
                UNREADABLE, f"it begins with {start!r}, which no .npy does; .npy and .csv are read"
            )
        file.seek(0)
        shape, column_first, dtype = _description(file)
        require_numbers(dtype)
        if len(shape) > 3:
            raise UnfitError(
                WRONG_SHAPE, f"it has {len(shape)} axes; expected (lead, time) or (record, lead, time)"
            )
        require_room(shape[1:] if len(shape) == 3 else shape)
        offset, size = file.tell(), os.fstat(file.fileno()).st_size
        needed = offset + math.prod(shape) * dtype.itemsize
        if needed > size or min(shape, default=1) < 0:
            raise UnfitError(
                TRUNCATED, f"it announces the shape {_shown(shape)} and ends after {size:,} bytes"
            )
        if math.prod(shape) == 0:
            return np.empty(shape, dtype)
        mapped: NDArray[Any] = np.memmap(file, dtype, "r", offset, shape, "F" if column_first else "C")
    return mapped


def _description(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether columns come first, and type: the header of a `.npy` file, whose length is looked at first."""
    form: Any = np.lib.format  # its functions have no types
    try:
        version = form.read_magic(file)
        wide = 2 if version == (1, 0) else 4
        length = int.from_bytes(file.read(wide), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a description of {length:,} bytes")
        file.seek(-wide, os.SEEK_CUR)
        read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        shape, column_first, dtype = read(file)
    except Exception as error:  # numpy parses Python's text: damage ends in any of Python's errors
        raise UnfitError(
            UNREADABLE, f"the description in front of the array is damaged ({type(error).__name__})"
        ) from error
    return shape, column_first, dtype


# ------------------------------------------------------------------------------------------------- .csv


def csv_of(path: Path) -> tuple[FloatArray, tuple[str, ...]]:
    """Return a table of numbers as (lead, time), float64, and the names in its first line; empty cells are NaN.

    Raises:
        UnfitError: it cannot be read, a line has another number of cells, or a cell is no number; names the line.
    """
    values = array("d")
    number = 1
    try:
        with TextIOWrapper(opened(path), encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text)
            names = tuple(name.strip() for name in next(lines, ()))
            for cells in lines:
                number = lines.line_num
                if cells and len(cells) != len(names):
                    raise UnfitError(
                        UNREADABLE, f"line {number}: {len(cells)} cells, {len(names)} leads named"
                    )
                values.extend(map(_number, cells))
                require_room((len(values),))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnfitError(UNREADABLE, f"it is no table of UTF-8 text: {first_line(error)}") from error
    except _NoNumberError as error:
        raise UnfitError(NO_NUMBERS, f"line {number}: {error}") from None
    if not names:
        raise UnfitError(UNREADABLE, "it is empty")
    return np.frombuffer(values, dtype=np.float64).reshape(-1, len(names)).T, names


class _NoNumberError(Exception):
    """A cell that is no number."""


def _number(cell: str) -> float:
    try:
        if "_" not in cell:  # which Python takes for a digit's neighbour
            return float(cell)
    except ValueError:
        if cell.strip().casefold() in _MISSING:
            return math.nan
    raise _NoNumberError(f"{cell!r:.40} is no number")


# ------------------------------------------------------------------------------------------------- HDF5


@contextmanager
def hdf5_of(path: Path) -> Iterator[Any]:
    """Lend an opened HDF5 file; what is wrong with it, also while it is read, is an `UnfitError`."""
    import h5py

    if not is_regular(path):
        opened(path, at_most=2**63).close()  # says why
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UnfitError:
        raise
    except Exception as error:  # h5py has no exceptions of its own: damage ends in any of Python's
        raise UnfitError(UNREADABLE, f"HDF5 cannot read it: {first_line(error)}") from error


def data_set(file: Any, name: str, n_axes: int) -> Any:
    """Return the data set `name` of an HDF5 file, looked at and not yet read.

    Raises:
        UnfitError: there is none, it lies in another file, has other axes, holds something else than numbers, or comes
            in chunks that are too large.
    """
    import h5py

    link = file.get(name, getlink=True) if name in file.keys() else None  # noqa: SIM118 - `in file` follows links
    if link is None:
        there = ", ".join(list(file)[:5])
        raise UnfitError(NO_SIGNAL, f"it has no data set {name!r}; it has: {there or 'nothing'}")
    if not isinstance(link, h5py.HardLink):
        raise UnfitError(UNREADABLE, f"{name!r} is a link to another place, which is not followed")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise UnfitError(WRONG_SHAPE, f"{name!r} is a group, not a data set")
    if found.shape is None or found.ndim != n_axes:
        shape = "no shape" if found.shape is None else f"the shape {_shown(found.shape)}"
        raise UnfitError(WRONG_SHAPE, f"{name!r} has {shape}; expected {n_axes} axes")
    if found.is_virtual or found.external:
        raise UnfitError(UNREADABLE, f"the values of {name!r} lie in another file, which is not followed")
    require_numbers(found.dtype)
    if found.chunks and math.prod(found.chunks) * found.dtype.itemsize > MAX_CHUNK_BYTES:
        raise UnfitError(TOO_LARGE, f"{name!r} is packed in chunks of {_shown(found.chunks)} values")
    return found
