"""The `data` section of an ECG spec, as JSON -> the source that it names, with only what was asked for of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from converters.records.ecg.cinc2021 import Cinc2021
from converters.records.ecg.code15 import Code15
from converters.records.ecg.ptbxl import Ptbxl
from converters.records.ecg.record import NO_LABEL, EcgClass, EcgRecord, EcgSource
from converters.records.ecg.sph import Sph
from converters.records.ecg.synthetic import SyntheticEcg
from converters.records.ecg.tabular import TabularEcg
from converters.records.record import Dropped
from runner.spec.problems import DataError

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Chosen:
    """Some of a source's recordings, classes and leads.

    Args:
        source: what is chosen from.
        names: classes in this order; None for all.
        at_most: recordings, spread evenly over the source in its order; None for all.
        leads: the leads in this order, all among the source's.
        leave_out: whether recordings with none of the classes are left out.
    """

    source: EcgSource
    names: tuple[str, ...] | None
    at_most: int | None
    leads: tuple[str, ...]
    leave_out: bool

    @property
    def name(self) -> str:
        """For the manifest."""
        return self.source.name

    @cached_property
    def classes(self) -> tuple[EcgClass, ...]:
        """The classes that were asked for."""
        if self.names is None:
            return self.source.classes
        known = {one.name: one for one in self.source.classes}
        if unknown := [name for name in self.names if name not in known]:
            raise DataError(
                f"data.classes: {', '.join(unknown)} are no classes of {self.name}; there are: {', '.join(known)}"
            )
        return tuple(known[name] for name in self.names)

    @cached_property
    def _places(self) -> list[int]:
        if lacking := [name for name in self.leads if name not in self.source.leads]:
            raise DataError(f"model.leads: {self.name} has no lead {', '.join(lacking)}")
        return [self.source.leads.index(name) for name in self.leads]

    def raws(self) -> Sequence[Any]:
        """Return the recordings that are looked at."""
        raws = self.source.raws()
        if self.at_most is None or self.at_most >= len(raws):
            return raws
        return [raws[place] for place in np.linspace(0, len(raws) - 1, self.at_most).round().astype(int)]

    def read(self, raw: Any) -> EcgRecord:
        """Return one recording, with the chosen leads and labels."""
        record = self.source.read(raw)
        labels = tuple(one.name for one in self.classes if one.name in record.labels)
        if self.leave_out and not labels:
            raise Dropped(NO_LABEL, record.id)
        return replace(record, signal_mv=record.signal_mv[self._places], leads=self.leads, labels=labels)

    def options(self) -> Mapping[str, Any]:
        """Return what was chosen, as JSON."""
        return {
            **self.source.options(),
            "classes": None if self.names is None else list(self.names),
            "records": self.at_most,
            "leads": list(self.leads),
        }


def source_of(data: Section, leads: Sequence[str]) -> Chosen:
    """Return the source of the section `data`, placeholders put in and places found.

    Raises:
        DataError: its folder or tables are not what they should be.
    """
    asked = tuple(leads)
    source = (
        _synthetic(data)
        if data["source"] == "synthetic_ecg"
        else _OPENED[data["source"]](data, Path(data["root"]), asked)
    )
    invented = data["source"] == "synthetic_ecg"
    names = None if data["classes"] is None else tuple(data["classes"])
    leave_out = names is not None and data.get("unlabelled") == "leave_out"
    return Chosen(source, names, None if invented else data["records"], asked, leave_out)


def stand_in_of(stand_in: Section, leads: Sequence[str], fs_hz: float | None) -> Chosen:
    """Return invented recordings in place of a set that is not given, at its sampling rate where that is known."""
    values = dict(stand_in) | ({} if fs_hz is None else {"fs_hz": fs_hz})
    return Chosen(_synthetic(values), None, None, tuple(leads), leave_out=False)


def _synthetic(data: Section) -> EcgSource:
    return SyntheticEcg(**{key: data[key] for key in ("records", "seed", "fs_hz", "seconds", "noise_mv")})


def _cinc2021(data: Section, root: Path, leads: tuple[str, ...]) -> EcgSource:
    keys = ("merge_equivalents", "more_than", "unknown_codes", "unlabelled", "fill_at_most")
    return Cinc2021(root, tuple(data["databases"]), leads=leads, **{key: data[key] for key in keys})


def _ptbxl(data: Section, root: Path, leads: tuple[str, ...]) -> EcgSource:
    keys = ("task", "fs_hz", "likelihood_at_least", "unknown_likelihood", "unlabelled", "fill_at_most")
    return Ptbxl(root, leads=leads, **{key: data[key] for key in keys})


def _code15(data: Section, root: Path, leads: tuple[str, ...]) -> EcgSource:
    del leads  # all twelve are read; `Chosen` takes those that are asked for
    parts = None if data["parts"] is None else tuple(data["parts"])
    return Code15(root, parts, data["unlabelled"], data["unit_mv"])


def _sph(data: Section, root: Path, leads: tuple[str, ...]) -> EcgSource:
    del leads
    return Sph(root, None, data["unlabelled"])


def _arrays(data: Section, root: Path, leads: tuple[str, ...]) -> EcgSource:
    keys = ("fs_hz", "unit", "axes", "unlabelled", "fill_at_most", "table")
    return TabularEcg(
        root,
        leads=leads,
        file_leads=tuple(data["file_leads"]),
        class_names=None if data["classes"] is None else tuple(data["classes"]),
        label_columns=tuple(data["label_columns"]),
        **{key: data[key] for key in keys},
    )


_OPENED = {
    "cinc2021": _cinc2021,
    "ptbxl": _ptbxl,
    "code15": _code15,
    "sph": _sph,
    "arrays": _arrays,
}
