"""The files of a run that cannot be made again, held against what was written down when their stages ended.

Hashes of all files that a stage left; the records that were judged, and the weights, against what the results say of them.
What is held against nothing is listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.files import read_json, read_text, sha256_of
from runner.outputs import (
    GROWING,
    OUTPUTS,
    RUN,
    Hashes,
    Left,
    below,
    is_below,
    is_checkpoint,
    outputs_file,
    recorded,
)
from runner.run_dir import RunDir
from runner.spec.problems import MachineError, RunnerError
from runner.unequal import Changed, Unequal

Json = Mapping[str, Any]

NEVER = (".lock", "status.json")
"""Files that change whenever somebody looks at, or goes on with, a run."""
OF_THE_STATE = "they change whenever a run is gone on with, or are the hashes themselves"
DELETED = "checkpoints that were deleted since"
NO_HASH = "no hash of them was written down: their stage did not end well, or an earlier release made the run"


@dataclass(frozen=True)
class Files:
    """What became of the files of a run."""

    equal: tuple[str, ...]
    """As they were left, or as the plan has them."""
    bytes: int
    """That were hashed."""
    unequal: tuple[Unequal, ...]
    not_looked_at: Mapping[str, tuple[str, ...]]
    """Why -> files that nothing was held against."""


def verified_files(path: Path, made_again: frozenset[str]) -> Files:
    """Hold every file of the run at `path` against what is known of it.

    Args:
        path: of the run directory.
        made_again: files that are compared with what is made of the others.

    Raises:
        MachineError: a file cannot be read.
    """
    equal: set[str] = set()
    unequal: list[Unequal] = []
    plan = _plan(path, unequal)
    equal_texts = set(_planned(path, plan, unequal))
    left = _left(path, plan, unequal)
    owners = {name: stage for stage in reversed(left.order) for name in left.of_stage.get(stage, {})}
    gone: list[str] = []
    for name, stage in owners.items():
        now = left.hashes.of(name)
        if now in left.forms(name):
            equal.add(name)
        elif now is None and is_checkpoint(name):
            gone.append(name)
        else:
            unequal.append(Changed(name, left.of_stage[stage][name], now, stage))
    there = below(path, [""])
    unequal += [
        Unequal(name, "a file of the run", "a link that leads out of it")
        for name in there
        if (path / name).is_symlink() and not (path / name).resolve().is_relative_to(path.resolve())
    ]
    kept = {name for name in there if name in NEVER or name.endswith(OUTPUTS)}
    unknown = {*there} - {*owners} - kept - equal_texts - made_again
    apart = {OF_THE_STATE: kept, NO_HASH: unknown, DELETED: gone}
    return Files(
        tuple(sorted(equal | equal_texts)),
        left.hashes.read,
        tuple(unequal),
        {why: tuple(sorted(found)) for why, found in apart.items() if found},
    )


def _plan(path: Path, unequal: list[Unequal]) -> Json:
    """Return the plan; one that is damaged is a difference, and has no stages."""
    try:
        plan = read_json(path / "plan.json")
        if all(isinstance(stage["name"], str) for stage in plan["stages"]):
            return {"files": (), **plan}
        said = "a stage without a name"
    except MachineError as error:
        said = _first_line(error)
    except (KeyError, TypeError) as error:
        said = f"no stages: {error}"
    unequal.append(Unequal("plan.json", "a plan", f"none: {said}"))
    found = [file.name.removesuffix(OUTPUTS) for file in sorted((path / "config").glob(f"*{OUTPUTS}"))]
    return {"files": (), "stages": [{"name": name} for name in found if name != RUN]}


def _left(path: Path, plan: Json, unequal: list[Unequal]) -> Left:
    """Return what the stages that ended well left; a list that is damaged is a difference."""
    try:
        status = RunDir(path).read_status()
    except MachineError as error:
        unequal.append(Unequal("status.json", "the state of a run", f"none: {_first_line(error)}"))
        status = {"stages": {stage["name"]: {} for stage in plan["stages"]}, "state": "done"}
    left = Left(Hashes(path), [RUN, *(stage["name"] for stage in plan["stages"])])
    for stage in left.order:
        try:
            files = recorded(path, stage)
        except MachineError as error:
            place = outputs_file(path, stage).relative_to(path).as_posix()
            unequal.append(Unequal(place, "a list of hashes", f"none: {_first_line(error)}"))
            continue
        ended = [status["stages"].get(stage, {})] if stage != RUN else status["stages"].values()
        if files is None and any("made_from" in one for one in ended):
            place = outputs_file(path, stage).relative_to(path).as_posix()
            unequal.append(Unequal(place, "a list of hashes", "none: it is gone"))
        if files is not None and (stage == RUN or stage in status["stages"]):
            growing = stage == RUN and status["state"] == "running"
            left.of_stage[stage] = {
                n: sha for n, sha in files.items() if not (growing and is_below(n, GROWING))
            }
    return left


def _planned(path: Path, plan: Json, unequal: list[Unequal]) -> Iterator[str]:
    """Yield the files that the engine and the stages were told as the plan says; others are differences."""
    told = [(file.get("path"), file.get("text"), False) for file in plan["files"] if isinstance(file, dict)]
    told += [(f"config/{s['name']}.json", s["settings"], True) for s in plan["stages"] if "settings" in s]
    for name, wanted, is_json in told:
        file = path / str(name)
        if not file.is_file():
            continue
        try:
            found = read_json(file) if is_json else read_text(file)
        except MachineError as error:
            found = f"none: {_first_line(error)}"
        if found == wanted:
            yield str(name)
        else:
            unequal.append(Unequal(f"{name}, which the plan says", found, wanted))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


# ------------------------------------------------------------------------------- what the results say of files


def unequal_weights(path: Path, name: str, value: Json) -> Iterator[Unequal]:
    """Yield a difference where the weights on disk are not those that an evaluation says it judged.

    Weights outside of the run, and those that were deleted since, are not looked at.
    """
    locks = [
        (f"eval/{name}.json: {result['name']}: lock", result["lock"])
        for result in value["results"]
        if "lock" in result
    ]
    for place, told in [(f"eval/{name}.json", value), *locks]:
        for part in ("model", "adapter"):
            said = told.get(part)
            if not isinstance(said, Mapping):
                continue
            for file, sha in _weights(path, said):
                if file.is_file() and (now := sha256_of(file)) != sha:
                    inside = file.relative_to(path).as_posix()
                    yield Unequal(f"{place}: {part}: SHA-256 of {inside}", sha, now)


def _weights(path: Path, said: Json) -> Iterator[tuple[Path, str]]:
    folder, sha = said.get("name"), said.get("sha256")
    if not isinstance(folder, str) or not folder or folder.startswith(("/", ".", "~", "$")):
        return
    if isinstance(sha, str):
        yield path / folder / "model.safetensors", sha
    elif isinstance(sha, Mapping):
        yield from ((path / folder / file, str(one)) for file, one in sha.items() if "/" not in file)


def unequal_splits(path: Path, manifest: Json) -> Iterator[Unequal]:
    """Yield a difference for each file of records that is not the one of the manifest."""
    for side, facts in manifest.get("splits", {}).items():
        file = path / "data" / f"{side}.jsonl"
        if (
            facts.get("file") == f"data/{side}.jsonl"
            and file.is_file()
            and (now := sha256_of(file)) != facts["sha256"]
        ):
            yield Unequal(f"data/manifest.json: {side}: SHA-256 of data/{file.name}", facts["sha256"], now)


def unequal_recordings(path: Path, name: str, results: Any) -> Iterator[Unequal]:
    """Yield a difference where recordings, or who is on which side, are not those that were judged."""
    locks = [(result["name"], result["lock"].get("records")) for result in results if "lock" in result]
    if (
        not any(isinstance(records, Mapping) for _, records in locks)
        or not (path / "data" / "records.h5").is_file()
    ):
        return
    try:
        from runner.native.dataset import open_records, rows_sha256
    except ImportError:  # the package that reads them is not installed here; their hash was looked at
        return
    try:
        found = open_records(path / "data")
    except RunnerError as error:
        yield Unequal("data/records.h5, data/split.json", "recordings", f"none: {str(error).splitlines()[0]}")
        return
    if damaged := found.store.damaged():
        yield Unequal(
            "data/records.h5: signals with their own bytes", len(found.store), len(found.store) - len(damaged)
        )
    for task, records in locks:
        for side, sha in (records or {}).items():
            rows = found.sides.get(side)
            now = "no such side" if rows is None else rows_sha256(found.store, rows.places)
            if now != sha:
                yield Unequal(
                    f"eval/{name}.json: {task}: records of {side}, their signals and labels", sha, now
                )
