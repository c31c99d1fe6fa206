"""Classification from stored lines: worked by hand, against scikit-learn, floors, notes, wrong input."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score

from eval.judges import classification, judge
from eval.lock import lock_differences
from runner.spec.tasks import ClassificationTask

LABELS = {"no": ("no", "does not have"), "yes": ("yes",)}


def task(**changes: Any) -> dict[str, Any]:
    made = ClassificationTask(
        task="classification",
        labels=LABELS,
        positive="yes",
        **{"floors": (), "calibration_bins": 2, **changes},
    )
    return made.model_dump(mode="json")


BOTH = task(scoring=("likelihood", "generation"))


def line(number: int, label: str, p_yes: float, answer: str = "", **more: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "group": f"g{number}",
        "split": "test",
        "label": label,
        "attributes": {"sex": ("female", "male")[number % 2]},
        "prompt": "Disease? Answer:",
        "reference": label,
        "prompt_cut": 0,
        "log_likelihoods": {"no": math.log(1 - p_yes) - 3, "yes": math.log(p_yes) - 3},
        "label_tokens": {"no": 1, "yes": 1},
        "answer": answer,
        "n_tokens": 2,
        "ended": True,
        "floors": {},
        **more,
    }


LINES = [
    line(0, "yes", 0.9, "Yes."),
    line(1, "yes", 0.4, "yes or no"),  # unparsed
    line(2, "no", 0.2, "She does not have it"),
    line(3, "no", 0.6, "yes, the patient does"),
    line(4, "no", 0.1, "maybe"),  # unparsed
]


def value(result: dict[str, Any], name: str) -> float:
    return float(result["metrics"][name]["value"])


def test_likelihoods_worked_by_hand() -> None:
    """Decisions yes no no yes no: 3 of 5 right; of yes, 1 of 2 predicted and 1 of 2 found."""
    result = classification.judged(BOTH, LINES)
    assert value(result, "accuracy") == pytest.approx(3 / 5)
    assert value(result, "balanced_accuracy") == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert value(result, "precision") == value(result, "recall") == value(result, "f1") == 0.5
    assert value(result, "weighted_recall") == pytest.approx(value(result, "accuracy"))
    assert value(result, "auc") == pytest.approx(5 / 6)  # of six pairs only (0.4, 0.6) is the wrong way round
    brier = (0.1**2 + 0.6**2 + 0.2**2 + 0.6**2 + 0.1**2) / 5
    assert value(result, "brier") == pytest.approx(brier)
    assert result["tables"]["confusion"] == {
        "columns": ["true", "no", "yes", "unparsed"],
        "rows": [["no", 2, 1, 0], ["yes", 1, 1, 0]],
    }
    assert result["headline"][:3] == ["accuracy", "weighted_f1", "auc"]
    assert (result["n_records"], result["n_groups"]) == (5, 5)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_written_answers_worked_by_hand() -> None:
    """Read as yes, unparsed, no, yes, unparsed: 2 of 5 right, 3 of 5 read, 2 of these 3 right."""
    result = classification.judged(BOTH, LINES)
    assert value(result, "generated_accuracy") == pytest.approx(2 / 5)
    assert value(result, "generated_parse_rate") == pytest.approx(3 / 5)
    assert value(result, "generated_accuracy_parsed") == pytest.approx(2 / 3)
    assert value(result, "generated_precision") == value(result, "generated_recall") == 0.5
    assert result["tables"]["generated_confusion"]["rows"] == [["no", 1, 1, 1], ["yes", 0, 1, 1]]
    assert "parse_rate" not in result["metrics"]
    assert "accuracy_parsed" not in result["metrics"]


def test_written_answers_alone_take_the_plain_tables() -> None:
    result = classification.judged(task(scoring=("generation",)), LINES)
    assert all(name.startswith("generated_") for name in result["metrics"])
    assert result["tables"].keys() == {"confusion", "per_class"}
    assert result["examples"][1]["answer"] == "yes or no"


def many(count: int, seed: int, skill: float = 1.0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.4
    scores = 1 / (1 + np.exp(-(rng.normal(size=count) + skill * (2 * truth - 1))))
    return [
        line(n, "yes" if t else "no", float(s), ("yes", "no", "?")[n % 3], group=f"g{n // 2}")
        for n, (t, s) in enumerate(zip(truth, scores, strict=True))
    ]


def test_the_same_numbers_as_scikit_learn() -> None:
    lines = many(400, 1)
    result = classification.judged(task(calibration_bins=10), lines)
    truth = np.array([line["label"] == "yes" for line in lines])
    score = np.exp([line["log_likelihoods"]["yes"] + 3 for line in lines])
    assert value(result, "auc") == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert value(result, "brier") == pytest.approx(brier_score_loss(truth, score), abs=1e-12)
    assert value(result, "macro_f1") == pytest.approx(
        f1_score(truth, score > 0.5, average="macro"), abs=1e-12
    )
    assert value(result, "f1") == pytest.approx(f1_score(truth, score > 0.5), abs=1e-12)
    for name, numbers in result["metrics"].items():
        if name == "calibration_error":
            assert (numbers["low"], numbers["high"]) == (None, None)
            continue
        assert numbers["low"] <= numbers["value"] <= numbers["high"], name
    assert any(
        note.startswith("no interval of calibration_error: noise adds to it: about 0.0")
        for note in result["notes"]
    )
    table = result["tables"]["reliability"]
    assert table["columns"] == ["low", "high", "count", "mean_score", "share_positive"]
    assert sum(row[2] for row in table["rows"]) == 400


def test_a_label_of_several_tokens_counts_by_the_token() -> None:
    """Two nats over two tokens are as likely as one over one."""
    lines = [
        line(n, label, 0.5, log_likelihoods={"no": -2.0, "yes": -1.0}, label_tokens={"no": 2, "yes": 1})
        for n, label in enumerate(("no", "yes"))
    ]
    result = classification.judged(task(), lines)
    assert value(result, "brier") == pytest.approx(0.25)
    assert value(result, "auc") == 0.5
    assert "each divided by its tokens" in result["method"]


UNEVEN = [
    line(n, label, 0.5, log_likelihoods={"no": no, "yes": yes}, label_tokens={"no": 2, "yes": 1})
    for n, (label, no, yes) in enumerate(
        [("no", -2.0, -1.5), ("no", -4.0, -1.0), ("yes", -4.0, -1.0), ("no", -1.0, -3.0)]
    )
]
"""`no` has two tokens, `yes` one. Undivided the first two are wrong; divided, -1 and -1.5, -2 and -1, the second alone."""


@pytest.mark.parametrize(
    ("by", "first", "beside", "note"),
    [
        ("none", "yes", "accuracy_per_token", "where likelihoods are divided by tokens"),
        ("token", "no", "accuracy_undivided", "where likelihoods are undivided"),
    ],
)
def test_how_labels_of_other_lengths_are_compared_is_a_word_of_the_spec(
    by: str, first: str, beside: str, note: str
) -> None:
    result = classification.judged(task(normalise=by), UNEVEN)
    accuracy = {"none": 2 / 4, "token": 3 / 4}
    assert value(result, "accuracy") == accuracy[by]
    assert value(result, beside) == accuracy["none" if by == "token" else "token"]
    assert result["examples"][0]["answer"].startswith(first)
    (said,) = [one for one in result["notes"] if one.startswith(beside)]
    assert "tokens: 'no' 2, 'yes' 1" in said
    assert "1 of 4 records" in said
    assert note in said
    changes = classification.differences(task(normalise=by), UNEVEN, UNEVEN)
    assert changes.keys() == result["metrics"].keys()
    assert changes[beside]["value"] == 0


def test_bytes_are_those_of_the_first_word() -> None:
    """no: 2, yes: 3. Nats a byte: -1 and -0.5, -1.05 and -1: `yes` both times; undivided `yes`, then `no`."""
    lines = [
        line(0, "no", 0.5, log_likelihoods={"no": -2.0, "yes": -1.5}),
        line(1, "yes", 0.5, log_likelihoods={"no": -2.1, "yes": -3.0}),
    ]
    result = classification.judged(task(normalise="byte"), lines)
    assert (value(result, "accuracy"), value(result, "accuracy_undivided")) == (1 / 2, 0)
    assert "each divided by the bytes of its word" in result["method"]


def test_labels_of_one_length_are_compared_in_one_way() -> None:
    for by in ("none", "token"):
        result = classification.judged(task(normalise=by), LINES)
        assert not {"accuracy_undivided", "accuracy_per_token"} & result["metrics"].keys()
    before = {name: value for name, value in task().items() if name != "normalise"}
    assert classification.judged(before, UNEVEN) == classification.judged(task(), UNEVEN)


def test_results_of_before_the_word_are_comparable_where_they_were_divided_alike() -> None:
    before = {name: value for name, value in task().items() if name != "normalise"}
    assert lock_differences({"task": before}, {"task": task()}) == ()
    (other,) = lock_differences({"task": task(normalise="none")}, {"task": before})
    assert str(other) == "task.normalise: 'none' and 'token'"


# ------------------------------------------------------------------------------ floors, notes, parts


def rule(label: str) -> dict[str, Any]:
    scores = {"no": 0.8, "yes": 0.2} if label == "no" else {"no": 0.3, "yes": 0.7}
    return {"one_rule": {"label": label, "scores": scores, "words": "ap_hi >= 130: yes, else no"}}


def beside_rule(right: int, count: int, rule_right: int, *, floor: str = "one_rule") -> list[dict[str, Any]]:
    """Return lines of which the model gets the first `right` right, and a floor the last `rule_right`."""
    made = []
    for n in range(count):
        label = ("no", "yes")[n % 2]
        other = ("yes", "no")[n % 2]
        said = label if n < right else other
        floors = {floor: rule(label if n >= count - rule_right else other)["one_rule"]}
        made.append(line(n, label, 0.9 if said == "yes" else 0.1, said, floors=floors))
    return made


def test_below_one_threshold_is_said() -> None:
    """The rule is right in 40 of 40, the model in 24: 60 - 100 = -40 points, and all of the interval is below 0."""
    result = classification.judged(task(floors=("one_rule",)), beside_rule(24, 40, 40))
    assert result["floors"]["one_rule"]["accuracy"]["value"] == 1.0
    (note,) = [note for note in result["notes"] if "ap_hi" in note]
    assert note.startswith(
        "accuracy: worse than one threshold on ap_hi: 60.0 % against 100.0 %, difference -40.0 points (-5"
    )
    assert note.endswith("; ap_hi >= 130: yes, else no")
    change = result["floor_differences"]["one_rule"]["accuracy"]
    assert change["value"] == pytest.approx(-0.4)
    assert change["high"] < 0


def test_a_floor_that_cannot_be_told_apart_is_not_called_better() -> None:
    """19 of 40 and 22 of 40, on other records: -7.5 points, of which nothing is sure."""
    result = classification.judged(task(floors=("one_rule",)), beside_rule(19, 40, 22))
    (note,) = [note for note in result["notes"] if "ap_hi" in note]
    assert note.startswith("accuracy: not told apart from one threshold on ap_hi: 47.5 % against 55.0 %")
    assert not any("worse" in note for note in result["notes"])
    better = classification.judged(task(floors=("one_rule",)), beside_rule(40, 40, 20))
    assert not any("ap_hi" in note for note in better["notes"])


def test_a_floor_of_one_label_is_told_under_chance_and_not_again() -> None:
    lines = [{**one, "floors": {"majority": rule("no")["one_rule"]}} for one in LINES]
    notes = classification.judged(task(floors=("majority",)), lines)["notes"]
    assert len([note for note in notes if "always saying 'no'" in note]) == 1
    assert not any("majority" in note for note in notes)


def test_chance_is_a_field_of_its_own() -> None:
    result = classification.judged(task(), many(300, 3, skill=0.0))
    within = {one["metric"]: one["within"] for one in result["chance"]}
    assert within["auc"] is True
    assert result["chance"][1]["text"] in result["notes"]
    assert result["chance"][1]["text"].startswith("auc: not different from chance")
    skilled = classification.judged(BOTH, many(400, 3, skill=2.0))
    assert {one["metric"]: one["within"] for one in skilled["chance"]} == {
        "accuracy": False,
        "generated_accuracy": False,  # a third yes, a third no, a third unread: worse than always no
        "auc": False,
    }
    notes = [note for note in skilled["notes"] if "accuracy" in note]
    assert len(notes) == 1
    assert notes[0].startswith("generated_accuracy: worse than always saying 'no': ")
    (few, _) = classification.judged(task(), LINES)["chance"]
    assert few["within"] is True
    assert few["text"].startswith("accuracy: not different from always saying 'no': 60.0 % against 60.0 %")


def test_few_groups_are_a_field_of_their_own() -> None:
    assert classification.judged(task(), LINES)["narrow"] == "too narrow, for there are only 5 groups"
    assert classification.judged(task(), many(400, 3))["narrow"] is None


def test_a_class_never_predicted_has_no_precision_and_the_reason_is_noted() -> None:
    """Always no: recall of yes is 0 of 20, with the upper end of Wilson; precision does not exist."""
    lines = [line(n, ("no", "yes")[n % 2], 0.1) for n in range(40)]
    result = classification.judged(task(), lines)
    assert result["metrics"]["precision"] == {"value": None, "low": None, "high": None}
    assert result["metrics"]["weighted_precision"]["value"] is None
    assert result["metrics"]["recall"] == {"value": 0.0, "low": 0.0, "high": pytest.approx(0.16113, abs=1e-5)}
    assert value(result, "f1") == 0
    assert value(result, "weighted_recall") == value(result, "accuracy") == 0.5
    assert any(note.startswith("precision: 'yes' was never predicted") for note in result["notes"])
    assert any(note.startswith("no interval of") and "f1" in note for note in result["notes"])
    assert "Wilson interval over the groups, which are all alike: recall" in result["method"]
    rows = result["tables"]["per_class"]["rows"]
    assert rows[1][3:6] == [None, None, None]
    right = [line(n, ("no", "yes")[n % 2], (0.1, 0.9)[n % 2]) for n in range(40)]
    change = classification.differences(task(), lines, right)
    assert change["precision"]["value"] is None
    assert (change["f1"]["value"], change["f1"]["low"]) == (1.0, None)
    assert change["recall"]["low"] == pytest.approx(1 - 2 * 0.16113, abs=1e-4)


def test_subgroups_are_judged_by_themselves_and_small_ones_are_not() -> None:
    lines = [
        {**one, "attributes": {"sex": "male" if n < 20 else "female"}} for n, one in enumerate(many(100, 5))
    ]
    table = classification.judged(task(subgroups=("sex",)), lines)["tables"]["subgroups"]
    assert table["columns"] == [
        "attribute",
        "value",
        "records",
        "metric",
        "value_",
        "low",
        "high",
        "warning",
    ]
    female = {row[3]: row[4] for row in table["rows"] if row[1] == "female"}
    alone = classification.judged(task(), lines[20:])
    assert female == {name: value(alone, name) for name in ("accuracy", "balanced_accuracy", "auc")}
    (male,) = [row for row in table["rows"] if row[1] == "male"]
    assert male == ["sex", "male", 20, "fewer than 30 records", None, None, None, None]


def test_a_subgroup_of_few_groups_says_that_its_intervals_are_too_narrow() -> None:
    lines = [
        {**one, "attributes": {"sex": "male" if n < 40 else "female"}, "group": f"g{n % 8 if n < 40 else n}"}
        for n, one in enumerate(many(100, 5))
    ]
    rows = classification.judged(task(subgroups=("sex",)), lines)["tables"]["subgroups"]["rows"]
    male = next(row for row in rows if row[1] == "male" and row[3] == "accuracy")
    assert male[5] < male[4] < male[6]
    assert male[7] == "too narrow, for there are only 8 groups"
    female = next(row for row in rows if row[1] == "female" and row[3] == "accuracy")
    assert female[5] < female[4] < female[6]
    assert female[7] is None


def test_a_class_without_a_record_is_named() -> None:
    result = classification.judged(task(), [one for one in LINES if one["label"] == "no"])
    assert result["metrics"]["auc"] == {"value": None, "low": None, "high": None}
    assert result["metrics"]["recall"]["value"] is None
    assert any("no judged record has the label 'yes'" in note for note in result["notes"])


# -------------------------------------------------------------------------------------- temperature


def honest(count: int, seed: int, *, sureness: float, **more: Any) -> list[dict[str, Any]]:
    """Return lines whose log odds are those by which the labels were drawn, times `sureness`."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(scale=1.5, size=count)
    truth = rng.random(count) < 1 / (1 + np.exp(-odds))
    scores = 1 / (1 + np.exp(-odds * sureness))
    return [
        line(n, "yes" if t else "no", float(s), **more)
        for n, (t, s) in enumerate(zip(truth, scores, strict=True))
    ]


def test_the_temperature_is_fitted_on_validation_and_mends_what_is_too_sure() -> None:
    """Three times too sure wants a temperature of 3."""
    held = [{**one, "id": f"v{one['id']}"} for one in honest(2000, 8, sureness=3, split="validation")]
    tested = honest(2000, 9, sureness=3)
    result = classification.judged(task(temperature_scaling=True, calibration_bins=10), tested + held)
    assert result["temperature"]["value"] == pytest.approx(3, rel=0.1)
    assert result["temperature"]["nll_after"] < result["temperature"]["nll_before"]
    assert value(result, "calibration_error_scaled") < value(result, "calibration_error") / 2
    assert value(result, "brier_scaled") < value(result, "brier")
    assert result["temperature"]["fitted_on"] == "2000 validation records"
    assert result["n_records"] == 2000
    assert "reliability_scaled" in result["tables"]
    assert value(result, "auc") == value(classification.judged(task(), tested), "auc")


def test_without_validation_lines_there_is_no_temperature() -> None:
    with pytest.raises(ValueError, match="no records to judge: logits, labels are empty"):
        classification.judged(task(temperature_scaling=True), LINES)


# ------------------------------------------------------------------------------------- differences


def test_differences_are_paired_and_of_every_metric() -> None:
    before, after = many(300, 11, skill=0.2), many(300, 11, skill=2.0)
    changed = judge("classification").differences(BOTH, before, after)
    one, two = (classification.judged(BOTH, lines) for lines in (before, after))
    assert changed.keys() == one["metrics"].keys()
    for name, change in changed.items():
        assert change["value"] == pytest.approx(value(two, name) - value(one, name), abs=1e-12), name
    assert changed["auc"]["low"] > 0
    same = judge("classification").differences(BOTH, before, before)
    reach = pytest.approx(3.8415 / (150 + 3.8415), abs=1e-5)  # 150 groups, none of which changed
    assert same["accuracy"]["value"] == 0
    assert -same["accuracy"]["low"] == same["accuracy"]["high"] == reach
    assert same["auc"] == {"value": 0.0, "low": None, "high": None}


# ------------------------------------------------------------------------------------- wrong input


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="no records of the split test to judge"):
        classification.judged(task(), [{**one, "split": "validation"} for one in LINES])
    with pytest.raises(ValueError, match="1 ids occur more than once"):
        classification.judged(task(), [LINES[0], LINES[0]])
    other = [{**LINES[0], "log_likelihoods": {"no": -1.0, "maybe": -1.0}}]
    with pytest.raises(
        ValueError, match=r"the classes differ from the stated ones.*missing: 'yes'; new: 'maybe'"
    ):
        classification.judged(task(), other)
    with pytest.raises(ValueError, match="labels: 1 of 5 are none of the stated classes: 'ill'"):
        classification.judged(task(), [{**LINES[0], "label": "ill"}, *LINES[1:]])
    with pytest.raises(ValueError, match="1 of 5 scores are NaN, the first at record 0"):
        classification.judged(
            task(), [{**LINES[0], "log_likelihoods": {"no": math.nan, "yes": -1.0}}, *LINES[1:]]
        )
    with pytest.raises(ValueError, match="record 'r0' has no decision of the floor 'majority'"):
        classification.judged(task(floors=("majority",)), LINES)
    with pytest.raises(ValueError, match="no record has the attribute 'age_band'"):
        classification.judged(task(subgroups=("age_band",)), LINES)
    with pytest.raises(ValueError, match="stand on one side only"):
        classification.differences(task(), LINES, LINES[:3])
    flipped = [{**LINES[0], "label": "no"}, *LINES[1:]]
    with pytest.raises(ValueError, match="the labels of the same records differ"):
        classification.differences(task(), LINES, flipped)
