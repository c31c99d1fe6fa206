"""Words of a clinical text, and phrases found among them as whole words, the longest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

_TOKEN = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+|[.,;:=!?()\n]")
_APOSTROPHES = str.maketrans("", "", "'\u2019")
MARKS = frozenset(".,;:=!?()\n")


@dataclass(frozen=True)
class Word:
    """A word or a mark: as it stands, and folded so that case and a plural do not count."""

    raw: str
    folded: str

    @property
    def is_mark(self) -> bool:
        """Whether it is punctuation or a line break."""
        return self.raw in MARKS


class Span(NamedTuple):
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
        # First word -> forms by how many words they have, the longest first; of exact and of folded forms.
        self._exact, self._folded = (_by_first_word(found, exact=exact) for exact in (True, False))

    def spans(self, words: Sequence[Word]) -> list[Span]:
        """Return the phrases of a text from left to right; none overlaps another."""
        raw, folded = [word.raw for word in words], [word.folded for word in words]
        exact_forms, folded_forms = self._exact, self._folded
        found, place = [], 0
        for start, (one, other) in enumerate(zip(raw, folded, strict=True)):
            if start < place or (other not in folded_forms and one not in exact_forms):
                continue
            longest, meant = 0, None
            for forms, texts in ((exact_forms.get(one), raw), (folded_forms.get(other), folded)):
                for length, of_length in forms or ():
                    if length <= longest:
                        break
                    if hit := of_length.get(tuple(texts[start : start + length])):
                        longest, meant = length, hit
                        break
            if meant is not None:
                place = start + longest
                found.append(Span(meant[0], meant[1], start, place))
        return found


_Forms = dict[str, tuple[tuple[int, dict[tuple[str, ...], tuple[str, str]]], ...]]


def _by_first_word(forms: Mapping[tuple[bool, tuple[str, ...]], tuple[str, str]], *, exact: bool) -> _Forms:
    found: dict[str, dict[int, dict[tuple[str, ...], tuple[str, str]]]] = {}
    for (is_exact, words), meant in forms.items():
        if is_exact == exact:
            found.setdefault(words[0], {}).setdefault(len(words), {})[words] = meant
    return {first: tuple(sorted(of.items(), reverse=True)) for first, of in found.items()}


def _key(form: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether a form is found in exactly its case, for it has a capital, and its words."""
    exact = form != form.lower()
    return exact, tuple(word.raw if exact else word.folded for word in words_of(form))
