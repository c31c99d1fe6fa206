"""That draws keep classes, that differences are paired, and that intervals hold what they promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from eval.bootstrap import (
    SAME,
    FloatArray,
    IntArray,
    Statistic,
    clustered_intervals,
    clusters,
    differences,
    intervals,
    named_intervals,
    paired_differences,
    summed,
)
from eval.perplexity import HeldOut, RecordScore, held_out, ratios
from eval.ranks import auc

SETS = 500


def mean(totals: FloatArray) -> FloatArray:
    return totals[:, :1] / totals[:, 1:2]


def each_draw(times: IntArray) -> FloatArray:
    """How often each group was drawn: the statistic that shows the draws themselves."""
    return times.astype(np.float64)


def with_one(values: FloatArray) -> FloatArray:
    return np.column_stack([values, np.ones(len(values))])


def seen(groups: list[str], outcomes: list[list[bool]], draws: int = 1000) -> list[IntArray]:
    """Return all draws."""
    kept: list[IntArray] = []

    def keep(times: IntArray) -> FloatArray:
        kept.append(times)
        return np.zeros((len(times), 1))

    intervals(clusters(groups, np.array(outcomes), draws=draws), keep)
    return kept[1:]  # the first one is all records once


def test_a_draw_has_as_many_groups_as_there_are() -> None:
    times = np.concatenate(seen([str(n) for n in range(40)], [[n < 3, n >= 3] for n in range(40)]))
    assert times.shape == (1000, 40)
    assert (times.sum(axis=1) == 40).all()


@pytest.mark.parametrize("positives", [1, 2, 5, 20])
def test_no_draw_loses_a_class(positives: int) -> None:
    """300 records, few positives: drawn from one pot, one positive would be lost in 37 % of the draws."""
    positive = [n < positives for n in range(300)]
    times = np.concatenate(seen([f"{n:03}" for n in range(300)], [[p, not p] for p in positive]))
    assert (times[:, :positives].sum(axis=1) > 0).all()


def test_a_group_that_holds_both_classes_keeps_them_together() -> None:
    """Groups b and c hold the only positives, b also a negative: they are drawn among themselves."""
    groups = ["a"] * 3 + ["b", "b", "c"] + [f"z{n}" for n in range(60)]
    positive = [False] * 3 + [True, False, True] + [False] * 60
    times = np.concatenate(seen(groups, [[p, not p] for p in positive]))
    assert (times[:, 1] + times[:, 2] == 2).all()
    assert set(times[:, 1]) == {0, 1, 2}


def test_common_classes_vary_as_they_do_in_samples() -> None:
    """Keeping the share of a class would make intervals of accuracy too narrow."""
    positive = np.arange(100) % 2 == 0
    statistic_of = clusters([str(n) for n in range(100)], np.column_stack([positive, ~positive]), draws=2000)
    assert len(statistic_of.strata) == 1
    (share,) = intervals(statistic_of, summed(with_one(positive), statistic_of, mean))
    assert share.high - share.low == pytest.approx(2 * 1.96 * 0.05, rel=0.1)


def test_several_rare_labels_are_all_kept() -> None:
    """Labels of 1 to 4 groups of 200, on records that hold several of them."""
    labels = np.zeros((200, 4), dtype=bool)
    for label, rows in enumerate([[0], [0, 1], [1, 2, 3], [0, 2, 4, 5]]):
        labels[rows, label] = True
    drawn = clusters([f"{n:03}" for n in range(200)], labels, draws=1000)
    for times in seen([f"{n:03}" for n in range(200)], labels.tolist()):
        assert ((times @ labels) > 0).all()
    assert len(drawn.strata) == 5
    assert "drawn among themselves" in drawn.method
    assert "bootstrap over 200 whole groups" in drawn.method


def test_a_class_that_is_not_there_is_no_reason_to_draw_anew() -> None:
    nothing = np.zeros((50, 1), dtype=bool)
    assert "no class can be lost" in clusters([str(n) for n in range(50)], nothing).method


@pytest.mark.parametrize(
    ("groups", "positives", "warning"),
    [
        (40, 20, None),
        (40, 19, "a class counts that only 19 groups hold"),
        (19, 9, "a class counts that only 9 groups hold"),
        (9, 4, "too narrow, for there are only 9 groups"),
        (40, 0, None),
    ],
)
def test_few_groups_are_warned_of(groups: int, positives: int, warning: str | None) -> None:
    positive = np.arange(groups) < positives
    drawn = clusters([str(n) for n in range(groups)], np.column_stack([positive, ~positive]))
    assert warning in drawn.method if warning else "too narrow" not in drawn.method
    assert warning in (drawn.narrow or "") if warning else drawn.narrow is None


def test_groups_of_which_few_hold_most_records_are_warned_of() -> None:
    """Sizes 100 and 29 times 1: Kish's number is 129^2 / 10,029 = 1.66, that of the squares 1.006; sqrt of both 1.29."""
    few = clusters(["a"] * 100 + [f"b{n}" for n in range(29)])
    assert few.narrow == "too narrow, for there are only 30 groups, which count as 1.3 of equal size"


def test_a_class_that_one_large_group_holds_is_warned_of() -> None:
    """40 groups of 20 records, of which 30 hold one positive and one holds 20: these count as 2.6 of equal size.

    Kish's number is 50^2 / 430 = 5.81, that of the squares 430^2 / 160,030 = 1.16; sqrt(6.72) = 2.59.
    """
    groups = [f"g{n // 20:02}" for n in range(800)]
    positive = np.array([n < 20 or (n % 20 == 0 and n // 20 <= 30) for n in range(800)])
    drawn = clusters(groups, np.column_stack([positive, ~positive]))
    assert drawn.fewest == 31
    assert drawn.narrow == "too narrow where a class counts whose groups count as only 2.6 of equal size"
    share = summed(with_one(positive), drawn, mean)
    assert intervals(drawn, share)[0].reason == drawn.narrow


def test_statistics_of_equal_clusters_see_the_same_draws() -> None:
    drawn = clusters([str(n) for n in range(30)], draws=1000, seed=4)
    assert all((d.value, d.reason) == (0, SAME) for d in differences(drawn, each_draw, each_draw))


def test_paired_differences_are_narrower_than_those_of_strangers() -> None:
    """After is before plus 0 or 2 for every record: the difference is 1 +- 1.96 / sqrt(200) = 0.139."""
    before = with_one(np.random.default_rng(1).standard_normal(200) * 10)
    after = before + np.column_stack([np.arange(200) % 2 * 2.0, np.zeros(200)])
    (paired,) = paired_differences(before, after, [str(n) for n in range(200)], mean)
    assert (paired.value, paired.low, paired.high) == pytest.approx((1, 0.861, 1.139), abs=0.02)
    (alone,) = clustered_intervals(before, [str(n) for n in range(200)], mean)
    assert alone.high - alone.low > 2


def test_perplexity_before_and_after_is_compared_over_the_same_groups() -> None:
    before = np.array([[4.0, 2, 8, 1, 3], [6.0, 2, 8, 0, 3]])
    after = np.array([[2.0, 2, 8, 1, 3], [4.0, 2, 8, 0, 3]])
    loss, perplexity, *_ = paired_differences(before, after, ["a", "b"], ratios)
    assert (loss.value, loss.reason) == (-1, SAME)
    assert perplexity.value == pytest.approx(np.exp(1.5) - np.exp(2.5))


@pytest.mark.parametrize(
    ("before", "after", "groups", "message"),
    [(2, 3, 2, "2 records before, 3 after, 2 groups"), (2, 2, 1, "1 groups"), (0, 0, 0, "0 records")],
)
def test_pairs_must_be_of_the_same_records(before: int, after: int, groups: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_differences(np.ones((before, 2)), np.ones((after, 2)), ["g"] * groups, mean)


@pytest.mark.parametrize(("draws", "level"), [(-1, 0.95), (1000, 0.0), (1000, 1.0)])
def test_draws_and_level_must_make_sense(draws: int, level: float) -> None:
    with pytest.raises(ValueError, match="expected draws of 0 or more and a level"):
        clusters(["a", "b"], draws=draws, level=level)


def test_no_draws_are_no_intervals() -> None:
    (found,) = clustered_intervals(np.ones((2, 2)), ["a", "b"], mean, draws=0)
    assert found.value == 1
    assert np.isnan([found.low, found.high]).all()


def test_a_result_names_its_intervals() -> None:
    result = held_out([RecordScore("r", "g", 1.0, 1, 1, 1, 1.0)])
    assert isinstance(result, HeldOut)
    assert named_intervals(result)["loss"] == result.loss
    assert len(named_intervals(result)) == 5


# Coverage: each of 500 sets is a sample of a known population; how many intervals hold the truth? The
# share of 500 has a standard error of 0.01, and over 3,000 sets these three are 0.952, 0.947 and 0.941.


def test_intervals_of_an_accuracy_cover_it() -> None:
    """Records of 200 patients, 2 classes of 30 % and 70 %, recalled with 0.6 and 0.9: accuracy 0.81."""
    rng, held = np.random.default_rng(11), 0
    groups = [str(n) for n in range(200)]
    for number in range(SETS):
        positive = rng.random(200) < 0.3
        right = rng.random(200) < np.where(positive, 0.6, 0.9)
        outcomes = np.column_stack([positive, ~positive])
        (found,) = clustered_intervals(
            with_one(right), groups, mean, outcomes=outcomes, draws=1000, seed=number
        )
        held += found.low <= 0.81 <= found.high
    assert 0.93 <= held / SETS <= 0.97


@pytest.mark.parametrize("count", [20, 40])
def test_intervals_cover_where_groups_are_few_and_of_unequal_size(count: int) -> None:
    """Sizes log-normal, 5 in the mean; in each group answers are right with a chance of its own, 0.8 in the mean.

    The plain percentiles hold it in about 0.90; the second count shows that this set-up can tell.
    """
    rng, held, held_by_percentiles = np.random.default_rng(count), 0, 0
    for number in range(SETS):
        sizes = 1 + np.floor(4.5 * rng.lognormal(-0.5, 1.0, count)).astype(int)
        right = rng.binomial(sizes, rng.beta(1.6, 0.4, count))
        drawn = clusters(np.repeat(np.arange(count), sizes).astype(str).tolist(), draws=500, seed=number)
        order = np.argsort(
            np.arange(count).astype(str)
        )  # the groups' numbers are those of their sorted names
        statistic: Statistic = lambda times, right=right[order], sizes=sizes[order]: (  # noqa: E731 (a name for the type)
            (times @ right) / (times @ sizes)
        )[:, None]
        (found,) = intervals(drawn, statistic)
        held += found.low <= 0.8 <= found.high
        (plain,) = intervals(replace(drawn, effective=1e9, fewest_effective=1e9), statistic)
        held_by_percentiles += plain.low <= 0.8 <= plain.high
    assert 0.93 <= held / SETS <= 0.97
    assert held_by_percentiles / SETS < 0.92


def test_intervals_of_an_area_cover_it() -> None:
    """Scores of positives are normal with mean 1, of negatives with mean 0: AUC = Phi(1 / sqrt 2)."""
    rng, held, truth = np.random.default_rng(100), 0, norm.cdf(1 / np.sqrt(2))
    for number in range(SETS):
        positive = rng.random(200) < 0.3
        held += covers_auc(positive, rng.standard_normal(200) + positive, np.arange(200), truth, number)
    assert 0.93 <= held / SETS <= 0.97


def test_intervals_of_an_area_cover_it_where_records_are_clustered() -> None:
    """100 patients with 1 to 5 records each; half of a score's variance is the patient's.

    The class is the record's, so that a patient holds both. Taken for independent, the records of a
    patient would make the interval too narrow; the second count shows that this set-up can tell.
    """
    rng, held, held_by_record, truth = np.random.default_rng(13), 0, 0, norm.cdf(1 / np.sqrt(2))
    for number in range(SETS):
        patient = np.repeat(np.arange(100), rng.integers(1, 6, 100))
        shared = rng.standard_normal(100)[patient]
        sick = rng.random(100)[patient] < 0.4
        positive = sick ^ (rng.random(len(patient)) < 0.1)
        own = rng.standard_normal(len(patient))
        score = np.sqrt(0.7) * shared + np.sqrt(0.3) * own + positive
        held += covers_auc(positive, score, patient, truth, number)
        held_by_record += covers_auc(positive, score, np.arange(len(patient)), truth, number)
    assert 0.93 <= held / SETS <= 0.97
    assert held_by_record / SETS < 0.9


def covers_auc(positive: np.ndarray, score: FloatArray, member: np.ndarray, truth: float, seed: int) -> bool:
    outcomes = np.column_stack([positive, ~positive])
    drawn = clusters([f"{n:04}" for n in member], outcomes, draws=1000, seed=seed)
    area = auc(positive, score, drawn.member)
    statistic: Statistic = lambda times: area(times)[:, None]  # noqa: E731 (a name for the type)
    (found,) = intervals(drawn, statistic)
    return found.low <= truth <= found.high
