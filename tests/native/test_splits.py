"""Who is on which side: FUSION's acceptance test 31, balance, patients, published folds, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.native.splits import (
    SIDES,
    by_fold,
    crossing,
    few_labels,
    iterative,
    known_patients,
    record_wise,
    require_apart,
    require_positives,
    stratified,
    thinned,
)
from runner.spec.problems import DataError


def cohort(records: int, patients: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Labels as frequent as those of PTB-XL (from 80 % to 1 %), patients with several records."""
    rng = np.random.default_rng(seed)
    labels = rng.random((records, 19)) < np.geomspace(0.8, 0.01, 19)
    return labels, [f"p{number}" for number in rng.integers(0, patients, records)]


def test_published_sizes_by_patient() -> None:
    """Ratio 0.10: 8 % / 2 % / 90 %, each within 1 % of the records; no patient on two sides."""
    labels, groups = cohort(8000, 6900)
    split = few_labels(labels, groups, 0.10, seed=18)
    shares = [len(split.sides[side]) / 8000 for side in SIDES]
    assert shares == pytest.approx([0.08, 0.02, 0.90], abs=0.01)
    assert crossing(split, groups) == {}
    require_apart(split, groups)
    assert np.array_equal(np.sort(np.concatenate(list(split.sides.values()))), np.arange(8000))


def test_every_label_has_its_share_on_every_side() -> None:
    """Each of 19 labels is on the training side with 8 % of its positives, within 3 records or 15 % of these."""
    labels, groups = cohort(8000, 6900)
    split = few_labels(labels, groups, 0.10, seed=18)
    for side, share in zip(SIDES, (0.08, 0.02, 0.90), strict=True):
        found = labels[split.sides[side]].sum(axis=0)
        wanted = share * labels.sum(axis=0)
        assert (np.abs(found - wanted) <= np.maximum(3, 0.15 * wanted)).all(), side


def test_better_than_chance_for_rare_labels() -> None:
    """Mean squared error of validation positives: at most a quarter of that of shuffled patients, over 20 seeds."""
    labels, groups = cohort(2000, 2000)
    ours, chance = [], []
    for seed in range(20):
        wanted = 0.1 * labels.sum(axis=0)
        split = stratified(labels, groups, {"train": 0.8, "validation": 0.1, "test": 0.1}, seed)
        ours.append(((labels[split.sides["validation"]].sum(axis=0) - wanted) ** 2).mean())
        shuffled = np.random.default_rng(seed).permutation(2000)[:200]
        chance.append(((labels[shuffled].sum(axis=0) - wanted) ** 2).mean())
    assert np.mean(ours) < 0.25 * np.mean(chance)


def test_sides_have_patients_of_the_same_kind() -> None:
    """Small sides are not filled with patients of one recording: means of 1.6 to 1.9 recordings a patient."""
    labels, groups = cohort(8000, 6900)
    split = few_labels(labels, groups, 0.10, seed=18)
    size = Counter(groups)
    means = [np.mean([size[group] for group in {groups[row] for row in split.sides[side]}]) for side in SIDES]
    assert max(means) - min(means) < 0.35


def test_by_hand() -> None:
    """Four records of two labels into halves: each label and each half get their two, whatever the seed."""
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=bool)
    for seed in range(10):
        placed = iterative(labels, "abcd", (0.5, 0.5), np.random.default_rng(seed))
        assert sorted(placed[:2]) == sorted(placed[2:]) == [0, 1]


def test_the_seed_alone_decides() -> None:
    labels, groups = cohort(500, 400)
    np.random.seed(1)  # noqa: NPY002 - the point: the global generator is neither read nor moved
    before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    one = few_labels(labels, groups, 0.1, 18)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    ids = [f"r{number}" for number in range(500)]
    again = few_labels(labels, groups, 0.1, 18)
    assert one.as_json(ids) == again.as_json(ids)
    assert one.as_json(ids)["digest"] != few_labels(labels, groups, 0.1, 19).as_json(ids)["digest"]


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 120), st.integers(5, 60), st.integers(0, 999), st.floats(0.3, 0.9))
def test_nobody_is_lost_or_torn_apart(records: int, patients: int, seed: int, share: float) -> None:
    labels, groups = cohort(records, patients, seed)
    placed = iterative(labels, groups, (share, 0.0, 1 - share), np.random.default_rng(seed))
    assert set(placed) <= {0, 2}
    side_of = dict(zip(groups, placed, strict=True))
    assert [side_of[group] for group in groups] == placed.tolist()


def test_record_wise_warns_and_says_how_many_cross() -> None:
    labels, groups = cohort(2000, 1000)
    split = record_wise(labels, 0.1, 18, groups)
    assert [len(split.sides[side]) for side in SIDES] == pytest.approx([160, 40, 1800], abs=20)
    crossed = crossing(split, groups)
    assert f"{len(crossed)} of {len(set(groups))} patients" in split.warnings[0]
    assert len(crossed) > 50
    with pytest.raises(DataError, match="patients stand on several sides"):
        require_apart(split, groups)


def test_a_split_by_patient_warns_where_no_patient_is_known() -> None:
    """Two of six recordings name no patient, one of them on no side: it can leak nothing."""
    split = by_fold(
        [1, 2, 9, 10, 1, None], list("abcdaf"), {"train": [1, 2], "validation": [9], "test": [10]}
    )
    assert known_patients(split, list("abcdaf")).warnings == ()
    assert known_patients(split, ["a", "b", "c", "d", "a", None]).warnings == ()
    (warning,) = known_patients(split, ["a", None, "c", "d", "a", None]).warnings
    assert warning == (
        "1 of 5 recordings name no patient and are split each by itself: recordings of one patient can stand in "
        "training and in the test, which makes results look better than they are"
    )


def test_a_split_by_recording_says_it_once() -> None:
    labels, groups = cohort(200, 100)
    split = record_wise(labels, 0.1, 18, groups)
    assert known_patients(split, [None] * 200).warnings == split.warnings


def test_published_folds() -> None:
    folds = [1, 2, 9, 10, 1, None]
    sides = {"train": range(1, 3), "validation": [9], "test": [10]}
    split = by_fold(folds, list("abcdaf"), sides)
    assert {side: rows.tolist() for side, rows in split.sides.items()} == {
        "train": [0, 1, 4], "validation": [2], "test": [3],
    }  # fmt: skip
    assert split.unused.tolist() == [5]


@pytest.mark.parametrize(
    ("folds", "groups", "sides", "message"),
    [
        (
            [1, 10],
            "aa",
            {"train": [1], "test": [10]},
            r"1 patients stand on several sides: a in train and test",
        ),
        ([1, 10], "ab", {"train": [1], "test": [11]}, r"there is no fold 11; folds of the set: 1, 10"),
        ([1, 10], "ab", {"train": [1], "test": [1]}, r"fold 1 is on two sides"),
    ],
)
def test_folds_that_are_refused(
    folds: list[int | None], groups: str, sides: dict[str, list[int]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        by_fold(folds, groups, sides)


def test_fewer_labels_of_a_given_split() -> None:
    labels, groups = cohort(4000, 3000)
    whole = stratified(labels, groups, {"train": 0.8, "validation": 0.1, "test": 0.1}, 1)
    thin = thinned(whole, labels, groups, 0.1, 1)
    assert len(thin.sides["train"]) == pytest.approx(320, abs=10)
    assert set(thin.sides["train"]) <= set(whole.sides["train"])
    assert (thin.sides["test"] == whole.sides["test"]).all()
    assert len(thin.unused) + len(thin.sides["train"]) == len(whole.sides["train"])
    kept = {groups[row] for row in thin.sides["train"]}
    assert not kept & {groups[row] for row in thin.unused}


def test_a_class_without_positives_in_training() -> None:
    labels = np.array([[1, 0], [1, 0], [1, 1]], dtype=bool)
    split = by_fold([1, 2, 3], "abc", {"train": [1], "validation": [2], "test": [3]})
    with pytest.raises(
        DataError, match=r"1 of 2 classes have no positive in training, at most 0 may: AF \(valid"
    ):
        require_positives(split, labels, ["NSR", "AF"])
    assert require_positives(split, labels, ["NSR", "AF"], missing_at_most=1) == ("AF",)


def test_ten_percent_of_20_recordings_are_2_of_them() -> None:
    """Each label is on one recording in five: training wanted every one of them most, and no test was left."""
    labels = np.tile(np.eye(5, dtype=bool), (4, 1))
    split = stratified(labels, range(20), {"train": 0.72, "validation": 0.18, "test": 0.10}, 0)
    assert {side: len(rows) for side, rows in split.sides.items()} == {
        "train": 14,
        "validation": 4,
        "test": 2,
    }
    assert labels[split.sides["train"]].any(axis=0).all()


@settings(max_examples=150, deadline=None)
@given(
    records=st.integers(3, 60),
    patients=st.integers(1, 60),
    classes=st.integers(1, 25),
    share=st.sampled_from(
        [(0.72, 0.18, 0.10), (0.8, 0.1, 0.1), (0.98, 0.01, 0.01), (0.9, 0, 0.1), (0.34, 0.33, 0.33)]
    ),
    seed=st.integers(0, 999),
)
def test_every_stated_side_has_a_patient_where_there_are_enough(
    records: int, patients: int, classes: int, share: tuple[float, float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random((records, classes)) < rng.random(classes)
    groups = rng.integers(0, patients, records).tolist()
    ratios = dict(zip(SIDES, share, strict=True))
    if len(set(groups)) < sum(part > 0 for part in share):
        with pytest.raises(DataError, match=r"no patient is left for .*\n  take more recordings"):
            stratified(labels, groups, ratios, seed)
        return
    split = stratified(labels, groups, ratios, seed)
    assert all(len(split.sides[side]) > 0 for side in SIDES if ratios[side] > 0)
    assert sum(map(len, split.sides.values())) == records
    require_apart(split, groups)


@settings(max_examples=60, deadline=None)
@given(
    records=st.integers(3, 60),
    ratio=st.sampled_from([0.02, 0.05, 0.1, 0.5, 0.9, 0.99]),
    seed=st.integers(0, 999),
)
def test_few_labels_of_few_recordings_are_one_at_least(records: int, ratio: float, seed: int) -> None:
    labels = np.random.default_rng(seed).random((records, 8)) < 0.2
    for split in (few_labels(labels, range(records), ratio, seed), record_wise(labels, ratio, seed)):
        assert min(map(len, split.sides.values())) >= 1
    folds = [1, 9, 10, *[1] * (records - 3)]
    given_sides = by_fold(folds, range(records), {"train": [1], "validation": [9], "test": [10]})
    assert len(thinned(given_sides, labels, range(records), ratio, seed).sides["train"]) >= 1


def test_two_recordings_cannot_be_on_three_sides() -> None:
    with pytest.raises(DataError, match=r"no patient is left for .*: 2 recordings, 8 % / 2 % / 90 %"):
        record_wise(np.ones((2, 1), dtype=bool), 0.1, 0)


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ({"train": 0.5, "test": 0.4}, "sum to 1"),
        ({"train": 0.5, "tset": 0.5}, "train, validation, test"),
        ({"train": 0.98, "validation": 0.01, "test": 0.01}, "no patient is left for"),
    ],
)
def test_ratios_that_are_refused(ratios: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        stratified(np.ones((3, 1), dtype=bool), "aab", ratios, 0)


@pytest.mark.parametrize("label_ratio", [0, -0.1, 1.5])
def test_label_ratios_that_are_refused(label_ratio: float) -> None:
    with pytest.raises(DataError, match="finetune_label_ratio"):
        few_labels(np.ones((3, 1), dtype=bool), "abc", label_ratio, 0)
