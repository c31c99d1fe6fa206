"""Processes of their own that need not import: forked from one that has, to be killed, signalled, or run side by side.

A process that trains imports for three seconds and trains for less than one. What such tests prove is of the process, not
of its start, so one server imports once and each process is a fork of it: with a pid, signals and an end of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = ["pytest", "torch._dynamo", "training_parts", "train_process", "runner.stages.ecg_worker"]
LIMIT_S = 120
_FORKS = multiprocessing.get_context("forkserver")


class Warm:
    """A process that runs `call(*arguments)` in `cwd`; what it prints is kept."""

    def __init__(
        self,
        printed: Path,
        call: Callable[..., None],
        *arguments: Any,
        cwd: Path | None = None,
        rank: Rank | None = None,
    ) -> None:
        _serve()
        self._rank = rank
        self._out, self._err = printed.with_suffix(".out"), printed.with_suffix(".err")
        words = (self._out, self._err, cwd, dict(rank.environ) if rank else {}, call, arguments)
        self.process: BaseProcess = _FORKS.Process(target=_run, args=words, daemon=True)
        self.process.start()

    @property
    def pid(self) -> int:
        """Return its number."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def is_over(self) -> bool:
        """Return whether it has ended."""
        return not self.process.is_alive()

    def killed(self) -> None:
        """Kill it, wherever it is."""
        self.process.kill()
        assert self.ended()[0] == -9

    def ended(self) -> tuple[int, str, str]:
        """Wait for it, and return its exit code and what it printed to either stream."""
        self.process.join(LIMIT_S)
        code = self.process.exitcode
        assert code is not None, "it does not end"
        return code, *(path.read_text(encoding="utf-8") for path in (self._out, self._err))  # type: ignore[return-value]

    def finished(self, code: int = 0) -> str:
        """Wait for it, require that it ends with `code`, and return what it printed."""
        found, out, err = self.ended()
        assert found == code, err[-3000:]
        return out


@dataclass(frozen=True)
class Rank:
    """The place of a process among those that train together."""

    number: int
    environ: Mapping[str, str]
    """As torchrun sets it."""
    store: Any
    """Where they meet; open as long as somebody holds it."""


def ranks_of(processes: int) -> tuple[Rank, ...]:
    """Return a place for each of `processes`, that meet at a store in this process."""
    from torch.distributed import TCPStore  # what shares no batch is forked where torch is not installed too

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    return tuple(
        Rank(number, {**common, "RANK": str(number), "LOCAL_RANK": str(number)}, store)
        for number in range(processes)
    )


def _serve() -> None:
    """Start the server with one thread for each process, and with our path: before 3.13 it is not told."""
    _FORKS.set_forkserver_preload(PRELOADED)
    theirs = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in theirs}
    os.environ.update(theirs)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run(
    out: Path,
    err: Path,
    cwd: Path | None,
    environ: Mapping[str, str],
    call: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with path.open("w", encoding="utf-8") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.environ.update(environ)
    if cwd is not None:
        os.chdir(cwd)
    call(*arguments)
