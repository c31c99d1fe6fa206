"""Attacks on a target: inputs drawn from a seed, each run in a process of its own, and what must never happen.

A target is a folder with right inputs and the command lines that read them. A case is some of its files damaged. Whatever
they hold, the command ends in time, within its memory, with a code that the docs name, and with words instead of a
traceback; and a number that rests on other bytes than before is never told as if nothing had changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from .damage import Content, Odd, damaged

CODES = (0, 1, 2, 3, 130)
"""Exit codes that README.md names."""
CPU_S = 5
"""Seconds of computing; a loaded machine takes longer, and computes no more."""
WALL_S = 60
"""For what waits without computing, such as for a pipe that nobody writes to."""
MEMORY_MIB = 1024
SPARSE = 1100 << 20
HASHING_S = 15
"""More for a case with a sparse file: to hash what is there is honest work, and takes five seconds on a slow machine."""
SHRINKS, SHRINK_S = 40, 20.0
"""Runs, and seconds, that are spent on a smaller input for a fault."""
PRINTING = ("cli", "on_run", "spec")
"""Jobs whose words a terminal gets as they are."""
HERE = Path(__file__).parent
ROOT = HERE.parent.parent

Changes: TypeAlias = Mapping[str, Content]
"""Place of a file in the target's folder -> what it holds instead."""


@dataclass(frozen=True)
class Job:
    """One command that reads the folder: `cli` with its words, `stage` with its module, or a function of `bodies`."""

    kind: str
    words: tuple[str, ...] = ()
    cpu_s: int = CPU_S


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    code: int
    in_time: bool
    cpu_s: float
    memory_mib: float
    wall_s: float
    out: str
    err: str


@dataclass(frozen=True)
class Fault:
    """Something that must never happen."""

    kind: str
    """traceback, hang, memory, exit code, silence, escape, or change."""
    where: str
    """What two cases of the same fault have in common."""
    text: str = field(compare=False)


Check: TypeAlias = Callable[["Case"], Iterator[str]]


@dataclass(frozen=True)
class Target:
    """What is attacked."""

    name: str
    make: Callable[[Path], None]
    """Writes the right inputs into an empty folder."""
    files: tuple[str, ...]
    """Patterns of the files that are damaged."""
    jobs: tuple[Job, ...]
    check: Check = lambda _: iter(())
    """Yields what has silently changed."""
    draw: Callable[[Random, str, Content], Content] = damaged
    imports: tuple[str, ...] = ()
    """What the worker imports once."""
    cases: int = 60
    """In one run of the whole suite."""


@dataclass(frozen=True)
class Case:
    """A folder with damaged files, after its jobs."""

    folder: Path
    changes: Changes
    ended: Sequence[Ended]
    right: Case | None
    """The same jobs with nothing damaged; None where this is that case."""
    before: Path
    """The folder before any job."""


class Worker:
    """A process that forks for each job."""

    def __init__(self, imports: Sequence[str]) -> None:
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(HERE)))
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        assert self._answer() == "ready\n"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run(self, job: Job, folder: Path, lines: Path | None = None) -> Ended:
        """Run a job in a folder, with a home of its own, and return how it ended."""
        home = folder.with_name("home")
        home.mkdir(exist_ok=True)
        out, err = folder.with_name("out"), folder.with_name("err")
        environ = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "RUNNER_CWD": str(folder), "X": "4"}
        asked = {
            **{"kind": job.kind, "words": job.words, "cwd": str(folder), "out": str(out), "err": str(err)},
            **{
                "environ": environ,
                "cpu_s": job.cpu_s,
                "wall_s": max(WALL_S, 4 * job.cpu_s),
                "memory_mib": MEMORY_MIB,
            },
            "lines": str(lines) if lines else None,
        }
        assert self._process.stdin is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        told = json.loads(self._answer())
        printed = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
        return Ended(**told, out=printed[0], err=printed[1])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


# --------------------------------------------------------------------------------------- what must not happen

ESCAPE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")
_TRACE = "Traceback (most recent call last)"
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)')


def faults_of(job: Job, ended: Ended) -> Iterator[Fault]:
    """Yield what must not happen and did, in one job."""
    told = f"{ended.out}\n{ended.err}"
    name = " ".join((job.kind, *job.words[:1]))
    if not ended.in_time or ended.code == -24 or ended.cpu_s > job.cpu_s:  # SIGXCPU
        what = f"{ended.cpu_s:.1f} s of computing, {ended.wall_s:.0f} s in all"
        yield Fault("hang", name, what)
    elif ended.memory_mib > MEMORY_MIB or "MemoryError" in told:
        yield Fault("memory", _where(told) or name, f"{ended.memory_mib:.0f} MiB\n{_tail(told)}")
    elif _TRACE in told:
        yield Fault("traceback", _where(told), _tail(told))
    elif ended.code not in CODES:
        yield Fault("exit code", f"{name}: {ended.code}", f"ended with {ended.code}\n{_tail(told)}")
    elif ended.code and not told.strip():
        yield Fault("silence", name, f"ended with {ended.code} and says nothing")
    elif job.kind in PRINTING and (found := ESCAPE.search(told)):
        line = next(line for line in told.split("\n") if ESCAPE.search(line))
        yield Fault("escape", f"{name}: {found[0]!r}", f"printed raw: {line[:200]!r}")


def _where(told: str) -> str:
    """Return the last frame of ours in a traceback, and the exception's class."""
    after = told[told.rfind(_TRACE) :] if _TRACE in told else ""
    frames = [
        match
        for match in _FRAME.finditer(after)
        if str(ROOT) in match["file"] and "/.venv/" not in match["file"]
    ]
    frames = [match for match in frames if "/tests/attack/" not in match["file"]]
    raised = [
        line
        for line in after.splitlines()
        if re.match(r"[\w.]+(Error|Exception|Warning|Interrupt|Exit)?\b(:|$)", line)
    ]
    error = raised[-1].partition(":")[0] if raised else "?"
    if not frames:
        return error if after else ""
    return (
        f"{Path(frames[-1]['file']).relative_to(ROOT)}:{frames[-1]['line']} in {frames[-1]['name']}: {error}"
    )


def _tail(told: str) -> str:
    lines = [line[:300] for line in told.strip().splitlines()]
    return "\n".join(lines[-6:])


# ------------------------------------------------------------------------------------------------------ arena


@dataclass
class Found:
    """A fault, the case that showed it first, and how often it was seen."""

    fault: Fault
    changes: Changes
    case: str
    count: int = 1


class Arena:
    """One target under attack, in a folder of its own."""

    def __init__(self, target: Target, folder: Path, worker: Worker) -> None:
        self.target, self.folder, self.worker = target, folder, worker
        self.found: dict[Fault, Found] = {}

    @cached_property
    def _made(self) -> Path:
        folder = self.folder / "made"
        folder.mkdir(parents=True)
        self.target.make(folder)
        return folder

    @cached_property
    def files(self) -> Mapping[str, Content]:
        """The files that may be damaged, with what they hold."""
        paths = sorted(
            {path for pattern in self.target.files for path in self._made.glob(pattern) if path.is_file()}
        )
        assert paths, f"{self.target.name}: nothing to damage"
        return {path.relative_to(self._made).as_posix(): path.read_bytes() for path in paths}

    @cached_property
    def right(self) -> Case:
        """The case with nothing damaged; it has no fault, and all its jobs end with 0."""
        case, faults = self._tried({}, self.folder / "right" / "inside", compare=False)
        assert not faults, faults
        assert all(one.code == 0 for one in case.ended), case.ended
        return case

    def attack(self, seed: int, index: int) -> None:
        """Try one case; keep what it shows."""
        self.keep(self.drawn(seed, index), f"{self.target.name}:{seed}:{index}")

    def drawn(self, seed: int, index: int) -> Changes:
        """Return the changes of a case."""
        return self.changed(Random(f"{self.target.name}:{seed}:{index}"), {})

    def changed(self, rng: Random, before: Changes) -> Changes:
        """Return changes with one or two files damaged beside or beyond those before."""
        changes = dict(before)
        for _ in range(rng.choice((1, 1, 1, 2))):
            name = rng.choice(sorted(self.files))
            changes[name] = self.target.draw(rng, name, changes.get(name, self.files[name]))
        return changes

    def guided(self, rng: Random, seconds_left: Callable[[], bool]) -> int:
        """Attack with cases that grow out of those that reached a line of ours for the first time; return how many."""
        seen: set[tuple[str, int]] = set()
        parents: list[Changes] = [{}]
        tried = 0
        while seconds_left():
            changes = self.changed(rng, rng.choice(parents))
            lines = self.folder / "lines"
            lines.unlink(missing_ok=True)
            self.keep(changes, "", lines)
            reached = {tuple(item) for item in json.loads(lines.read_text())} if lines.exists() else set()
            if reached - seen:
                seen |= reached
                parents.append(changes)
            tried += 1
        return tried

    def faults(self, changes: Changes, lines: Path | None = None) -> list[Fault]:
        """Return the faults that some changes show."""
        return self._tried(changes, self.folder / "case" / "inside", lines=lines)[1]

    def keep(self, changes: Changes, case: str, lines: Path | None = None) -> None:
        """Try some changes, and keep what they show under the name of their case."""
        for fault in self.faults(changes, lines):
            if fault in self.found:
                self.found[fault].count += 1
            else:
                self.found[fault] = Found(fault, changes, case)
                print(f"{self.target.name} {case}: {fault.kind}: {fault.where}", flush=True)

    def _tried(
        self, changes: Changes, folder: Path, *, compare: bool = True, lines: Path | None = None
    ) -> tuple[Case, list[Fault]]:
        if compare:
            _ = self.right  # before its folder is needed
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.copytree(self._made, folder, symlinks=True)
        for name, content in changes.items():
            put(folder / name, content)
        ended, faults = [], []
        more = HASHING_S if Odd.SPARSE in changes.values() else 0
        for job in (replace(job, cpu_s=job.cpu_s + more) for job in self.target.jobs):
            one = self.worker.run(job, folder, lines)
            ended.append(one)
            faults += faults_of(job, one)
        case = Case(folder, changes, ended, self.right if compare else None, self._made)
        if compare and not faults:
            faults += [Fault("change", text.partition("\n")[0], text) for text in self.target.check(case)]
        return case, faults

    # ------------------------------------------------------------------------------------------- what was found

    def report(self) -> str:
        """Return every fault with the smallest input that was found and the command that repeats it; empty without any."""
        parts = []
        for found in sorted(self.found.values(), key=lambda one: one.fault.where):
            smaller = self.smaller(found.changes, found.fault)
            place = Path(
                tempfile.mkdtemp(prefix=f"attack-{self.target.name}-")
            )  # stays, as pytest's own folders do not
            save(place, self.target.name, smaller)
            again = [f"make attack CASE={found.case}"] if found.case else []
            parts.append(
                f"{found.fault.kind} ({found.count} of the cases): {found.fault.where}\n{_indented(found.fault.text)}\n"
                f"  damaged: {', '.join(f'{name} ({_size(content)})' for name, content in smaller.items())}\n"
                f"  again: {' or '.join([*again, f'make attack CASE={place}'])}"
            )
        return "\n\n".join(parts)

    def smaller(self, changes: Changes, fault: Fault) -> Changes:
        """Return fewer and shorter changes that show the same fault, as far as some tries go."""
        if fault.kind == "hang":
            return changes  # each try would last as long
        tries, end = SHRINKS, time.monotonic() + SHRINK_S
        for name in list(changes):
            fewer = {key: value for key, value in changes.items() if key != name}
            if fewer and fault in self.faults(fewer):
                changes = fewer
        for name, content in list(changes.items()):
            if not isinstance(content, bytes):
                continue
            step = max(1, len(content) // 2)
            while step and tries > 0:
                start = 0
                while start < len(content) and tries > 0 and time.monotonic() < end:
                    less = content[:start] + content[start + step :]
                    tries -= 1
                    if fault in self.faults({**changes, name: less}):
                        content = less
                        changes = {**changes, name: less}
                    else:
                        start += step
                step //= 2
        return changes


def _size(content: Content) -> str:
    return content.value if isinstance(content, Odd) else f"{len(content):,} bytes"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def put(path: Path, content: Content) -> None:
    """Put something in the place of a file."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is Odd.FOLDER:
        path.mkdir()
    elif content is Odd.PIPE:
        os.mkfifo(path)
    elif content is Odd.ENDLESS:
        path.symlink_to("/dev/zero")
    elif content is Odd.DANGLING:
        path.symlink_to("nowhere")
    elif content is Odd.SPARSE:
        path.touch()
        os.truncate(path, SPARSE)


# ------------------------------------------------------------------------------------- cases that are kept

ODD_FILES = "odd.json"
"""Names what is no file, beside the files of a case that is kept."""


def save(place: Path, target: str, changes: Changes) -> None:
    """Write a case to a folder: the damaged files, and the target's name."""
    odd: dict[str, Any] = {}
    for name, content in changes.items():
        if isinstance(content, Odd):
            odd[name] = content.value
        else:
            put(place / target / name, content)
    if odd:
        put(place / target / ODD_FILES, json.dumps(odd).encode())


def kept(folder: Path) -> Changes:
    """Return the changes of a case that is kept in the folder of its target."""
    changes: dict[str, Content] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ODD_FILES
    }
    if (folder / ODD_FILES).exists():
        odd = json.loads((folder / ODD_FILES).read_text())
        changes |= {name: Odd(word) for name, word in odd.items()}
    return changes
