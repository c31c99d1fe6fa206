"""Results of stages that several runs of a sweep share: the first run keeps them, the others take them.

A result is every file that the stage made or changed in its run directory, with what it said in the event stream.
Its key is made from content: the hashes of what the stage reads, what it is told with its variables put in, what lies
at the places outside that it names, the code, the packages and the machine. Only results that another run of the
sweep can use are kept.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import converters
import eval as evaluation
import runner
from runner.data_cache import DataCache
from runner.events import read_events
from runner.files import canonical_sha256, read_json, sha256_of, write_json
from runner.machine import Machine
from runner.places import content_of, place_keys
from runner.spec.environment import expand, has_placeholder
from runner.spec.problems import MachineError
from runner.stage import Stage

NAMED_BY_STAGES = ("model",)
"""A key of stages' settings, beside those of the spec, that names a place."""
NOT_RESULTS = frozenset(
    {"config", "logs", "events.jsonl", "status.json", "plan.json", "environment.json", "spec.yaml", "resolved.yaml", ".lock"}
)  # fmt: skip
"""What the executor itself writes in a run directory."""
NOT_REPEATED = frozenset(
    {"stage_started", "stage_skipped", "stage_taken", "stage_finished", "progress", "alive", "interrupt"}
)
"""Events that tell of a process, not of its result."""

Snapshot = Mapping[str, tuple[int, int]]
"""Path in the run directory -> size and time of change."""


@dataclass(frozen=True)
class Taken:
    """The result of another run's stage, now in this run."""

    run: str
    """The run that made it."""
    files: int
    seconds: float
    """What it took there."""
    events: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class StageResults:
    """The results that the runs of one sweep share, in a folder of the sweep."""

    root: Path
    wanted: frozenset[str]
    """Lineages that more than one run of the sweep has."""
    environ: Mapping[str, str]
    _contents: dict[Path, str] = field(default_factory=dict, repr=False)
    """What lies at a place outside, looked at once: a sweep sees its data as they were when it was launched."""

    def key(self, stage: Stage, made_from: str, machine: Machine) -> str | None:
        """Return the key of a stage's result; None where a variable that it needs is not set.

        Args:
            stage: the stage.
            made_from: the executor's hash of module, settings, version, and what is read in the run directory.
            machine: as in the plan.
        """
        try:
            told = expand(stage.settings, self.environ)
        except MachineError:
            return None  # the stage itself will say so
        return canonical_sha256(
            {
                "stage": stage.name,
                "made_from": made_from,
                "told": canonical_sha256({"settings": told}),
                "environment": stage.environment,
                "outside": {str(place): self._content(place) for place in self._outside(stage.settings)},
                "machine": dataclasses.asdict(machine),
                "code": code_sha256(),
                "packages": packages_sha256(),
            }
        )

    def take(self, key: str, stage: Stage, run: Path) -> Taken | None:
        """Put a kept result into `run` in the place of what an earlier attempt left; None where there is none.

        Raises:
            DamagedEntryError: the kept result is not what was stored; it is removed.
            MachineError: the run directory cannot be written to.
        """
        cache = self._cache()
        if not (cache.root / key).is_dir():
            return None
        for path in stage.writes:
            _remove(run / path)
        names = cache.fetch(key, run)
        if names is None:
            return None
        made = read_json(run / record_of(stage))
        return Taken(made["run"], len(names) - 1, made["seconds"], made["events"])

    def keep(self, key: str, stage: Stage, run: Path, before: Snapshot, seconds: float) -> None:
        """Keep the result of a stage that has just ended well in `run`.

        Raises:
            MachineError: the sweep's folder cannot be written to.
        """
        after = snapshot(run)
        declared = {
            name for name in after for path in stage.writes if name == path or name.startswith(f"{path}/")
        }
        names = sorted(declared | {name for name, known in after.items() if before.get(name) != known})
        made = {
            "stage": stage.name,
            "run": run.name,
            "seconds": round(seconds, 3),
            "files": {name: after[name][0] for name in names},
            "events": list(_said(stage.name, run)),
        }
        write_json(run / record_of(stage), made)
        self._cache().store(key, run, [*names, record_of(stage)])

    def _cache(self) -> DataCache:
        return DataCache(self.root, kept=None)

    def _outside(self, settings: Mapping[str, Any]) -> list[Path]:
        """Return the places on this machine that a stage's settings name; a text without a variable is absolute."""
        texts = _texts_at_places(settings, "")
        found = {
            Path(expand(text, self.environ)) for text in texts if text[:1] == "/" or has_placeholder(text)
        }
        return sorted(place for text in found if (place := text.expanduser().absolute()).exists())

    def _content(self, place: Path) -> str:
        if place not in self._contents:
            self._contents[place] = canonical_sha256(content_of(place))
        return self._contents[place]


def record_of(stage: Stage) -> str:
    """Return where a run says who made the result of a stage, relative to the run directory."""
    return f"config/{stage.name}.result.json"


def snapshot(run: Path) -> Snapshot:
    """Return the files of a run directory that are of its stages."""
    return dict(_files(run, run))


def _files(run: Path, folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for item in os.scandir(folder):
        if folder == run and item.name in NOT_RESULTS:
            continue
        if item.is_dir(follow_symlinks=False):
            yield from _files(run, Path(item.path))
        elif item.is_file():
            known = item.stat()
            yield Path(item.path).relative_to(run).as_posix(), (known.st_size, known.st_mtime_ns)


def _said(stage: str, run: Path) -> Iterator[Mapping[str, Any]]:
    """Yield what the last process of a stage said of its result."""
    found: list[Mapping[str, Any]] = []
    for event in read_events(run / "events.jsonl"):
        if event["stage"] == stage:
            found = [] if event["event"] == "stage_started" else [*found, event]
    yield from (event for event in found if event["event"] not in NOT_REPEATED)


def _texts_at_places(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, str):
        if key in place_keys() or key in NAMED_BY_STAGES:
            yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts_at_places(inner, name)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts_at_places(inner, key)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@cache
def code_sha256() -> str:
    """Return one hash over the code of our packages: an edited checkout has the version of the one before."""
    folders = [Path(package.__file__ or "").parent for package in (runner, converters, evaluation)]
    files = [(file.relative_to(folder.parent), file) for folder in folders for file in folder.rglob("*.py")]
    return canonical_sha256({name.as_posix(): sha256_of(file) for name, file in files})


@cache
def packages_sha256() -> str:
    """Return one hash over the names and versions of all installed packages."""
    return canonical_sha256({item.name: item.version for item in distributions() if item.name})
