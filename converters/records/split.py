"""Records -> train, validation and test, so that no group is on two sides; and the proof of it.

Pure. The order of groups, and of records within a split, is that of a hash of the seed and the name:
it does not depend on the order of the records, and a new group takes its place without moving others
in the order.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from converters.records.record import Record, fingerprint, normalise, ranked
from runner.spec.nearest import nearest
from runner.spec.sources import Split

SIDES = ("train", "validation", "test")
LEFT_OUT = "left out by split"
ATTEMPTS = 64
"""Orders that are tried before a split into exact counts is given up; the first nearly always does."""

Parts = Mapping[str, Sequence[Record]]


class SplitError(ValueError):
    """The records cannot be divided as asked; the message gives the numbers and what to do."""


@dataclass(frozen=True)
class Divided:
    """The three splits, shuffled, and the records that no split took."""

    parts: Mapping[str, tuple[Record, ...]]
    left_out: tuple[Record, ...]


def key_of(record: Record, by: str) -> str | None:
    """Return what must not be on two sides of a split `by` this word; None where the record has none.

    A question or focus counts as the same however it is capitalised, spaced and ended.
    """
    if by == "record":
        return record["id"]
    if by == "question":
        return normalise(record["question"])
    if by == "focus":
        return normalise(record["focus"]) if record["focus"] else None
    if by == "group":
        return record["group"]
    if by == "features":
        return features_key(record)
    return record.get("split")


def features_key(record: Record) -> str | None:
    """Return the record's features as one text, equal for equal rows of a table; None where it has none."""
    features = record.get("features")
    return None if features is None else json.dumps(features, sort_keys=True)


def divide(records: Sequence[Record], split: Split) -> Divided:
    """Divide `records` as `split` says.

    Counts are met exactly: whole groups are taken in the seed's order as long as they fit, and where
    none fits, a part of one; the rest of that group is left out, never put on another side. Ratios are
    shares of all records and nothing is left out: validation and test get whole groups up to their
    share, train the rest. Records with equal messages stay together whatever the key. With `given`,
    counts cut each side to size, and ratios are not used.

    Raises:
        SplitError: too few records, no training records, or records without the key.
    """
    if split.by == "given":
        return _given(records, split)
    clusters = _clusters(records, split)
    by_what = _by_counts if _are_counts(split) else _by_ratios
    sides = by_what(clusters, split)
    return _shuffled(records, sides, split.seed)


def cut(parts: Parts, at_most: Mapping[str, int]) -> Divided:
    """Return the first records of each split, at most so many, and the others as left out."""
    kept = {side: tuple(rows[: at_most.get(side, len(rows))]) for side, rows in parts.items()}
    left = [row for side, rows in parts.items() for row in rows[len(kept[side]) :]]
    return Divided(kept, tuple(left))


def prove(parts: Parts, split: Split) -> dict[str, Any]:
    """Count, from the finished splits, what stands on two sides.

    Returns:
        `groups`: groups per side, of the key used. `crossing`, `crossing_duplicates`: keys, and
        records with equal messages, on two sides; 0 unless the source itself gives the split.
        `shared_questions`: for each two sides the number of questions that both have, compared as
        `normalise` does; about an image, the same question about one of the same name. `without_key`: records without
        the key, kept together by their group. `images`: records with images.
        Of a split by something else than the group, `own_groups`: groups (patients, documents) that records name, and
        `crossing_groups`, where there are any: those that the split tore apart.
        `features`, of tables alone: records whose features an earlier one has (`repeated`), rows of
        features that stand with more than one label, the records of these, and for each two sides the
        rows of features that both have.
    """
    by = split.by
    keys = {side: {_key_or_group(record, by) for record in rows} for side, rows in parts.items()}
    digests = {side: {fingerprint(record) for record in rows} for side, rows in parts.items()}
    questions = {side: {_asked(record) for record in rows} for side, rows in parts.items()}
    pairs = list(combinations(parts, 2))
    rows_of_a_table = _features(parts)
    own = {
        side: {record["group"] for record in rows if record["group"] != record["id"]}
        for side, rows in parts.items()
    }
    torn = len(set().union(*(own[a] & own[b] for a, b in pairs))) if by != "group" else 0
    with_images = sum(bool(record.get("images")) for rows in parts.values() for record in rows)
    return {
        "by": by,
        "seed": split.seed,
        "groups": {side: len(values) for side, values in keys.items()},
        "crossing": len(set().union(*(keys[a] & keys[b] for a, b in pairs))),
        "crossing_duplicates": len(set().union(*(digests[a] & digests[b] for a, b in pairs))),
        "shared_questions": {f"{a}, {b}": len(questions[a] & questions[b]) for a, b in pairs},
        "without_key": sum(key_of(record, by) is None for rows in parts.values() for record in rows),
        **({"images": with_images} if with_images else {}),
        **({"own_groups": len(set().union(*own.values()))} if by != "group" else {}),
        **({"crossing_groups": torn} if torn else {}),
        **({"features": rows_of_a_table} if rows_of_a_table else {}),
    }


def _asked(record: Record) -> str:
    return "\0".join((normalise(record["question"]), *record.get("images", ())))


def _features(parts: Parts) -> dict[str, Any] | None:
    """Return what equal rows of a table there are, and on which sides; None where no record has features."""
    labels: dict[str, set[str]] = defaultdict(set)
    keys: dict[str, list[str]] = {side: [] for side in parts}
    for side, rows in parts.items():
        for record in rows:
            if (key := features_key(record)) is not None:
                keys[side].append(key)
                labels[key].add(record.get("label") or "")
    if not labels:
        return None
    both = {key for key, found in labels.items() if len(found) > 1}
    held = {side: set(values) for side, values in keys.items()}
    return {
        "repeated": sum(map(len, keys.values())) - len(labels),
        "with_several_labels": len(both),
        "records_with_several_labels": sum(key in both for values in keys.values() for key in values),
        "shared": {f"{a}, {b}": len(held[a] & held[b]) for a, b in combinations(parts, 2)},
    }


# ------------------------------------------------------------------------------------------- clusters


def _key_or_group(record: Record, by: str) -> str:
    key = key_of(record, by)
    return f"group\0{record['group']}" if key is None else f"key\0{key}"


def _clusters(records: Sequence[Record], split: Split) -> dict[str, list[str]]:
    """Return cluster -> record ids: records of one key, and of keys that share an equal record."""
    by = split.by
    if records and all(key_of(record, by) is None for record in records):
        raise SplitError(
            f"data.split.by is {by}, but no record has a {by}\n  split by question, group or record"
        )
    if by == "group" and records and all(record["group"] == record["id"] for record in records):
        raise SplitError(
            "data.split.by is group, but no record has a group of its own\n"
            "  give the records a group, or split by record or question"
        )
    find, join = _union()
    first_with: dict[bytes, str] = {}
    for record in records:
        key = _key_or_group(record, by)
        join(key, first_with.setdefault(fingerprint(record), key))
    clusters: dict[str, list[str]] = defaultdict(list)
    for record in records:
        clusters[find(_key_or_group(record, by))].append(record["id"])
    return clusters


def _union() -> tuple[Callable[[str], str], Callable[[str, str], None]]:
    """Return find and join of disjoint sets; a set is named by its smallest member."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        root = name
        while (above := parent.setdefault(root, root)) != root:
            root = above
        while (above := parent[name]) != root:
            parent[name], name = root, above
        return root

    def join(a: str, b: str) -> None:
        low, high = sorted((find(a), find(b)))
        parent[high] = low

    return find, join


# --------------------------------------------------------------------------------------------- counts


def _are_counts(split: Split) -> bool:
    return all(isinstance(getattr(split, side), int) for side in SIDES)


def _counts(split: Split) -> dict[str, int]:
    return {side: int(getattr(split, side)) for side in SIDES}


def _by_counts(clusters: Mapping[str, list[str]], split: Split) -> dict[str, list[str]]:
    counts = _counts(split)
    total, wanted = sum(map(len, clusters.values())), sum(counts.values())
    asked = f"data.split wants {' + '.join(str(counts[side]) for side in SIDES)} = {wanted} records (train, validation, test)"
    if total < wanted:
        raise SplitError(
            f"{asked}; there are {total} in {_groups(clusters, split)}\n"
            "  lower the counts, or write ratios (0.8, 0.1, 0.1)"
        )
    for attempt in range(ATTEMPTS):
        sides = _filled(clusters, counts, split.seed if attempt == 0 else f"{split.seed}+{attempt}")
        if sides is not None:
            return sides
    largest = max(map(len, clusters.values()))
    raise SplitError(
        f"{asked}; there are {total} in {_groups(clusters, split)}, the largest of {largest}, "
        "which no order tried divides without breaking a group over two sides\n"
        "  lower the counts, or write ratios (0.8, 0.1, 0.1)"
    )


def _groups(clusters: Mapping[str, list[str]], split: Split) -> str:
    """Return how many groups there are, and by what they were made where that is not their own word."""
    count = f"{len(clusters)} group{'' if len(clusters) == 1 else 's'}"
    return count if split.by == "group" else f"{count} by {split.by}"


def _filled(
    clusters: Mapping[str, list[str]], counts: Mapping[str, int], seed: int | str
) -> dict[str, list[str]] | None:
    """Return the sides filled to exactly `counts`, or None when this order runs out of groups."""
    waiting = ranked(clusters, seed)
    sides: dict[str, list[str]] = {}
    for side in SIDES:
        sides[side], waiting = _whole(clusters, waiting, counts[side])
        room = counts[side] - len(sides[side])
        if room and not waiting:
            return None
        if room:
            members = clusters[waiting.pop(0)]
            sides[side] += ranked(members, seed)[:room]
    return sides


def _whole(
    clusters: Mapping[str, list[str]], waiting: Sequence[str], room: int, groups: int | None = None
) -> tuple[list[str], list[str]]:
    """Return the records of the groups that fit into `room`, first come first served, and the other groups.

    At most `groups` groups are taken, where it is given.
    """
    taken: list[str] = []
    others: list[str] = []
    used = 0
    for number, name in enumerate(waiting):
        if len(taken) == room or used == groups:
            others += waiting[number:]
            break
        if len(taken) + len(clusters[name]) <= room:
            taken += clusters[name]
            used += 1
        else:
            others.append(name)
    return taken, others


# --------------------------------------------------------------------------------------------- ratios


def _by_ratios(clusters: Mapping[str, list[str]], split: Split) -> dict[str, list[str]]:
    total = sum(map(len, clusters.values()))
    waiting = ranked(clusters, split.seed)
    sides: dict[str, list[str]] = {"validation": [], "test": []}
    wanted = [side for side in sides if getattr(split, side)]
    for number, side in enumerate(wanted):
        ratio, later = getattr(split, side), len(wanted) - number  # sides still to come, train among them
        room = max(1, int(ratio * total + 0.5))
        sides[side], waiting = _whole(clusters, waiting, room, max(0, len(waiting) - later))
        if not sides[side] and len(waiting) > later:  # every group is larger than the share
            smallest = min(waiting, key=lambda name: len(clusters[name]))
            waiting.remove(smallest)
            sides[side] = list(clusters[smallest])
        if not sides[side]:
            raise SplitError(
                f"data.split.{side} is {ratio} of {total} records, but of {_groups(clusters, split)} none is left "
                "for it\n  set it to 0, or split by something finer"
            )
    sides["train"] = [name for cluster in waiting for name in clusters[cluster]]
    if not sides["train"]:
        raise SplitError(
            f"data.split leaves no training records: {total} records in {_groups(clusters, split)}\n"
            "  give more records, or split by something finer"
        )
    return sides


# ---------------------------------------------------------------------------------------------- given


def _given(records: Sequence[Record], split: Split) -> Divided:
    wrong = [record for record in records if record.get("split") not in SIDES]
    if wrong:
        raise SplitError(
            f"data.split.by is given, but {len(wrong)} of {len(records)} records do not say "
            f"{', '.join(SIDES)}; {_wrong_splits(wrong)}\n  set `split` in them, or split by another key"
        )
    sides: dict[str, list[str]] = {side: [] for side in SIDES}
    for record in records:
        sides[record.get("split") or ""].append(record["id"])
    if _are_counts(split):
        counts = _counts(split)
        if any(len(sides[side]) < counts[side] for side in SIDES):
            have = " + ".join(str(len(sides[side])) for side in SIDES)
            want = " + ".join(str(counts[side]) for side in SIDES)
            raise SplitError(
                f"data.split wants {want} records (train, validation, test); the given splits have {have}\n"
                "  lower the counts, or write ratios to take all records"
            )
        sides = {side: ranked(names, split.seed)[: counts[side]] for side, names in sides.items()}
    if not sides["train"]:
        raise SplitError(
            "no record is given to train\n  set `split` to train in some, or split by another key"
        )
    return _shuffled(records, sides, split.seed)


def _wrong_splits(wrong: Sequence[Record]) -> str:
    values = Counter(record.get("split") for record in wrong)
    shown = []
    for value, count in values.most_common(5):
        near = nearest(value, SIDES) if value else None
        shown.append(f"{value!r} {count} times" + (f" (nearest: {near})" if near else ""))
    names = ", ".join(record["id"] for record in wrong[:5])
    return f"given: {', '.join(shown)}; first: {names}"


# ------------------------------------------------------------------------------------------ together


def _shuffled(records: Sequence[Record], sides: Mapping[str, list[str]], seed: int) -> Divided:
    by_id = {record["id"]: record for record in records}
    parts = {side: tuple(by_id[name] for name in ranked(sides[side], seed)) for side in SIDES}
    used = {name for names in sides.values() for name in names}
    left = sorted(name for name in by_id if name not in used)
    return Divided(parts, tuple(by_id[name] for name in left))
