"""Data sets in the form of the `datasets` library: of the hub, saved, or plain files."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from converters.records import huggingface
from runner.data_readers.common import LOCAL, Asked, Input, Progress, hashed, reading, visible_files
from runner.file_systems import only_files_and_the_hub
from runner.spec.problems import DataError, MachineError, choices, how_to_install
from runner.spec.sources import HuggingfaceSource

FILE_FORMATS = MappingProxyType({".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"})
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class HuggingfaceReader:
    """A data set in the form of the `datasets` library."""

    asked: Asked
    options: HuggingfaceSource
    inputs: Sequence[Input]
    rows: Any = None
    """The data set, where finding out its hash needed loading it."""

    def raws(self, progress: Progress) -> Iterator[huggingface.Row]:
        """Yield the rows, of the columns that are asked for."""
        with tempfile.TemporaryDirectory(prefix="runner-datasets-") as scratch:
            rows = self.rows if self.rows is not None else _load(self.asked, self.options, Path(scratch))
            for number, values in enumerate(rows):
                progress(number, len(rows), "rows")
                yield huggingface.Row(self.options.part, number, values, self.options)
            progress(len(rows), len(rows), "rows")
            del rows

    def report(self) -> dict[str, Any]:
        """Return which data set it is."""
        return {"revision": self.options.revision, "subset": self.options.subset, "part": self.options.part}


def open_huggingface(asked: Asked, progress: Progress) -> HuggingfaceReader:
    """Find and hash a data set.

    A local one is hashed file by file. One of the hub is known by its commit; without a full commit
    hash as revision it is loaded here and its rows are hashed.

    Raises:
        DataError: nothing there, or columns, subset or part that it does not have.
        MachineError: the `datasets` library is missing, or the hub cannot be reached.
    """
    options = asked.options
    assert isinstance(options, HuggingfaceSource)
    if options.id.startswith(LOCAL):
        path = Path(options.id).expanduser()
        if not path.exists():
            raise DataError(f"{asked.key}.id: no such file or folder: {path}\n{asked.remedy('id')}")
        if not path.is_file() and not path.is_dir():
            raise DataError(f"{asked.key}.id: neither a file nor a folder: {path}\n{asked.remedy('id')}")
        if path.is_file() and path.suffix not in FILE_FORMATS:
            raise DataError(
                f"{asked.key}.id: {path} ends with {path.suffix or 'nothing'!r}; {choices(FILE_FORMATS)}"
            )
        if path.is_file() and options.part != "train":
            raise DataError(
                f"{asked.key}.part: {path} is one file, which has no part {options.part!r}; leave part out"
            )
        with reading(path):
            files = [path] if path.is_file() else visible_files(path)
        if not files:
            raise DataError(f"{asked.key}.id: the folder {path} is empty\n{asked.remedy('id')}")
        root = path.parent if path.is_file() else path
        return HuggingfaceReader(asked, options, hashed(root, files, progress))
    name = f"hub:{options.id}@{options.revision or 'main'}"
    if options.revision and COMMIT.fullmatch(options.revision):
        return HuggingfaceReader(asked, options, (Input(name, 0, options.revision),))
    rows = _load(asked, options, None)
    digest, size = hashlib.sha256(), 0
    for number, row in enumerate(rows):
        progress(number, len(rows), "rows")
        line = json.dumps(row, sort_keys=True, default=str).encode() + b"\n"
        digest.update(line)
        size += len(line)
    return HuggingfaceReader(asked, options, (Input(name, size, digest.hexdigest()),), rows)


def _load(asked: Asked, options: HuggingfaceSource, scratch: Path | None) -> Any:
    """Return the data set with the wanted columns. A local one leaves nothing outside `scratch`."""
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise MachineError(
            f"the source huggingface needs the package datasets ({error})\n  {how_to_install('train')}"
        ) from error
    only_files_and_the_hub()
    datasets.disable_progress_bars()
    path = Path(options.id).expanduser() if options.id.startswith(LOCAL) else None
    try:
        if path is None:
            rows = datasets.load_dataset(
                options.id, options.subset, revision=options.revision, split=options.part
            )
        elif path.is_file():
            builder = FILE_FORMATS[path.suffix]
            rows = datasets.load_dataset(
                builder, data_files={options.part: [str(path)]}, split=options.part, cache_dir=str(scratch)
            )
        elif (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            rows = _saved(asked, options, datasets.load_from_disk(str(path)))
        else:
            rows = datasets.load_dataset(
                str(path), options.subset, split=options.part, cache_dir=str(scratch)
            )
    except ConnectionError as error:
        raise MachineError(
            f"{asked.key}.id: the data set {options.id!r} is not on this machine and the hub cannot be reached: {error}\n"
            "  download it where there is a network, or give a local path (./, ../ or /)"
        ) from error
    except (DatasetsError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{asked.key}.id: {options.id!r} cannot be loaded: {error}") from error
    problems = huggingface.column_problems(options, rows.column_names)
    if problems:
        raise DataError("\n".join(f"{asked.key}.{problem}" for problem in problems))
    return rows.select_columns(list(huggingface.wanted_columns(options)))


def _saved(asked: Asked, options: HuggingfaceSource, loaded: Any) -> Any:
    """Return the wanted part of what `load_from_disk` gave: one data set, or one for each part."""
    if options.subset is not None:
        raise DataError(
            f"{asked.key}.subset: {options.id} is a saved data set, which has no subsets; leave it out"
        )
    if not isinstance(loaded, dict):
        if options.part != "train":
            raise DataError(
                f"{asked.key}.part: {options.id} is one saved data set without parts; leave part out"
            )
        return loaded
    if options.part not in loaded:
        near = difflib.get_close_matches(options.part, list(loaded), n=1)
        raise DataError(
            f"{asked.key}.part: no part {options.part!r}; {choices(loaded)}"
            + (f"; nearest: {near[0]}" if near else "")
        )
    return loaded[options.part]
