"""A process that has imported everything once, and forks for each case: with limits, and with what it used told back.

Run as a script, with the modules to import as its arguments. Each line of stdin is a job, each line of stdout what
became of it; both are JSON. It stays free of threads, so that a fork of it is whole.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import runpy
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

LOOK_S, IDLE_LOOKS = 1.0, 5
"""What sleeps for so many looks, one after another, has computed nothing and waits for nobody who computes, hangs."""
CHUNK = 1 << 20
SPARE = 2
"""Times the memory that a case may hold: address space, which is also taken by what is mapped and never touched."""
LARGEST_FILE = 1 << 28
"""Bytes of a file that a case may write: a fault must not fill the disk."""
OURS = ("/runner/", "/converters/", "/eval/", "/attack/bodies.py")
Job = Mapping[str, Any]


def main() -> None:
    """Import what the arguments name, then take jobs until stdin ends."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would otherwise copy every page that is shared
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line))), flush=True)


def forked(job: Job) -> dict[str, Any]:
    """Run a job in a process of its own, and return how it ended and what it used."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(job)
    in_time = _ended(pid, job["wall_s"])
    if not in_time:
        _end_group(pid)
    _, status, used = os.wait4(pid, 0)
    _end_group(pid)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "in_time": in_time,
        "cpu_s": used.ru_utime + used.ru_stime,
        "memory_mib": max(0, used.ru_maxrss - _resident_kib(before)) / 1024,
        "wall_s": time.monotonic() - began,
    }


def _resident_kib(before: int) -> int:
    """Return what a fork begins with: what this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return min(before, pages * resource.getpagesize() // 1024)


def _ended(pid: int, wall_s: float) -> bool:
    """Return whether a process ended in time; one that sleeps and computes nothing will not end."""
    descriptor = os.pidfd_open(pid)
    end = time.monotonic() + wall_s
    idle, before = 0, -1
    try:
        while time.monotonic() < end:
            if select.select([descriptor], [], [], LOOK_S)[0]:
                return True
            ticks = _ticks(pid)
            idle = idle + 1 if ticks == before != -1 else 0
            before = ticks
            if idle == IDLE_LOOKS:
                return False
        return False
    finally:
        os.close(descriptor)


def _ticks(group: int) -> int:
    """Return what the processes of a group have computed, in ticks; -1 where one of them would go on if it could."""
    every = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(words[2]) == group:
            if words[0] in "RD":
                return -1
            every += int(words[11]) + int(words[12])
    return every


def _end_group(pid: int) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _child(job: Job) -> None:
    """Be the case: nothing of this process is to be seen or used but what is imported."""
    code = 70
    try:
        os.setpgid(0, 0)
        gc.enable()
        os.environ.update(job["environ"])
        os.chdir(job["cwd"])
        _redirect(Path(job["out"]), Path(job["err"]))
        _limit(job["cpu_s"], job["memory_mib"])
        lines: set[tuple[str, int]] = set()
        if job["lines"]:
            sys.settrace(_tracer(lines))
        code = _run(job["kind"], job["words"])
        sys.settrace(None)
        if job["lines"]:
            Path(job["lines"]).write_text(json.dumps(sorted(lines)))
    except BaseException:  # as the interpreter does it
        sys.settrace(None)
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _run(kind: str, words: list[str]) -> int:
    """Return the exit code of a command line, of a stage, or of a function of `bodies`."""
    try:
        if kind == "cli":
            from runner.cli import main as command

            command(words)
        elif kind == "stage":
            sys.argv = words
            sys.modules.pop(
                words[0], None
            )  # else it is warned of, and a stage that says nothing would not be seen
            runpy.run_module(words[0], run_name="__main__")
        else:
            getattr(importlib.import_module("bodies"), kind)(*words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _redirect(out: Path, err: Path) -> None:
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for path, number in ((out, 1), (err, 2)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)


def _limit(cpu_s: int, memory_mib: int) -> None:
    """Set limits for this process and for each that it starts."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    space = mapped + SPARE * memory_mib * CHUNK
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _tracer(lines: set[tuple[str, int]]) -> Any:
    """Return a trace function that notes each line of ours that is run."""

    def local(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return local

    def called(frame: FrameType, _event: str, _argument: Any) -> Any:
        return local if any(part in frame.f_code.co_filename for part in OURS) else None

    return called


if __name__ == "__main__":
    main()
