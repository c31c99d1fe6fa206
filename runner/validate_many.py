"""Many spec files checked at once: those of one kind in this process, the others in one beside it.

Most of the time of a small `validate` goes into building the classes of each kind; a process that never
meets a kind does not build its classes. Where there is one core, another system than Linux, or one kind, all is done here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from runner.spec.problems import Problem
from runner.validate import problems_of_each

_KIND = re.compile(r"^kind:\s*[\"']?(\w+)", re.MULTILINE)
_EXTENDS = re.compile(r"^extends:\s*\[?\s*[\"']?([^\s\"',\]]+)", re.MULTILINE)
_MAX_BYTES = 1 << 20
_MAX_EXTENDS = 5


def problems_in(files: Sequence[Path], sets: Sequence[str], environ: Mapping[str, str]) -> list[Problem]:
    """Return the problems of all files, in their order; what several of them extend is reported once."""
    here, beside = _shares(files)
    found = _checked_beside(here, beside, sets, environ) if beside else None
    if found is None:
        found = problems_of_each(files, sets, environ)
    return list(dict.fromkeys(problem for file in files for problem in found[file]))


def _shares(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files for this process and for the one beside it: no kind is in both; the second may be empty."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2 or len(files) < 2:
        return list(files), []
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(_likely_kind(file, _MAX_EXTENDS), []).append(file)
    shares: tuple[list[Path], list[Path]] = ([], [])
    for group in sorted(kinds.values(), key=len, reverse=True):
        min(shares, key=len).extend(group)
    return shares


def _likely_kind(file: Path, depth: int) -> str:
    """Return the word under `kind` as far as a glance tells; a wrong guess costs time and nothing else."""
    try:
        text = file.read_bytes()[:_MAX_BYTES].decode("utf-8", "replace")
    except OSError:
        return ""
    if kind := _KIND.search(text):
        return kind[1]
    base = _EXTENDS.search(text)
    return _likely_kind(file.parent / base[1], depth - 1) if base and depth else ""


def _checked_beside(
    here: Sequence[Path], beside: Sequence[Path], sets: Sequence[str], environ: Mapping[str, str]
) -> dict[Path, tuple[Problem, ...]] | None:
    """Return the problems of each file, those of `beside` from another process; None where that one did not end well."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read_end)
            with os.fdopen(write_end, "w", encoding="utf-8") as pipe:
                found = problems_of_each(beside, sets, environ)
                json.dump([[asdict(problem) for problem in found[file]] for file in beside], pipe)
            code = 0
        finally:
            os._exit(code)  # nothing of the parent's is flushed or ended twice
    os.close(write_end)
    try:
        # Closed before waiting: a child that still writes would wait for us.
        with os.fdopen(read_end, encoding="utf-8") as pipe:
            found = problems_of_each(here, sets, environ)
            sent = pipe.read()
    finally:
        _, status = os.waitpid(child, 0)
    if status != 0:
        return None
    problems = [tuple(Problem(**problem) for problem in of_file) for of_file in json.loads(sent)]
    return {**found, **dict(zip(beside, problems, strict=True))}
