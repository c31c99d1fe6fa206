"""Many spec files checked at once: those of one kind in this process, the others in one beside it.

Most of the time of a small `validate` goes into building the classes of each kind; a process that never
meets a kind does not build its classes. Where there is one core, another system than Linux, or one kind, all is done here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.sound_files import hash_of
from runner.spec.load import files_read, lies_within
from runner.spec.problems import Problem
from runner.spec.text_file import MAX_BYTES, UnreadableError, read_bytes
from runner.spec_files import EVERYTHING, Trust
from runner.validate import problems_of_each

_KIND = re.compile(r"^kind:[ \t]{0,9}[\"']?(\w+)", re.MULTILINE)
_EXTENDS = re.compile(r"^extends:[ \t]{0,9}\[?[ \t]{0,9}[\"']?([^\s\"',\]]+)", re.MULTILINE)
_MAX_EXTENDS = 5


@dataclass(frozen=True)
class Checked:
    """What was found in one file, and what it was read from."""

    problems: tuple[Problem, ...]
    read: tuple[str, ...]
    """The absolute paths of the file and of all that it extends."""
    digest: str | None
    """As `hash_of` those files; None where it has none, or one changed meanwhile, so that nobody knows what was checked."""


def problems_in(
    files: Sequence[Path], sets: Sequence[str], environ: Mapping[str, str], trust: Trust = EVERYTHING
) -> list[Problem]:
    """Return the problems of all files, in their order; what several of them extend is reported once."""
    found = checked(files, sets, environ, trust)
    return list(dict.fromkeys(problem for file in files for problem in found[file].problems))


def checked(
    files: Sequence[Path], sets: Sequence[str], environ: Mapping[str, str], trust: Trust = EVERYTHING
) -> dict[Path, Checked]:
    """Return what was found in each file."""
    here, beside = _shares(files, trust)
    found = _checked_beside(here, beside, sets, environ, trust) if beside else None
    return _checked_here(files, sets, environ, trust) if found is None else found


def _checked_here(
    files: Sequence[Path], sets: Sequence[str], environ: Mapping[str, str], trust: Trust
) -> dict[Path, Checked]:
    read = {
        file: tuple(str(part.absolute()) for part in files_read(file, trust.folder_of(file)))
        for file in files
    }
    before = {file: hash_of(read[file], sets, environ) for file in files}
    problems = problems_of_each(files, sets, environ, trust)
    after = {file: hash_of(read[file], sets, environ) for file in files}
    return {
        file: Checked(problems[file], read[file], before[file] if before[file] == after[file] else None)
        for file in files
    }


def _shares(files: Sequence[Path], trust: Trust = EVERYTHING) -> tuple[list[Path], list[Path]]:
    """Return the files for this process and for the one beside it: no kind is in both; the second may be empty."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2 or len(files) < 2:
        return list(files), []
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(_likely_kind(file, trust.folder_of(file), _MAX_EXTENDS), []).append(file)
    shares: tuple[list[Path], list[Path]] = ([], [])
    for group in sorted(kinds.values(), key=len, reverse=True):
        min(shares, key=len).extend(group)
    return shares


def _likely_kind(file: Path, within: Path | None, depth: int) -> str:
    """Return the word under `kind` as far as a glance tells; a wrong guess costs time and nothing else."""
    try:
        text = read_bytes(file, MAX_BYTES).decode("utf-8", "replace") if lies_within(file, within) else ""
    except UnreadableError:
        return ""
    if kind := _KIND.search(text):
        return kind[1]
    base = _EXTENDS.search(text)
    return _likely_kind(file.parent / base[1], within, depth - 1) if base and depth else ""


def _checked_beside(
    here: Sequence[Path],
    beside: Sequence[Path],
    sets: Sequence[str],
    environ: Mapping[str, str],
    trust: Trust,
) -> dict[Path, Checked] | None:
    """Return what was found in each file, in `beside` by another process; None where that one did not end well."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read_end)
            with os.fdopen(write_end, "w", encoding="utf-8") as pipe:
                json.dump([asdict(one) for one in _checked_here(beside, sets, environ, trust).values()], pipe)
            code = 0
        finally:
            os._exit(code)  # nothing of the parent's is flushed or ended twice
    os.close(write_end)
    try:
        # Closed before waiting: a child that still writes would wait for us.
        with os.fdopen(read_end, encoding="utf-8") as pipe:
            found = _checked_here(here, sets, environ, trust)
            sent = pipe.read()
    finally:
        _, status = os.waitpid(child, 0)
    if status != 0:
        return None
    return {**found, **dict(zip(beside, map(_received, json.loads(sent)), strict=True))}


def _received(sent: Mapping[str, Any]) -> Checked:
    problems = tuple(Problem(**problem) for problem in sent["problems"])
    return Checked(problems, tuple(sent["read"]), sent["digest"])
