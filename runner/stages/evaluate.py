"""The stage that judges a model on held-out records: `baseline` before training, `evaluate` after.

Settings: `model` (folder or hub id), `revision`, `adapter` (folder or null), `tokenizer` (or null:
the model's), `template`, `context`, `tasks` (as in the spec), `device`, `precision`, `attention`,
`out`, `trust_remote_code`, `images` (whether the model reads images), `end_tokens` as given to training, and `trained_on`: the proof of the
training, whose first row must be made into the same tokens here (null before training).

It writes `out`, and in the folder of the same name one JSON line a record for each task, from which
every number can be computed again.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.judges.image_reliance import judged_with_images
from runner import __version__
from runner.events import EventWriter
from runner.files import canonical_sha256, write_json
from runner.judging import PREDICTORS
from runner.judging.lines import Lines, read_lines
from runner.judging.run import Judging
from runner.spec.problems import DataError
from runner.stages.common import expand, expand_path, stage_main

PLACES = ("model", "adapter", "tokenizer")
"""Settings that are a folder or a hub id."""

VERSIONS = (
    "numpy", "peft", "pillow", "rouge-score", "scikit-learn", "scipy", "tokenizers", "torch", "transformers",
)  # fmt: skip


def evaluate(settings: Mapping[str, Any], events: EventWriter) -> None:
    """Judge the model on each task and write the numbers.

    Raises:
        MachineError: the model or the device is not there.
        DataError: a task has nothing to judge.
        StageError: the model's predictions are no numbers, the adapter changes nothing, or the records
            are not made into the tokens that training saw.
    """
    run = Judging(_expanded(settings), settings, events)
    run.check_tokens()
    run.check_trained()
    images = run.check_images()
    out = Path(settings["out"])
    results, places = [], []
    for number, task in enumerate(settings["tasks"], start=1):
        predictor = importlib.import_module(PREDICTORS[task["task"]])
        lock = _lock(run, task) | (predictor.lock(run, task) if hasattr(predictor, "lock") else {})
        path = out.with_suffix("") / f"{number}_{task['task']}.jsonl"
        with Lines(path, canonical_sha256(lock)) as place:
            predictor.predict(run, task, place)
        places.append(place)
        ablated: dict[str, str] = {}
        for word in task.get("ablate", ()):
            with Lines(
                path.with_suffix(f".{word}.jsonl"), canonical_sha256({"lock": lock, "images": word})
            ) as other:
                predictor.predict(run.ablated(word), task, other)
            places.append(other)
            ablated[word] = str(other.path)
        results.append(
            {
                **_judged(task, place.path, ablated),
                "lock": lock,
                "predictions": str(place.path),
                **({"ablated": ablated} if ablated else {}),
            }
        )
        metrics = {name: value["value"] for name, value in results[-1]["metrics"].items()}
        events.write("result", task=task["task"], split=results[-1]["split"], metrics=metrics)
    proof = {"images": images} if images else {}
    write_json(out, {"format": 1, **run.identity(), **proof, "results": results})
    for place in places:
        place.forget()


def _judged(task: Mapping[str, Any], path: Path, ablated: Mapping[str, str]) -> dict[str, Any]:
    others = {word: read_lines(Path(place)) for word, place in ablated.items()}
    try:
        return judged_with_images(task, read_lines(path), others)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _expanded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with placeholders replaced; what is written keeps them."""
    places = {
        key: expand_path(settings[key], os.environ, hub=True) for key in PLACES if settings[key] is not None
    }
    return {**expand(settings, os.environ), **places}


def _lock(run: Judging, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the evaluation lock of one task: `eval.lock.LOCK` says what its parts mean."""
    vocabulary = json.dumps(sorted(run.tokenizer.get_vocab().items())).encode()
    identity = run.identity()
    return {
        "task": dict(task),
        "records": run.records_sha256(task["split"]) if "split" in task else None,
        "validation_records": run.records_sha256("validation") if task.get("temperature_scaling") else None,
        "template": {
            "name": run.settings["template"],
            "sha256": hashlib.sha256(run.template.encode()).hexdigest(),
        },
        "tokenizer": hashlib.sha256(vocabulary).hexdigest(),
        "context": run.settings["context"],
        "images": run.image_sha256,
        "precision": run.settings["precision"],
        "attention": run.settings["attention"],
        "device": identity["device"].partition(":")[0],
        "versions": _versions(),
        "model": identity["model"],
        "adapter": identity["adapter"],
    }


def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"runner": __version__}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


if __name__ == "__main__":
    stage_main("evaluate", evaluate)
