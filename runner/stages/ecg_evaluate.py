"""The stage that judges an ECG model on held-out records: `baseline` before training, `evaluate` after, and a teacher.

Settings: `model` (as in the spec, or null: as the weights file says), `aux` (whether it has an auxiliary head), `seed`,
`weights` (of the trained model, or null: the model as training starts from it), `leads_seen` (places of the leads that it is given; the others
are zero), `tasks` (as in the spec), `device`, `precision`, `out`, and `trained_on`: the proof of the training, or null.

It writes `out`, and in the folder of the same name one JSON line a record for each task, from which every number can
be computed again. Thresholds are chosen on validation records, which are therefore among the lines.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.judges import judge
from runner.events import EventWriter
from runner.files import canonical_sha256, read_json, sha256_of, write_json
from runner.judging.lines import Lines, read_lines
from runner.native.assembly import WEIGHTS, network, start_from, weights_file
from runner.native.checkpoints import facts_of, load
from runner.native.dataset import Records, SomeLeads, StoreRows, open_records, rows_sha256
from runner.native.errors import NativeError
from runner.native.model import EcgModel
from runner.native.watch import logits_of
from runner.outputs import require_recorded
from runner.proof import FINISHED
from runner.spec.problems import DataError, StageError
from runner.stages.common import expand_path, stage_main
from runner.stages.ecg_teacher import teacher_of

VERSIONS = ("numpy", "scipy", "torch")
RANDOM = "random weights"

Settings = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Judging:
    """One model on its device, and what it is judged on."""

    settings: Settings
    model: EcgModel
    identity: Mapping[str, Any]
    records: Records
    invented: bool
    device: torch.device
    events: EventWriter


def evaluate(settings: Settings, events: EventWriter) -> None:
    """Judge the model on each task and write the numbers.

    Raises:
        DataError: there is nothing to judge, or an attribute for sub-groups is lacking.
        StageError: the model is not that of the proof, or predicts what is no number.
    """
    try:
        run = _judging(settings, events)
        results, places = [], []
        for number, task in enumerate(settings["tasks"], start=1):
            asked = _with_classes(task, run.records)
            lock = _lock(run, asked)
            path = Path(settings["out"]).with_suffix("") / f"{number}_{task['task']}.jsonl"
            with Lines(path, canonical_sha256(lock)) as place:
                predict(run, asked, place)
            results.append({**_judged(asked, path), "lock": lock, "predictions": str(path)})
            places.append(place)
            metrics = {name: value["value"] for name, value in results[-1]["metrics"].items()}
            events.write("result", task=task["task"], split=results[-1]["split"], metrics=metrics)
    except NativeError as error:
        raise StageError(str(error)) from error
    write_json(Path(settings["out"]), {"format": 1, **run.identity, "results": results})
    for place in places:
        place.forget()


# -------------------------------------------------------------------------------------------- the model


def _judging(settings: Settings, events: EventWriter) -> Judging:
    records = open_records(Path("data"))
    device = torch.device(settings["device"])
    model, named = _model(settings, records, events)
    model.check_length(records.store.time_points)
    identity = {"model": named, "adapter": None, "device": str(device)}
    invented = bool(read_json(Path("data/manifest.json"))["stand_in"])
    return Judging(settings, model.to(device).eval(), identity, records, invented, device, events)


def _model(settings: Settings, records: Records, events: EventWriter) -> tuple[EcgModel, dict[str, Any]]:
    """Return the model with its weights, and what it is."""
    if settings["weights"] is not None and settings["trained_on"] is not None:
        _require_trained(settings)
    if settings["model"] is None:
        file = weights_file(Path(expand_path(settings["weights"], os.environ, hub=False)))
        teacher = teacher_of(file, records)
        said = {"name": settings["weights"], "sha256": sha256_of(file)}
        require_recorded(Path(), file, said["sha256"])
        return teacher, {"backbone": facts_of(file)["backbone"], **said}
    model = network(
        settings["model"], len(records.store.class_names), aux=settings["aux"], seed=settings["seed"]
    )
    return model, {"backbone": settings["model"]["backbone"], **_weights(settings, model, events)}


def _weights(settings: Settings, model: EcgModel, events: EventWriter) -> dict[str, Any]:
    """Give the model its weights, and return what they are."""
    if settings["weights"] is not None:
        file = Path(settings["weights"]) / WEIGHTS
        load(model, file)
        said = {"name": settings["weights"], "sha256": sha256_of(file)}
        require_recorded(Path(), file, said["sha256"])
        return said
    given = settings["model"]["checkpoint"]
    place = expand_path(given, os.environ, hub=False) if given else ""
    if not place:
        return {"name": RANDOM, "seed": settings["seed"]}
    file = weights_file(Path(place))
    loaded = start_from(model, file)
    if loaded.left_out:
        events.write(
            "note", text=f"not used of {given}: {', '.join(loaded.left_out)}: the head starts at random"
        )
    return {"name": given, "sha256": sha256_of(file), "new": list(loaded.new)}


def _require_trained(settings: Settings) -> None:
    proof = read_json(Path(settings["trained_on"]))
    if proof.get("state") != FINISHED:
        raise StageError(
            f"{settings['trained_on']}: the training is {proof.get('state', 'not proven')}, not {FINISHED}"
        )


# -------------------------------------------------------------------------------------------- the records


def predict(run: Judging, task: Settings, place: Lines) -> None:
    """Write the logits of every judged record, and of the validation records where these choose thresholds.

    Raises:
        DataError: a split is empty, or an attribute for sub-groups is lacking.
        StageError: a logit is no number.
    """
    parts = [(task["split"], *_asked(run, task, task["split"]))]
    if task["thresholds"] == "validation" and task["split"] != "validation":
        held = run.records.sides["validation"]
        if not len(held):
            raise DataError("there are no validation records to choose thresholds on; set thresholds: half")
        parts.append(("validation", held, np.arange(len(held))))
    _check_attributes(run, task)
    total = sum(len(rows) for _, _, rows in parts)
    for split, side, rows in parts:
        missing = np.array([row for row in rows if side.ids[row] not in place], dtype=np.int64)
        for first in range(0, len(missing), task["batch"]):
            some = missing[first : first + task["batch"]]
            for line in _lines(run, task, split, side, some):
                place.add(line)
            run.events.write("progress", done=len(place), total=total, unit="records")
    place.finish([side.ids[row] for _, side, rows in parts for row in rows])


def _asked(run: Judging, task: Settings, split: str) -> tuple[StoreRows, Any]:
    side = run.records.sides[split]
    rows = np.arange(len(side))[: task["records"]]
    if not len(rows):
        raise DataError(f"there are no {split} records to judge; give data.split a share for them")
    return side, rows


def _lines(run: Judging, task: Settings, split: str, side: StoreRows, rows: Any) -> Iterator[dict[str, Any]]:
    store = run.records.store
    logits = logits_of(
        run.model,
        SomeLeads(side, tuple(run.settings["leads_seen"])),
        rows,
        len(rows),
        run.device,
        run.settings["precision"],
    )
    for row, values in zip(rows, logits, strict=True):
        place = int(side.places[row])
        if not np.isfinite(values).all():
            raise StageError(f"record {store.ids[place]}: a logit of the model is no number")
        yield {
            "id": store.ids[place],
            "group": store.groups[place],
            "split": split,
            "labels": [name for name, yes in zip(store.class_names, store.labels[place], strict=True) if yes],
            "logits": {name: float(value) for name, value in zip(store.class_names, values, strict=True)},
            "attributes": run.records.attributes(place, task["subgroups"] if run.invented else ()),
            **({"codes": list(store.codes[place])} if task["challenge_score"] and store.codes else {}),
        }


def _check_attributes(run: Judging, task: Settings) -> None:
    known = run.records.attributes(0)
    lacking = [name for name in task["subgroups"] if name not in known]
    if lacking and not run.invented:
        raise DataError(
            f"no record has the attribute {', '.join(lacking)} of the task's subgroups; "
            f"they have: {', '.join(known) or 'none'}"
        )


# -------------------------------------------------------------------------------------------- the judge


def _with_classes(task: Settings, records: Records) -> dict[str, Any]:
    """Return the task with what its judge must know of the records: the columns and their codes."""
    store = records.store
    codes = {name: list(codes) for name, codes in zip(store.class_names, store.class_codes, strict=True)}
    return {**task, "classes": list(store.class_names), "codes": codes}


def _judged(task: Settings, path: Path) -> dict[str, Any]:
    try:
        return judge(task["task"]).judged(task, read_lines(path))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _lock(run: Judging, task: Settings) -> dict[str, Any]:
    """Return the evaluation lock of one task: `eval.lock.LOCK` says what its parts mean."""
    store = run.records.store
    judged = {task["split"]} | ({"validation"} if task["thresholds"] == "validation" else set())
    return {
        "task": dict(task),
        "records": {split: rows_sha256(store, run.records.sides[split].places) for split in sorted(judged)},
        "signal": {
            "leads": list(store.leads),
            "leads_seen": list(run.settings["leads_seen"]),
            "samples": store.time_points,
            "fs_hz": store.fs_hz,
            "pipeline": store.manifest["steps"],
        },
        "precision": run.settings["precision"],
        "device": run.device.type,
        "versions": {name: version(name) for name in VERSIONS},
        "model": run.identity["model"],
        "adapter": None,
    }


if __name__ == "__main__":
    stage_main("evaluate", evaluate)
