"""The records of a run as its data stage left them: the store, and who is on which side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eval.subgroups import age_band
from runner.files import canonical_sha256, read_json
from runner.native.feed import Rows
from runner.native.store import EcgStore, open_store
from runner.spec.problems import DataError

RECORDS, SPLIT, MANIFEST = "records.h5", "split.json", "manifest.json"
AGE_BAND = "age_band"

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class StoreRows:
    """Some records of a store, read when they are asked for."""

    store: EcgStore
    places: IntArray
    """Their rows in the store."""

    def __len__(self) -> int:
        return len(self.places)

    def signals(self, rows: IntArray) -> FloatArray:
        """Return (record, lead, time), float32."""
        return self.store.batch(self.places[rows])

    def labels(self, rows: IntArray) -> FloatArray:
        """Return (record, class), float32."""
        return self.store.labels[self.places[rows]].astype(np.float32)

    @property
    def ids(self) -> tuple[str, ...]:
        """Their ids."""
        return tuple(self.store.ids[place] for place in self.places)


@dataclass(frozen=True, eq=False)
class SomeLeads:
    """Rows of which a model is given some leads, and zeros for the others."""

    rows: Rows
    leads: tuple[int, ...]
    """Places of those that it is given."""

    def __len__(self) -> int:
        return len(self.rows)

    def signals(self, rows: IntArray) -> FloatArray:
        """Return (record, lead, time), float32."""
        read = self.rows.signals(rows)
        masked = np.zeros_like(read)
        masked[:, self.leads] = read[:, self.leads]
        return masked

    def labels(self, rows: IntArray) -> FloatArray:
        """Return (record, class), float32."""
        return self.rows.labels(rows)


@dataclass(frozen=True, eq=False)
class Records:
    """What a run trains and judges on."""

    store: EcgStore
    sides: Mapping[str, StoreRows]

    def attributes(self, place: int, wanted: Sequence[str] = ()) -> dict[str, str | None]:
        """Return the attributes of the record at `place` as words, with `age_band` where an age is a column.

        Args:
            place: row in the store.
            wanted: names that are there whatever the set has: those of invented recordings.
        """
        found: dict[str, str | None] = dict.fromkeys(wanted)
        for name, column in self.store.attributes.items():
            found[name] = _word(column[place])
        if "age" in self.store.attributes:
            found[AGE_BAND] = age_band(_number(self.store.attributes["age"][place]))
        return found


def _word(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return None if np.isnan(value) else f"{float(value):g}"


def _number(value: Any) -> float | None:
    try:
        return None if value is None or np.isnan(float(value)) else float(value)
    except ValueError:
        return None


def open_records(folder: Path) -> Records:
    """Return the records in the data folder of a run.

    Raises:
        DataError: the store or the split is damaged, or they do not belong together.
    """
    store = open_store(folder / RECORDS)
    ids = read_json(folder / SPLIT)["ids"]
    row_of = {name: row for row, name in enumerate(store.ids)}
    try:
        sides = {
            side: StoreRows(store, np.array([row_of[name] for name in names], dtype=np.int64))
            for side, names in ids.items()
        }
    except KeyError as error:
        raise DataError(
            f"{folder / SPLIT} names the record {error}, which {RECORDS} has not; run the data stage again"
        ) from error
    return Records(store, MappingProxyType(sides))


def rows_sha256(store: EcgStore, places: IntArray) -> str:
    """Return one hash over ids, signals and labels of some records."""
    rows = [
        [store.ids[row], int(store.crc32[row]), np.flatnonzero(store.labels[row]).tolist()] for row in places
    ]
    return canonical_sha256({"classes": list(store.class_names), "rows": rows})
