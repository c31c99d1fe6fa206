"""The images of the data stage: made ready for the records that a split takes, and for no others.

Records hold names of images until the split is known. Then the images of its records are found, checked, unpacked
or drawn; where one is of no use, its record is left out, as far as the spec allows that, and the rest is divided
again. So a rehearsal of a million rows prepares a few hundred images, and a split into counts is met exactly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from converters.records.grouping import shared
from converters.records.record import MAX_IDS, Ledger, Record
from converters.records.split import Divided, Parts
from eval.report.format import counted
from runner.data_readers import Faults, named
from runner.data_readers.common import Progress
from runner.data_readers.image_files import ImageFiles
from runner.data_readers.images import ImageFault, ImageReader, ImageSetup, ReadyImage
from runner.files import write_text
from runner.spec.problems import DataError
from runner.spec.vlm_sources import ImageLimits, VlmDataCommon
from runner.stages.data_sources import Source

LISTED = "images.jsonl"
"""One line for each image of the splits: where it lies, its hash and size, and where it came from."""
WITHOUT_SYSTEM = frozenset({"llama3_2_vision"})
"""Templates that end with an error where a system message and an image stand together."""
MISSING, UNUSABLE = "an image is missing", "an image is unusable"

Key = tuple[str, str]
"""Source and the name that it has for an image."""


def setup_of(data: VlmDataCommon, run_dir: Path, cache: str | None) -> ImageSetup:
    """Return what holds for all images: the cache is beside that of the data, or in the run without one."""
    folder = (run_dir / cache).parent / "images" if cache else run_dir / "data" / "images"
    root = Path(data.root) if data.root else None
    return ImageSetup(root, folder.resolve(), data.limits, data.render, data.looks, data.workers)


@dataclass
class Images:
    """The images of all sources, as far as they were asked for."""

    sources: Mapping[str, Source]
    limits: ImageLimits
    progress: Progress
    ready: dict[Key, ReadyImage] = field(default_factory=dict)
    faults: dict[Key, ImageFault] = field(default_factory=dict)

    def prepare(self, records: Iterable[Record]) -> bool:
        """Make the images of some records ready; return whether all of them are of use.

        Raises:
            DataError: more are missing or unusable than the spec allows; names them.
        """
        wanted: dict[str, dict[str, None]] = {}
        for source, name in _keys(records):
            if (source, name) not in self.ready and (source, name) not in self.faults:
                wanted.setdefault(source, {})[name] = None
        self._find_together(wanted)
        sound = True
        for source, names in wanted.items():
            reader = self.sources[source].reader
            assert isinstance(reader, ImageReader)
            for name, one in reader.prepare(list(names), self.progress).items():
                if isinstance(one, ImageFault):
                    self.faults[source, name] = one
                    sound = False
                else:
                    self.ready[source, name] = one
        self._require_few()
        return sound

    def _find_together(self, wanted: Mapping[str, Iterable[str]]) -> None:
        """Look once through places that several parts share: tar files of terabytes are read from end to end."""
        by_place: dict[ImageFiles, list[Iterable[str]]] = {}
        for source, names in wanted.items():
            files = getattr(self.sources[source].reader, "files", None)
            if isinstance(files, ImageFiles) and files.tars:
                by_place.setdefault(files, []).append(names)
        for files, several in by_place.items():
            if len(several) > 1:  # what is taken out is remembered, and found again by each
                files.find(list(dict.fromkeys(name for names in several for name in names)), self.progress)

    def _require_few(self) -> None:
        """Refuse more faults than the spec allows, of both kinds at once.

        Raises:
            DataError: how many are missing and how many unusable, with names, and what to set.
        """
        wrong, allow = [], []
        for missing, limit, key in (
            (True, self.limits.missing, "missing"),
            (False, self.limits.unusable, "unusable"),
        ):
            of_kind = Faults()
            for (source, name), fault in sorted(self.faults.items()):
                if fault.missing is missing:
                    of_kind.add(f"{source}: {name}", fault.reason)
            if of_kind.count > limit:
                count = counted(of_kind.count, "image is", "images are")
                wrong.append(f"{count} {key}; data.limits.{key} allows {limit}\n{of_kind}")
                allow.append(f"--set data.limits.{key}=NUMBER")
        if wrong:
            raise DataError(
                "\n".join(wrong)
                + f"\n  put them right, or allow more with {' '.join(allow)}; nothing was written"
            )

    def of_use(self, record: Record) -> bool:
        """Return whether none of a record's images is known to be of no use."""
        return not any(key in self.faults for key in _keys([record]))

    def drop(self, record: Record, ledger: Ledger) -> None:
        """Count a record whose image is of no use."""
        faults = [self.faults[key] for key in _keys([record]) if key in self.faults]
        ledger.drop(MISSING if any(fault.missing for fault in faults) else UNUSABLE, record["id"])

    def with_paths(self, record: Record) -> Record:
        """Return a record with absolute paths in place of its images' names."""
        paths = [self.ready[record["source"], name].path for name in record.get("images", ())]
        return {**record, "images": paths}

    def report(self) -> dict[str, Any]:
        """Return what the manifest says: how many of each source, and the names and reasons of those left out."""
        lost = {
            f"{source}: {name}": fault.reason
            for (source, name), fault in sorted(self.faults.items())
            if not fault.missing
        }
        gone = [f"{source}: {name}" for (source, name), fault in sorted(self.faults.items()) if fault.missing]
        return {
            "ready": {name: sum(source == name for source, _ in self.ready) for name in self.sources},
            "missing": {"count": len(gone), "names": gone[:MAX_IDS]},
            "unusable": {"count": len(lost), "reasons": dict(list(lost.items())[:MAX_IDS])},
            "list": f"data/{LISTED}",
        }

    def write_list(self, records: Iterable[Record], file: Path) -> None:
        """Write a line for each image that records show, each once."""
        keys = dict.fromkeys(_keys(records))
        lines = (
            json.dumps({"source": key[0], "name": key[1], **asdict(self.ready[key])}, ensure_ascii=False)
            + "\n"
            for key in keys
        )
        write_text(file, "".join(lines))


def _keys(records: Iterable[Record]) -> Iterator[Key]:
    for record in records:
        for name in record.get("images", ()):
            yield record["source"], name


def divided_with_images(
    records: Sequence[Record], images: Images, divide: Callable[[Sequence[Record]], Divided], ledger: Ledger
) -> tuple[Divided, list[Record]]:
    """Return the records divided, all of whose images are ready, and those of the records that are left.

    Args:
        records: with names as images.
        images: makes them ready.
        divide: what is asked of records that are all of use.
        ledger: gets every record that is left out for its image.
    """
    left = list(records)
    while True:
        divided = divide(left)
        if images.prepare(record for rows in divided.parts.values() for record in rows):
            return divided, left
        for record in left:
            if not images.of_use(record):
                images.drop(record, ledger)
        left = [record for record in left if images.of_use(record)]


def require_patients_apart(parts: Parts, data: VlmDataCommon) -> None:
    """Refuse a split in which a patient stands on more than one side, unless the spec allows it.

    Raises:
        DataError: names the patients.
    """
    twice = shared(parts.values())
    if twice and data.patients == "apart":
        raise DataError(
            f"{len(twice)} patients stand on more than one side of the split (data.split.by: {data.split.by})\n"
            f"{named(twice)}\n"
            "  split `by: group`, which keeps a patient on one side, or allow it with --set data.patients=may_overlap"
        )


def require_readable_by(template: str, records: Sequence[Record]) -> None:
    """Refuse records whose messages the template does not take beside an image.

    Raises:
        DataError: system messages in front of Llama 3.2 Vision; counts and names the records.
    """
    if template not in WITHOUT_SYSTEM:
        return
    wrong = [record["id"] for record in records if any(one["role"] == "system" for one in record["messages"])]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(records)} records have a system message; the template {template!r} takes none "
            f"beside an image\n{named(wrong)}\n"
            "  put its text at the head of the question, or take it out of the rows"
        )


def images_there(staging: Path) -> bool:
    """Return whether every image of finished data is where its list says, as large as it was."""
    with (staging / LISTED).open(encoding="utf-8") as file:
        for line in file:
            one = json.loads(line)
            path = Path(one["path"])
            if not path.is_file() or path.stat().st_size != one["bytes"]:
                return False
    return True
