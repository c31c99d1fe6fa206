"""ECG-QA: three JSON files of questions, and pages drawn from PTB-XL's signals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.records import ecg_qa
from runner.data_readers.common import Asked, Input, Progress, hashed
from runner.data_readers.images import ImageSetup, Prepared
from runner.data_readers.json_items import items
from runner.data_readers.ptbxl import Joined, join, shown
from runner.spec.problems import DataError
from runner.spec.vlm_sources import EcgQaSource

FILES = ("train.json", "valid.json", "test.json")


@dataclass
class EcgQaReader:
    """Questions, read one at a time."""

    options: EcgQaSource
    setup: ImageSetup
    folder: Path
    ptbxl: Joined
    questions: Sequence[Input]
    inputs: Sequence[Input]

    def raws(self, progress: Progress) -> Iterator[ecg_qa.Item]:
        """Yield every item of the files."""
        known = self.ptbxl.with_signal
        for item in self.questions:
            for number, value in enumerate(items(self.folder / item.path, item, progress), start=1):
                yield ecg_qa.Item(item.path, number, value, self.options.comparisons, known)

    def report(self) -> dict[str, Any]:
        """Return the wording that was read."""
        return {"wording": self.options.wording, "recordings_there": len(self.ptbxl.with_signal)}

    def image_places(self) -> list[list[str | int]]:
        """Return where images are looked for."""
        return [[str(self.ptbxl.source.root)]]

    def prepare(self, names: Sequence[str], progress: Progress) -> Prepared:
        """Return the pages of the recordings that are asked about."""
        return self.ptbxl.drawn(shown(names), self.setup, progress)


def open_ecg_qa(asked: Asked, progress: Progress) -> EcgQaReader:
    """Find and hash the files of one wording, and read the tables of PTB-XL.

    Raises:
        DataError: something is not there.
    """
    options, setup = asked.options, asked.images
    assert isinstance(options, EcgQaSource)
    assert setup is not None
    folder = asked.place("folder", options.folder) / options.wording
    files = [folder / name for name in FILES if (folder / name).is_file()]
    if not files:
        raise DataError(
            f"{asked.key}.folder: none of {', '.join(FILES)} in {folder}\n"
            "  it is the folder ecgqa/ptbxl of the repository, with `template` and `paraphrased` in it"
        )
    ptbxl = join(asked.place("ptbxl", options.ptbxl), options.fs_hz)
    questions = hashed(folder, files, progress)
    return EcgQaReader(options, setup, folder, ptbxl, questions, questions + ptbxl.inputs(progress))
