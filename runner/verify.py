"""Every number of a report made again from the stored predictions, and compared with what is written.

Nothing is read but the run directory: the predictions, line by line, the events of the training, the plan.
No model, no network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.judges import judge
from eval.report.page import render
from runner.files import read_json, sha256_of
from runner.judging.lines import read_lines
from runner.reporting.page import page_of
from runner.reporting.record import paired, read_run
from runner.spec.problems import RunnerError, UsageError

TOLERANCE = 1e-9
"""Relative: another processor adds in another order."""
ADDED = ("lock", "predictions")
"""What the stage adds to a judged result."""
_PICTURE = re.compile(r"data:image/[^\"')]*|<svg.*?</svg>", re.DOTALL)
"""Pictures are drawn from the same numbers, but not to the same bytes on every machine."""


@dataclass(frozen=True)
class Unequal:
    """One value that is not what the stored predictions give."""

    place: str
    written: Any
    again: Any

    def __str__(self) -> str:
        return f"{self.place}: written {self.written!r}, made again {self.again!r}"


@dataclass(frozen=True)
class Part:
    """One file of the run, checked."""

    file: str
    numbers: int
    """How many numbers were made again; 0 for a page, whose text is compared as a whole."""
    unequal: tuple[Unequal, ...]


@dataclass(frozen=True)
class Verification:
    """What was made again, and what of it differs."""

    run: str
    parts: tuple[Part, ...]

    @property
    def equal(self) -> bool:
        """Whether everything is as it is written."""
        return not any(part.unequal for part in self.parts)

    @property
    def numbers(self) -> int:
        """How many numbers were made again."""
        return sum(part.numbers for part in self.parts)


def verify(path: Path) -> Verification:
    """Make every number of the run at `path` again.

    Raises:
        UsageError: the run has no report yet.
        MachineError: a file is damaged; names it.
    """
    results = path / "report" / "results.json"
    if not results.is_file():
        raise UsageError(f"{path} has no report: there is nothing to verify\n  runner report {path}")
    record = read_run(path)
    before, after = (_judged_again(path, name) for name in ("baseline", "tuned"))
    parts = [part for part, _ in (before, after) if part is not None]
    record = replace(record, baseline=before[1], tuned=paired(path, before[1], after[1]))
    written = read_json(results)
    unequal = tuple(_unequal("report/results.json", written, record.results()))
    parts.append(Part("report/results.json", _count(written), unequal))
    parts.append(_page(path, render(page_of(record))))
    return Verification(str(path), tuple(parts))


def _judged_again(path: Path, name: str) -> tuple[Part | None, list[dict[str, Any]]]:
    """Return one evaluation, judged again from its predictions, and how it compares."""
    file = path / "eval" / f"{name}.json"
    if not file.exists():
        return None, []
    again, unequal, numbers = [], [], 0
    for written in read_json(file)["results"]:
        place = f"eval/{name}.json: {written['name']} ({written['split']})"
        plain = {key: value for key, value in written.items() if key not in ADDED}
        numbers += _count(plain)
        try:
            made = _again(path, written)
        except (RunnerError, ValueError, KeyError) as error:
            unequal.append(Unequal(place, "a result", f"none: {error}"))
            made = plain
        unequal += _unequal(place, plain, made)
        unequal += _records(path, place, written)
        again.append({**made, **{key: written[key] for key in ADDED}})
    return Part(f"eval/{name}.json", numbers, tuple(unequal)), again


def _again(path: Path, written: Mapping[str, Any]) -> dict[str, Any]:
    lines = read_lines(path / written["predictions"])
    return judge(written["task"]).judged(written["lock"]["task"], lines)


def _records(path: Path, place: str, written: Mapping[str, Any]) -> Iterator[Unequal]:
    """Yield a difference where the records on disk are not those that were judged."""
    file, locked = path / "data" / f"{written['split']}.jsonl", written["lock"]["records"]
    if isinstance(locked, str) and file.exists() and sha256_of(file) != locked:
        yield Unequal(f"{place}: SHA-256 of data/{file.name}", locked, sha256_of(file))


def _page(path: Path, again: str) -> Part:
    """Compare the text of the page; a page that is not there is a difference."""
    file = path / "report" / "report.html"
    name = "report/report.html"
    if not file.is_file():
        return Part(name, 0, (Unequal(name, "no page", "a page"),))
    pairs = zip(
        [*_text(file.read_text(encoding="utf-8")), "the end"], [*_text(again), "the end"], strict=False
    )
    for number, (one, other) in enumerate(pairs, start=1):
        if one != other:
            return Part(name, 0, (Unequal(f"{name}:{number}", one.strip(), other.strip()),))
    return Part(name, 0, ())


def _text(page: str) -> list[str]:
    return _PICTURE.sub("", page).splitlines()


def _unequal(place: str, written: Any, again: Any) -> Iterator[Unequal]:
    """Yield every place where two JSON values differ, numbers by more than the tolerance."""
    if isinstance(written, Mapping) and isinstance(again, Mapping):
        for key in dict.fromkeys([*written, *again]):
            yield from _unequal(f"{place}: {key}", written.get(key), again.get(key))
    elif _is_list(written) and _is_list(again) and len(written) == len(again):
        for number, (one, other) in enumerate(zip(written, again, strict=True)):
            yield from _unequal(f"{place}[{number}]", one, other)
    elif _is_number(written) and _is_number(again):
        if not math.isclose(written, again, rel_tol=TOLERANCE, abs_tol=1e-12):
            yield Unequal(place, written, again)
    elif written != again and not (_is_list(written) and list(written) == list(again or ())):
        yield Unequal(place, written, again)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _count(value: Any) -> int:
    """Return how many numbers a JSON value holds."""
    if isinstance(value, Mapping):
        return sum(_count(item) for item in value.values())
    if _is_list(value):
        return sum(_count(item) for item in value)
    return int(_is_number(value))
