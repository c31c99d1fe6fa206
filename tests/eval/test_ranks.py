from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from eval.bootstrap import BoolArray, FloatArray
from eval.ranks import auc, average_precision

AREAS = [(auc, roc_auc_score), (average_precision, average_precision_score)]
IDS = ["auc", "average_precision"]


def once(count: int) -> np.ndarray:
    return np.ones((1, count), dtype=np.int64)


def random_scores(rng: np.random.Generator, ties: bool) -> tuple[BoolArray, FloatArray]:
    positive = rng.random(400) < rng.choice([0.05, 0.4, 0.9])
    positive[:2] = True, False
    score = rng.random(400) + 0.3 * positive
    return positive, np.round(score, 1) if ties else score


def test_pairs_counted_by_hand() -> None:
    """Positives 0.8 and 0.4, negatives 0.6 and 0.4: won, won, lost, tied: 2.5 of 4."""
    positive, score = np.array([True, True, False, False]), np.array([0.8, 0.4, 0.6, 0.4])
    assert auc(positive, score, np.arange(4))(once(4)) == 0.625


def test_precision_at_each_positive_by_hand() -> None:
    """Ranks 1 and 3 of 3 are positive: (1 / 1 + 2 / 3) / 2."""
    positive, score = np.array([True, False, True]), np.array([0.9, 0.5, 0.1])
    assert average_precision(positive, score, np.arange(3))(once(3)) == pytest.approx(5 / 6, abs=1e-15)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("area", "reference"), AREAS, ids=IDS)
def test_the_area_is_that_of_scikit_learn(area, reference, ties: bool) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        positive, score = random_scores(rng, ties)
        found = area(positive, score, np.arange(400))(once(400))
        assert found == pytest.approx(reference(positive, score), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("area", "reference"), AREAS, ids=IDS)
def test_drawn_groups_weigh_as_scikit_learn_weighs_records(area, reference, ties: bool) -> None:
    """Groups of several records of both classes, drawn 0 to 3 times."""
    rng = np.random.default_rng(2)
    positive, score = random_scores(rng, ties)
    member = rng.integers(0, 50, 400)
    times = rng.integers(0, 4, (30, 50))
    found = area(positive, score, member)(times)
    expected = [reference(positive, score, sample_weight=draw[member]) for draw in times]
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("area", [auc, average_precision], ids=IDS)
def test_a_draw_without_positives_has_no_area(area) -> None:
    found = area(np.array([True, False]), np.array([0.2, 0.1]), np.arange(2))(np.array([[0, 2], [1, 1]]))
    assert np.isnan(found[0])
    assert found[1] == 1


@pytest.mark.parametrize(("area", "label"), [(auc, True), (auc, False), (average_precision, False)])
def test_one_class_alone_has_no_area(area, label: bool) -> None:
    assert np.isnan(area(np.full(3, label), np.arange(3.0), np.arange(3))(once(3))).all()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_turning_the_scores_round_turns_the_area_round(rows: list[tuple[bool, int]]) -> None:
    positive, score = np.array([p for p, _ in rows]), np.array([float(s) for _, s in rows])
    there, back = (auc(positive, sign * score, np.arange(len(rows)))(once(len(rows)))[0] for sign in (1, -1))
    assert there + back == pytest.approx(1) or np.isnan(there)
