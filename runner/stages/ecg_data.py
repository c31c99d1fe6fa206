"""The data stage of ECG runs: recordings -> `records.h5`, who is on which side, and a manifest that accounts for all.

Settings: `data` (the spec's section, placeholders kept), `leads`, `samples` and `fs_hz` (what the pipeline leaves, null
where nobody knows before), `stand_in` (invented recordings for a rehearsal without a set, or null), `cache` (folder
relative to the run directory, or null). `python -m runner.stages.ecg_data`.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import runner
from converters.records.ecg.files import MAX_FILE_BYTES
from converters.records.record import Ledger
from runner.events import EventWriter
from runner.files import canonical_sha256, sha256_of, write_json
from runner.native.conversion import convert
from runner.native.dataset import MANIFEST, RECORDS, SPLIT, rows_sha256
from runner.native.one_pass import Asked
from runner.native.parallel import cores
from runner.native.signals import SignalError, Step, from_json, traced
from runner.native.sources import Chosen, source_of, stand_in_of
from runner.native.splits import (
    Split,
    balance,
    by_fold,
    crossing,
    few_labels,
    known_patients,
    record_wise,
    require_apart,
    require_positives,
    stratified,
    thinned,
)
from runner.native.store import EcgStore, open_store
from runner.spec.problems import DataError, MachineError
from runner.stages.common import expand, expand_path, stage_main, throttled

FORMAT = 1
"""Version of the manifest's form."""
INPUTS_HASHED = 2000
"""More input files than this are named by the checksums of their signals alone."""
NOT_USED = "on no side of the split"

Section = Mapping[str, Any]


def build(
    settings: Section, run_dir: Path, events: EventWriter, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Make the data folder of a run and return its manifest.

    Raises:
        DataError: recordings are missing, too many are faulty, a class has no positive in training, or a patient
            stands on two sides.
        MachineError: a variable is missing, or nothing can be written.
    """
    folder = run_dir / "data"
    (folder / MANIFEST).unlink(missing_ok=True)  # what stands there always belongs to the files beside it
    data = _placed(settings["data"], environ)
    steps = _steps(data)
    source = _source(settings, data)
    invented = settings["stand_in"] is not None and not data.get("root", "set")
    asked = Asked(source, _rate(settings, data, steps, invented), steps, data["faults_at_most"])
    processes = data["workers"] or cores()
    store = _stored(asked, settings, run_dir, folder / RECORDS, processes, throttled(events))
    split = known_patients(divided(store, data["split"], invented=invented), store.patients)
    missing = require_positives(split, store.labels, store.class_names, data["classes_without_positives"])
    written = split.as_json(store.ids)
    write_json(folder / SPLIT, written)
    manifest = {
        "format": FORMAT,
        "runner": runner.__version__,
        "settings": settings["data"],
        "stand_in": invented,
        **_facts(store, source, split, settings["data"]["split"]),
        "classes_without_positives": list(missing),
        "balance": balance(split, store.labels, store.class_names),
        "leads": list(store.leads),
        "samples": store.time_points,
        "fs_hz": store.fs_hz,
        "pipeline": store.manifest["steps"],
        "findings": store.manifest["findings"],
        "faulty": store.manifest["faulty"],
        "identical": store.manifest["identical"],
        "store": {"file": f"data/{RECORDS}", "key": store.manifest["key"]},
    }
    _notes(manifest, split, missing, events)
    write_json(folder / MANIFEST, manifest)
    return manifest


# -------------------------------------------------------------------------------------------- what is asked


def _placed(data: Section, environ: Mapping[str, str]) -> dict[str, Any]:
    placed = dict(data)
    if placed.get("root"):
        placed["root"] = expand_path(placed["root"], environ, hub=False)
    made: dict[str, Any] = expand(placed, environ)
    return made


def _source(settings: Section, data: Section) -> Chosen:
    if data.get("root", "set"):
        return source_of(data, settings["leads"])
    if settings["stand_in"] is None:
        raise DataError("data.root is empty: only a rehearsal runs without a set, on invented recordings")
    return stand_in_of(settings["stand_in"], settings["leads"], _nominal_hz(data))


def _nominal_hz(data: Section) -> float | None:
    """Return the sampling rate that the section states, where it does."""
    if data["source"] == "code15":
        return 400.0
    rate = data.get("fs_hz")
    return None if rate is None else float(rate)


def _steps(data: Section) -> tuple[Step, ...]:
    try:
        return from_json(data["pipeline"])
    except SignalError as error:
        raise DataError(f"data.pipeline: {error}") from error


def _rate(settings: Section, data: Section, steps: Sequence[Step], invented: bool) -> float:
    """Return the sampling rate that every recording must have in the end."""
    if invented:
        stand_in = settings["stand_in"]
        start = _nominal_hz(data) or stand_in["fs_hz"]
        try:
            return traced(steps, round(start * stand_in["seconds"]), start)[1]
        except SignalError as error:
            raise DataError(f"data.pipeline: {error}") from error
    if settings["fs_hz"] is None:
        raise DataError(
            "the recordings' sampling rate after the pipeline is not known\n"
            "  add a resample step to data.pipeline, or give data.fs_hz"
        )
    return float(settings["fs_hz"])


def _stored(
    asked: Asked,
    settings: Section,
    run_dir: Path,
    target: Path,
    processes: int,
    progress: Callable[[int, int | None, str], None],
) -> EcgStore:
    """Return the store at `target`: made there, or made in the cache and linked."""
    if settings["cache"] is None:
        return convert(asked, target, processes, progress)
    wanted = {key: value for key, value in settings["data"].items() if key not in ("split", "workers")}
    name = canonical_sha256({"data": wanted, "leads": settings["leads"], "stand_in": settings["stand_in"]})
    kept = convert(asked, run_dir / settings["cache"] / f"ecg-{name[:32]}.h5", processes, progress)
    partial = target.with_name(f".{target.name}.linking")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            try:
                os.link(kept.path, partial)
            except OSError:  # another file system, or one without links
                shutil.copyfile(kept.path, partial)
            partial.replace(target)
        finally:
            partial.unlink(
                missing_ok=True
            )  # half a copy; or a second name of `target`, which `replace` leaves
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MachineError(f"cannot write {target}: {error.strerror or error}\n  make room") from error
    return open_store(target)


# ------------------------------------------------------------------------------------------------- the split


def divided(store: EcgStore, asked: Section, *, invented: bool = False) -> Split:
    """Return who is on which side, as the section `data.split` asks for it.

    Args:
        store: the recordings.
        asked: the section.
        invented: the recordings are a stand-in: they have no folds, so patients are divided 8 : 1 : 1 instead.

    Raises:
        DataError: no folds, an empty side, a patient on two sides.
    """
    ratio, seed, groups = asked["finetune_label_ratio"], asked["seed"], store.groups
    if asked["by"] == "record":
        if ratio is None:
            return stratified(store.labels, range(len(store)), _shares(asked), seed)
        return record_wise(store.labels, ratio, seed, groups)
    if asked["by"] == "fold" and not invented:
        split = by_fold(_folds(store), groups, asked["folds"])
        return split if ratio is None else thinned(split, store.labels, groups, ratio, seed)
    if asked["by"] == "fold":
        split = stratified(store.labels, groups, {"train": 0.8, "validation": 0.1, "test": 0.1}, seed)
    elif ratio is None:
        split = stratified(store.labels, groups, _shares(asked), seed)
    else:
        split = few_labels(store.labels, groups, ratio, seed)
    require_apart(split, groups)
    return split


def _shares(asked: Section) -> dict[str, float]:
    return {side: asked[side] for side in ("train", "validation", "test")}


def _folds(store: EcgStore) -> list[int | None]:
    column = store.attributes.get("fold")
    if column is None:
        raise DataError("data.split.by is fold, but the set comes without folds\n  split by patient instead")
    values = [None if value is None else float(value) for value in column]
    return [None if value is None or math.isnan(value) else int(value) for value in values]


# ------------------------------------------------------------------------------------------------- the manifest


def _facts(store: EcgStore, source: Chosen, split: Split, asked: Section) -> dict[str, Any]:
    """Return the keys that every manifest has, whatever the kind of run."""
    ledger = store.manifest["left_out"]
    unused = Ledger()
    for row in split.unused:
        unused.drop(NOT_USED, store.ids[row])
    counts = store.manifest["records"]
    crossed = crossing(split, store.groups)
    return {
        "sources": [{"name": source.name, "source": source.name, **counts, "options": source.options()}],
        "inputs": _inputs(source, store),
        "records": counts,
        "dropped": {**ledger, **unused.as_json()},
        "split": {
            "by": asked["by"],
            "seed": split.seed if split.seed is not None else asked["seed"],
            "rule": split.rule,
            "digest": split.as_json(store.ids)["digest"],
            "crossing": len(crossed),
            "shared_questions": {},
            "crossing_duplicates": _crossing_copies(store, split),
            "without_key": sum(patient is None for patient in store.patients),
            "warnings": list(split.warnings),
        },
        "splits": {side: _side(store, split, side) for side in split.sides},
    }


def _side(store: EcgStore, split: Split, side: str) -> dict[str, Any]:
    rows = split.sides[side]
    return {
        "file": f"data/{SPLIT}",
        "records": len(rows),
        "groups": len({store.groups[row] for row in rows}),
        "bytes": int(len(rows) * len(store.leads) * store.time_points * 4),
        "sha256": rows_sha256(store, rows),
    }


def _crossing_copies(store: EcgStore, split: Split) -> int:
    """Return how many recordings have an identical one on another side."""
    side_of = {store.ids[row]: side for side, rows in split.sides.items() for row in rows}
    found = 0
    for ids in store.manifest["identical"]:
        sides = [side_of[name] for name in ids if name in side_of]
        found += len(sides) if len(set(sides)) > 1 else 0
    return found


def _inputs(source: Chosen, store: EcgStore) -> dict[str, Any]:
    """Return how many files were read, their size, and one hash over them or over their signals."""
    files = sorted({file for raw in source.raws() for file in raw.files})
    sizes = {file: file.stat().st_size for file in files if file.exists()}
    size = sum(sizes.values())
    if 0 < len(files) <= INPUTS_HASHED:
        # What is larger is read by no source as one recording: its size is told, and it is not read for a hash.
        known = [
            [file.name, sha256_of(file) if n_bytes <= MAX_FILE_BYTES else n_bytes]
            for file, n_bytes in sizes.items()
        ]
        digest = canonical_sha256({"files": known})
        return {"files": len(files), "bytes": size, "sha256": digest}
    return {"files": len(files), "bytes": size, "sha256": store.manifest["key"], "of": "signals and labels"}


def _notes(manifest: Section, split: Split, missing: Sequence[str], events: EventWriter) -> None:
    if manifest["stand_in"]:
        events.write("note", text="no set is given: the recordings are invented, and results say nothing")
    for text in split.warnings:
        events.write("note", text=text)
    for reason, item in sorted(manifest["dropped"].items()):
        events.write("note", text=f"{item['count']} records left out: {reason}")
    for word, item in sorted(manifest["findings"].items()):
        events.write("note", text=f"{item['count']} records: {word}")
    if missing:
        events.write("note", text=f"no positive in training, so not to be learnt: {', '.join(missing)}")


def _body(settings: Section, events: EventWriter) -> None:
    manifest = build(settings, Path(), events, os.environ)
    for side, facts in manifest["splits"].items():
        print(f"{side}: {facts['records']} records of {facts['groups']} patients")


if __name__ == "__main__":
    stage_main("data", _body)
