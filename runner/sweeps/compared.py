"""The arms of a sweep set side by side: each one's numbers, paired differences from the control, spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.report.cells import words
from eval.report.metrics import name_among, verdict
from runner.methods import PRESENT
from runner.reporting.compare import Key
from runner.reporting.record import RunRecord, read_run
from runner.sweeps.pairing import TOKENIZER, Note, Side, notes_in_words, pair

LEVEL = 0.95
SEEDS = (
    "The spread over seeds says how far a result moves when the same arm is trained again from another start, on the "
    "same test records. An interval of one run says how far it moves with the choice of test records. Neither holds "
    "the other, and a few seeds give a rough spread."
)
OWN_TOKENIZERS = (
    "In a rehearsal each arm trains a tokenizer on its own records, unless its spec names a local one, so that arms "
    "with other training records cannot be paired; real arms take the tokenizer of their model"
)
NOT_MEASURED = "not measured"
NOT_JUDGED = "not judged"
"""Of a task that found no records to judge; the notes say why."""
LABEL_LACKING = "not all labels occur in its records"
NO_LABEL_LACKING = "all labels occur in its records"


@dataclass(frozen=True)
class Member:
    """An arm that is done."""

    name: str
    base: str
    """The name without the seed."""
    seed: int | None
    path: Path
    """Its run directory."""


@dataclass(frozen=True)
class Change:
    """One metric of an arm minus that of another, on the same records."""

    arm: str
    minus: str
    key: Key
    value: float
    low: float | None
    high: float | None
    """Ends of the paired 95 % interval; None where the draws tell none."""
    narrow: bool
    """Whether the interval rests on too few groups to say anything."""

    @property
    def word(self) -> str:
        """What the interval says: better, worse, higher, lower, not different; empty where it says nothing."""
        return "" if self.narrow else verdict(self.key[0], self.low, self.high)

    @property
    def real(self) -> bool:
        """Whether the interval leaves out zero, and may be believed."""
        return self.word not in ("", "not different")


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds of one arm."""

    base: str
    key: Key
    values: tuple[float, ...]
    """One a seed."""
    differences: tuple[float, ...]
    """From the control of the same seed, where there is one; in no other case."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds, with n - 1."""
        return statistics.stdev(self.values)


@dataclass(frozen=True)
class ArmComparison:
    """What is known of the arms together."""

    members: tuple[Member, ...]
    records: tuple[RunRecord, ...]
    """Of the members, in their order."""
    controls: Mapping[str, str]
    """Base of an arm -> base of the arms that it is compared with."""
    rows: Mapping[str, Mapping[Key, Mapping[str, Any]]]
    """Arm -> metric -> row of its results; headlines of the judged tasks."""
    changes: tuple[Change, ...]
    spreads: tuple[Spread, ...]
    notes: tuple[str, ...]
    """What could not be paired, and why; what was judged otherwise."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """The metrics of all arms, in their order."""
        return tuple(dict.fromkeys(key for rows in self.rows.values() for key in rows))

    @property
    def rehearsal(self) -> bool:
        """Whether random models were judged."""
        return any(record.settings["rehearsal"] for record in self.records)

    def why_missing(self, arm: str, key: Key) -> str:
        """Return why an arm has no value of a metric that another arm has.

        A mean over labels exists where each label has a positive and a negative among the judged records; elsewhere
        the arm has the mean over the others, under the same name with `_present`.
        """
        (metric, *of), own = key, self.rows[arm]
        if (f"{metric}{PRESENT}", *of) in own:
            return LABEL_LACKING
        if any(metric.endswith(end) and (metric.removesuffix(end), *of) in own for end in (PRESENT, "_cinc")):
            return NO_LABEL_LACKING
        record = next(r for m, r in zip(self.members, self.records, strict=True) if m.name == arm)
        silent = {(r["split"], r.get("name")) for r in record.tuned if "not_judged" in r}
        return NOT_JUDGED if tuple(of) in silent else NOT_MEASURED

    def change(self, arm: str, key: Key) -> Change | None:
        """Return an arm's difference from its control, where it could be paired."""
        found = (item for item in self.changes if item.arm == arm and item.key == key)
        return next((item for item in found if self.from_control(item)), None)

    def from_control(self, change: Change) -> bool:
        """Return whether a difference is one from the arm's control, not that of another pair."""
        bases = {member.name: member.base for member in self.members}
        return self.controls.get(bases[change.arm]) == bases[change.minus]

    def findings(self) -> tuple[str, ...]:
        """Return one sentence an arm that could be paired with its control: in which metrics the two differ.

        An arm whose records are of too few groups, or whose draws tell no interval, is said to be undecided.
        """
        found = []
        for arm in dict.fromkeys(change.arm for change in self.changes if self.from_control(change)):
            own = [change for change in self.changes if change.arm == arm and self.from_control(change)]
            words: dict[str, list[str]] = {}
            for change in own:
                if change.real:
                    words.setdefault(change.word, []).append(metric_title(change.key, self.keys))
            told = "; ".join(f"{word} in {', '.join(titles)}" for word, titles in words.items())
            if not told:
                undecided = all(change.narrow or change.low is None for change in own)
                told = "undecided" if undecided else "in no metric beyond chance"
            found.append(f"{arm} against {own[0].minus}: {told}.")
        return tuple(found)

    def caution(self) -> str:
        """Return what must be said of that many comparisons at once; empty where there are none."""
        judged = [item for item in self.changes if item.low is not None and not item.narrow]
        if not judged:
            return ""
        real = sum(item.real for item in judged)
        chance = len(judged) * (1 - LEVEL)
        many = (
            ""
            if len(judged) == 1
            else (
                f"; were no arm different at all, about {chance:.1f} of so many would by chance alone. "
                "The intervals are not widened for being many: a difference that stands alone is a hint, not a finding"
            )
        )
        plural = "interval leaves" if real == 1 else "intervals leave"
        return f"{real} of {len(judged)} paired {LEVEL:.0%} {plural} out zero{many}."


def compare_arms(
    members: Sequence[Member], controls: Mapping[str, str], *, all_pairs: bool = False
) -> ArmComparison:
    """Return the arms side by side; differences are from each one's control, of the same seed where there are seeds.

    Args:
        members: the arms that are done, at least one.
        controls: base of an arm -> base of the arms that are subtracted from it.
        all_pairs: every arm minus every other too; each pair draws its own bootstrap, which takes its time.

    Raises:
        MachineError: a file of a run is damaged.
    """
    records = tuple(read_run(member.path) for member in members)
    rows = {member.name: _judged(record) for member, record in zip(members, records, strict=True)}
    sides = [Side(member.name, member.path, record) for member, record in zip(members, records, strict=True)]
    paired: list[Note] = []
    changes: list[Change] = []
    for one, other in _pairs(members, controls, all_pairs=all_pairs):
        changes += _changes(sides[one], sides[other], rows, paired)
    notes = [*notes_in_words(paired), *_of_other_labels(rows)]
    rehearsal = any(record.settings["rehearsal"] for record in records)
    if rehearsal and any(TOKENIZER in note.obstacles for note in paired):
        notes.append(OWN_TOKENIZERS)
    done = {member.base for member in members}
    for control in dict.fromkeys(controls.values()):
        if control not in done:
            notes.append(f"the control {control} is not done: there is nothing to compare its arms with")
    return ArmComparison(
        tuple(members),
        records,
        dict(controls),
        rows,
        tuple(changes),
        tuple(_spreads(members, rows, controls)),
        tuple(notes),
    )


def _judged(record: RunRecord) -> dict[Key, Mapping[str, Any]]:
    """Return the headline rows of the tasks; what the training itself tells is no result of judging."""
    return {
        (row["metric"], row["split"], row["task"]): row
        for row in record.results()["table"]
        if row["headline"] and row["task"] is not None and row["tuned"] is not None
    }


def _of_other_labels(rows: Mapping[str, Mapping[Key, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield a line for each task whose means are over all labels in some arms, and over fewer in others."""
    pairs = {
        (metric.removesuffix(PRESENT), *of)
        for own in rows.values()
        for metric, *of in own
        if metric.endswith(PRESENT)
    }
    for split, task in dict.fromkeys((split, task) for _, split, task in sorted(pairs)):
        means = [metric for metric, *of in pairs if of == [split, task]]
        whole = [arm for arm, own in rows.items() if any((metric, split, task) in own for metric in means)]
        lacking = [
            arm
            for arm, own in rows.items()
            if any((f"{metric}{PRESENT}", split, task) in own for metric in means)
        ]
        if whole and lacking:
            yield (
                f"{task} ({split}): a label is in none of the judged records of {', '.join(lacking)}, or in all of "
                "them: its means over labels are over the others, and stand in columns of their own. Values of "
                f"{', '.join(whole)} and of {', '.join(lacking)} are means over different labels; only paired "
                "differences are over the same ones"
            )


def _pairs(
    members: Sequence[Member], controls: Mapping[str, str], *, all_pairs: bool
) -> Iterator[tuple[int, int]]:
    """Yield (place of the one subtracted, place of the other): arms and their controls first."""
    known = set()
    for n, member in enumerate(members):
        of_control = [c for c, other in enumerate(members) if other.base == controls.get(member.base)]
        same = [c for c in of_control if members[c].seed == member.seed]
        if of_control:
            known.add(((same or of_control)[0], n))
            yield (same or of_control)[0], n
    if all_pairs:
        both = ((one, other) for other in range(len(members)) for one in range(other))
        yield from ((one, other) for one, other in both if known.isdisjoint({(one, other), (other, one)}))


def _changes(
    first: Side,
    other: Side,
    rows: Mapping[str, Mapping[Key, Mapping[str, Any]]],
    notes: list[Note],
) -> Iterator[Change]:
    """Yield the differences of the headline metrics of either arm, noting what stands in the way."""
    found = pair(first, other)
    notes += found.notes
    before, after = rows[first.name], rows[other.name]
    for key in dict.fromkeys((*after, *before)):
        change = found.changes.get(key, {})
        value = change.get("value")
        if value is not None:
            few = (key[2], key[1]) in found.narrow
            narrow = few or any(row.get(key, {}).get("narrow") for row in (before, after))
            yield Change(other.name, first.name, key, value, change.get("low"), change.get("high"), narrow)


def _spreads(
    members: Sequence[Member],
    rows: Mapping[str, Mapping[Key, Mapping[str, Any]]],
    controls: Mapping[str, str],
) -> Iterator[Spread]:
    """Yield every metric over the seeds of each arm that has several."""
    for base in dict.fromkeys(member.base for member in members):
        seeds = [member for member in members if member.base == base]
        control = controls.get(base)
        of_control = {member.seed: member.name for member in members if member.base == control}
        if len(seeds) < 2:
            continue
        for key in dict.fromkeys(key for member in seeds for key in rows[member.name]):
            having = [member for member in seeds if key in rows[member.name]]
            values = [rows[member.name][key]["tuned"] for member in having]
            beside = [(member.name, of_control.get(member.seed)) for member in having]
            differences = [
                rows[name][key]["tuned"] - rows[minus][key]["tuned"]
                for name, minus in beside
                if minus is not None and key in rows[minus]
            ]
            if len(values) > 1:
                yield Spread(base, key, tuple(values), tuple(differences))


def metric_title(key: Key, keys: Sequence[Key]) -> str:
    """Return how a metric is called among those of its task; the task before it where several give that metric."""
    metric, split, task = key
    shown = name_among(metric, {other[0] for other in keys if other[2] == task}).title
    several = len({other[2] for other in keys if other[:2] == (metric, split)}) > 1
    return f"{words(task)}: {shown}" if several and task else shown
