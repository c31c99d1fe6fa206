from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
)

from eval.bootstrap import UNDEFINED, named_intervals
from eval.classification import (
    OVERALL,
    UNPREDICTED,
    Classification,
    class_differences,
    classification_differences,
    classify,
)
from eval.parse import UNPARSED

CLASSES = ["no", "yes"]


def judged(
    y_true: list[str], y_pred: list[str], classes: list[str] = CLASSES, draws: int = 0
) -> Classification:
    return classify(y_true, y_pred, classes, [str(n) for n in range(len(y_true))], draws=draws)


def test_eight_answers_by_hand() -> None:
    """yes: 2 of 4 found, 3 said; no: 2 of 4 found, 3 said; 2 unparsed of 8."""
    y_true = ["yes"] * 4 + ["no"] * 4
    y_pred = ["yes", "yes", "no", UNPARSED, "yes", "no", "no", UNPARSED]
    found = judged(y_true, y_pred)
    assert found.accuracy.value == 0.5
    assert found.accuracy_parsed.value == pytest.approx(4 / 6)
    assert found.parse_rate.value == 0.75
    assert found.balanced_accuracy.value == 0.5
    assert found.confusion.tolist() == [[2, 1, 1], [1, 2, 1]]
    yes = found.per_class[1]
    assert (yes.name, yes.records, yes.predicted) == ("yes", 4, 3)
    assert (yes.precision.value, yes.recall.value) == (pytest.approx(2 / 3), 0.5)
    assert yes.f1.value == pytest.approx(4 / 7)
    assert found.weighted_precision.value == pytest.approx(2 / 3)
    assert found.missing == ()


def test_weighted_recall_is_accuracy_as_in_the_published_table() -> None:
    """System B before tuning: precision 63.34 %, recall and accuracy both 27.41 %.

    An unparsed answer lowers recall and no precision. With balanced classes, 43.27 % parsed and 63.34 %
    of those right, weighted precision is 63.34 % and weighted recall is 0.4327 * 0.6334 = 27.41 %.
    """
    right, wrong = 2741, 1586  # of 10,000: 4,327 parsed
    y_true, y_pred = [], []
    for label, other in (("yes", "no"), ("no", "yes")):
        y_true += [label] * 10_000
        y_pred += [label] * right + [other] * wrong + [UNPARSED] * (10_000 - right - wrong)
    found = judged(y_true, y_pred)
    assert found.weighted_recall.value == pytest.approx(found.accuracy.value, abs=1e-15)
    assert round(found.accuracy.value, 4) == 0.2741
    assert round(found.weighted_precision.value, 3) == 0.633
    assert round(found.parse_rate.value, 2) == 0.43
    assert round(found.weighted_f1.value, 3) == 0.383


def random_labels(seed: int) -> tuple[list[str], list[str], list[str]]:
    rng = np.random.default_rng(seed)
    classes = [f"c{n}" for n in range(rng.integers(2, 7))]
    y_true = rng.choice(classes, 300).tolist() + classes
    y_pred = [
        truth if keep else other
        for truth, other, keep in zip(
            y_true, rng.choice([*classes, UNPARSED], len(y_true)), rng.random(len(y_true)) < 0.4, strict=True
        )
    ]
    return y_true, [str(p) for p in y_pred], classes


@pytest.mark.parametrize("seed", range(20))
def test_all_numbers_are_those_of_scikit_learn(seed: int) -> None:
    y_true, y_pred, classes = random_labels(seed)
    found = judged(y_true, y_pred, classes)
    close = lambda value: pytest.approx(value, abs=1e-12)  # noqa: E731
    assert found.accuracy.value == close(accuracy_score(y_true, y_pred))
    parsed = [(t, p) for t, p in zip(y_true, y_pred, strict=True) if p != UNPARSED]
    assert found.accuracy_parsed.value == close(accuracy_score(*zip(*parsed, strict=True)))
    recalls = [metric.recall.value for metric in found.per_class]
    assert found.balanced_accuracy.value == found.macro_recall.value == close(np.mean(recalls))
    for average in ("macro", "weighted"):
        expected = precision_recall_fscore_support(
            y_true, y_pred, labels=classes, average=average, zero_division=0
        )
        got = [getattr(found, f"{average}_{metric}").value for metric in ("precision", "recall", "f1")]
        assert got == close(list(expected[:3]))
    per_class = precision_recall_fscore_support(y_true, y_pred, labels=classes, zero_division=0)
    got = [[m.precision.value, m.recall.value, m.f1.value, m.records] for m in found.per_class]
    assert np.array(got) == close(np.array(per_class).T)
    table = confusion_matrix(y_true, y_pred, labels=[*classes, UNPARSED])
    assert found.confusion.tolist() == table[: len(classes)].tolist()


def test_balanced_accuracy_is_that_of_scikit_learn_where_all_is_parsed() -> None:
    rng = np.random.default_rng(4)
    y_true, y_pred = rng.choice(CLASSES, 200).tolist(), rng.choice(CLASSES, 200).tolist()
    expected = balanced_accuracy_score(y_true, y_pred)
    assert judged(y_true, y_pred).balanced_accuracy.value == pytest.approx(expected, abs=1e-12)


def test_a_class_without_records_is_named_and_its_means_are_no_numbers() -> None:
    found = judged(["a", "b", "a"], ["a", "c", "a"], ["a", "b", "c"], draws=1000)
    assert found.missing == ("c",)
    for name in ("macro_f1", "macro_recall", "macro_precision", "balanced_accuracy"):
        assert math.isnan(getattr(found, name).value)
    assert math.isnan(found.per_class[2].recall.value)
    assert math.isnan(found.per_class[2].f1.value)
    assert found.weighted_recall.value == found.accuracy.value == pytest.approx(2 / 3)


def test_a_class_that_is_never_predicted_has_no_precision_and_says_so() -> None:
    """scikit-learn writes 0 for it; F1 is 0 by count, 2 * 0 / (0 + 1)."""
    found = judged(["yes", "no"], ["no", "no"])
    assert found.unpredicted == ("yes",)
    assert found.per_class[1].predicted == 0
    precisions = (found.per_class[1].precision, found.macro_precision, found.weighted_precision)
    assert all(math.isnan(one.value) for one in precisions)
    assert found.per_class[1].f1.value == 0
    assert found.weighted_recall.value == found.accuracy.value == 0.5
    assert judged(["yes", "no"], ["no", "yes"]).unpredicted == ()


def test_what_is_gained_by_predicting_a_class_at_all_is_no_verdict() -> None:
    """Before, yes was never said: the F1 rises from 0, and no interval calls that better."""
    y_true, groups = ["yes", "no"] * 30, [str(n) for n in range(60)]
    before, after = ["no"] * 60, ["yes", "yes", "yes", "no"] * 15
    overall = classification_differences(y_true, before, after, CLASSES, groups, draws=200)
    of_yes = class_differences(y_true, before, after, "yes", groups, draws=200)
    assert math.isnan(overall["weighted_precision"].value)
    assert math.isnan(of_yes["precision"].value)
    for change in (overall["weighted_f1"], overall["macro_f1"], of_yes["f1"]):
        assert change.value > 0
        assert math.isnan(change.low)
        assert change.reason == UNPREDICTED
    both = class_differences(y_true, after, y_true, "yes", groups, draws=200)
    assert both["f1"].low > 0
    assert both["precision"].low > 0


def test_shares_that_are_all_alike_have_the_interval_of_wilson() -> None:
    """All 40 right: r = z^2 / (40 + z^2) = 3.8415 / 43.8415 = 0.08762 below 1; of the 20 of a class 0.16113."""
    y_true = ["yes", "no"] * 20
    found = judged(y_true, y_true, draws=1000)
    for one in (found.accuracy, found.parse_rate, found.accuracy_parsed, found.weighted_recall):
        assert (one.low, one.high) == (pytest.approx(1 - 0.08762, abs=1e-5), 1.0)
    of_yes = found.per_class[1]
    for one in (of_yes.recall, of_yes.precision):
        assert (one.low, one.high) == (pytest.approx(1 - 0.16113, abs=1e-5), 1.0)
    assert math.isnan(found.balanced_accuracy.low)  # a mean of shares: no draw differs, and no rule is known
    wrong = judged(y_true, ["no", "yes"] * 20, draws=1000)
    assert (wrong.accuracy.low, wrong.accuracy.high) == (0.0, pytest.approx(0.08762, abs=1e-5))


def test_differences_where_all_pairs_are_alike_have_a_width() -> None:
    """All 40 from wrong to right: at least 1 - 2 * 0.08762; nothing changed: within 0.08762 of 0."""
    y_true, groups = ["yes", "no"] * 20, [str(n) for n in range(40)]
    wrong = ["no", "yes"] * 20
    gained = classification_differences(y_true, wrong, y_true, CLASSES, groups, draws=200)["accuracy"]
    assert (gained.low, gained.high) == (pytest.approx(1 - 2 * 0.08762, abs=1e-5), 1.0)
    same = classification_differences(y_true, wrong, wrong, CLASSES, groups, draws=200)["accuracy"]
    assert (same.low, same.high) == (pytest.approx(-0.08762, abs=1e-5), pytest.approx(0.08762, abs=1e-5))


def test_nothing_parsed_is_no_accuracy_on_parsed() -> None:
    found = judged(["yes", "no", "no"], [UNPARSED] * 3, draws=1000)
    assert found.accuracy.value == found.parse_rate.value == 0
    assert math.isnan(found.accuracy_parsed.value)
    assert found.confusion.tolist() == [[0, 0, 2], [0, 0, 1]]


def test_few_parsed_answers_and_a_rare_class_still_have_intervals() -> None:
    y_true = ["yes"] * 2 + ["no"] * 198
    y_pred = ["yes", UNPARSED] + ["no"] * 3 + [UNPARSED] * 195
    found = judged(y_true, y_pred, draws=1000)
    # One answer says yes: a draw without it has no precision of yes, so that has no interval.
    undefined = {"macro_precision", "weighted_precision"}
    # All parsed answers are right, in 4 groups: their recall and F1 of the few vary, their accuracy is Wilson's.
    for name, interval in named_intervals(found).items():
        if name in undefined:
            assert interval.reason == UNDEFINED
        else:
            assert interval.low <= interval.value <= interval.high, name
    assert found.accuracy_parsed.low == pytest.approx(1 - 3.8415 / 7.8415, abs=1e-4)
    assert found.n_groups == 200
    assert "1000 draws, seed 0" in found.method


def test_differences_are_of_the_same_draws() -> None:
    """Two more of 100 are right after tuning, and none that was right is wrong."""
    y_true, groups = ["yes", "no"] * 50, [str(n) for n in range(100)]
    before = ["yes"] * 100
    after = ["yes", "no", "yes", "no"] + ["yes"] * 96
    found = classification_differences(y_true, before, after, CLASSES, groups, draws=1000)
    assert tuple(found) == OVERALL
    assert found["accuracy"].value == pytest.approx(0.02)
    assert found["accuracy"].low >= 0
    assert -found["parse_rate"].low == found["parse_rate"].high == pytest.approx(3.8415 / 103.8415, abs=1e-5)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "groups", "message"),
    [
        (["yes"], ["yes", "no"], ["g"], "1 labels, 2 predictions, 1 groups"),
        (["yes"], ["no"], ["g", "h"], "2 groups"),
        ([], [], [], "no records to judge"),
        (["sick"], ["yes"], ["g"], "labels: 1 of 1 are none of the stated classes: 'sick'"),
        (["yes"], ["sick"], ["g"], "predictions: 1 of 1 are none of the stated classes: 'sick'"),
        ([UNPARSED], ["yes"], ["g"], "labels: 1 of 1 are none of the stated classes: 'unparsed'"),
    ],
)
def test_wrong_input_is_refused(
    y_true: list[str], y_pred: list[str], groups: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        classify(y_true, y_pred, CLASSES, groups)
