"""A run of ECG stages in a folder, as the executor does it: settings out of the plan, each stage a process or a call."""

from __future__ import annotations

import copy
import json
import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from warm_process import Warm

from converters.ecg_numbers import numbers_of
from converters.numbers import Counts
from runner.backends.native import stages
from runner.events import EventWriter
from runner.files import read_json, write_json
from runner.spec.ecg import EcgSpec
from runner.stage import Stage

SPEC: dict[str, Any] = {
    "spec": 1,
    "name": "small",
    "kind": "ecg",
    "model": {"backbone": "tinylight"},
    "data": {
        "source": "synthetic_ecg",
        "records": 60,
        "fs_hz": 50.0,
        "seconds": 5.0,
        "seed": 3,
        "pipeline": [{"step": "standardise"}, {"step": "pad_or_crop", "samples": 256}],
        "split": {"by": "patient", "train": 0.5, "validation": 0.25, "test": 0.25},
        "classes_without_positives": 7,
        "workers": 1,
    },
    "method": {"name": "full"},
    "train": {
        "steps": 6,
        "batch": 8,
        "learning_rate": 2e-3,
        "evaluate_every": 2,
        "save_every": 2,
        "evaluation_batch": 16,
        "cutmix": 0.75,
    },
    "compute": {"device": "cpu"},
    "evaluate": [{"task": "signal_multilabel", "subgroups": ["sex", "age_band"]}],
}


def spec_of(**changes: Any) -> EcgSpec:
    """Return the small spec with values changed by path, `__` between the parts; None removes."""
    data = copy.deepcopy(SPEC)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = data
        for part in parents:
            place = place.setdefault(part, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return EcgSpec.model_validate_json(json.dumps(data))


BODY = {"data": "_body", "teacher": "train", "baseline": "evaluate", "judge_teacher": "evaluate"}
"""Name of a stage -> function of its module, where it is not the same word."""


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Make `folder` the current one inside the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def as_main(module: str, name: str) -> None:
    """Do what `python -m MODULE NAME` does."""
    sys.argv = [module, name]
    runpy.run_module(module, run_name="__main__")


class Run:
    """One run directory."""

    def __init__(self, folder: Path, spec: EcgSpec, *, rehearsal: bool = False) -> None:
        self.path, self.spec, self.rehearsal = folder, spec, rehearsal
        folder.mkdir(parents=True, exist_ok=True)

    def planned(self) -> dict[str, Stage]:
        """Return the stages by name, with counts once they are known."""
        counts = None
        if (self.path / "data/manifest.json").exists():
            splits = self.read("data/manifest.json")["splits"]
            counts = Counts(*(splits[side]["records"] for side in ("train", "validation", "test")))
        made = stages(self.spec, numbers_of(self.spec, counts), rehearsal=self.rehearsal)
        return {stage.name: stage for stage in made}

    def settings(self, name: str) -> dict[str, Any]:
        """Return what a stage is told; nothing is cached."""
        settings = dict(self.planned()[name].settings)
        return settings | ({"cache": None} if "cache" in settings else {})

    def write(self, name: str, **changes: Any) -> dict[str, Any]:
        """Write and return what a stage is told."""
        settings = self.settings(name) | changes
        write_json(self.path / "config" / f"{name}.json", settings)
        return settings

    def call(self, name: str, **changes: Any) -> Any:
        """Run a stage in this process."""
        module = import_module(self.planned()[name].module)
        body = getattr(module, BODY.get(name, name))
        settings = self.write(name, **changes)
        with inside(self.path):
            return body(settings, EventWriter(Path("events.jsonl"), name))

    def start(self, name: str, **changes: Any) -> Warm:
        """Run a stage as a process of its own."""
        self.write(name, **changes)
        printed = self.path / f"printed-{name}"
        return Warm(printed, as_main, self.planned()[name].module, name, cwd=self.path)

    def read(self, name: str) -> Any:
        """Return what a file of the run holds."""
        return read_json(self.path / name)

    def all(self) -> None:
        """Run every stage but the report."""
        for name in [*self.planned()][:-1]:
            assert self.call(name) in (None, 0), name
