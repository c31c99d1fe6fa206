"""Every number of a report made again from the stored predictions, and compared with what is written.

Nothing is read but the run directory: the predictions, line by line, the events of the training, the plan.
No model, no network. Files that cannot be made again are held against their hashes (`runner.verify_files`).

What rests on something that is not equal is not held against it: a result whose predictions are gone is
one difference, and the table and the page that were made of it are not compared with what cannot be made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.judges.image_reliance import judged_with_images
from eval.report.card import render_card
from eval.report.page import render
from eval.report.plots import left_blank
from runner.files import read_json, sha256_of
from runner.judging.lines import read_lines
from runner.outputs import reading_run
from runner.reporting.card import card_of
from runner.reporting.page import page_of
from runner.reporting.record import RunRecord, beside_student, paired, read_run
from runner.spec.problems import RunnerError, UsageError
from runner.unequal import Unequal, count, unequal
from runner.verify_files import (
    Files,
    unequal_recordings,
    unequal_splits,
    unequal_weights,
    verified_files,
)

RESULTS, PAGE, CARD = "report/results.json", "report/report.html", "report/README.md"
JUDGED = ("baseline", "tuned", "teacher")
MADE_AGAIN = frozenset({RESULTS, PAGE, CARD, *(f"eval/{name}.json" for name in JUDGED)})
"""Files that are compared with what is made of the others."""
PICTURES = "its pictures: no hash of it was written down, and its text alone is made again"
MOST_NAMED = 5
Task = tuple[str, str]
"""Name and split."""
ADDED = ("lock", "predictions", "ablated")
"""What the stage adds to a judged result."""
_PICTURE = re.compile(r"data:image/[^\"')]*|<svg.*?</svg>", re.DOTALL)
"""Pictures are drawn from the same numbers, but not to the same bytes on every machine."""


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
    """What was made again or hashed, and what of it differs."""

    run: str
    parts: tuple[Part, ...]
    files: Files

    @property
    def equal(self) -> bool:
        """Whether everything is as it is written."""
        return not self.unequal

    @property
    def unequal(self) -> tuple[Unequal, ...]:
        """All that differs."""
        return tuple(item for part in self.parts for item in part.unequal) + self.files.unequal

    @property
    def numbers(self) -> int:
        """How many numbers were made again."""
        return sum(part.numbers for part in self.parts)


def verify(path: Path) -> Verification:
    """Make every number of the run at `path` again, and hold every other file against what is known of it.

    Raises:
        UsageError: the run has no report yet.
        MachineError: a file is damaged, and no hash of it is known that it could be held against; names it.
    """
    if not (path / RESULTS).is_file():
        raise UsageError(f"{path} has no report: there is nothing to verify\n  runner report {path}")
    files = verified_files(path, MADE_AGAIN)
    try:
        with reading_run(path), left_blank():
            parts = _parts(path)
    except RunnerError:
        if not files.unequal:
            raise
        # A file without which nothing can be made again is among those that were changed: that is the answer.
        parts = (Part(RESULTS, 0, (), tuple(item.place for item in files.unequal[:MOST_NAMED])),)
    known = {item.place.partition(":")[0] for part in parts for item in part.unequal}
    # Where it is known what in a file differs, its hash says nothing more.
    others = tuple(item for item in files.unequal if item.place not in known)
    unseen = dict(files.not_looked_at)
    if PAGE not in {*files.equal, *known, *(item.place for item in others)}:
        unseen[PICTURES] = (PAGE,)
    return Verification(str(path), parts, replace(files, unequal=others, not_looked_at=unseen))


def _parts(path: Path) -> tuple[Part, ...]:
    record = read_run(path)
    every = [_judged_again(path, name) for name in JUDGED]
    parts = [judged.part for judged in every if judged.part is not None]
    broken = tuple(part.file for part in parts if part.unequal)
    if splits := tuple(unequal_splits(path, record.manifest)):
        parts.append(Part("data/manifest.json", 0, splits))
    baseline, after, teacher = (judged.again for judged in every)
    tuned = paired(path, baseline, after)
    made = replace(record, baseline=baseline, tuned=tuned, teacher=beside_student(path, teacher, tuned))
    parts.append(_results(path, (made, record), set().union(*(judged.broken for judged in every)), broken))
    if broken:
        parts += [Part(name, 0, (), broken) for name in (CARD, PAGE)]
    else:
        parts.append(_text_part(path, CARD, render_card(card_of(made))))
        parts.append(_text_part(path, PAGE, render(page_of(made))))
    return tuple(parts)


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
    found = list(unequal(RESULTS, written, made))
    if broken:
        excused = {
            f"{RESULTS}: table[{number}]: difference_interval"
            for number, row in enumerate(written["table"])
            if (row["task"], row["split"]) in broken
        }
        own = {item.place for item in unequal(RESULTS, written, as_written)}
        found = [item for item in found if item.place in own and not _within(item.place, excused)]
    return Part(RESULTS, count(written), tuple(found), files)


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
    again, broken, numbers = [], set(), 0
    value = read_json(file)
    every = [*unequal_weights(path, name, value), *unequal_recordings(path, name, value["results"])]
    for written in value["results"]:
        place = f"eval/{name}.json: {written['name']} ({written['split']})"
        plain = {key: value for key, value in written.items() if key not in ADDED}
        numbers += count(plain)
        try:
            made, differing = _again(path, written), []
        except (RunnerError, ValueError, KeyError, TypeError) as error:
            made, differing = plain, [Unequal(place, "a result", _why_none(written, error))]
        differing += [*_records(path, place, written), *unequal(place, plain, made)]
        if differing:
            broken.add((written["name"], written["split"]))
        every += differing
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


def _text_part(path: Path, name: str, again: str) -> Part:
    """Compare the text of the page or the card; one that is not there is a difference."""
    file = path / name
    if not file.is_file():
        return Part(name, 0, (Unequal(name, "no file", "a file"),))
    text = file.read_text(encoding="utf-8", errors="replace")
    pairs = zip([*_text(text), "the end"], [*_text(again), "the end"], strict=False)
    for number, (one, other) in enumerate(pairs, start=1):
        if one != other:
            return Part(name, 0, (Unequal(f"{name}:{number}", *_around(one.strip(), other.strip())),))
    return Part(name, 0, ())


def _around(one: str, other: str) -> tuple[str, str]:
    """Return two lines from a little before the place where they part: a whole table may be one line."""
    parts = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(0, parts - 20)
    return one[start:], other[start:]


def _text(page: str) -> list[str]:
    return _PICTURE.sub("", page).splitlines()
