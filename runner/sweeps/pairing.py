"""Two arms of a sweep, paired record by record: over all records, or over those that both were judged on.

Pairing needs the same task, judged in the same way. What an arm sets about the judging itself (how many leads the
model is given, the number format) does not unpair two arms; where the arms have other test records, because one
leaves a source out, those that both have are paired. Both are said. Anything else that differs is an obstacle. What
is said of several tasks in the same words is said once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.judges import judge
from eval.lock import Difference, lock_differences
from runner.judging.lines import read_lines
from runner.reporting.compare import Key
from runner.reporting.record import RunRecord
from runner.spec.problems import RunnerError

OF_THE_ARM = ("attention", "precision", "signal.leads_seen")
"""Parts of an evaluation lock that an arm may set: the same records are judged, by another model in another way."""
OF_THE_RECORDS = ("records", "validation_records")
"""Parts that say which records were judged."""

TOKENIZER = "tokenizer"
"""The part of an evaluation lock that no two arms of a rehearsal share where they are trained on other records."""
_SHA256 = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """One of the two arms."""

    name: str
    path: Path
    """Its run directory."""
    record: RunRecord

    def results(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Return the results after training that have a lock, by task and split."""
        return {(r["name"], r["split"]): r for r in self.record.tuned if "lock" in r and "name" in r}


@dataclass(frozen=True)
class Note:
    """What must be said of two arms in one task."""

    task: str
    split: str
    arms: str
    """Both, and how they stand to each other: `half was judged otherwise than control`."""
    why: str
    obstacles: tuple[str, ...] = ()
    """Parts of the evaluation lock for which the two cannot be paired."""


@dataclass
class Pairing:
    """What two arms tell together."""

    changes: dict[Key, Mapping[str, float | None]] = field(default_factory=dict)
    """Metric -> the other minus the first, with the ends of its interval."""
    narrow: set[tuple[str, str]] = field(default_factory=set)
    """Tasks, with their split, whose paired records are of too few groups."""
    notes: list[Note] = field(default_factory=list)


def pair(first: Side, other: Side) -> Pairing:
    """Return the paired differences of every task that both arms were judged by, `other` minus `first`."""
    found, results = Pairing(), other.results()
    for key, before in first.results().items():
        if key in results:
            _add(found, key, (first, before), (other, results[key]))
    return found


def notes_in_words(notes: Iterable[Note]) -> Iterator[str]:
    """Yield a line for each thing that is to be said, with the tasks of which it is.

    >>> from dataclasses import replace
    >>> one = Note("rouge", "test", "long and control cannot be paired", "context: 64 and 128")
    >>> list(notes_in_words([one]))
    ['rouge (test): long and control cannot be paired: context: 64 and 128']
    >>> list(notes_in_words([one, replace(one, task="judge")]))
    ['long and control cannot be paired in 2 tasks: context: 64 and 128 (test: rouge, judge)']
    """
    alike: dict[tuple[str, str], dict[tuple[str, str], None]] = {}
    for note in notes:
        alike.setdefault((note.arms, note.why), {})[note.task, note.split] = None
    for (arms, why), found in alike.items():
        if len(found) == 1:
            ((task, split),) = found
            yield f"{task} ({split}): {arms}: {why}"
            continue
        splits: dict[str, list[str]] = {}
        for task, split in found:
            splits.setdefault(split, []).append(task)
        named = "; ".join(f"{split}: {', '.join(tasks)}" for split, tasks in splits.items())
        yield f"{arms} in {len(found)} tasks: {why} ({named})"


def _add(
    found: Pairing,
    key: tuple[str, str],
    first: tuple[Side, Mapping[str, Any]],
    other: tuple[Side, Mapping[str, Any]],
) -> None:
    """Add the differences of one task, or the note why there are none."""
    (one, before), (two, after) = first, other
    unpaired = f"{two.name} and {one.name} cannot be paired"
    without = [(side.name, result["not_judged"]) for side, result in (first, other) if "not_judged" in result]
    if without:
        found.notes.extend(Note(*key, f"{name} was not judged", why) for name, why in without)
        return
    unequal = lock_differences(before["lock"], after["lock"])
    obstacles = [item for item in unequal if not _is_of(item, (*OF_THE_ARM, *OF_THE_RECORDS))]
    if obstacles:
        found.notes.append(Note(*key, unpaired, _told(obstacles), tuple(item.path for item in obstacles)))
        return
    if otherwise := [item for item in unequal if _is_of(item, OF_THE_ARM)]:
        found.notes.append(Note(*key, f"{two.name} was judged otherwise than {one.name}", _told(otherwise)))
    try:
        lines: list[Sequence[Line]]
        lines = [read_lines(side.path / result["predictions"]) for side, result in (first, other)]
        if any(_is_of(item, OF_THE_RECORDS) for item in unequal):
            lines = list(_in_common(*lines))
            judged = sum(line.get("split", key[1]) == key[1] for line in lines[0])
            found.notes.append(
                Note(
                    *key,
                    f"{two.name} and {one.name} have other test records",
                    f"paired over the {judged} that both have",
                )
            )
            if not judged:
                return
            if judge(after["task"]).judged(after["lock"]["task"], lines[0]).get("narrow"):
                found.narrow.add(key)
        changes = judge(after["task"]).differences(after["lock"]["task"], *lines)
    except (ValueError, RunnerError) as error:
        found.notes.append(Note(*key, unpaired, str(error)))
        return
    except (KeyError, TypeError) as error:
        found.notes.append(Note(*key, unpaired, f"a stored prediction lacks {error}"))
        return
    for metric, change in changes.items():
        found.changes[metric, key[1], key[0]] = change


def _told(items: Sequence[Difference]) -> str:
    """Return where two locks differ, a SHA-256 by its first eight digits."""
    return _SHA256.sub(r"\1", "; ".join(map(str, items)))


def _is_of(item: Difference, parts: Sequence[str]) -> bool:
    return any(item.path == part or item.path.startswith(f"{part}.") for part in parts)


def _in_common(one: Sequence[Line], other: Sequence[Line]) -> Iterator[list[Line]]:
    """Yield both sides' lines of the records that both have, in the order of the first."""
    there = {line["id"]: line for line in other}
    kept = [line for line in one if line["id"] in there]
    yield kept
    yield [there[line["id"]] for line in kept]
