"""Who is trained on, who is chosen by, who is tested on: patients, never recordings, balanced over many labels.

The stratification is the iterative one of Sechidis, Tsoumakas and Vlahavas, On the stratification of multi-label
data (ECML PKDD 2011), here over groups: all recordings of a patient are placed as one. It is written out here
because the libraries that have it cannot: scikit-multilearn draws from NumPy's global generator and knows no
groups, iterative-stratification knows no groups, and neither has been kept up for years.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.spec.problems import DataError

IntArray: TypeAlias = NDArray[np.integer[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]
SIDES = ("train", "validation", "test")
MAX_NAMED = 10
MAKES_BETTER = "can stand in training and in the test, which makes results look better than they are"
LABELLED_TO_TRAIN = 0.8
"""Of the labelled part, what is trained on; the rest chooses the epoch and the thresholds (FUSION 1.2)."""


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of a set, by side, each sorted; `unused` are on no side."""

    sides: Mapping[str, IntArray]
    unused: IntArray
    rule: str
    """How it was made, in words."""
    seed: int | None
    warnings: tuple[str, ...] = ()

    def as_json(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the split by ids of recordings, with the digest of the same."""
        named = {side: [ids[row] for row in rows] for side, rows in self.sides.items()}
        return {
            "rule": self.rule,
            "seed": self.seed,
            "warnings": list(self.warnings),
            "counts": {side: len(rows) for side, rows in self.sides.items()} | {"unused": len(self.unused)},
            "digest": digest(named),
            "ids": named,
        }


def digest(named: Mapping[str, Sequence[str]]) -> str:
    """Return the SHA-256 of which recording is on which side."""
    return hashlib.sha256(json.dumps(named, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------ rules


def stratified(
    labels: BoolArray, groups: Sequence[Hashable], ratios: Mapping[str, float], seed: int
) -> Split:
    """Split by groups, each side with its share of every label.

    Args:
        labels: shape (record, class).
        groups: whose each recording is; equal means never apart.
        ratios: share of each of `SIDES`; they sum to 1.
        seed: of a generator of its own; the answer depends on nothing else that is random.

    Raises:
        DataError: lengths differ, no recording, ratios that do not sum to 1, or fewer groups than sides.
    """
    _checked(labels, groups)
    shares = [float(ratios.get(side, 0.0)) for side in SIDES]
    if set(ratios) - set(SIDES) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise DataError(f"split: expected shares of {', '.join(SIDES)} that sum to 1, got {dict(ratios)}")
    placed = no_side_empty(
        iterative(labels, groups, shares, np.random.default_rng(seed)), labels, groups, shares
    )
    split = _split(placed, f"by patient, {_percent(shares)}", seed)
    _require_sides(split, shares, f"{len(set(groups))} patients")
    return split


def _require_sides(split: Split, shares: Sequence[float], counted: str) -> None:
    empty = [side for side, share in zip(SIDES, shares, strict=True) if share and not len(split.sides[side])]
    if empty:
        raise DataError(
            f"split: no patient is left for {', '.join(empty)}: {counted}, {_percent(shares)}\n"
            "  take more recordings: each side needs one at least"
        )


def few_labels(labels: BoolArray, groups: Sequence[Hashable], label_ratio: float, seed: int) -> Split:
    """The published sizes, by patient: of the labelled part 80 % trains and 20 % validates, the rest is the test.

    `label_ratio` 0.10 gives 8 % / 2 % / 90 %.
    """
    _checked_ratio(label_ratio)
    ratios = dict(zip(SIDES, _upstream_shares(label_ratio), strict=True))
    split = stratified(labels, groups, ratios, seed)
    return replace(split, rule=f"{split.rule} (finetune_label_ratio {label_ratio:g})")


def record_wise(
    labels: BoolArray, label_ratio: float, seed: int, groups: Sequence[Hashable] | None = None
) -> Split:
    """The split of the upstream code: recordings, not patients. Only for comparison with its figures.

    `groups` is used for nothing but the warning, which says how many patients stand on several sides.
    """
    _checked_ratio(label_ratio)
    shares = _upstream_shares(label_ratio)
    alone = range(len(labels))
    placed = no_side_empty(
        iterative(labels, alone, shares, np.random.default_rng(seed)), labels, alone, shares
    )
    split = _split(placed, f"by recording, as upstream, {_percent(shares)}", seed)
    _require_sides(split, shares, f"{len(labels)} recordings")
    warning = f"split by recording, as upstream: a patient's recordings {MAKES_BETTER}"
    if groups is not None:
        crossed = crossing(split, groups)
        warning += f"; {len(crossed)} of {len(set(groups))} patients do here"
    return replace(split, warnings=(warning,))


def by_fold(
    folds: Sequence[int | None],
    groups: Sequence[Hashable],
    sides: Mapping[str, Sequence[int]],
) -> Split:
    """The folds that a set is published with, such as 1 to 8, 9 and 10 of PTB-XL.

    Raises:
        DataError: a fold on two sides or on none in the set, a side left empty, a patient on two sides.
    """
    wanted = [(fold, side) for side, numbers in sides.items() for fold in numbers]
    twice = sorted(fold for fold, count in Counter(fold for fold, _ in wanted).items() if count > 1)
    unknown = sorted({fold for fold, _ in wanted} - set(folds))
    if twice or unknown or set(sides) - set(SIDES):
        what = (
            f"fold {twice[0]} is on two sides"
            if twice
            else f"there is no fold {unknown[0]}"
            if unknown
            else ""
        )
        known = ", ".join(str(fold) for fold in sorted({fold for fold in folds if fold is not None}))
        raise DataError(f"split: {what or f'sides are {SIDES}'}; folds of the set: {known}")
    side_of = dict(wanted)
    placed = np.array([SIDES.index(side_of[fold]) if fold in side_of else -1 for fold in folds])
    spelt = "; ".join(f"{side} {', '.join(map(str, numbers))}" for side, numbers in sides.items())
    split = _split(placed, f"by published folds: {spelt}", None)
    if empty := [side for side in sides if not len(split.sides[side])]:
        raise DataError(f"split: {', '.join(empty)} is empty")
    require_apart(split, groups)
    return split


def thinned(
    split: Split, labels: BoolArray, groups: Sequence[Hashable], label_ratio: float, seed: int
) -> Split:
    """Keep the share `label_ratio` of the training patients, stratified; the others become unused."""
    _checked_ratio(label_ratio)
    train = split.sides["train"]
    if label_ratio == 1:
        return split
    rng = np.random.default_rng(seed)
    own = [groups[row] for row in train]
    placed = iterative(labels[train], own, (label_ratio, 1 - label_ratio), rng)
    placed = no_side_empty(placed, labels[train], own, (label_ratio, 0))  # that none is left over is no fault
    kept, left = train[placed == 0], train[placed == 1]
    if not len(kept):
        raise DataError(f"split: a finetune_label_ratio of {label_ratio:g} leaves nothing to train on")
    return replace(
        split,
        sides=MappingProxyType({**split.sides, "train": kept}),
        unused=np.sort(np.concatenate([split.unused, left])),
        rule=f"{split.rule}; {label_ratio:g} of the training patients",
        seed=seed,
    )


def known_patients(split: Split, patients: Sequence[str | None]) -> Split:
    """Return `split` with a warning where recordings on its sides name no patient: of these nothing is proven.

    A split by recording has its warning already.
    """
    used = np.concatenate(list(split.sides.values()))
    unknown = sum(patients[row] is None for row in used)
    if not unknown or split.warnings:
        return split
    warning = (
        f"{unknown} of {len(used)} recordings name no patient and are split each by itself: recordings of one "
        f"patient {MAKES_BETTER}"
    )
    return replace(split, warnings=(warning,))


def _upstream_shares(label_ratio: float) -> tuple[float, float, float]:
    return LABELLED_TO_TRAIN * label_ratio, (1 - LABELLED_TO_TRAIN) * label_ratio, 1 - label_ratio


# ---------------------------------------------------------------------------------- the stratification


def iterative(
    labels: BoolArray, groups: Sequence[Hashable], shares: Sequence[float], rng: np.random.Generator
) -> IntArray:
    """Return the number of the part that each recording falls into, shape (record,).

    The label with the fewest unplaced recordings goes first; each group that has it goes to the part that wants
    that label most, of equal ones to the part that wants recordings most, then by chance. Groups without a label
    go last, to the part that wants recordings most. Within a label the order is by chance: with large groups
    first, small parts would be filled at the end, with patients of one recording only.
    """
    names = sorted(dict.fromkeys(groups), key=str)
    number = {name: place for place, name in enumerate(names)}
    member = np.array([number[group] for group in groups])
    counts = np.zeros((len(names), labels.shape[1] + 1))  # last column: recordings
    np.add.at(counts, member, np.column_stack([labels, np.ones(len(labels), dtype=bool)]))
    wanted = np.outer(shares, counts.sum(axis=0))
    # A part without a share wants 0 for ever, and would win over parts that have more than they want.
    open_parts = np.flatnonzero(np.asarray(shares) > 0)
    order = rng.permutation(len(names))
    tie = rng.permuted(np.tile(np.arange(len(shares)), (len(names), 1)), axis=1)
    placed = np.full(len(names), -1)
    left = counts[:, :-1].sum(axis=0)
    while (left > 0).any():
        label = int(np.where(left > 0, left, np.inf).argmin())
        for group in order[(placed[order] < 0) & (counts[order, label] > 0)]:
            _place(int(group), label, placed, wanted, counts, tie, open_parts)
            left -= counts[group, :-1]
    for group in order[placed[order] < 0]:
        _place(int(group), counts.shape[1] - 1, placed, wanted, counts, tie, open_parts)
    of_record: IntArray = placed[member]
    return of_record


def no_side_empty(
    placed: IntArray, labels: BoolArray, groups: Sequence[Hashable], shares: Sequence[float]
) -> IntArray:
    """Return `placed` with every part that has a share filled where it came out empty and groups can be spared.

    Of few recordings with many labels the largest part wants each of them most. An empty part then gets its share,
    rounded, of at least one recording: whole groups of the part that has most above its own share, first those that are no
    part's last positive of a label, then the smallest. A part with a share is never emptied for another.

    Args:
        placed: the number of the part of each recording, as `iterative` gives it; left alone.
        labels: shape (record, class).
        groups: whose each recording is.
        shares: of each part.
    """
    placed = placed.copy()
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    wanted = [share * len(placed) for share in shares]
    for part in (number for number, share in enumerate(shares) if share > 0 and not (placed == number).any()):
        while not (placed == part).any() or (placed == part).sum() < int(wanted[part] + 0.5):
            held = {number: int((placed == number).sum()) for number in range(len(shares)) if number != part}
            able = [
                number
                for number in held
                if len({group for group in members if placed[members[group][0]] == number})
                > (shares[number] > 0)
            ]
            giver = max(able, key=lambda number: held[number] - wanted[number], default=None)
            if giver is None or ((placed == part).any() and held[giver] <= wanted[giver]):
                break
            there = labels[placed == giver].sum(axis=0)
            moved = min(
                (group for group in members if placed[members[group][0]] == giver),
                key=lambda group: (
                    _last_ones(labels[members[group]].sum(axis=0), there),
                    len(members[group]),
                ),
            )
            placed[members[moved]] = part
    return placed


def _last_ones(brought: IntArray, there: IntArray) -> int:
    """Return how many labels would have no positive left."""
    return int(((brought > 0) & (brought == there)).sum())


def _place(
    group: int,
    column: int,
    placed: IntArray,
    wanted: NDArray[np.floating[Any]],
    counts: NDArray[np.floating[Any]],
    tie: IntArray,
    open_parts: IntArray,
) -> None:
    """Give `group` to the part that wants `column` most, and take what it brings from that part's wants."""
    part = max(
        open_parts,
        key=lambda one: (round(wanted[one, column], 9), round(wanted[one, -1], 9), tie[group, one]),
    )
    placed[group] = part
    wanted[part] -= counts[group]


# ------------------------------------------------------------------------------------------------ proofs


def crossing(split: Split, groups: Sequence[Hashable]) -> dict[Hashable, tuple[str, ...]]:
    """Return the groups that stand on several sides, and which; empty is what a split should give."""
    where: dict[Hashable, list[str]] = {}
    for side, rows in split.sides.items():
        for group in {groups[row] for row in rows}:
            where.setdefault(group, []).append(side)
    return {group: tuple(sides) for group, sides in where.items() if len(sides) > 1}


def require_apart(split: Split, groups: Sequence[Hashable]) -> None:
    """Refuse a split in which a patient, or two copies of one recording, stand on two sides.

    Raises:
        DataError: names the first of them.
    """
    crossed = crossing(split, groups)
    if crossed:
        shown = sorted(crossed, key=str)[:MAX_NAMED]
        named = "; ".join(f"{group} in {' and '.join(crossed[group])}" for group in shown)
        more = f"; and {len(crossed) - MAX_NAMED} more" if len(crossed) > MAX_NAMED else ""
        raise DataError(
            f"split ({split.rule}): {len(crossed)} patients stand on several sides: {named}{more}\n"
            "  split by patient, or give each patient's recordings one fold"
        )


def balance(split: Split, labels: BoolArray, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the positives of each class on each side: `{class: {side: count}}`."""
    return {
        name: {side: int(labels[rows, column].sum()) for side, rows in split.sides.items()}
        for column, name in enumerate(names)
    }


def require_positives(
    split: Split, labels: BoolArray, names: Sequence[str], missing_at_most: int = 0
) -> tuple[str, ...]:
    """Return the classes without a positive to train on, of which there may be `missing_at_most`.

    Such a class cannot be learnt: whoever allows some must name them beside the results.

    Raises:
        DataError: there are more; names them, with their positives elsewhere.
    """
    table = balance(split, labels, names)
    missing = tuple(name for name in names if not table[name]["train"])
    if len(missing) > missing_at_most:
        shown = "; ".join(
            f"{name} ({', '.join(f'{side} {count}' for side, count in table[name].items() if side != 'train')})"
            for name in missing[:MAX_NAMED]
        )
        raise DataError(
            f"split ({split.rule}): {len(missing)} of {len(names)} classes have no positive in training, at most "
            f"{missing_at_most} may: {shown}\n  take more recordings, leave these classes out, or raise the limit"
        )
    return missing


# ------------------------------------------------------------------------------------------------ checks


def _checked(labels: BoolArray, groups: Sequence[Hashable]) -> None:
    if labels.ndim != 2 or len(labels) != len(groups) or not len(labels):
        raise DataError(f"split: {len(groups)} groups for labels of the shape {labels.shape}")


def _checked_ratio(label_ratio: float) -> None:
    if not 0 < label_ratio <= 1:
        raise DataError(f"split: finetune_label_ratio is {label_ratio!r}; expected above 0, at most 1")


def _split(placed: IntArray, rule: str, seed: int | None) -> Split:
    sides = {side: np.flatnonzero(placed == number) for number, side in enumerate(SIDES)}
    return Split(MappingProxyType(sides), np.flatnonzero(placed < 0), rule, seed)


def _percent(shares: Sequence[float]) -> str:
    return " / ".join(f"{100 * share:g} %" for share in shares)
