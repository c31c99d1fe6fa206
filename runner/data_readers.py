"""Files and hubs -> raw things: finds what a source holds, hashes it, and hands it on one by one.

A reader is made for one source of the spec. `inputs` are its files with their hashes, known before
anything is read; `raws` yields what the converter of the same name turns into records.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from converters.records import huggingface, medquad, messages, synthetic
from converters.records.record import Raw
from runner.files import sha256_of
from runner.spec.environment import PLACEHOLDER
from runner.spec.problems import DataError, MachineError, choices
from runner.spec.sources import (
    HuggingfaceSource,
    MedquadSource,
    MessagesSource,
    SourceSection,
    SyntheticSource,
)

MAX_NAMED = 20
"""Faults that are named one by one in a message; the others are counted."""

Progress = Callable[[int, int | None, str], None]
"""done, total (None: not known), unit."""


@dataclass(frozen=True)
class Input:
    """One file that a source was read from; `path` is relative to the source's root."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Asked:
    """One source of the spec: its options with every placeholder replaced, and how it is written."""

    options: SourceSection
    key: str
    """`data`, or `data.components[0]`."""
    written: Mapping[str, Any]
    """The same options with their placeholders."""

    def remedy(self, option: str) -> str:
        """Return the line that says how to set a path: the key, and the variable where it is one."""
        names = [match["name"] for match in PLACEHOLDER.finditer(str(self.written.get(option) or ""))]
        ways = [f"set {self.key}.{option} in the spec", f"pass --set {self.key}.{option}=PATH"]
        return "  " + ", or ".join([*(f"set the environment variable {name}" for name in names), *ways])


class Reader(Protocol):
    """One source, found and hashed."""

    @property
    def inputs(self) -> Sequence[Input]:
        """The files, sorted by name."""

    def raws(self, progress: Progress) -> Iterator[Raw]:
        """Yield the raw things in a fixed order; a `DataError` at the end names every damaged file."""

    def report(self) -> dict[str, Any]:
        """Return what the manifest says of the source beside its counts; complete after `raws`."""


# -------------------------------------------------------------------------------------------- medquad


@dataclass
class MedquadReader:
    """MedQuAD: the XML files of the collections."""

    asked: Asked
    options: MedquadSource
    root: Path
    inputs: Sequence[Input]
    documents: Counter[str] = field(default_factory=Counter)
    left_out: list[dict[str, Any]] = field(default_factory=list)

    def raws(self, progress: Progress) -> Iterator[medquad.Pair]:
        """Yield the pairs of every readable file."""
        damaged: list[tuple[str, str]] = []
        for done, item in enumerate(self.inputs):
            progress(done, len(self.inputs), "documents")
            collection, _, name = item.path.partition("/")
            xml = _unchanged(self.root / item.path, item)
            try:
                pairs = medquad.read_document(xml, collection, name[: -len(".xml")])
            except medquad.OlderFormError as error:
                self.left_out.append({"file": item.path, "reason": str(error), "pairs": error.pairs})
                continue
            except medquad.DamagedXmlError as error:
                damaged.append((item.path, str(error)))
                continue
            self.documents[collection] += 1
            yield from pairs
        progress(len(self.inputs), len(self.inputs), "documents")
        if len(damaged) > self.options.damaged_files:
            raise DataError(
                f"{len(damaged)} of {len(self.inputs)} XML files below {self.root} cannot be read, "
                f"{self.asked.key}.damaged_files allows {self.options.damaged_files}\n"
                + named(f"{path} {reason}" for path, reason in damaged)
                + f"\n  mend the files, or set {self.asked.key}.damaged_files: {len(damaged)} to leave them out"
            )
        self.left_out += [{"file": path, "reason": reason} for path, reason in damaged]

    def report(self) -> dict[str, Any]:
        """Return the documents per collection and every file that gave none."""
        return {"documents": dict(sorted(self.documents.items())), "files_left_out": self.left_out}


def open_medquad(asked: Asked, progress: Progress) -> MedquadReader:
    """Find and hash the XML files.

    Raises:
        DataError: no such root or collection, or no XML files.
    """
    options = asked.options
    assert isinstance(options, MedquadSource)
    root = Path(options.root)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise DataError(f"{asked.key}.root: {what}: {root}\n{asked.remedy('root')}")
    with _reading(root):
        found = {folder.name: _xml_files(folder) for folder in sorted(root.iterdir()) if folder.is_dir()}
    filled = {name: files for name, files in found.items() if files}
    if not filled:
        inside = "; it holds XML files itself: give the folder above it" if _xml_files(root) else ""
        raise DataError(
            f"{asked.key}.root: no folder with XML files (1_CancerGov_QA, ...) in {root}{inside}\n{asked.remedy('root')}"
        )
    unknown = [name for name in options.collections if name not in filled]
    if unknown:
        near = difflib.get_close_matches(unknown[0], filled, n=1)
        raise DataError(
            f"{asked.key}.collections: no XML files in {unknown[0]!r} below {root}; {choices(filled)}"
            + (f"; nearest: {near[0]}" if near else "")
        )
    names = sorted(set(options.collections)) or list(filled)
    return MedquadReader(
        asked, options, root, _hashed(root, [file for name in names for file in filled[name]], progress)
    )


def _xml_files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() == ".xml" and not file.name.startswith(".")
    )


# ------------------------------------------------------------------------------------------- messages


@dataclass
class MessagesReader:
    """JSON lines, read one at a time."""

    root: Path
    inputs: Sequence[Input]

    def raws(self, progress: Progress) -> Iterator[messages.Line]:
        """Yield every line that is not blank."""
        total, done = sum(item.bytes for item in self.inputs), 0
        for item in self.inputs:
            path, digest = self.root / item.path, hashlib.sha256()
            with _reading(path), path.open("rb") as file:
                for number, text in enumerate(file, start=1):
                    progress(done, total, "bytes")
                    digest.update(text)
                    done += len(text)
                    line = text.removeprefix(b"\xef\xbb\xbf") if number == 1 else text
                    if line.strip():
                        yield messages.Line(item.path, number, line)
            if digest.hexdigest() != item.sha256:
                raise _changed(path)
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
    assert isinstance(options, MessagesSource)
    path = Path(options.path)
    if not path.exists():
        raise DataError(f"{asked.key}.path: no such file or folder: {path}\n{asked.remedy('path')}")
    root = path if path.is_dir() else path.parent
    with _reading(path):
        files = _visible_files(path, ".jsonl") if path.is_dir() else [path]
    if not files:
        raise DataError(f"{asked.key}.path: no .jsonl file below {path}\n{asked.remedy('path')}")
    for file in files:
        with _reading(file), file.open("rb") as opened:
            if opened.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                raise DataError(
                    f"{file} is one JSON array; expected JSON lines, an object on each line\n"
                    "  jq -c '.[]' FILE.json > FILE.jsonl turns one into the other"
                )
    return MessagesReader(root, _hashed(root, files, progress))


# ---------------------------------------------------------------------------------------- huggingface

LOCAL = ("./", "../", "/", "~/")
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
        if path.is_file() and path.suffix not in FILE_FORMATS:
            raise DataError(
                f"{asked.key}.id: {path} ends with {path.suffix or 'nothing'!r}; {choices(FILE_FORMATS)}"
            )
        if path.is_file() and options.part != "train":
            raise DataError(
                f"{asked.key}.part: {path} is one file, which has no part {options.part!r}; leave part out"
            )
        with _reading(path):
            files = [path] if path.is_file() else _visible_files(path)
        if not files:
            raise DataError(f"{asked.key}.id: the folder {path} is empty\n{asked.remedy('id')}")
        root = path.parent if path.is_file() else path
        return HuggingfaceReader(asked, options, _hashed(root, files, progress))
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
            f"the source huggingface needs the package datasets ({error})\n  pip install 'runner[train]'"
        ) from error
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


# ------------------------------------------------------------------------------------------ synthetic


@dataclass
class SyntheticReader:
    """Questions that are made, not read."""

    options: SyntheticSource
    inputs: Sequence[Input] = ()

    def raws(self, progress: Progress) -> Iterator[synthetic.Question]:
        """Yield the numbered questions of the seed's world."""
        world = synthetic.make_world(self.options.records, self.options.seed)
        for number in range(self.options.records):
            progress(number, self.options.records, "records")
            yield synthetic.Question(number, world)
        progress(self.options.records, self.options.records, "records")

    def report(self) -> dict[str, Any]:
        """Return the seed of the invented world."""
        return {"seed": self.options.seed}


def open_synthetic(asked: Asked, progress: Progress) -> SyntheticReader:
    """Check that there are that many questions.

    Raises:
        DataError: more records than there are distinct questions.
    """
    options = asked.options
    assert isinstance(options, SyntheticSource)
    if options.records > synthetic.CAPACITY:
        raise DataError(
            f"{asked.key}.records: {options.records} questions; there are only {synthetic.CAPACITY} distinct ones"
        )
    return SyntheticReader(options)


OPENERS: Mapping[str, Callable[[Asked, Progress], Reader]] = MappingProxyType(
    {
        "medquad": open_medquad,
        "messages": open_messages,
        "huggingface": open_huggingface,
        "synthetic_medical_qa": open_synthetic,
    }
)
"""Word under `data.source` -> what opens it; the same words as `converters.records.SOURCES`."""

# --------------------------------------------------------------------------------------------- shared


def named(lines: Iterator[str] | Sequence[str], limit: int = MAX_NAMED) -> str:
    """Return the first `limit` lines, indented, and how many more there are."""
    every = list(lines)
    more = [f"  ... and {len(every) - limit} more"] if len(every) > limit else []
    return "\n".join([*(f"  {line}" for line in every[:limit]), *more])


class _reading:  # noqa: N801 - reads as a word: `with _reading(path):`
    """Turns an `OSError` of reading `path` into a `DataError` that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            place = error.filename or self.path
            raise DataError(f"cannot read {place}: {error.strerror or error}") from error


def _visible_files(folder: Path, suffix: str | None = None) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and (suffix is None or file.suffix == suffix)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _hashed(root: Path, files: Sequence[Path], progress: Progress) -> tuple[Input, ...]:
    inputs = []
    for done, file in enumerate(files):
        progress(done, len(files), "files hashed")
        with _reading(file):
            inputs.append(Input(file.relative_to(root).as_posix(), file.stat().st_size, sha256_of(file)))
    progress(len(files), len(files), "files hashed")
    return tuple(inputs)


def _unchanged(path: Path, item: Input) -> bytes:
    with _reading(path):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != item.sha256:
        raise _changed(path)
    return content


def _changed(path: Path) -> DataError:
    return DataError(f"{path} changed while it was read\n  wait until it is complete, then start again")
