"""Words of a clinical text, and phrases found among them as whole words, the longest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    if "'" in text or "\u2019" in text:
        text = text.translate(_APOSTROPHES)
    return list(map(_word, _TOKEN.findall(text)))


@lru_cache(1 << 14)
def _word(raw: str) -> Word:
    """Return a word, made once: a clinical vocabulary is small, and folding takes most of the time."""
    return Word(raw, _folded(raw))


def _folded(raw: str) -> str:
    word = raw.casefold()
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 5 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


class Phrases:
    """A set of phrases of several kinds.

    Args:
        forms: (kind, name, form). A form with a capital letter is found in exactly that case.
    """

    def __init__(self, forms: Iterable[tuple[str, str, str]]) -> None:
        found: dict[tuple[bool, tuple[str, ...]], tuple[str, str]] = {}
        for kind, name, form in forms:
            key = _key(form)
            if found.setdefault(key, (kind, name)) != (kind, name):
                raise ValueError(f"{form!r} stands for {found[key][1]!r} and for {name!r}")
        # Forms by their first word: how many words they have, the longest first.
        self._lengths: dict[tuple[bool, str], tuple[int, ...]] = {}
        self._found: Mapping[tuple[bool, tuple[str, ...]], tuple[str, str]] = found
        for exact, words in sorted(found, key=lambda key: -len(key[1])):
            first = (exact, words[0])
            self._lengths[first] = tuple(dict.fromkeys((*self._lengths.get(first, ()), len(words))))
        self._exact = frozenset(word for exact, word in self._lengths if exact)
        self._folded = frozenset(word for exact, word in self._lengths if not exact)

    def spans(self, words: Sequence[Word]) -> list[Span]:
        """Return the phrases of a text from left to right; none overlaps another."""
        raw, folded = [word.raw for word in words], [word.folded for word in words]
        found, place = [], 0
        for start, word in enumerate(words):
            if start < place or (word.raw not in self._exact and word.folded not in self._folded):
                continue
            span = self._at(raw, folded, start)
            if span is not None:
                found.append(span)
                place = span.end
        return found

    def _at(self, raw: Sequence[str], folded: Sequence[str], place: int) -> Span | None:
        best: tuple[int, bool] | None = None
        for exact, texts in ((True, raw), (False, folded)):
            for length in self._lengths.get((exact, texts[place]), ()):
                if best is not None and length <= best[0]:
                    break
                if (exact, part := tuple(texts[place : place + length])) in self._found:
                    best = (len(part), exact)
                    break
        if best is None:
            return None
        length, exact = best
        texts = raw if exact else folded
        return Span(*self._found[exact, tuple(texts[place : place + length])], place, place + length)


def _key(form: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether a form is found in exactly its case, for it has a capital, and its words."""
    exact = form != form.lower()
    return exact, tuple(word.raw if exact else word.folded for word in words_of(form))
