"""The items of one large JSON list, one after another, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from runner.data_readers.common import Input, Progress, changed, reading
from runner.spec.problems import DataError, MachineError, how_to_install
from runner.spec.text_file import require_regular

_BUFFER = 1 << 18
MOST_OF_ITEM = 16 << 20
"""Bytes of one item; one is built in memory before anything can be said of it."""
_BOM = b"\xef\xbb\xbf"


class _Hashed:
    """A file that is hashed and counted while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.done = file, hashlib.sha256(), 0
        self.begun = 0
        """Where the item was asked for that is read now; it began there, or a buffer further on."""

    def read(self, size: int = -1) -> bytes:
        if self.done - self.begun > MOST_OF_ITEM:
            raise ValueError(f"an item of more than {MOST_OF_ITEM >> 20} MiB")
        part = self.file.read(size)
        self.digest.update(part)
        self.done += len(part)
        return part


def items(path: Path, item: Input, progress: Progress) -> Iterator[Any]:
    """Yield the items of the JSON list in the file `path`.

    Raises:
        DataError: no list, no JSON, cut off, or not what was hashed; names the file and the item.
        MachineError: the package ijson is missing.
    """
    try:
        import ijson
    except ImportError as error:
        raise MachineError(
            f"reading a large JSON file needs the package ijson\n  {how_to_install('ecg')}"
        ) from error
    _require_list(path)
    number = 0
    with reading(path), path.open("rb") as opened:
        file = _Hashed(opened)
        if opened.read(3) == _BOM:
            file.digest.update(_BOM)
        else:
            opened.seek(0)
        try:
            for value in ijson.items(file, "item", use_float=True, buf_size=_BUFFER):
                number, file.begun = number + 1, file.done
                progress(min(file.done, item.bytes), item.bytes, "bytes")
                yield value
        except (ijson.JSONError, UnicodeDecodeError, ValueError, RecursionError) as error:
            said = error.args[0] if error.args else error
            said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
            raise DataError(
                f"{path} is cut off, or no JSON, after item {number}: {' '.join(said.split())[:120]}\n"
                "  download it again, and compare its checksum with the published one"
            ) from error
        while file.read(_BUFFER):
            file.begun = file.done
        if file.digest.hexdigest() != item.sha256:
            raise changed(path)
    progress(item.bytes, item.bytes, "bytes")


def _require_list(path: Path) -> None:
    with reading(path):
        require_regular(path)
    with reading(path), path.open("rb") as file:
        start = file.read(4096).removeprefix(_BOM).lstrip()
    if start.startswith(b"["):
        return
    what = "an object" if start.startswith(b"{") else "empty" if not start else f"{start[:20]!r}..."
    lines = start.startswith(b"{")
    hint = (
        "JSON lines are read by `source: messages`; jq -s '.' FILE.jsonl > FILE.json makes one list of them"
        if lines
        else "the published file begins with ["
    )
    raise DataError(f"{path}: expected one JSON list of rows, got {what}\n  {hint}")
