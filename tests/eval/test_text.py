from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from eval.bootstrap import SAME
from eval.text import METRICS, lcs_length, rouge, rouge_differences, rouge_scores

WORDS = st.lists(
    st.sampled_from(
        ["a", "b", "c", "d", "ee", "running", "runs", "cardiac", "cardial", "0.5", "mV", "ünder"]
    ),
    max_size=25,
)
REFERENCES = ["The heart is enlarged.", "Take two tablets a day", ""]
ANSWERS = ["the heart", "Two tablets, twice a day", "something"]


def test_words_pairs_and_order_by_hand() -> None:
    """Reference "a b c d", answer "a c b": 3 shared words; pairs none; in order a c (or a b) 2."""
    (scores,) = rouge_scores(["a b c d"], ["a c b"], stemmer=False)
    assert scores == pytest.approx([2 * 3 / 7, 0, 2 * 2 / 7])


@given(WORDS, WORDS, st.booleans())
def test_scores_are_those_of_the_rouge_score_package(first: list[str], second: list[str], stem: bool) -> None:
    reference, answer = " ".join(first), ", ".join(second)
    expected = RougeScorer(list(METRICS), use_stemmer=stem).score(reference, answer)
    (found,) = rouge_scores([reference], [answer], stemmer=stem)
    assert found == pytest.approx([expected[name].fmeasure for name in METRICS], abs=1e-12)


@given(st.lists(st.integers(0, 3), max_size=80), st.lists(st.integers(0, 3), max_size=80))
def test_the_longest_common_subsequence_is_that_of_the_table(first: list[int], second: list[int]) -> None:
    best = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for row, left in enumerate(first):
        for column, right in enumerate(second):
            apart = max(best[row, column + 1], best[row + 1, column])
            best[row + 1, column + 1] = best[row, column] + 1 if left == right else apart
    assert lcs_length([str(n) for n in first], [str(n) for n in second]) == best[-1, -1]


def test_the_stemmer_is_stated_and_matters() -> None:
    groups = ["g1"]
    plain = rouge(["running hearts"], ["run heart"], groups, stemmer=False, draws=0)
    stemmed = rouge(["running hearts"], ["run heart"], groups, stemmer=True, draws=0)
    assert (plain.rouge1.value, stemmed.rouge1.value) == (0, 1)
    assert "no stemmer" in plain.method
    assert "Porter stemmer" in stemmed.method
    assert stemmed.stemmer


def test_the_mean_is_over_records_and_empty_answers_count_as_nothing() -> None:
    found = rouge(["a b", "a b"], ["a b", "..."], ["g", "h"], stemmer=False, draws=1000)
    assert found.rouge1.value == found.rougeL.value == 0.5
    assert (found.rouge1.low, found.rouge1.high) == (0, 1)
    assert (found.empty, found.n_records, found.n_groups) == (1, 2, 2)


def test_a_negation_is_not_seen() -> None:
    (scores,) = rouge_scores(["sinus rhythm no st elevation"], ["sinus rhythm st elevation"], stemmer=False)
    assert scores[0] == pytest.approx(0.89, abs=0.005)


def test_differences_are_of_the_same_draws() -> None:
    before = rouge_scores(REFERENCES, ANSWERS, stemmer=False)
    found = rouge_differences(before, before + 0.1, ["a", "b", "c"], draws=1000)
    assert tuple(found) == METRICS
    assert (found["rouge2"].value, found["rouge2"].reason) == (pytest.approx(0.1), SAME)


@pytest.mark.parametrize(
    ("references", "answers", "groups", "message"),
    [
        (["a"], ["a", "b"], ["g"], "1 references, 2 answers, 1 groups"),
        (["a"], ["a"], [], "0 groups"),
        ([], [], [], "no records"),
    ],
)
def test_wrong_input_is_refused(
    references: list[str], answers: list[str], groups: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rouge(references, answers, groups, stemmer=False)
