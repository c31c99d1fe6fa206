"""Many labels from a language model: numbers worked by hand, thresholds from validation lines, what the image gives."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, f1_score, hamming_loss, roc_auc_score

from eval.judges import judge
from eval.judges.image_reliance import judged_with_images
from eval.judges.multilabel_lines import of_split, scores_of, thresholds_of
from eval.label_sets import label_set
from eval.multilabel import checked_bound, score_labels
from eval.report.judged import task_sections
from eval.report.view import Table
from runner.spec.tasks import MultilabelTask

JUDGE = judge("multilabel")
CLASSES = label_set("superclasses").ids


def task(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"task": "multilabel", "label_set": "superclasses", **changes}
    return MultilabelTask(**given).model_dump(mode="json")


def written(number: int, labels: list[str], answer: str) -> dict[str, Any]:
    return {
        "id": f"r{number}", "group": f"p{number}", "split": "test", "labels": labels, "attributes": {},
        "prompt": "?", "reference": "", "prompt_cut": 0, "answer": answer, "n_tokens": 3, "ended": True,
    }  # fmt: skip


BY_HAND = [
    written(0, ["NORM"], "NORM"),
    written(1, ["MI"], "inferior infarction, no LVH"),
    written(2, ["MI", "CD"], "LBBB"),
    written(3, ["STTC"], "I cannot say."),
    written(4, ["HYP"], "left ventricular hypertrophy with ST-T changes"),
]
"""Decisions: NORM; MI; CD; nothing; HYP and STTC. Wrong are MI of r2, STTC of r3 and of r4: 3 of 25."""


def test_written_answers_by_hand() -> None:
    result = JUDGE.judged(task(), BY_HAND)
    values = {name: value["value"] for name, value in result["metrics"].items()}
    assert values["generated_hamming_loss"] == pytest.approx(3 / 25)
    assert values["generated_exact_match"] == pytest.approx(2 / 5)
    assert values["generated_parse_rate"] == pytest.approx(4 / 5)
    # Sensitivity and specificity: NORM, CD, HYP 1 and 1; MI 1/2 and 1; STTC 0 and 3/4.
    assert values["generated_auc_hard"] == pytest.approx((1 + 0.75 + 0.375 + 1 + 1) / 5)
    # F1: NORM, CD, HYP 1; MI 2/3; STTC 0.
    assert values["generated_macro_f1"] == pytest.approx((3 + 2 / 3) / 5)
    assert result["consistency"]["generated_auc_hard"]["limit"] == pytest.approx(2 * (1 - 0.825))
    assert any("1 of 5 answers say nothing of the set" in note for note in result["notes"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_commonest_labels_are_a_floor() -> None:
    lines = [written(n, ["NORM"] if n < 3 else ["MI"], "MI") for n in range(4)]
    floor = JUDGE.judged(task(), lines)["floors"]["commonest_labels"]
    assert floor["hamming_loss"]["value"] == pytest.approx(2 / 20)  # r3: NORM said, MI not
    assert floor["auc_hard_present"]["value"] == pytest.approx(0.5)


def test_a_label_that_nobody_has_is_named() -> None:
    result = JUDGE.judged(task(), BY_HAND[:3])
    assert result["metrics"]["generated_auc_hard"]["value"] is None
    assert result["metrics"]["generated_auc_hard_present"]["value"] == pytest.approx((1 + 0.75 + 1) / 3)
    assert any("3 of 5 labels have a positive and a negative" in note for note in result["notes"])
    assert result["headline"][0] == "generated_auc_hard_present"


def test_without_a_labelled_record_there_is_a_reason_and_no_number() -> None:
    result = judged_with_images(task(ablate=("blank",)), [], {"blank": []})
    assert result["not_judged"] == "no record of the split test has labels of the set superclasses"
    assert (result["metrics"], result["n_records"], "image" in result) == ({}, 0, False)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert JUDGE.differences(task(), [], []) == {}
    with pytest.raises(ValueError, match="5 records before and 0 after"):
        JUDGE.differences(task(), BY_HAND, [])
    (section,) = task_sections([result], [result])
    assert "not judged: no record of the split test" in str(section)
    assert not any(isinstance(block, Table) for block in section.blocks)


# ---------------------------------------------------------------------------------------- likelihoods


def scored(seed: int, strength: float, records: int = 90) -> list[dict[str, Any]]:
    """Return lines of which the first third is validation; two a patient; yes beats no by about `strength`."""
    truth = np.random.default_rng(5).random((records, 5)) < 0.4
    logits = np.random.default_rng(seed).normal(size=truth.shape) + strength * (truth - 0.5)
    return [
        {
            **written(row, [name for name, yes in zip(CLASSES, truth[row], strict=True) if yes], ""),
            "group": f"p{row // 2}",
            "split": "validation" if row < records // 3 else "test",
            "attributes": {"sex": "male" if row % 4 < 2 else "female"},
            "log_likelihoods": {
                name: {"yes": value - 9.0, "no": -9.0}
                for name, value in zip(CLASSES, logits[row], strict=True)
            },
            "label_tokens": {"yes": 2, "no": 3},
        }
        for row in range(records)
    ]


LIKELY = task(scoring=("likelihood",), subgroups=("sex",))


def test_yes_against_no_is_the_log_of_their_odds() -> None:
    """P(yes) = 0.2 of one token, P(no) = 0.05 of three: odds of 4, a chance of 0.8 whatever the tokens."""
    nats = {"yes": np.log(0.2), "no": np.log(0.05)}
    lines = [
        {**one, "log_likelihoods": dict.fromkeys(CLASSES, nats), "label_tokens": {"yes": 1, "no": 3}}
        for one in BY_HAND
    ]
    asked = task(scoring=("likelihood",))
    found = scores_of(asked, of_split(asked, lines, "test"))
    assert found == pytest.approx(np.full((5, 5), np.log(4)))


def arrays_of(lines: list[dict[str, Any]]) -> tuple[Any, Any]:
    kept = [line for line in lines if line["split"] == "test"]
    truth = np.array([[name in line["labels"] for name in CLASSES] for line in kept])
    scores = [[line["log_likelihoods"][name]["yes"] + 9 for name in CLASSES] for line in kept]
    return truth, np.array(scores)


def test_likelihoods_beside_the_library() -> None:
    lines = scored(0, 2.0)
    result = JUDGE.judged(LIKELY, lines)
    truth, scores = arrays_of(lines)
    values = {name: value["value"] for name, value in result["metrics"].items()}
    assert values["macro_auc"] == pytest.approx(roc_auc_score(truth, scores))
    assert values["average_precision"] == pytest.approx(average_precision_score(truth, scores))
    chosen = np.array([row[1] for row in result["tables"]["thresholds"]["rows"]])
    said = scores >= chosen
    assert values["hamming_loss"] == pytest.approx(hamming_loss(truth, said))
    assert values["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro"))
    areas = [roc_auc_score(column, decision) for column, decision in zip(truth.T, said.T, strict=True)]
    assert values["auc_hard"] == pytest.approx(np.mean(areas))
    chances = 1 / (1 + np.exp(-scores))
    assert values["brier"] == pytest.approx(np.mean((chances - truth) ** 2))
    assert {row[1] for row in result["tables"]["subgroups"]["rows"]} == {"male", "female"}


def test_thresholds_do_not_see_the_judged_records() -> None:
    lines = scored(0, 2.0)
    turned = [line if line["split"] == "validation" else {**line, "labels": ["MI"]} for line in lines]
    assert thresholds_of(LIKELY, lines) == thresholds_of(LIKELY, turned)


def test_thresholds_need_validation_records() -> None:
    with pytest.raises(ValueError, match="no records of the split validation"):
        JUDGE.judged(LIKELY, [line for line in scored(0, 2.0) if line["split"] == "test"])


def test_a_name_as_an_answer_is_no_chance() -> None:
    lines = [
        {
            **line,
            "log_likelihoods": {name: pair["yes"] for name, pair in line["log_likelihoods"].items()},
            "label_tokens": dict.fromkeys(CLASSES, 2),
        }
        for line in scored(0, 2.0)
    ]
    result = JUDGE.judged(task(scoring=("likelihood",), ask="record"), lines)
    assert "brier" not in result["metrics"]
    assert result["metrics"]["macro_auc"]["value"] == pytest.approx(roc_auc_score(*arrays_of(scored(0, 2.0))))


def test_differences_are_of_the_same_records() -> None:
    before, after = scored(0, 0.0), scored(1, 4.0)
    found = JUDGE.differences(LIKELY, before, after)
    one, two = (JUDGE.judged(LIKELY, lines)["metrics"] for lines in (before, after))
    for name, change in found.items():
        assert change["value"] == pytest.approx(two[name]["value"] - one[name]["value"]), name
    assert (found["macro_auc"]["low"] or 0) > 0
    assert (found["hamming_loss"]["high"] or 0) < 0
    with pytest.raises(ValueError, match="labels of the same records differ"):
        JUDGE.differences(LIKELY, before, [{**line, "labels": []} for line in after])


def test_likelihoods_of_other_labels_are_refused() -> None:
    lines = scored(0, 2.0)
    lines[-1]["log_likelihoods"] = {"MI": {"yes": -1.0, "no": -2.0}}
    with pytest.raises(ValueError, match="classes differ from the stated ones"):
        JUDGE.judged(LIKELY, lines)


# ------------------------------------------------------------------------------------------- the bound

TABLES = st.integers(2, 12).flatmap(
    lambda count: st.tuples(arrays(np.bool_, (count, 3)), arrays(np.bool_, (count, 3)))
)


@given(TABLES)
@settings(deadline=None, max_examples=150)
def test_hamming_loss_never_exceeds_what_the_hard_auc_allows(tables: tuple[Any, Any]) -> None:
    truth, said = tables
    groups = [str(row) for row in range(len(truth))]
    found = score_labels(truth, said, ("a", "b", "c"), groups, draws=0)
    bound = checked_bound(found)
    assert (bound is None) == (len(found.missing) == 3)
    assert bound is None or bound["hamming_loss"] <= bound["limit"] + 1e-9


def test_numbers_of_different_decisions_are_a_mistake_of_ours() -> None:
    import dataclasses

    found = score_labels(
        np.eye(3, dtype=bool), ~np.eye(3, dtype=bool), ("a", "b", "c"), ["1", "2", "3"], draws=0
    )
    assert found.bound is not None
    wrong = dataclasses.replace(found, bound=dataclasses.replace(found.bound, auc_hard=0.98))
    with pytest.raises(RuntimeError, match=r"cannot go with a hard AUC of 0\.98, which allows 0\.04"):
        checked_bound(wrong)


# ------------------------------------------------------------------------------------- what the image gives


def shown(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["split"] == "test"]


def test_a_model_that_looks_is_told_from_one_that_does_not() -> None:
    real, blind = scored(1, 4.0, 240), shown(scored(2, 0.0, 240))
    result = judged_with_images(LIKELY, real, {"blank": blind, "shuffled": shown(real)})
    blank, same = (result["image"][word]["verdicts"] for word in ("blank", "shuffled"))
    assert set(blank.values()) == {"uses the image"}
    assert set(same.values()) == {"does not use the image"}
    assert result["notes"][0].startswith("against a blank image (blank): uses the image: macro_auc +")
    plain = JUDGE.judged(LIKELY, real)
    assert {name: result[name] for name in plain if name != "notes"} == {
        name: value for name, value in plain.items() if name != "notes"
    }


def test_a_model_that_is_better_without_is_said_so() -> None:
    result = judged_with_images(LIKELY, scored(2, -4.0, 240), {"blank": shown(scored(1, 4.0, 240))})
    assert result["image"]["blank"]["verdicts"]["macro_auc"] == "is better without the image"


def test_thresholds_of_the_real_images_are_those_of_the_others() -> None:
    """All scores without the image are shifted: at thresholds of their own the decisions would be as good."""
    real = scored(1, 4.0, 240)
    shifted = [
        {
            **line,
            "log_likelihoods": {
                name: {"yes": pair["yes"] - 100, "no": pair["no"]}
                for name, pair in line["log_likelihoods"].items()
            },
        }
        for line in shown(real)
    ]
    image = judged_with_images(LIKELY, real, {"blank": shifted})["image"]["blank"]
    assert image["metrics"]["macro_auc"]["value"] == pytest.approx(
        JUDGE.judged(LIKELY, real)["metrics"]["macro_auc"]["value"]
    )
    assert image["metrics"]["auc_hard"]["value"] == 0.5
    assert image["verdicts"]["auc_hard"] == "uses the image"


def test_few_patients_give_no_verdict() -> None:
    result = judged_with_images(LIKELY, scored(1, 4.0, 45), {"blank": shown(scored(2, 0.0, 45))})
    assert result["narrow"]
    assert set(result["image"]["blank"]["verdicts"].values()) == {"too few groups for a verdict"}


def test_the_page_has_a_table_of_what_the_image_gives() -> None:
    real, blind = scored(1, 4.0, 240), shown(scored(2, 0.0, 240))
    result = judged_with_images(LIKELY, real, {"blank": blind})
    (section,) = task_sections([], [result])
    table = next(
        b for b in section.blocks if isinstance(b, Table) and b.caption.startswith("Tuned, the same records")
    )
    assert [column.name for column in table.columns][1:3] == ["Its own image", "Blank"]
    assert {row[-1].text for row in table.rows} == {"uses the image"}
    assert table.rows[0][0].text == "AUC, macro"


def test_yes_and_no_of_other_lengths_are_said() -> None:
    asked = task(scoring=("likelihood",), thresholds="half")
    uneven = multilabel_lines({"yes": 1, "no": 3})
    assert any("yes has 1 and no 3 tokens" in note for note in JUDGE.judged(asked, uneven)["notes"])
    assert not any(
        "tokens" in note for note in JUDGE.judged(asked, multilabel_lines({"yes": 2, "no": 2}))["notes"]
    )


def multilabel_lines(tokens: dict[str, int]) -> list[dict[str, Any]]:
    nats = {"yes": -1.0, "no": -2.0}
    return [
        {**one, "log_likelihoods": dict.fromkeys(CLASSES, nats), "label_tokens": tokens} for one in BY_HAND
    ]
