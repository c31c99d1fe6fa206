"""Answers of a language model -> labels, by words that the spec declares.

A label is found where one of its words stands as a whole word, in any case, whatever form of a letter, a hyphen or an
apostrophe it is written with (Unicode has several); "5 mV" is no part of "0.5 mV". An answer that holds no
label, or two, is `unparsed`: an outcome of its own, never guessed and never drawn at random. Nothing
here understands negation: "no MI" holds MI, unless "no MI" is itself declared as a word of a label,
since the longest declared word wins.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType

UNPARSED = "unparsed"
"""The outcome of an answer without a label, and of one with two."""

_INSIDE = r"[^\W_]"
"""A character of a word: letter or digit; `_yes_` is emphasis, not a longer word."""
_ONE_FORM = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-") | dict.fromkeys("\u2018\u2019", "'")
)


def folded(text: str) -> str:
    """Return a text in one case, and with one form of each letter, hyphen and apostrophe.

    >>> folded("First\u2011degree AV block"), folded("Ja\uff0e")
    ('first-degree av block', 'ja.')
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_ONE_FORM)


class LabelParser:
    """Finds the labels of answers.

    Args:
        labels: label -> the words that stand for it; a word may be a phrase.

    Raises:
        ValueError: there is no label, a label has no word, a word is empty or stands for two labels,
            or a label is called as the outcome `unparsed` is.

    >>> parser = LabelParser({"yes": ["yes", "present"], "no": ["no", "not present"]})
    >>> parser.label("Answer: **Yes**."), parser.label("Not present"), parser.label("yes or no")
    ('yes', 'no', 'unparsed')
    """

    def __init__(self, labels: Mapping[str, Sequence[str]]) -> None:
        self.labels = tuple(labels)
        self._label_of = MappingProxyType(_by_word(labels))
        longest_first = sorted(self._label_of, key=len, reverse=True)
        words = "|".join(_pattern(word) for word in longest_first)
        # A hyphen joins words ("st-elevation" is not "st"), unless nothing follows it.
        self._word = re.compile(rf"(?:{words})(?!-?{_INSIDE})")
        self._joined_before = re.compile(rf"{_INSIDE}-?$")
        self._number_before = re.compile(r"\d[.,]$")

    def found(self, answer: str) -> tuple[str, ...]:
        """Return the labels that the answer holds, each once, in the order of their first words."""
        text = folded(answer)
        labels: dict[str, None] = {}
        match = self._word.search(text)
        while match:
            start, end = match.span()
            before = (text, max(0, start - 2), start)
            if self._joined_before.search(*before) or (
                text[start].isdigit() and self._number_before.search(*before)
            ):
                end = start + 1  # inside a longer word; a phrase may begin before this one ends
            else:
                labels[self._label_of[" ".join(match.group().split())]] = None
            match = self._word.search(text, end)
        return tuple(labels)

    def label(self, answer: str) -> str:
        """Return the one label that the answer holds, or `unparsed`."""
        found = self.found(answer)
        return found[0] if len(found) == 1 else UNPARSED


def _pattern(word: str) -> str:
    """Return what finds a word, whatever space parts it; one that ends with a digit is no beginning of a number."""
    ends = r"(?![.,]\d)" if word[-1].isdigit() else ""
    return re.escape(word).replace(r"\ ", r"\s+") + ends


def _by_word(labels: Mapping[str, Sequence[str]]) -> dict[str, str]:
    if not labels or UNPARSED in labels:
        raise ValueError(f"expected labels, none of them called {UNPARSED!r}, got {list(labels)}")
    label_of: dict[str, str] = {}
    for label, words in labels.items():
        if isinstance(words, str) or not words:
            raise ValueError(f"label {label!r}: expected a list of words, got {words!r}")
        for word in words:
            plain = " ".join(folded(word).split())
            if not re.search(_INSIDE, plain):
                raise ValueError(f"label {label!r}: the word {word!r} has no letter or digit")
            if label_of.setdefault(plain, label) != label:
                raise ValueError(f"the word {word!r} stands for {label_of[plain]!r} and for {label!r}")
    return label_of
