from __future__ import annotations

import numpy as np
import pytest

from eval.checks import check_classes, check_ids, check_lengths, check_scores, class_numbers


def test_equal_lengths_are_returned() -> None:
    assert check_lengths(labels=[1, 2], groups=["a", "b"]) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": [1, 2], "scores": [1]}, "lengths differ: 2 labels, 1 scores; nothing was judged"),
        ({"labels": [], "scores": []}, "no records to judge: labels, scores are empty"),
    ],
)
def test_other_lengths_are_refused(given: dict[str, list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_lengths(**given)


def test_equal_ids_pass() -> None:
    check_ids(["a", "b"], ["a", "b"])


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        (["a", "b"], ["a"], r"2 labels and 1 predictions .* 1 without a prediction \('b'\)"),
        (["a"], ["a", "c"], r"1 without a label \('c'\)"),
        (["a", "b"], ["a", "c"], r"1 without a prediction \('b'\), 1 without a label \('c'\)"),
        (["a", "b"], ["b", "a"], "another order: record 0 is 'a' and 'b'"),
        (["a", "b"], ["a", "a"], "predictions: 1 ids occur more than once: 'a'"),
        (["a", "a"], ["a", "a"], "labels: 1 ids occur more than once: 'a'"),
        (list("abcdefg"), ["x"], r"7 without a prediction \('a', 'b', 'c', 'd', 'e', \.\.\.\)"),
    ],
)
def test_other_ids_are_refused(labels: list[str], predictions: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_ids(labels, predictions)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["MI", "CD"], r"2 stated, 2 given; missing: 'NORM'; new: 'CD'"),
        (["MI", "NORM"], "the same names in another order"),
        (["NORM"], "missing: 'MI'; new: none"),
    ],
)
def test_a_class_list_that_differs_is_refused(given: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_classes(["NORM", "MI"], given)


@pytest.mark.parametrize("classes", [[], ["yes", "yes"]])
def test_classes_are_stated_once_each(classes: list[str]) -> None:
    with pytest.raises(ValueError, match="stated once each"):
        check_classes(classes, classes)


def test_labels_have_places() -> None:
    assert class_numbers(["no", "yes", "no"], ["yes", "no"], "labels").tolist() == [1, 0, 1]


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(
        ValueError, match="labels: 2 of 3 are none of the stated classes: 'maybe'; stated: 'yes', 'no'"
    ):
        class_numbers(["yes", "maybe", "maybe"], ["yes", "no"], "labels")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1, np.nan, np.nan], "2 of 3 scores are NaN, the first at record 1; nothing was averaged"),
        ([np.inf, 0.2, 0.3], "1 of 3 scores are infinite, the first at record 0"),
        ([0.1, 1.2, 0.3], "1 of 3 scores are outside 0 to 1, the first at record 1"),
        ([[0.1, 0.2], [0.3, -1.0]], "the first at record 1, class 1"),
    ],
)
def test_what_is_no_score_is_refused(scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_scores(np.array(scores), probabilities=True)


def test_scores_that_are_no_probabilities_may_have_any_size() -> None:
    check_scores(np.array([-7.0, 12.0]), probabilities=False)
