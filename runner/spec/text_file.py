"""Reading a small file that somebody else may have put there: a regular file of a stated size, and nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_BYTES = 1024 * 1024
"""Of a spec, and of any other small text."""


class UnreadableError(Exception):
    """A file that is not read; the text says why, without a word of what stands in it."""


class NotUtf8Error(UnreadableError):
    """A file that is no UTF-8 text."""


def read_bytes(file: Path, most: int) -> bytes:
    """Return what stands in a regular file of at most `most` bytes.

    A device, a pipe or a folder is not opened, and no more than `most` bytes are taken into memory, whatever
    the size that the file says it has.

    Raises:
        UnreadableError: it is not there, no regular file, too large, or may not be read.
    """
    try:
        _refuse_irregular(file.stat().st_mode)
        # Without waiting: a pipe may have been put there since.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as opened:
            found = os.fstat(opened.fileno())
            _refuse_irregular(found.st_mode)
            content = opened.read(most + 1) if found.st_size <= most else b""
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a name with a NUL
        raise UnreadableError("cannot be read: no file has such a name") from error
    if found.st_size > most or len(content) > most:
        size = max(found.st_size, len(content))
        raise UnreadableError(f"{size:,} bytes; at most {most:,} are read")
    return content


def require_regular(file: Path, most: int | None = None) -> None:
    """Refuse what is no regular file, before it is opened: a pipe would be waited for.

    Raises:
        UnreadableError: it is not there, is a folder, a pipe or a device, or has more than `most` bytes.
    """
    try:
        found = file.stat()
        _refuse_irregular(found.st_mode)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    if most is not None and found.st_size > most:
        raise UnreadableError(f"{found.st_size:,} bytes; at most {most:,} are read")


def read_text(file: Path, most: int) -> str:
    """Return the text of a regular UTF-8 file of at most `most` bytes, each line end as one line feed.

    Raises:
        UnreadableError: as `read_bytes`.
        NotUtf8Error: it is not UTF-8; names the byte.
    """
    content = read_bytes(file, most)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise NotUtf8Error(f"not UTF-8 text: byte {error.start} is {byte:#04x}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def kind_of_file(mode: int) -> str:
    """Return what a file is, from its mode: `a folder`, `a pipe`.

    >>> kind_of_file(0o040755), kind_of_file(0o100644)
    ('a folder', 'a regular file')
    """
    known = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return known.get(stat.S_IFMT(mode), "no regular file")


def _refuse_irregular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise UnreadableError(f"cannot be read: it is {kind_of_file(mode)}")
