"""ECGInstruct: rows of one large JSON file, images from folders, tar files, or drawn from PTB-XL's signals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.records import ecginstruct
from converters.records.record import BadRecordError
from runner.data_readers.common import Asked, Input, Progress, hashed
from runner.data_readers.image_checks import all_ready
from runner.data_readers.image_files import ImageFiles, open_places
from runner.data_readers.images import ImageFault, ImageSetup, Prepared, ReadyImage
from runner.data_readers.json_items import items
from runner.data_readers.ptbxl import Joined, join
from runner.spec.vlm_sources import EcgInstructSource


@dataclass
class EcgInstructReader:
    """Rows, read one at a time."""

    options: EcgInstructSource
    setup: ImageSetup
    path: Path
    files: ImageFiles
    ptbxl: Joined | None
    inputs: Sequence[Input]
    drawn: int = 0
    joined: set[str] = field(default_factory=set)
    repeated: int = 0

    def raws(self, progress: Progress) -> Iterator[ecginstruct.Row]:
        """Yield every item of the list."""
        known = self.ptbxl.about if self.ptbxl else {}
        met: Counter[str] = Counter()
        for number, value in enumerate(items(self.path, self.inputs[0], progress), start=1):
            name = _id(value)
            repeat = met[name] if name else 0
            if name:
                met[name] += 1
                self.repeated += repeat > 0
            yield ecginstruct.Row(self.path.name, number, value, tuple(self.options.keep), repeat, known)

    def report(self) -> dict[str, Any]:
        """Return how many images were drawn, and how many items had the id of an earlier one."""
        unreadable = dict(self.ptbxl.unreadable) if self.ptbxl else {}
        return {
            "images_drawn": self.drawn,
            "repeated_ids": self.repeated,
            **({"ptbxl_rows_unreadable": unreadable} if unreadable else {}),
        }

    def image_places(self) -> list[list[str | int]]:
        """Return where images are looked for."""
        found = self.files.places()
        if self.ptbxl is not None:
            found.append([str(self.ptbxl.source.root)])
        return found

    def prepare(self, names: Sequence[str], progress: Progress) -> Prepared:
        """Return the images: found and checked, or drawn where that is asked for."""
        found = self.files.find(names, progress)
        missing = [name for name in names if name not in found]
        result = dict(all_ready(found, self.setup, progress))
        if self.options.missing == "draw" and self.ptbxl is not None:
            shown = {name: ecginstruct.recording_of(name) for name in missing}
            wanted = {name: (one.name, one.window) for name, one in shown.items() if one.source == "ptbxl"}
            pages = self.ptbxl.drawn(wanted, self.setup, progress)
            self.drawn += sum(isinstance(one, ReadyImage) for one in pages.values())
            result |= pages
        for name in missing:
            result.setdefault(name, ImageFault(True, "in none of the places of `images`"))
        return result


def _id(value: object) -> str | None:
    """Return the id of an item; what is wrong with it is said where the record is made."""
    try:
        return ecginstruct.id_of(value) if isinstance(value, dict) else None
    except BadRecordError:
        return None


def open_ecginstruct(asked: Asked, progress: Progress) -> EcgInstructReader:
    """Find and hash the JSON file, and find the places of the images.

    Raises:
        DataError: something is not there, or is not what it should be.
    """
    options, setup = asked.options, asked.images
    assert isinstance(options, EcgInstructSource)
    assert setup is not None
    path = asked.place("path", options.path)
    places = [asked.place(f"images[{number}]", place) for number, place in enumerate(options.images)]
    files = open_places(places, setup.cache)
    ptbxl = join(asked.place("ptbxl", options.ptbxl), 500) if options.ptbxl is not None else None
    inputs = hashed(path.parent, [path], progress) + (ptbxl.inputs(progress) if ptbxl else ())
    return EcgInstructReader(options, setup, path, files, ptbxl, inputs)
