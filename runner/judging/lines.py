"""Predictions of one task, written as they come and kept when the process is ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.files import parse_json, read_text, write_text
from runner.spec.problems import MachineError


class Lines:
    """One JSON line a record, by its id.

    While a task runs, lines are appended to `<name>.partial`, whose first line is the key of what they
    were made with. A later process with the same key goes on where the first one ended; with another
    key it begins anew.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self._partial = path.with_suffix(".partial")
        self._found: dict[str, dict[str, Any]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = self._read(key)
            write_text(self._partial, "".join(f"{line}\n" for line in [json.dumps({"key": key}), *kept]))
            self._file = self._partial.open("a", encoding="utf-8")
        except OSError as error:
            raise MachineError(f"cannot write {self._partial}: {error.strerror or error}") from error

    def _read(self, key: str) -> list[str]:
        """Take up what an earlier process wrote under the same key; its last line may be cut off, any may be damaged."""
        if not self._partial.exists():
            return []
        first, *rest = self._partial.read_text(encoding="utf-8", errors="replace").split("\n")
        if first != json.dumps({"key": key}):
            return []
        kept = []
        for text in rest[:-1]:
            try:
                line = parse_json(text)
                self._found[line["id"]] = line
            except (ValueError, KeyError, TypeError):
                continue  # damaged: its record is asked again
            kept.append(text)
        return kept

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._found

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: dict[str, Any]) -> None:
        """Append the line of one record; it is out of this process's hands at once.

        Raises:
            MachineError: the file cannot be written.
        """
        text = json.dumps(line, ensure_ascii=False, allow_nan=False)
        try:
            self._file.write(f"{text}\n")
            self._file.flush()
        except OSError as error:
            raise MachineError(f"cannot write {self._partial}: {error.strerror or error}") from error
        self._found[line["id"]] = line

    def finish(self, ids: Sequence[str]) -> None:
        """Write the lines of these records, in this order, whole or not at all."""
        lines = [json.dumps(self._found[i], ensure_ascii=False, allow_nan=False) for i in ids]
        write_text(self.path, "".join(f"{line}\n" for line in lines))

    def forget(self) -> None:
        """Remove the partial file, once all that depends on it is written."""
        self._partial.unlink(missing_ok=True)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the stored lines of a finished task.

    Raises:
        MachineError: the file is missing or damaged; names the line.
    """
    texts = read_text(path).split("\n")
    if texts[-1] == "":  # the end of the last line; not `splitlines`, for an answer may hold U+2028
        texts.pop()
    found = []
    for number, text in enumerate(texts, start=1):
        try:
            line = parse_json(text)
        except ValueError as error:
            raise MachineError(f"{path}:{number} is damaged: {error}") from error
        if not isinstance(line, dict):
            raise MachineError(f"{path}:{number} is damaged: expected an object, got {type(line).__name__}")
        found.append(line)
    return found
