"""Two values of which one is written in a run and the other is made again: where they differ, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-9
"""Relative: another processor adds in another order."""
LONGEST = 90
"""Characters of a value that are printed."""


@dataclass(frozen=True)
class Unequal:
    """One value that is not what the stored predictions give."""

    place: str
    written: Any
    again: Any

    def __str__(self) -> str:
        return f"{self.place}: written {_short(self.written)}, made again {_short(self.again)}"


@dataclass(frozen=True)
class Changed(Unequal):
    """A file that is not as its stage left it; `written` and `again` are its SHA-256 then and now."""

    stage: str

    def __str__(self) -> str:
        left = "the run" if self.stage == "run" else f"the {self.stage} stage"
        if self.again is None:
            return f"{self.place}: gone; {left} left it"
        return f"{self.place}: not as {left} left it: SHA-256 {self.written[:12]}... then, {self.again[:12]}... now"


def unequal(place: str, written: Any, again: Any) -> Iterator[Unequal]:
    """Yield every place where two JSON values differ, numbers by more than the tolerance."""
    if isinstance(written, Mapping) and isinstance(again, Mapping):
        for key in dict.fromkeys([*written, *again]):
            yield from unequal(f"{place}: {key}", written.get(key), again.get(key))
    elif _is_list(written) and _is_list(again) and len(written) == len(again):
        for number, (one, other) in enumerate(zip(written, again, strict=True)):
            yield from unequal(f"{place}[{number}]", one, other)
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


def count(value: Any) -> int:
    """Return how many numbers a JSON value holds."""
    if isinstance(value, Mapping):
        return sum(count(item) for item in value.values())
    if _is_list(value):
        return sum(count(item) for item in value)
    return int(_is_number(value))
