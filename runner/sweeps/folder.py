"""The folder of a sweep: which run is which arm, how each ended, and what they share.

```text
runs/<name>/sweep-<8 hex>/
  sweep.json             the arms with what differs, and which is compared with which
  arms/001.json ...      plan and texts of each arm, from which the sweep goes on
  status.json            state of the sweep and of every arm, each with its run
  events.jsonl           what happened when
  shared/                results of stages that several arms need
  comparison.json  sweep.html
```
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.files import read_json, write_json
from runner.run_dir import RunDir
from runner.spec.problems import MachineError, UsageError
from runner.sweeps.arms import PlannedArm, arm_file, differing, done_once, planned_arm_from_json

FORMAT = 1
DEFINITION = "sweep.json"
DEFINED = {"name": str, "kind": str, "controls": dict, "arms": list, "differs": dict, "shared": dict}
"""What the definition of every sweep has."""


@dataclass(frozen=True)
class ArmState:
    """How an arm stands."""

    name: str
    base: str
    seed: int | None
    state: str = "pending"
    run: str | None = None
    """Its run directory, relative to the folder that the sweep's own folder lies in; None: it has none yet."""
    reason: str = ""
    seconds: float | None = None
    """Time of its stages, those that were taken from other arms at what taking them took."""
    taken: Mapping[str, str] | None = None
    """Stage -> the run whose result it took."""


@dataclass(frozen=True)
class SweepDir:
    """The folder of one sweep."""

    path: Path

    @property
    def events(self) -> Path:
        """The event stream of the sweep; each run has its own beside."""
        return self.path / "events.jsonl"

    @property
    def shared(self) -> Path:
        """The results of stages that several arms need."""
        return self.path / "shared"

    @property
    def page(self) -> Path:
        """The page on which the arms stand side by side."""
        return self.path / "sweep.html"

    @property
    def comparison(self) -> Path:
        """What the page shows, as JSON."""
        return self.path / "comparison.json"

    def run_path(self, run: str) -> Path:
        """Return the place of an arm's run."""
        return self.path.parent / run

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the sweep for this process; it is free again once the process has ended, however it ends.

        Raises:
            MachineError: another process holds it, or the folder cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(
                f"cannot make the sweep's folder {self.path}: {error.strerror}; nothing was started\n"
                "  give a folder that can be written to with --runs"
            ) from error
        with RunDir(self.path).lock():
            yield

    def is_held(self) -> bool:
        """Return whether a living process runs this sweep."""
        return RunDir(self.path).is_held()

    def define(self, arms: Sequence[PlannedArm], controls: Mapping[str, str]) -> None:
        """Write what the sweep consists of. Arms of an earlier definition go; their runs stay."""
        shutil.rmtree(self.path / "arms", ignore_errors=True)
        for number, item in enumerate(arms, start=1):
            write_json(arm_file(self.path, number), item.to_json())
        first = arms[0].plan
        value = {
            "format": FORMAT,
            "name": first.name,
            "kind": first.kind,
            "rehearsal": first.rehearsal,
            "controls": dict(controls),
            "arms": [asdict(item.arm) for item in arms],
            "differs": differing({item.arm.name: item.plan.spec for item in arms}),
            "shared": done_once(arms),
        }
        write_json(self.path / DEFINITION, value)

    def definition(self) -> dict[str, Any]:
        """Return what `define` wrote."""
        value: dict[str, Any] = read_json(self.path / DEFINITION)
        if not isinstance(value, dict) or not all(
            isinstance(value.get(key), kind) for key, kind in DEFINED.items()
        ):
            raise MachineError(
                f"{self.path / DEFINITION} is damaged, or of another release of runner: expected an object with "
                f"{', '.join(DEFINED)}\n  launch its spec again: arms that are done are not run again"
            )
        return value

    def arms(self) -> tuple[PlannedArm, ...]:
        """Return the arms as they were planned.

        Raises:
            UsageError: they were planned by another release of runner.
        """
        files = sorted((self.path / "arms").glob("*.json"))
        try:
            return tuple(planned_arm_from_json(read_json(file)) for file in files)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise UsageError(
                f"{self.path} was written by another release of runner: {error}\n"
                "  launch its spec again: arms that are done are not run again"
            ) from error

    def write_status(self, state: str, reason: str, pid: int, arms: Sequence[ArmState]) -> None:
        """Store how the sweep and its arms stand."""
        value = {"state": state, "reason": reason, "pid": pid, "arms": [asdict(arm) for arm in arms]}
        RunDir(self.path).write_status(value)

    def read_status(self) -> dict[str, Any]:
        """Return how the sweep and its arms stand; one that was never started is pending."""
        status = RunDir(self.path).read_status()
        return {"arms": [], "reason": "", **status}

    def arm_states(self) -> tuple[ArmState, ...]:
        """Return how each arm stands."""
        try:
            return tuple(ArmState(**arm) for arm in self.read_status()["arms"])
        except TypeError as error:
            raise MachineError(
                f"{self.path / 'status.json'} is damaged: arms: {error}; launch the sweep again"
            ) from error


def is_sweep(path: Path) -> bool:
    """Return whether the folder at `path` is that of a sweep."""
    return (path / DEFINITION).is_file()


def sweep_at(path: Path) -> SweepDir:
    """Return the sweep at `path`.

    Raises:
        UsageError: there is none.
    """
    if not is_sweep(path):
        raise UsageError(f"{path} is no folder of a sweep: it holds no {DEFINITION}")
    return SweepDir(path.absolute())


def state_of_sweep(path: Path) -> dict[str, Any]:
    """Return the state of a sweep and of its arms; what says `running` while nobody holds its lock was cut off."""
    sweep = sweep_at(path)
    status = sweep.read_status()
    state, reason = status["state"], status["reason"]
    if state == "running" and not sweep.is_held():
        state, reason = "interrupted", "its process is gone; go on with launch --resume"
    states = [asdict(arm) for arm in sweep.arm_states()]
    arms = [{**arm, "run": arm["run"] and str(sweep.run_path(arm["run"]))} for arm in states]
    for arm in arms:
        if arm["state"] == "running" and not RunDir(Path(arm["run"])).is_held():
            arm["state"] = "interrupted"
    return {"sweep": str(sweep.path), "state": state, "reason": reason, "arms": arms}
