from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from eval.bootstrap import SAME, BoolArray, FloatArray
from eval.challenge import (
    PUBLISHED,
    SINUS_RHYTHM,
    Weights,
    challenge_difference,
    challenge_score,
    merge_codes,
    merge_scores,
    read_weights,
)

TWO = Weights(("426783006", "164889003"), np.array([[1.0, 0.5], [0.25, 1.0]]), normal=0)


def score(y_true: list[list[int]], y_pred: list[list[int]], weights: Weights = TWO) -> float:
    truth, said = np.array(y_true, dtype=bool), np.array(y_pred, dtype=bool)
    groups = [str(n) for n in range(len(truth))]
    return challenge_score(truth, said, weights.classes, weights, groups, draws=0).score.value


def test_two_records_by_hand() -> None:
    """True: sinus rhythm; atrial fibrillation. Said: sinus rhythm; both.

    Said: 1 + (0.25 + 1) / 2 = 1.625; right: 2; sinus rhythm always: 1 + 0.25 / 2 = 1.125.
    """
    assert score([[1, 0], [0, 1]], [[1, 0], [1, 1]]) == pytest.approx((1.625 - 1.125) / (2 - 1.125))


def test_perfect_is_1_and_always_normal_is_0_and_worse_is_negative() -> None:
    truth = [[1, 0], [0, 1], [0, 1]]
    assert score(truth, truth) == 1
    assert score(truth, [[1, 0]] * 3) == 0
    assert score(truth, [[0, 0]] * 3) < 0


def test_only_normal_records_have_no_score() -> None:
    assert math.isnan(score([[1, 0]], [[1, 0]]))


def slowly(truth: BoolArray, said: BoolArray, weights: FloatArray, normal: int) -> float:
    """The definition, record by record and class by class (the official script's order of sums)."""

    def total(outputs: BoolArray) -> float:
        credit = 0.0
        for true_labels, output in zip(truth, outputs, strict=True):
            size = max(sum(a or b for a, b in zip(true_labels, output, strict=True)), 1)
            for j, is_true in enumerate(true_labels):
                for k, is_said in enumerate(output):
                    credit += weights[j, k] / size if is_true and is_said else 0
        return credit

    always = np.zeros_like(truth)
    always[:, normal] = True
    return (total(said) - total(always)) / (total(truth) - total(always))


@pytest.mark.parametrize("seed", range(5))
def test_random_decisions_score_as_by_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = read_weights()
    truth, said = rng.random((60, 26)) < 0.1, rng.random((60, 26)) < 0.1
    expected = slowly(truth, said, weights.credit, weights.normal)
    assert score(truth.tolist(), said.tolist(), weights) == pytest.approx(expected, abs=1e-12)


def test_the_published_weights_are_the_challenges_own() -> None:
    weights = read_weights()
    assert len(weights.classes) == 26
    assert weights.classes[weights.normal] == SINUS_RHYTHM
    assert sum("|" in name for name in weights.classes) == 4
    assert (np.diag(weights.credit) == 1).all()
    assert (weights.credit == weights.credit.T).all()
    digest = hashlib.sha256(PUBLISHED.read_bytes()).hexdigest()
    assert digest in PUBLISHED.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.realdata
def test_the_published_weights_are_those_beside_the_real_data(real_data: Path) -> None:
    file = real_data / "ecg_cinc2021_subset" / "scoring" / "weights.csv"
    assert file.read_bytes() == PUBLISHED.read_bytes()


def test_codes_of_one_class_are_merged() -> None:
    """733534002 and 164909002 are one class: any of them decides, their scores are averaged."""
    weights = read_weights()
    place = weights.class_of()["164909002"]
    assert weights.class_of()["733534002"] == place
    codes = ["733534002", "164909002", "999", SINUS_RHYTHM]
    merged = merge_codes(np.array([[1, 0, 1, 0], [0, 0, 1, 1]], dtype=bool), codes, weights)
    assert merged.shape == (2, 26)
    assert np.argwhere(merged).tolist() == sorted([[0, place], [1, weights.normal]])
    two = Weights(("a|b", "c"), np.eye(2), normal=1)
    assert merge_scores(np.array([[0.2, 0.6, 0.9]]), ["a", "b", "c"], two).tolist() == [[0.4, 0.9]]
    with pytest.raises(ValueError, match="no scores of 1 classes: c"):
        merge_scores(np.array([[0.2]]), ["a"], two)


def test_differences_are_of_the_same_draws() -> None:
    truth = np.array([[1, 0], [0, 1]] * 20, dtype=bool)
    normal = np.array([[1, 0]] * 40, dtype=bool)
    groups = [str(n) for n in range(40)]
    found = challenge_difference(truth, normal, truth, TWO.classes, TWO, groups, draws=1000)
    assert (found.value, found.reason) == (pytest.approx(1), SAME)
    same = challenge_difference(truth, normal, normal, TWO.classes, TWO, groups, draws=1000)
    assert (same.value, same.reason) == (0, SAME)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the same classes in the first row and the first column"),
        (",a,b\na,1,0\nc,0,1\n", "the same classes in the first row"),
        (",a,b\na,1,0\nb,0\n", "the same classes in the first row"),
        (",a,b\na,1,0\nb,0,x\n", "could not convert string to float: 'x'"),
        (",a,b\na,1,0\nb,0,nan\n", "no finite number"),
        (",a,a|b\na,1,0\na|b,0,1\n", "a code occurs twice"),
        (",b,c\nb,1,0\nc,0,1\n", "the normal class a does not occur"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "weights.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_weights(file, normal="a")


def test_classes_must_be_those_of_the_weights() -> None:
    truth = np.eye(2, dtype=bool)
    with pytest.raises(ValueError, match="the same names in another order"):
        challenge_score(truth, truth, TWO.classes[::-1], TWO, ["a", "b"])
    with pytest.raises(ValueError, match=r"decisions of shape \(2, 1\)"):
        challenge_score(truth, truth[:, :1], TWO.classes, TWO, ["a", "b"])
    with pytest.raises(ValueError, match="2 labels, 1 decisions, 2 groups"):
        challenge_score(truth, truth[:1], TWO.classes, TWO, ["a", "b"])
