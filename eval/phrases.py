"""Words of a clinical text, and phrases found among them as whole words, the longest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+|[.,;:!?()\n]")
_APOSTROPHES = str.maketrans("", "", "'\u2019")
MARKS = frozenset(".,;:!?()\n")


@dataclass(frozen=True)
class Word:
    """A word or a mark: as it stands, and folded so that case and a plural do not count."""

    raw: str
    folded: str

    @property
    def is_mark(self) -> bool:
        """Whether it is punctuation or a line break."""
        return self.raw in MARKS


@dataclass(frozen=True)
class Span:
    """A phrase in a text: words `start` to `end`, the end not included."""

    kind: str
    name: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """Return the words and marks of a text; hyphens, slashes and underscores only part words.

    >>> [word.folded for word in words_of("T-waves, 0.5 mV")]
    ['t', 'wave', ',', '0.5', 'mv']
    """
    return [Word(raw, _folded(raw)) for raw in _TOKEN.findall(text.translate(_APOSTROPHES))]


def _folded(raw: str) -> str:
    word = raw.casefold()
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


class Phrases:
    """A set of phrases of several kinds.

    Args:
        forms: (kind, name, form). A form with a capital letter is found in exactly that case.
    """

    def __init__(self, forms: Iterable[tuple[str, str, str]]) -> None:
        found: dict[tuple[str, ...], tuple[str, str]] = {}
        for kind, name, form in forms:
            key = _key(form)
            if found.setdefault(key, (kind, name)) != (kind, name):
                raise ValueError(f"{form!r} stands for {found[key][1]!r} and for {name!r}")
        self._exact: dict[str, list[tuple[str, ...]]] = {}
        self._folded: dict[str, list[tuple[str, ...]]] = {}
        for key in sorted(found, key=len, reverse=True):
            by_first = self._exact if key[0].startswith("=") else self._folded
            by_first.setdefault(key[0].removeprefix("="), []).append(key)
        self._found: Mapping[tuple[str, ...], tuple[str, str]] = found

    def spans(self, words: Sequence[Word]) -> list[Span]:
        """Return the phrases of a text from left to right; none overlaps another."""
        found, place = [], 0
        while place < len(words):
            span = self._at(words, place)
            if span is not None:
                found.append(span)
            place = place + 1 if span is None else span.end
        return found

    def _at(self, words: Sequence[Word], place: int) -> Span | None:
        first = words[place]
        exact, folded = self._exact.get(first.raw), self._folded.get(first.folded)
        if exact is None:
            keys = folded or ()
        else:
            keys = exact if folded is None else sorted([*exact, *folded], key=len, reverse=True)
        for key in keys:
            part = words[place : place + len(key)]
            if len(part) == len(key) and all(
                _is(word, wanted) for word, wanted in zip(part, key, strict=True)
            ):
                return Span(*self._found[key], place, place + len(key))
        return None


def _key(form: str) -> tuple[str, ...]:
    """Return a form's words; where it has a capital, as they stand, each behind a `=`."""
    exact = form != form.lower()
    return tuple(f"={word.raw}" if exact else word.folded for word in words_of(form))


def _is(word: Word, wanted: str) -> bool:
    return word.raw == wanted[1:] if wanted.startswith("=") else word.folded == wanted
