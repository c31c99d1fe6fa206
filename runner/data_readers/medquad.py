"""MedQuAD: the XML files of the collections."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.records import medquad
from runner.data_readers.common import Asked, Input, Progress, hashed, named, reading, unchanged
from runner.spec.problems import DataError, choices
from runner.spec.sources import MedquadSource


@dataclass
class MedquadReader:
    """MedQuAD: the XML files of the collections."""

    asked: Asked
    options: MedquadSource
    root: Path
    inputs: Sequence[Input]
    documents: Counter[str] = field(default_factory=Counter)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    without_pairs: list[dict[str, Any]] = field(default_factory=list)

    def raws(self, progress: Progress) -> Iterator[medquad.Pair]:
        """Yield the pairs of every readable file."""
        damaged: list[tuple[str, str]] = []
        for done, item in enumerate(self.inputs):
            progress(done, len(self.inputs), "documents")
            collection, _, name = item.path.partition("/")
            xml = unchanged(self.root / item.path, item)
            try:
                pairs = medquad.read_document(xml, collection, name[: -len(".xml")])
            except medquad.NoPairsError as error:
                self.without_pairs.append({"file": item.path, "reason": str(error)})
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
                + named(damaged)
                + f"\n  mend the files, or set {self.asked.key}.damaged_files: {len(damaged)} to leave them out"
            )
        self.left_out += [{"file": path, "reason": reason} for path, reason in damaged]

    def report(self) -> dict[str, Any]:
        """Return the documents per collection, the damaged files, and those in which nothing is asked."""
        return {
            "documents": dict(sorted(self.documents.items())),
            "files_left_out": self.left_out,
            "files_without_pairs": self.without_pairs,
        }


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
    with reading(root):
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
        asked, options, root, hashed(root, [file for name in names for file in filled[name]], progress)
    )


def _xml_files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() == ".xml" and not file.name.startswith(".")
    )
