"""Judges' good answers by the content of the question: the same question is not asked or paid for twice.

One file an answer, named by the hash of everything that was sent. It is written beside its place and
renamed, so that several processes may share a folder; a file that cannot be read, or is that of
another question, is no answer. Bad answers are not kept: they are asked for again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def request_key(**sent: Any) -> str:
    """Return the SHA-256 of everything that decides an answer, by name.

    >>> request_key(model="a", temperature=0.0) == request_key(temperature=0.0, model="a")
    True
    """
    text = json.dumps(sent, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ReplyCache:
    """A folder of answers."""

    root: Path

    def fetch(self, key: str) -> Mapping[str, Any] | None:
        """Return `{"reply", "model"}` as stored under `key`; None where there is nothing whole."""
        try:
            value = json.loads(self._place(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = isinstance(value, dict) and value.get("key") == key and isinstance(value.get("reply"), str)
        return value if whole else None

    def store(self, key: str, reply: str, model: str | None) -> None:
        """Keep an answer.

        Raises:
            OSError: the folder cannot be written to; nothing half is left.
        """
        place = self._place(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=place.parent, prefix=f".{key[:8]}-", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                json.dump({"key": key, "reply": reply, "model": model}, file)
                file.close()
                temporary.replace(place)
            except BaseException:  # Ctrl-C too leaves no half file; raised on below
                with suppress(OSError):
                    temporary.unlink()
                raise

    def _place(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.json"
