"""JSON lines: a file, or all below a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from converters.records import messages
from runner.data_readers.common import Asked, Input, Progress, changed, hashed, reading, visible_files
from runner.spec.problems import DataError
from runner.spec.sources import MessagesSource
from runner.spec.text_file import require_regular

MAX_LINE_BYTES = 16 << 20
"""Of one line: a conversation of 16 MiB is none. A file without line ends is not taken into memory."""


@dataclass
class MessagesReader:
    """JSON lines, read one at a time."""

    root: Path
    inputs: Sequence[Input]
    about_images: bool = False

    def raws(self, progress: Progress) -> Iterator[messages.Line]:
        """Yield every line that is not blank."""
        total, done = sum(item.bytes for item in self.inputs), 0
        for item in self.inputs:
            path, digest = self.root / item.path, hashlib.sha256()
            with reading(path), path.open("rb") as file:
                lines = iter(partial(file.readline, MAX_LINE_BYTES + 1), b"")
                for number, text in enumerate(lines, start=1):
                    if len(text) > MAX_LINE_BYTES:
                        raise DataError(
                            f"{path}:{number}: the line is longer than {MAX_LINE_BYTES >> 20} MiB\n"
                            "  expected one conversation on each line"
                        )
                    progress(done, total, "bytes")
                    digest.update(text)
                    done += len(text)
                    line = text.removeprefix(b"\xef\xbb\xbf") if number == 1 else text
                    if line.strip():
                        yield messages.Line(item.path, number, line, self.about_images)
            if digest.hexdigest() != item.sha256:
                raise changed(path)
        progress(done, total, "bytes")

    def report(self) -> dict[str, Any]:
        """Return nothing: every line is a record or a fault."""
        return {}


def open_messages(asked: Asked, progress: Progress) -> MessagesReader:
    """Find and hash the JSONL files: the file itself, or all below a folder.

    Raises:
        DataError: nothing there, no .jsonl file, or a JSON array instead of lines.
    """
    options = asked.options
    if asked.images is not None:
        from runner.data_readers.image_messages import open_image_messages  # needs the ecg extra

        return open_image_messages(asked, progress)
    assert isinstance(options, MessagesSource)
    path = Path(options.path)
    if not path.exists():
        raise DataError(f"{asked.key}.path: no such file or folder: {path}\n{asked.remedy('path')}")
    root, files = lines_in(path, asked)
    return MessagesReader(root, hashed(root, files, progress))


def lines_in(path: Path, asked: Asked) -> tuple[Path, list[Path]]:
    """Return the folder that files are named from, and the files."""
    root = path if path.is_dir() else path.parent
    with reading(path):
        files = visible_files(path, ".jsonl") if path.is_dir() else [path]
    if not files:
        raise DataError(f"{asked.key}.path: no .jsonl file below {path}\n{asked.remedy('path')}")
    for file in files:
        with reading(file):
            require_regular(file)
        with reading(file), file.open("rb") as opened:
            if opened.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                raise DataError(
                    f"{file} is one JSON array; expected JSON lines, an object on each line\n"
                    "  jq -c '.[]' FILE.json > FILE.jsonl turns one into the other"
                )
    return root, files
