"""Writing files so that a reader never sees half of one, and hashing them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from runner.spec.problems import MachineError
from runner.spec.text_file import UnreadableError, read_bytes

MOST_BYTES = 256 << 20
"""Of a file of a run that is read as a whole; ten times what the largest run writes."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a disk that is full, a quota that is used up, and a limit on the size of files."""
FULL_SAID = tuple(os.strerror(number) for number in sorted(FULL))
"""The same as libraries say them that raise no `OSError`."""


def full_disk(error: BaseException) -> str | None:
    """Return what an error says of a full disk, it or one that led to it; None where it says nothing of one."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, OSError) and found.errno in FULL:
            place = f"cannot write {found.filename}" if found.filename else "cannot write"
            return f"{place}: {os.strerror(found.errno)}"
        if said := next((text for text in FULL_SAID if text in str(found)), None):
            return f"cannot write: {said}"
        found = found.__cause__ or found.__context__
    return None


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes, *, flushed: bool = True) -> None:
    """Write `content` to `path` whole or not at all: a temporary file beside it, flushed, renamed.

    Who may read it is the caller's umask, as for every file of a run.

    Args:
        path: the file.
        content: all of it.
        flushed: wait until the disk has it. Without, ten times as fast; but where the machine itself stops, a
            file may be short, which whoever reads it must see.

    Raises:
        MachineError: the folder cannot be written to or the disk is full; names the path. The
            temporary file is gone and an earlier version of `path` is untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with aside.open(
            "xb"
        ) as file:  # not by tempfile, whose files have a mode of their own whatever the umask is
            temporary = aside
            file.write(content)
            file.flush()
            if flushed:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise MachineError(
            f"cannot write {path}: {error.strerror or error}\n"
            "  make room, or give another folder with --runs; no half-written file was left"
        ) from error


def follow_umask(path: Path) -> None:
    """Give a file that a library wrote with a mode of its own the mode that a new file has here.

    The umask is asked by a file, for to read it is to change it, for all threads.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with aside.open("xb") as file:
        aside.unlink()
        path.chmod(os.fstat(file.fileno()).st_mode & 0o777)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN is refused, for JSON has no word for it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        MachineError: as `read_text`, or the file is not JSON; names it.
    """
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise MachineError(f"{path} is damaged: {error}") from error


def read_text(path: Path) -> str:
    """Return the text of a file of a run.

    Raises:
        MachineError: as `read_whole`, or it is no UTF-8; names it.
    """
    try:
        return read_whole(path).decode()
    except ValueError as error:
        raise MachineError(f"{path} is damaged: {error}") from error


def read_whole(path: Path) -> bytes:
    """Return what stands in a file of a run.

    Raises:
        MachineError: the file is missing, no regular file, or too large; names it.
    """
    try:
        return read_bytes(path, MOST_BYTES)
    except UnreadableError as error:
        raise MachineError(f"cannot read {path}: {str(error).removeprefix('cannot be read: ')}") from error


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON, has NaN or an infinity, for which JSON has no word, or is nested too deep.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(path: Path) -> str:
    """Return one SHA-256 over a file, or over the names and contents of all files below a folder."""
    if path.is_file():
        return sha256_of(path)
    files = (item for item in path.rglob("*") if item.is_file())
    return tree_of({file.relative_to(path).as_posix(): sha256_of(file) for file in files})


def tree_of(files: Mapping[str, str]) -> str:
    """Return one SHA-256 over names in a folder and the SHA-256 of each."""
    total = hashlib.sha256()
    for name in sorted(files, key=lambda name: Path(name).parts):
        total.update(f"{name}\0{files[name]}\n".encode())
    return total.hexdigest()


def canonical_sha256(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON value written with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
