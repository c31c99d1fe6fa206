"""PTB-XL beside another source: its tables by ecg_id, and pages of its recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from converters.records.ecg.ptbxl import DATABASE, STATEMENTS, Ptbxl, RawPtbxl
from converters.records.ecg.record import Faulty
from converters.records.ptbxl_about import About, about
from runner.data_readers.common import Input, Progress, hashed
from runner.data_readers.images import ImageFault, ImageSetup, Prepared
from runner.data_readers.pages import PageOf, draw


@dataclass(frozen=True)
class Joined:
    """PTB-XL's recordings by ecg_id."""

    source: Ptbxl
    raws: Mapping[str, RawPtbxl]
    about: Mapping[str, About]
    """Of those whose rows can be read."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """ecg_id -> what is wrong with its row."""

    @cached_property
    def with_signal(self) -> Mapping[str, About]:
        """Return what is known of the recordings whose signals are there."""
        return {name: known for name, known in self.about.items() if len(self.raws[name].files) == 2}

    def inputs(self, progress: Progress) -> tuple[Input, ...]:
        """Return the tables with their hashes; a signal is hashed when its page is drawn."""
        tables = [self.source.root / name for name in (DATABASE, STATEMENTS)]
        return hashed(self.source.root, tables, progress)

    def drawn(self, wanted: Mapping[str, tuple[str, int]], setup: ImageSetup, progress: Progress) -> Prepared:
        """Return pages of recordings by the names that they are wanted under: name -> ecg_id and window."""
        pages = {
            name: PageOf(f"ptbxl/{ecg_id}", self.raws[ecg_id], window)
            for name, (ecg_id, window) in wanted.items()
            if ecg_id in self.raws
        }
        lost = {
            name: ImageFault(True, f"record {ecg_id} is not in the PTB-XL given")
            for name, (ecg_id, _) in wanted.items()
            if ecg_id not in self.raws
        }
        return {**draw(pages, self.source, setup, progress), **lost}


def join(root: Path, fs_hz: Literal[100, 500]) -> Joined:
    """Read the tables of PTB-XL in the folder `root`; `DataError` where one is missing or odd."""
    source = Ptbxl(root, task="all", fs_hz=fs_hz, unlabelled="keep")
    raws = {raw.id: raw for raw in source.raws()}
    told: dict[str, About] = {}
    unreadable: dict[str, str] = {}
    for name, raw in raws.items():
        try:
            told[name] = about(raw, source)
        except Faulty as fault:
            unreadable[name] = fault.detail
    return Joined(source, raws, told, unreadable)


def shown(names: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return the ecg_id and window of images that are named `ptbxl/<ecg_id>`."""
    return {name: (name.removeprefix("ptbxl/"), 0) for name in names}
