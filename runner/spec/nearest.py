"""The nearest of some names to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable


def distance(a: str, b: str, most: int | None = None) -> int:
    """Return the number of letters added, lost, changed or swapped with a neighbour (OSA distance).

    Where it is above `most`, some number above `most` is returned, and sooner.

    >>> distance("learning_rte", "learning_rate"), distance("yb", "by")
    (1, 1)
    """
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        before, row, last = row, [i], before
        for j, other in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if most is not None and min(row) > most and min(before) > most:
            return most + 1
    return row[-1]


MAX_LETTERS = 60
"""A longer word is no slip of another."""


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name nearest to `word`, if it is near enough to be a slip: a third of its letters.

    Letter case, `-` and `_` do not count. Of two equally near names the first wins.

    >>> nearest("cosin", ["constant", "cosine", "linear"]), nearest("zebra", ["cosine"])
    ('cosine', None)
    """
    if len(word) > MAX_LETTERS:
        return None
    plain, best, found = _plain(word), 0, None
    for name in names:
        other = _plain(name)
        limit = max(1, min(len(plain), len(other)) // 3)
        if abs(len(plain) - len(other)) > limit:  # at least so many letters are added or lost
            continue
        gap = distance(plain, other, limit)
        if gap <= limit and (found is None or gap < best):
            best, found = gap, name
    return found


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
