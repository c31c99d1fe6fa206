"""Which items of a set show what was trained on: a recording that training records show, or another one of a patient.

A recording is known by the name of its image. Whose it is, the name itself may say (MIMIC's do), or the tables of PTB-XL
that the run's data were made with, or a record of the run, on whichever side of its split, that shows the same recording.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.records.ecg.ptbxl import DATABASE, STATEMENTS
from converters.records.ecginstruct import recording_of
from runner.data_readers.ptbxl import join
from runner.files import read_json
from runner.spec.problems import DataError
from runner.spec.vlm_sources import EcgInstructSource, EcgQaSource, FromSignalsSource, ImageMixtureData
from runner.stages.common import expand
from runner.stages.data_images import LISTED
from runner.stages.data_records import MANIFEST
from runner.stages.data_sources import placed, validated
from runner.tokens import read_records

IN_TRAINING = "in_training"
"""Key of an item and of its line: `recording`, whether training records show the same one, and `patient`, whether
training shows the patient, in this recording or another; None where it is not known whose it is."""
SIDES = ("train", "validation", "test")
SIGNAL = "signal/"
"""What a group begins with that is one recording, by its signal."""
_PTBXL_OF_CINC = re.compile(r"HR(?P<id>\d{5})")
"""The CinC 2021 challenge's copy of PTB-XL: its files are numbered by ecg_id."""
SHOWN = 5
"""Names in a message, at most."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """What training shows."""

    recordings: frozenset[str]
    """By `Recording.key`; the copies in the CinC 2021 challenge by those of PTB-XL."""
    patients: frozenset[str]
    """The groups of the training records, and the patients of their recordings by whatever name."""
    owners: Mapping[str, str]
    """Recording -> patient, of all recordings of which the run's data know it, whether trained on or not."""


def training_of(folder: Path, note: Callable[[str], None]) -> Training:
    """Return what the training records of a run show, and whose recordings its data know.

    Args:
        folder: of the run's data: the splits, where records have images the list of these, and the manifest.
        note: is told of tables of PTB-XL that are no longer there.

    Raises:
        DataError: the training records or the list of images are missing or no JSON lines; a table is odd.
    """
    trained, patients, group_of = set[str](), set[str](), dict[str, str]()
    for side in SIDES:
        if side != "train" and not (folder / f"{side}.jsonl").exists():
            continue
        for record in read_records(folder / f"{side}.jsonl"):
            if side == "train":
                patients.add(record["group"])
                trained.update(record.get("images", ()))
            if record["group"] != record["id"]:  # else the source knows of no patient
                group_of |= dict.fromkeys(record.get("images", ()), record["group"])
    recordings, told, met = set[str](), dict[str, str](), set[str]()
    for name, path in _images_of(folder / LISTED) if trained else ():
        key = _key(name)
        met.add(key)
        if path in trained:
            recordings.add(key)
            if (patient := _named(name)) is not None:
                patients.add(patient)
        if path in group_of and not group_of[path].startswith(SIGNAL):
            told[key] = group_of[path]
    # A group may be a recording, where its source does not know whose it is.
    owners = {key: group for key, group in told.items() if group not in met} | _of_ptbxl(folder, note)
    patients |= {owners[key] for key in recordings & owners.keys()}
    return Training(frozenset(recordings), frozenset(patients), owners)


def beside(items: Sequence[Record], training: Training) -> list[dict[str, Any]]:
    """Return the items with `IN_TRAINING`, in the group of the patient where it is known whose recording they show."""
    return [_beside(item, training) for item in items]


def _beside(item: Record, training: Training) -> dict[str, Any]:
    keys = [_key(name) for name in item["shows"]]
    whose = [_named(name) or training.owners.get(key) for name, key in zip(item["shows"], keys, strict=True)]
    recording = not training.recordings.isdisjoint(keys)
    patient: bool | None = recording or not training.patients.isdisjoint(filter(None, whose))
    if not patient and None in whose:
        patient = None
    told = {"recording": recording, "patient": patient}
    return {**item, "group": whose[0] or item["group"], IN_TRAINING: told}


def require_apart(items: Sequence[Record], file: Path) -> None:
    """Check that no item shows what was trained on.

    Raises:
        DataError: some do; says how many by recording and by patient, and names some.
    """
    met = [item for item in items if item[IN_TRAINING]["patient"]]
    if not met:
        return
    recordings = sum(item[IN_TRAINING]["recording"] for item in met)
    named = ", ".join(item["id"] for item in met[:SHOWN])
    more = f" and {len(met) - SHOWN} more" if len(met) > SHOWN else ""
    raise DataError(
        f"{file}: {len(met)} of {len(items)} items show a patient of the training records, {recordings} of them in a "
        f"recording that was trained on\n  {named}{more}\n  leave these patients out of the training data, or set "
        "overlap: count"
    )


def _named(image: str) -> str | None:
    """Return the patient whom the name of an image tells, as records of such images are grouped."""
    shown = recording_of(image)
    return f"{shown.source}-patient/{shown.patient}" if shown.patient else None


def _key(image: str) -> str:
    """Return one name for the recording that an image shows, in whichever set it stands.

    >>> _key("cinc2021/HR07190"), _key("ptb-xl/records500/07000/07190_hr-0.png")
    ('ptbxl/7190', 'ptbxl/7190')
    """
    shown = recording_of(image)
    of_ptbxl = _PTBXL_OF_CINC.fullmatch(shown.name) if shown.source == "cinc2021" else None
    return f"ptbxl/{int(of_ptbxl['id'])}" if of_ptbxl else shown.key


def _images_of(file: Path) -> Iterator[tuple[str, str]]:
    """Yield what its source calls each image of the data, and its path."""
    try:
        with file.open(encoding="utf-8") as lines:
            for image in map(json.loads, lines):
                yield image["name"], image["path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}, the list that the data stage writes, cannot be read: {error}") from error


# ------------------------------------------------------------------------------------- tables of PTB-XL


def _of_ptbxl(folder: Path, note: Callable[[str], None]) -> dict[str, str]:
    """Return whose the recordings of PTB-XL are, from the tables that the data stage read; empty if it read none."""
    found: dict[str, str] = {}
    for root in _places_of_ptbxl(folder / MANIFEST):
        gone = [name for name in (DATABASE, STATEMENTS) if not (root / name).is_file()]
        if gone:
            note(f"it is not known from PTB-XL whose recordings are judged: no {', '.join(gone)} in {root}")
            continue
        found |= {f"ptbxl/{name}": known.group for name, known in join(root, 500).about.items()}
    return found


def _places_of_ptbxl(manifest: Path) -> list[Path]:
    """Return the folders of PTB-XL that the data section names, each once."""
    if not manifest.exists():
        return []
    written = read_json(manifest)["settings"]
    if "render" not in written:  # text: no recording is shown
        return []
    data = validated(expand(placed(written, os.environ), os.environ))
    parts: Sequence[Any] = (
        [part for part in data.components.values() if part.use]
        if isinstance(data, ImageMixtureData)
        else [data]
    )
    named = [_ptbxl_of(part) for part in parts]
    return list(dict.fromkeys(Path(getattr(data, "root", "")) / place for place in named if place))


def _ptbxl_of(part: object) -> str | None:
    if isinstance(part, (EcgInstructSource, EcgQaSource)):
        return part.ptbxl
    return part.folder if isinstance(part, FromSignalsSource) and part.format == "ptbxl" else None
