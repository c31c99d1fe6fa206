"""ROUGE of generated answers: overlap with the reference in words, word pairs and order.

Tokens, stemming and the counts of ROUGE-1 and ROUGE-2 are those of the rouge-score package. For
ROUGE-L it fills a table of n times m cells in Python, seconds for answers of thousands of words; here
the longest common subsequence is that of Hyyro's bit vectors, the same number many times faster
(the tests compare both; `benchmarks/eval/scoring.py` measures).

ROUGE sees no negation: "no st elevation" and "st elevation" are nearly the same to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from eval.bootstrap import DRAWS, LEVEL, FloatArray, Interval, clusters, intervals, paired_differences, summed
from eval.checks import check_lengths

METRICS = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Rouge:
    """Mean F1 over the records."""

    rouge1: Interval
    rouge2: Interval
    rougeL: Interval  # noqa: N815 (the field's word for it)
    stemmer: bool
    """Whether words of more than 3 letters were cut to their stem (Porter)."""
    empty: int
    """Answers without a letter a to z or a digit; they score 0."""
    unreadable: int
    """References without one, such as those in another script: whatever is answered scores 0."""
    n_records: int
    n_groups: int
    narrow: str | None
    """Why the intervals are too narrow, where they are."""
    method: str


def rouge(
    references: Sequence[str],
    answers: Sequence[str],
    groups: Sequence[str],
    *,
    stemmer: bool,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Rouge:
    """Judge answers by their references.

    Args:
        references: one a record.
        answers: of the same records.
        groups: the group of each record.
        stemmer: published numbers differ in it, so it is always said.
        draws: of the bootstrap; 0 gives no intervals.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: no records, or lengths differ.
    """
    check_lengths(references=references, answers=answers, groups=groups)
    scores = rouge_scores(references, answers, stemmer=stemmer)
    drawn_from = clusters(groups, draws=draws, level=level, seed=seed)
    tokenizer = DefaultTokenizer(False)
    found = intervals(drawn_from, summed(_with_count(scores), drawn_from, _means))
    return Rouge(
        **dict(zip(METRICS, found, strict=True)),
        stemmer=stemmer,
        empty=sum(not tokenizer.tokenize(answer) for answer in answers),
        unreadable=sum(not tokenizer.tokenize(reference) for reference in references),
        n_records=len(scores),
        n_groups=drawn_from.count,
        narrow=drawn_from.narrow,
        method=f"rouge-score tokens, {'Porter stemmer' if stemmer else 'no stemmer'}; {drawn_from.method}",
    )


def rouge_differences(
    before: FloatArray,
    after: FloatArray,
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return "after minus before" of METRICS, over the same draws of groups.

    Args:
        before: shape (record, 3), from `rouge_scores`.
        after: the same records after tuning.
        groups: the group of each record.
        draws: of the bootstrap.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: no records, or lengths differ.
    """
    found = paired_differences(
        _with_count(before), _with_count(after), groups, _means, draws=draws, level=level, seed=seed
    )
    return dict(zip(METRICS, found, strict=True))


def rouge_scores(references: Sequence[str], answers: Sequence[str], *, stemmer: bool) -> FloatArray:
    """Return F1 of ROUGE-1, ROUGE-2 and ROUGE-L of each record, shape (record, 3), 0 to 1.

    A text without tokens (letters a to z and digits; all else separates) scores 0.

    >>> rouge_scores(["sinus rhythm, no st elevation"], ["Sinus rhythm"], stemmer=False).round(3)
    array([[0.571, 0.4  , 0.571]])
    """
    tokens = _Tokens(stemmer)
    counts = RougeScorer(["rouge1", "rouge2"], tokenizer=tokens)
    scores = np.zeros((len(references), 3))
    for row, reference, answer in zip(scores, references, answers, strict=True):
        grams = counts.score(reference, answer)
        row[:2] = grams["rouge1"].fmeasure, grams["rouge2"].fmeasure
        row[2] = _rouge_l(tokens.tokenize(reference), tokens.tokenize(answer))
    return scores


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence of two lists of words.

    Source:
        Hyyro 2004, Bit-parallel LCS-length computation revisited, section 3: one bit for each word of
        `first`, 0 where the length grows.

    >>> lcs_length("a b c d".split(), "b x d".split())
    2
    """
    places: dict[str, int] = {}
    for number, word in enumerate(first):
        places[word] = places.get(word, 0) | (1 << number)
    everywhere = (1 << len(first)) - 1
    row = everywhere
    for word in second:
        if word in places:
            hit = row & places[word]
            row = ((row + hit) | (row - hit)) & everywhere
    return len(first) - row.bit_count()


class _Tokens(DefaultTokenizer):  # type: ignore[misc]  # rouge-score has no types
    """The tokens of rouge-score, of the two last texts kept, for both are asked for twice."""

    def __init__(self, stemmer: bool) -> None:
        super().__init__(stemmer)
        self._last: dict[str, list[str]] = {}

    def tokenize(self, text: str) -> list[str]:
        if text not in self._last:
            if len(self._last) > 1:
                self._last.clear()
            self._last[text] = super().tokenize(text)
        return self._last[text]


def _rouge_l(reference: Sequence[str], answer: Sequence[str]) -> float:
    total = len(reference) + len(answer)
    return 2 * lcs_length(reference, answer) / total if total else 0.0


def _with_count(scores: FloatArray) -> FloatArray:
    return np.column_stack([scores, np.ones(len(scores))])


def _means(totals: FloatArray) -> FloatArray:
    means: FloatArray = totals[:, :-1] / totals[:, -1:]
    return means
