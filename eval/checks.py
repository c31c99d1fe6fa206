"""What is refused before anything is averaged: one clear error for each kind of wrong input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Sized

import numpy as np

from eval.bootstrap import FloatArray, IntArray

_SHOWN = 5
"""Names in a message, at most."""


def check_lengths(**given: Sized) -> int:
    """Return the length that all of them have.

    Raises:
        ValueError: there is nothing, or the lengths differ; gives each length by name.

    >>> check_lengths(labels=["a", "b"], groups=["g", "g"])
    2
    """
    lengths = {name: len(value) for name, value in given.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"lengths differ: {counts}; nothing was judged")
    length = next(iter(lengths.values()))
    if length == 0:
        raise ValueError(f"no records to judge: {', '.join(lengths)} are empty")
    return length


def check_ids(labels: Sequence[str], predictions: Sequence[str]) -> None:
    """Check that labels and predictions are of the same records, in the same order.

    Raises:
        ValueError: an id is missing, unknown or given twice, or the order differs; names the ids.
    """
    for what, ids in (("labels", labels), ("predictions", predictions)):
        twice = [name for name, count in Counter(ids).items() if count > 1]
        if twice:
            raise ValueError(f"{what}: {len(twice)} ids occur more than once: {_some(twice)}")
    missing = set(labels) - set(predictions)
    unknown = set(predictions) - set(labels)
    if missing or unknown:
        raise ValueError(
            f"{len(labels)} labels and {len(predictions)} predictions are not of the same records: "
            f"{len(missing)} without a prediction ({_some(sorted(missing))}), "
            f"{len(unknown)} without a label ({_some(sorted(unknown))})"
        )
    for place, (label, prediction) in enumerate(zip(labels, predictions, strict=True)):
        if label != prediction:
            raise ValueError(
                f"labels and predictions are in another order: record {place} is {label!r} and {prediction!r}"
            )


def check_classes(stated: Sequence[str], given: Sequence[str]) -> None:
    """Check that a class list is the stated one, in its order, since columns go by it.

    Raises:
        ValueError: they differ; gives both, or what is missing and what is new.
    """
    _check_distinct(stated)
    if list(stated) != list(given):
        missing = [name for name in stated if name not in given]
        new = [name for name in given if name not in stated]
        raise ValueError(
            f"the classes differ from the stated ones: {len(stated)} stated, {len(given)} given; "
            f"missing: {_some(missing)}; new: {_some(new)}"
            + ("" if missing or new else "; the same names in another order")
        )


def class_numbers(labels: Iterable[str], classes: Sequence[str], what: str) -> IntArray:
    """Return the place of each label in the class list, shape (record,).

    Raises:
        ValueError: a label is no stated class, or a class is stated twice; names them.
    """
    _check_distinct(classes)
    place = {name: number for number, name in enumerate(classes)}
    numbers = [place.get(label, -1) for label in labels]
    if -1 in numbers:
        unknown = sorted({str(label) for label in labels if label not in place})
        raise ValueError(
            f"{what}: {numbers.count(-1)} of {len(numbers)} are none of the stated classes: {_some(unknown)}; "
            f"stated: {_some(classes)}"
        )
    return np.array(numbers, dtype=np.int64)


def check_scores(scores: FloatArray, *, probabilities: bool) -> None:
    """Check that scores are numbers, and between 0 and 1 where they are probabilities.

    Raises:
        ValueError: a score is NaN, infinite or no probability; gives how many and the first place.
    """
    for wrong, problem in (
        (np.isnan(scores), "NaN"),
        (np.isinf(scores), "infinite"),
        (probabilities & ((scores < 0) | (scores > 1)), "outside 0 to 1"),
    ):
        if wrong.any():
            first = tuple(int(place) for place in np.argwhere(wrong)[0])
            raise ValueError(
                f"{int(wrong.sum())} of {scores.size} scores are {problem}, the first at record {first[0]}"
                + (f", class {first[1]}" if len(first) > 1 else "")
                + "; nothing was averaged over them"
            )


def _check_distinct(classes: Sequence[str]) -> None:
    if not classes or len(set(classes)) != len(classes):
        raise ValueError(f"expected classes that are stated once each, got {list(classes)}")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return (shown + (", ..." if len(names) > _SHOWN else "")) or "none"
