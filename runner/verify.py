"""Every number of a report made again from the stored predictions, and compared with what is written.

Nothing is read but the run directory: the predictions, line by line, the events of the training, the plan.
No model, no network.

What rests on something that is not equal is not held against it: a result whose predictions are gone is
one difference, and the table and the page that were made of it are not compared with what cannot be made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.judges.image_reliance import judged_with_images
from eval.report.page import render
from runner.files import read_json, sha256_of
from runner.judging.lines import read_lines
from runner.reporting.page import page_of
from runner.reporting.record import RunRecord, beside_student, paired, read_run
from runner.spec.problems import RunnerError, UsageError

TOLERANCE = 1e-9
"""Relative: another processor adds in another order."""
RESULTS, PAGE = "report/results.json", "report/report.html"
LONGEST = 90
"""Characters of a value that are printed."""
Task = tuple[str, str]
"""Name and split."""
ADDED = ("lock", "predictions", "ablated")
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
        return f"{self.place}: written {_short(self.written)}, made again {_short(self.again)}"


@dataclass(frozen=True)
class Part:
    """One file of the run, checked."""

    file: str
    numbers: int
    """How many numbers were made again; 0 for a page, whose text is compared as a whole."""
    unequal: tuple[Unequal, ...]
    rests_on: tuple[str, ...] = ()
    """Files that are not equal, and on which this one rests: what follows from them is not in `unequal`."""


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
    if not (path / RESULTS).is_file():
        raise UsageError(f"{path} has no report: there is nothing to verify\n  runner report {path}")
    record = read_run(path)
    every = [_judged_again(path, name) for name in ("baseline", "tuned", "teacher")]
    parts = [judged.part for judged in every if judged.part is not None]
    broken = tuple(part.file for part in parts if part.unequal)
    baseline, after, teacher = (judged.again for judged in every)
    tuned = paired(path, baseline, after)
    made = replace(record, baseline=baseline, tuned=tuned, teacher=beside_student(path, teacher, tuned))
    parts.append(_results(path, (made, record), set().union(*(judged.broken for judged in every)), broken))
    parts.append(Part(PAGE, 0, (), broken) if broken else _page(path, render(page_of(made))))
    return Verification(str(path), tuple(parts))


def _results(
    path: Path, records: tuple[RunRecord, RunRecord], broken: set[Task], files: tuple[str, ...]
) -> Part:
    """Compare the table of numbers with what is made of the predictions.

    Where results are not what their predictions give, a number may also be what follows from the result
    as it is written, and no paired difference can be made of its task.

    Args:
        path: of the run directory.
        records: the run judged again, and as it is written.
        broken: tasks with a result that is not equal.
        files: where those results stand.
    """
    written = read_json(path / RESULTS)
    made, as_written = (record.results() for record in records)
    unequal = list(_unequal(RESULTS, written, made))
    if broken:
        excused = {
            f"{RESULTS}: table[{number}]: difference_interval"
            for number, row in enumerate(written["table"])
            if (row["task"], row["split"]) in broken
        }
        own = {item.place for item in _unequal(RESULTS, written, as_written)}
        unequal = [item for item in unequal if item.place in own and not _within(item.place, excused)]
    return Part(RESULTS, _count(written), tuple(unequal), files)


def _within(place: str, excused: set[str]) -> bool:
    return any(place == start or place.startswith(f"{start}[") for start in excused)


@dataclass(frozen=True)
class _Judged:
    """One evaluation, judged again."""

    part: Part | None
    """None: it is not there."""
    again: list[dict[str, Any]]
    """The results; as written where the predictions give none."""
    broken: set[Task]
    """Tasks whose result is not what its predictions give."""


def _judged_again(path: Path, name: str) -> _Judged:
    """Return one evaluation, judged again from its predictions, and how it compares."""
    file = path / "eval" / f"{name}.json"
    if not file.exists():
        return _Judged(None, [], set())
    again, every, broken, numbers = [], [], set(), 0
    for written in read_json(file)["results"]:
        place = f"eval/{name}.json: {written['name']} ({written['split']})"
        plain = {key: value for key, value in written.items() if key not in ADDED}
        numbers += _count(plain)
        try:
            made, unequal = _again(path, written), []
        except (RunnerError, ValueError, KeyError, TypeError) as error:
            made, unequal = plain, [Unequal(place, "a result", _why_none(written, error))]
        unequal += [*_records(path, place, written), *_unequal(place, plain, made)]
        if unequal:
            broken.add((written["name"], written["split"]))
        every += unequal
        again.append({**made, **{key: written[key] for key in ADDED if key in written}})
    return _Judged(Part(f"eval/{name}.json", numbers, tuple(every)), again, broken)


def _why_none(written: Mapping[str, Any], error: Exception) -> str:
    """Return one line on why no result can be made: the predictions are gone, damaged, or lack a value."""
    if isinstance(error, RunnerError):
        return f"none: {str(error).splitlines()[0]}"
    lacks = f"no value {error}" if isinstance(error, KeyError) else str(error)
    return f"none: {written.get('predictions', 'the result')} cannot be judged: {lacks}"


def _again(path: Path, written: Mapping[str, Any]) -> dict[str, Any]:
    lines = read_lines(path / written["predictions"])
    ablated = {word: read_lines(path / place) for word, place in written.get("ablated", {}).items()}
    return judged_with_images(written["lock"]["task"], lines, ablated)


def _records(path: Path, place: str, written: Mapping[str, Any]) -> Iterator[Unequal]:
    """Yield a difference where the records on disk are not those that were judged."""
    file = path / "data" / f"{written['split']}.jsonl"
    locked = written.get("lock", {}).get("records")
    if isinstance(locked, str) and file.exists() and sha256_of(file) != locked:
        yield Unequal(f"{place}: SHA-256 of data/{file.name}", locked, sha256_of(file))


def _page(path: Path, again: str) -> Part:
    """Compare the text of the page; a page that is not there is a difference."""
    file = path / PAGE
    if not file.is_file():
        return Part(PAGE, 0, (Unequal(PAGE, "no page", "a page"),))
    pairs = zip(
        [*_text(file.read_text(encoding="utf-8")), "the end"], [*_text(again), "the end"], strict=False
    )
    for number, (one, other) in enumerate(pairs, start=1):
        if one != other:
            return Part(PAGE, 0, (Unequal(f"{PAGE}:{number}", *_around(one.strip(), other.strip())),))
    return Part(PAGE, 0, ())


def _around(one: str, other: str) -> tuple[str, str]:
    """Return two lines from a little before the place where they part: a whole table may be one line."""
    parts = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(0, parts - 20)
    return one[start:], other[start:]


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


def _short(value: Any) -> str:
    """Return a value on one line, cut where it is long."""
    text = value if isinstance(value, str) and value.startswith("none: ") else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST or text.startswith("none: ") else f"{text[: LONGEST - 3]}..."


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
