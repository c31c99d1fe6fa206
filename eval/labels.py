"""Labels that a text affirms, by the words of a label set and with negation.

A label is there where one of its words stands affirmed; "no ST elevation" denies. A label that is affirmed in one
place and denied in another is there. What only looks like a label ("incomplete right bundle branch block", the ST
segment) is declared by the set and found first, since the longest words win. A doubt ("possible", "cannot be
excluded") affirms.

A text is parsed where it says something of the set: a label, affirmed or denied, or that there is none of them. What
is declared to be none of the labels ("sinus rhythm" among the superclasses) says nothing of the set; but where many
records have none of the labels (`partial`: those of CODE-15), it is what such a record is rightly called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from eval.bootstrap import BoolArray
from eval.label_sets import LabelSet, label_set
from eval.negation import CUES, FINDING, denied, rules
from eval.phrases import Phrases, words_of

KEPT = 1 << 16
"""Texts whose reading is kept: the same short answers come again and again."""
_CUES = frozenset(CUES) - {"ends", "no_cues"}
_NONE = " none"
"""Stands for words of an answer that none of the labels is there; no id of a label begins with a space."""
_OTHER = " other"
"""Stands for words that are none of the labels."""
_NO_LABELS = frozenset({_NONE, _OTHER})
_ALONE = (frozenset({"none"}), frozenset({"nothing"}), frozenset({"answer", "none"}))
"""Words that say that there is none of the labels where they are the whole answer; in a sentence they deny what it names."""


class Reading(NamedTuple):
    """What a text says of the labels of a set."""

    affirmed: frozenset[str]
    denied: frozenset[str]
    """Denied and nowhere affirmed."""
    parsed: bool


class LabelReader:
    """Finds the labels of one set in texts.

    Args:
        labels: the set.

    Raises:
        ValueError: a word stands for two labels.

    >>> reader = LabelReader(label_set("code15"))
    >>> sorted(reader.read("Sinus tachycardia, no AF; ST elevation.").affirmed)
    ['ST']
    """

    def __init__(self, labels: LabelSet) -> None:
        self.ids = labels.ids
        forms = [(FINDING, label.id, form) for label in labels.labels for form in label.forms]
        forms += [(FINDING, _NONE, form) for form in labels.empty]
        forms += [(FINDING, _OTHER, form) for form in labels.others if form not in labels.empty]
        cues = [(kind, kind, form) for kind in CUES for form in rules()[kind]]
        self._phrases = Phrases([*forms, *cues])
        self._silent: frozenset[str] = frozenset() if labels.partial else frozenset({_OTHER})
        self.read = lru_cache(KEPT)(self._read)
        """Return what a text says of the labels."""

    def _read(self, text: str) -> Reading:
        words = words_of(text)
        if {word.folded for word in words if not word.is_mark} in _ALONE:
            return Reading(frozenset(), frozenset(), parsed=True)
        spans = self._phrases.spans(words)
        kinds = {span.kind for span in spans}
        if not kinds & _CUES:  # nothing can be denied, as in most answers
            names = frozenset(span.name for span in spans if span.kind == FINDING)
            return self._reading(names, frozenset())
        off = denied(words, spans)
        found = [(span.name, place in off) for place, span in enumerate(spans) if span.kind == FINDING]
        return self._reading(
            frozenset(name for name, negated in found if not negated),
            frozenset(name for name, negated in found if negated),
        )

    def _reading(self, affirmed: frozenset[str], negated: frozenset[str]) -> Reading:
        """Return what is said of labels by names that also stand for none of them."""
        labels = affirmed - _NO_LABELS
        parsed = bool((affirmed | negated) - self._silent)
        return Reading(labels, negated - _NO_LABELS - labels, parsed)

    def decisions(self, texts: Iterable[str]) -> tuple[BoolArray, BoolArray]:
        """Return which labels are affirmed, shape (record, class), and which texts are parsed, shape (record,)."""
        readings = [self.read(text) for text in texts]
        affirmed = [[name in reading.affirmed for name in self.ids] for reading in readings]
        return np.array(affirmed, np.bool_).reshape(len(readings), len(self.ids)), np.array(
            [reading.parsed for reading in readings], np.bool_
        )

    def answered(
        self, answers: Sequence[str], references: Sequence[str], truth: BoolArray
    ) -> tuple[BoolArray, BoolArray]:
        """Return the decisions of answers, and which of them are parsed.

        An answer in the very words of its reference is parsed where the record has none of the labels: such a reference
        may name what no set knows, and no answer could say it better.

        Args:
            answers: texts.
            references: right answers of the same records.
            truth: true labels, shape (record, class).
        """
        decisions, parsed = self.decisions(answers)
        alike = [
            bool(text.strip()) and words_of(text) == words_of(other)
            for text, other in zip(answers, references, strict=True)
        ]
        return decisions, parsed | (np.array(alike, np.bool_) & ~truth.any(axis=1))


@cache
def reader(name: str) -> LabelReader:
    """Return the reader of a label set, made once."""
    return LabelReader(label_set(name))


def truth_of(labels: Sequence[Sequence[str]], ids: Sequence[str]) -> BoolArray:
    """Return true labels as an array, shape (record, class).

    Raises:
        ValueError: a record has a label that is none of the set; names it.
    """
    unknown = sorted({label for own in labels for label in own} - set(ids))
    if unknown:
        raise ValueError(f"labels that are none of the set: {', '.join(map(repr, unknown[:5]))}")
    return np.array([[name in own for name in ids] for own in labels], np.bool_).reshape(
        len(labels), len(ids)
    )
