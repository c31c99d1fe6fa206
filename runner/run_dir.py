"""A run directory: its layout, its state, and the lock that only living processes hold."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from runner.files import canonical_sha256, read_json, write_json
from runner.spec.problems import MachineError, UsageError

LOCK_ATTEMPTS = 5
LOCK_PAUSE_S = 0.05
HOLDER = "process {} on {}\n"
"""What the lock file says: process and machine."""

State = Literal["pending", "running", "done", "failed", "interrupted"]
STATES = get_args(State)


@dataclass(frozen=True)
class RunDir:
    """The folder of one run."""

    path: Path

    @property
    def plan(self) -> Path:
        """The stored plan."""
        return self.path / "plan.json"

    @property
    def status(self) -> Path:
        """State, current stage, and what each finished stage was made from."""
        return self.path / "status.json"

    @property
    def events(self) -> Path:
        """The event stream."""
        return self.path / "events.jsonl"

    def log(self, stage: str) -> Path:
        """The output of a stage."""
        return self.path / "logs" / f"{stage}.log"

    def read_status(self) -> dict[str, Any]:
        """Return the stored state; a run that was never started is pending.

        Raises:
            MachineError: the file is damaged; says what to do.
        """
        if not self.status.exists():
            return {"state": "pending", "stages": {}}
        try:
            status = read_json(self.status)
        except MachineError as error:
            raise MachineError(f"{error}\n  {GO_ON}") from error
        if fault := _fault_of(status):
            raise MachineError(f"{self.status} is damaged: {fault}\n  {GO_ON}")
        return {"stages": {}, **status}

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Store the state, with the time."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self.status, {**status, "updated": now})

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Hold the run for this process and for those that inherit the file descriptor it yields.

        The lock is the kernel's (`flock`): it is gone with the last process that holds it, however
        that process ends. A trainer that outlives its launcher still holds it.

        Raises:
            MachineError: another process holds it; names the process and its machine.
        """
        path = self.path / ".lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise MachineError(f"cannot write {path}: {error.strerror}") from error
        try:
            if not _locked(descriptor):
                raise MachineError(
                    self._held_by(os.pread(descriptor, 200, 0).decode(errors="replace").strip())
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, HOLDER.format(os.getpid(), socket.gethostname()).encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    def _held_by(self, launcher: str) -> str:
        """Return what to do about a lock that is held; `launcher`: what the lock says of who took it.

        A launcher that was killed is told from one that lives, on its own machine; its stage goes on, and holds.
        """
        try:
            status = self.read_status()
        except MachineError:  # the lock itself says who holds it
            status = {}
        pid, stage = status.get("pid"), status.get("stage_pid")
        here = launcher == HOLDER.format(pid, socket.gethostname()).strip()
        if pid is None or stage is None or not here or _is_alive(pid):
            return (
                f"{self.path} is being run by {launcher or 'another process'}; nothing was started\n"
                "  wait for it, or stop it with Ctrl-C there"
            )
        return (
            f"{self.path} is being run by process {stage}, its stage {status['stage']}; its launcher, process {pid}, "
            f"is gone; nothing was started\n  wait for it, or end it: kill {stage}; then --resume goes on"
        )

    def is_held(self) -> bool:
        """Return whether a living process runs this directory. Writes nothing."""
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # a file system without locks: nobody could hold one
        finally:
            os.close(descriptor)
        return False


GO_ON = "runner launch --resume goes on without it, and makes every stage again"


def _fault_of(status: Any) -> str | None:
    """Return what of a stored state is not as `write_status` writes it."""
    if not isinstance(status, dict):
        return f"expected an object, got {type(status).__name__}"
    expected: Mapping[str, type] = {
        "reason": str, "stages": dict, "begun": dict, "pid": int, "stage_pid": int, "stage": str, "arms": list,
    }  # fmt: skip
    if status.get("state") not in STATES:
        return f"state: expected one of {', '.join(STATES)}, got {str(status.get('state'))[:40]!r}"
    for key, kind in expected.items():
        if key in status and (not isinstance(status[key], kind) or isinstance(status[key], bool)):
            return f"{key}: expected {kind.__name__}, got {type(status[key]).__name__}"
    for name, stage in status.get("stages", {}).items():
        if not isinstance(stage, dict) or not isinstance(stage.get("seconds"), (int, float)):
            return f"stages.{name}: expected an object with seconds"
    if any(not isinstance(sha, str) for sha in status.get("begun", {}).values()):
        return "begun: expected texts"
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except OSError:
        return True  # of another user
    return True


def _locked(descriptor: int) -> bool:
    """Take the lock; a moment's patience, for whoever asks for the state holds it for an instant."""
    for attempt in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S if attempt < LOCK_ATTEMPTS - 1 else 0)
        else:
            return True
    return False


def create(runs: Path, name: str, plan: Mapping[str, Any], now: datetime) -> RunDir:
    """Make a new run directory `runs/<name>/<utc time>-<8 hex of the plan>`.

    Raises:
        MachineError: the runs folder cannot be written to; names it.
    """
    label = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{canonical_sha256(plan)[:8]}"
    for attempt in range(100):
        path = runs / name / (label if attempt == 0 else f"{label}-{attempt + 1}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise MachineError(
                f"cannot make the run directory {path}: {error.strerror}; nothing was started\n"
                "  give a folder that can be written to with --runs"
            ) from error
        return RunDir(path.absolute())
    raise MachineError(f"{runs / name} already has 100 runs named {label}")


FOLLOWED = ("matplotlibrc",)
"""Files that a library takes for its own settings where it finds them in the current folder."""


def require_own_files(run: Path) -> None:
    """Require that what is written in a run directory stays in it: it may come from somebody else.

    Raises:
        UsageError: it holds a link that leads out of it, or something that is neither file nor folder; names it.
    """
    root = run.resolve()
    for folder, folders, files in os.walk(run):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink():
                if not path.resolve().is_relative_to(root):
                    raise UsageError(
                        f"{path} is a link to {path.readlink()}, outside of the run: what is written to it would be written "
                        "there; nothing was started\n  put what it points to in its place"
                    )
            elif not (path.is_file() or path.is_dir()):
                raise UsageError(f"{path} is neither a file nor a folder; nothing was started\n  remove it")
    for name in FOLLOWED:
        if (run / name).exists():
            raise UsageError(
                f"{run / name} would change how a library works, and no run has such a file; nothing was started\n  remove it"
            )


def find(path: Path) -> RunDir:
    """Return the run directory at `path`.

    Raises:
        UsageError: there is no run there.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there: no run directory")
    if not path.is_dir():
        raise UsageError(f"{path} is a file, not a run directory{_run_of(path)}")
    if (path / "sweep.json").is_file():
        raise UsageError(
            f"{path} is the folder of a sweep, not of a run; runner status {path} names the runs of its arms"
        )
    if not (path / "plan.json").is_file():
        others = sorted(item.parent.name for item in path.glob("*/plan.json"))
        hint = f"; runs in it: {', '.join(others[-5:])}" if others else ""
        raise UsageError(f"{path} is no run directory: it holds no plan.json{hint}")
    return RunDir(path.absolute())


def _run_of(file: Path) -> str:
    """Return a hint where a file of a run is given in the place of the run."""
    for folder in file.absolute().parents[:3]:
        if (folder / "plan.json").is_file():
            return f"; its run: {folder}"
    return ""
