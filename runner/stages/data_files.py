"""The files of the data stage: the splits, the list of inputs, the manifest; written beside their place, then moved."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from converters.records.record import Record, answer_of, words
from runner.data_cache import DamagedEntryError, DataCache
from runner.events import EventWriter
from runner.files import sha256_of, write_text
from runner.spec.problems import MachineError
from runner.stages.data_records import MANIFEST
from runner.stages.data_sources import Source

INPUTS_IN_MANIFEST = 100
"""More input files than this are listed in `inputs.jsonl`, and the manifest has their hash."""
INPUTS = "inputs.jsonl"


def write_split(file: Path, rows: Sequence[Record], system_prompt: str | None, groups: int) -> dict[str, Any]:
    """Write one side of the split, and return what the manifest says of it."""
    write_text(
        file, "".join(json.dumps(_line(row, system_prompt), ensure_ascii=False) + "\n" for row in rows)
    )
    lengths = sorted(words(answer_of(row)) for row in rows)
    return {
        "file": f"data/{file.name}",
        "records": len(rows),
        "groups": groups,
        "answer_words": {
            "p50": _quantile(lengths, 0.5),
            "p90": _quantile(lengths, 0.9),
            "max": _quantile(lengths, 1),
        },
        "bytes": file.stat().st_size,
        "sha256": sha256_of(file),
    }


def _line(record: Record, system_prompt: str | None) -> dict[str, Any]:
    """Return the record as it is written: with the system prompt, without what only the split needs."""
    line: dict[str, Any] = {key: value for key, value in record.items() if key not in ("split", "keep_with")}
    if system_prompt is not None and record["messages"][0]["role"] != "system":
        line["messages"] = [{"role": "system", "content": system_prompt}, *record["messages"]]
    return line


def _quantile(ordered: Sequence[int], share: float) -> int | None:
    """Return the smallest value that `share` of all values do not exceed; None of no values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def list_inputs(sources: Iterable[Source], staging: Path) -> dict[str, Any]:
    """Return the input files with their hashes, or where there are many, where these are listed."""
    rows = [{"source": source.name, **asdict(item)} for source in sources for item in source.reader.inputs]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    summary: dict[str, Any] = {
        "files": len(rows),
        "bytes": sum(row["bytes"] for row in rows),
        "sha256": sha256(text.encode()).hexdigest(),
    }
    if len(rows) <= INPUTS_IN_MANIFEST:
        return summary | {"list": rows}
    write_text(staging / INPUTS, text)
    return summary | {"list": f"data/{INPUTS}"}


class staging_in:  # noqa: N801 - reads as a word: `with staging_in(folder) as staging:`
    """A folder beside the finished files; gone at the end whatever happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for killed in self.folder.glob(".building-*"):
                shutil.rmtree(killed)
            self.path = Path(tempfile.mkdtemp(prefix=".building-", dir=self.folder))
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def cannot_write(folder: Path, error: OSError) -> MachineError:
    """Return the error of a folder that cannot be written to."""
    return MachineError(
        f"cannot write {folder}: {error.strerror or error}\n  make it writable, or give another folder with --runs"
    )


def into_place(staging: Path, folder: Path, names: Iterable[str]) -> None:
    """Move the finished files: the old manifest goes first, the new one comes last."""
    try:
        (folder / MANIFEST).unlink(missing_ok=True)
        (folder / INPUTS).unlink(missing_ok=True)
        for name in sorted(names, key=lambda name: name == MANIFEST):
            (staging / name).replace(folder / name)
    except OSError as error:
        raise cannot_write(folder, error) from error


# ----------------------------------------------------------------------------------------------- cache


def from_cache(
    cache: DataCache | None, key: str, staging: Path, events: EventWriter
) -> tuple[str, ...] | None:
    """Take finished data out of the cache; return the names of the files, None where there are none."""
    if cache is None:
        return None
    try:
        names = cache.fetch(key, staging)
    except DamagedEntryError as error:
        events.write("note", text=f"the cached data {key[:12]} are damaged ({error}); built again")
        for file in staging.iterdir():
            file.unlink()
        return None
    if names is not None:
        events.write(
            "note",
            text=f"data taken from the cache, entry {key[:12]}: nothing that they are made from has changed",
        )
    return names


def keep_in_cache(
    cache: DataCache | None, key: str, staging: Path, names: Sequence[str], events: EventWriter
) -> None:
    """Put finished data into the cache; that it could not be done is only noted."""
    if cache is None:
        return
    try:
        cache.store(key, staging, names)
    except MachineError as error:
        events.write("note", text=f"the data are not cached: {error}")
