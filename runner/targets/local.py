"""A stage as a process of this machine: own session, own log, the environment we chose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from runner.stage import Stage

QUIET: Mapping[str, str] = {
    "AXOLOTL_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "PYTHONSAFEPATH": "1",  # the folders of a run (data, eval, ...) are not packages
}
"""What every stage gets: no telemetry, output at once, no imports from the run directory."""


CALLERS = ("OMP_NUM_THREADS",)
"""Variables in which the caller's value goes before the stage's."""


class StageProcess:
    """One running stage."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs. A signal's number comes as a negative code."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> None:
        """Return when the process has ended or the time is up."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def ask_to_stop(self) -> None:
        """Ask the stage to save and end: SIGTERM to it alone, which tells its own children."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End the stage and all that it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def start(stage: Stage, run: Path, log: Path, environ: Mapping[str, str], lock: int) -> StageProcess:
    """Start a stage in the run directory. It inherits the run's lock, so an orphan keeps the run closed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", stage.module, stage.name],
            cwd=run,
            env={
                **stage_environment(stage, environ),
                "RUNNER_LOCK_FD": str(lock),  # for what the stage itself starts
                "RUNNER_CWD": str(Path.cwd()),  # where relative paths of the environment are meant from
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
        )
    return StageProcess(process)


def stage_environment(stage: Stage, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a stage: the caller's, quiet, with this interpreter's tools first on PATH.

    Where the caller sees only some GPUs, the stage gets the first of these.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', '')}"
    callers = {name: environ[name] for name in CALLERS if environ.get(name)}
    visible, wanted = environ.get("CUDA_VISIBLE_DEVICES"), stage.environment.get("CUDA_VISIBLE_DEVICES")
    if visible and wanted:
        callers["CUDA_VISIBLE_DEVICES"] = ",".join(visible.split(",")[: len(wanted.split(","))])
    return {**environ, **QUIET, **stage.environment, **callers, "PATH": path}
