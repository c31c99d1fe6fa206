"""The judge of ECG recordings: every number from stored lines alone, thresholds from validation lines alone."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import (
    average_precision_score,
    coverage_error,
    f1_score,
    fbeta_score,
    hamming_loss,
    label_ranking_loss,
    roc_auc_score,
)

from eval.challenge import challenge_score, read_weights
from eval.judges import judge
from eval.judges import signal_multilabel as module
from eval.judges.label_lines import of_split
from eval.judges.signal_multilabel import thresholds_of
from eval.multilabel import Bound, score_labels

CLASSES = ("NSR", "AF", "SB")
CODES = {"NSR": ["426783006"], "AF": ["164889003"], "SB": ["426177001"]}
TASK: dict[str, Any] = {
    "task": "signal_multilabel",
    "split": "test",
    "records": None,
    "batch": 8,
    "thresholds": "validation",
    "beta": 2.0,
    "challenge_score": True,
    "subgroups": ["sex"],
    "calibration_bins": 5,
    "classes": list(CLASSES),
    "codes": CODES,
}
JUDGE = judge("signal_multilabel")
WILSON_30 = 1.959964**2 / (30 + 1.959964**2)
"""Upper end of the Wilson interval of 0 of 30."""


def lines(
    seed: int = 0, strength: float = 2.0, records: int = 90, *, lacking: str | None = None
) -> list[dict[str, Any]]:
    """Return lines of 30 validation and 60 test records, two of each patient; labels depend on no seed."""
    labels = np.random.default_rng(77).random((records, 3)) < 0.4
    if lacking:
        labels[:, CLASSES.index(lacking)] = False
    logits = np.random.default_rng(seed).normal(size=(records, 3)) + strength * (labels - 0.5)
    return [
        {
            "id": f"r{row}",
            "group": f"p{row // 2}",
            "split": "validation" if row < 30 else "test",
            "labels": [name for name, yes in zip(CLASSES, labels[row], strict=True) if yes],
            "logits": dict(zip(CLASSES, logits[row].tolist(), strict=True)),
            "attributes": {"sex": "male" if row % 3 else "female"},
        }
        for row in range(records)
    ]


def arrays(of: list[dict[str, Any]], split: str) -> tuple[Any, Any]:
    kept = [line for line in of if line["split"] == split]
    truth = np.array([[name in line["labels"] for name in CLASSES] for line in kept])
    return truth, np.array([list(line["logits"].values()) for line in kept])


def value(result: dict[str, Any], name: str) -> float:
    found: float = result["metrics"][name]["value"]
    return found


def test_numbers_are_those_of_scikit_learn() -> None:
    of = lines()
    result = JUDGE.judged(TASK, of)
    truth, logits = arrays(of, "test")
    held, held_logits = arrays(of, "validation")
    best = []
    for column in range(3):
        scores = np.unique(held_logits[:, column])
        curve = [fbeta_score(held[:, column], held_logits[:, column] >= at, beta=2) for at in scores]
        place = np.flatnonzero(np.isclose(curve, max(curve), rtol=0, atol=1e-12))[-1]
        best.append(scores[place - 1 : place + 1].mean())
    said = logits >= np.array(best)
    assert value(result, "macro_auc") == pytest.approx(
        roc_auc_score(truth, logits, average="macro"), abs=1e-12
    )
    assert value(result, "average_precision") == pytest.approx(
        average_precision_score(truth, logits), abs=1e-12
    )
    assert value(result, "f_beta") == pytest.approx(
        fbeta_score(truth, said, beta=2, average="macro"), abs=1e-12
    )
    assert value(result, "coverage") == pytest.approx(coverage_error(truth, logits), abs=1e-12)
    assert value(result, "ranking_loss") == pytest.approx(label_ranking_loss(truth, logits), abs=1e-12)
    assert value(result, "hamming_loss") == pytest.approx(hamming_loss(truth, said), abs=1e-12)
    assert value(result, "brier") == pytest.approx(((expit(logits) - truth) ** 2).mean(), abs=1e-12)
    per_class = {row[0]: row for row in result["tables"]["per_class"]["rows"]}
    assert per_class["AF"][3] == pytest.approx(roc_auc_score(truth[:, 1], logits[:, 1]))
    assert (result["n_records"], result["n_groups"], result["n_classes_defined"]) == (60, 30, 3)
    json.dumps(result, allow_nan=False)


def test_hamming_loss_and_hard_auc_are_of_the_same_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """DOMAIN 1.5: HL <= 2 (1 - AUC) for any decisions; the published 0.11 and 0.98 cannot be."""
    result = JUDGE.judged(TASK, lines())
    found = result["consistency"]
    assert found["limit"] == pytest.approx(2 * (1 - value(result, "auc_hard")))
    assert found["hamming_loss"] == pytest.approx(value(result, "hamming_loss"))
    assert found["hamming_loss"] <= found["limit"]
    monkeypatch.setattr(module, "score_labels", impossible)
    with pytest.raises(
        RuntimeError, match=r"0\.11 cannot go with a hard AUC of 0\.98, which allows 0\.04 at most"
    ):
        JUDGE.judged(TASK, lines())


def impossible(*args: Any, **options: Any) -> Any:
    return dataclasses.replace(score_labels(*args, **options), bound=Bound(hamming_loss=0.11, auc_hard=0.98))


def test_test_lines_do_not_move_a_threshold() -> None:
    of = lines()
    moved = [
        {**line, "logits": dict.fromkeys(CLASSES, 5.0)} if line["split"] == "test" else line for line in of
    ]
    assert thresholds_of(TASK, of) == thresholds_of(TASK, moved)


def test_without_validation_lines_there_is_no_threshold() -> None:
    with pytest.raises(ValueError, match="no records of the split validation"):
        JUDGE.judged(TASK, [line for line in lines() if line["split"] == "test"])


def test_half_needs_no_validation_lines() -> None:
    only = [line for line in lines() if line["split"] == "test"]
    result = JUDGE.judged(TASK | {"thresholds": "half"}, only)
    truth, logits = arrays(only, "test")
    assert value(result, "hamming_loss") == pytest.approx(((logits >= 0) != truth).mean())


def test_a_class_that_nobody_has_is_named_and_not_averaged_over() -> None:
    of = lines(lacking="AF")
    result = JUDGE.judged(TASK, of)
    assert result["metrics"]["macro_auc"] == {"value": None, "low": None, "high": None}
    truth, logits = arrays(of, "test")
    kept = [0, 2]
    assert value(result, "macro_auc_present") == pytest.approx(roc_auc_score(truth[:, kept], logits[:, kept]))
    assert result["headline"][0] == "macro_auc_present"
    assert result["n_classes_defined"] == 2
    notes = " ".join(result["notes"])
    assert "2 of 3 classes" in notes
    assert "without: AF" in notes
    assert "the threshold is 0.5: AF" in notes
    fallback = {row[0]: row[-1] for row in result["tables"]["thresholds"]["rows"]}
    assert fallback == {"NSR": False, "AF": True, "SB": False}


def test_a_class_that_nobody_has_and_that_is_decided_counts_0_as_in_the_challenge() -> None:
    """Three classes: two with F1 of their own, and AF, which no record has and which some are decided for."""
    of = lines(lacking="AF")
    task = TASK | {"thresholds": "half"}
    result = JUDGE.judged(task, of)
    truth, logits = arrays(of, "test")
    decided = logits >= 0
    assert decided[:, 1].any()
    scores = [f1_score(truth[:, place], decided[:, place]) for place in (0, 2)]
    assert value(result, "macro_f1_cinc") == pytest.approx(sum(scores) / 3)
    assert value(result, "macro_f1_present") == pytest.approx(sum(scores) / 2)
    never = [{**line, "logits": {**line["logits"], "AF": -50.0}} for line in of]
    assert value(JUDGE.judged(task, never), "macro_f1_cinc") == pytest.approx(sum(scores) / 2)


def test_a_model_that_knows_nothing_is_said_to() -> None:
    nothing, something = (JUDGE.judged(TASK, lines(strength=strength)) for strength in (0.0, 3.0))
    assert any("not different from chance" in note for note in nothing["notes"])
    assert not any("chance" in note for note in something["notes"])
    assert [(one["metric"], one["within"]) for one in nothing["chance"]] == [("macro_auc", True)]
    assert [(one["metric"], one["within"]) for one in something["chance"]] == [("macro_auc", False)]


def test_intervals_of_few_patients_are_called_too_narrow() -> None:
    of = [{**line, "group": f"p{row % 4}"} for row, line in enumerate(lines())]
    assert "too narrow" in JUDGE.judged(TASK, of)["narrow"]
    assert JUDGE.judged(TASK, lines(records=400))["narrow"] is None


def test_thresholds_chosen_on_the_judged_records_are_said_to_be() -> None:
    """Decisions then look too good, so that neither their metrics nor the differences of these have an interval."""
    here = TASK | {"split": "validation"}
    result, there = JUDGE.judged(here, lines()), JUDGE.judged(TASK, lines())
    assert any("decisions look too good" in note for note in result["notes"])
    assert any(note.startswith("no interval of macro_f1, ") for note in result["notes"])
    for name in ("macro_f1", "f_beta", "hamming_loss", "exact_match", "challenge_score"):
        assert result["metrics"][name]["value"] is not None
        assert result["metrics"][name]["low"] is None
        assert there["metrics"][name]["low"] is not None
    assert result["metrics"]["macro_auc"]["low"] is not None
    changes = JUDGE.differences(here, lines(), lines(seed=1))
    assert changes["f_beta"]["low"] is None
    assert changes["brier"]["low"] is not None


def test_the_challenge_score_says_how_many_of_its_classes_are_ours() -> None:
    result = JUDGE.judged(TASK, lines(strength=50.0))
    assert value(result, "challenge_score") == pytest.approx(1)
    assert any("3 of the challenge's" in note for note in result["notes"])
    assert "challenge_score" not in JUDGE.judged(TASK | {"challenge_score": False}, lines())["metrics"]


RBBB, CRBBB, NSR = "59118001", "713427006", "426783006"


def of_codes(number: int, codes: list[str], said: list[str], *, kept: bool = True) -> dict[str, Any]:
    classes = {"RBBB": RBBB, "NSR": NSR}
    return {
        "id": f"r{number}", "group": f"p{number}", "split": "test", "attributes": {},
        "labels": [name for name, code in classes.items() if code in codes],
        "logits": {name: 9.0 if name in said else -9.0 for name in classes},
        **({"codes": codes} if kept else {}),
    }  # fmt: skip


def test_a_code_that_counts_as_a_class_of_ours_is_one_in_the_challenge_score() -> None:
    """RBBB is a class, CRBBB is none; the challenge has one class of both, and gives 0.35 for NSR said of it.

    r0 has NSR and gets it: 1. r1 has CRBBB and gets RBBB and NSR: (1 + 0.35) / 2. Right: 1 + 1. NSR always, of two
    labels in all with r1: 1 + 0.35 / 2. (1.675 - 1.175) / (2 - 1.175) = 0.5 / 0.825. 270492004 (IAVB) is absent.
    """
    task = TASK | {"classes": ["RBBB", "NSR"], "codes": {"RBBB": [RBBB], "NSR": [NSR]}, "thresholds": "half", "subgroups": []}  # fmt: skip
    said = [of_codes(0, [NSR, "270492004"], ["NSR"]), of_codes(1, [CRBBB], ["RBBB", "NSR"])]
    result = JUDGE.judged(task, said)
    assert value(result, "challenge_score") == pytest.approx(0.5 / 0.825)
    assert any(f"1 labels are there by a code that is no class of ours and counts as one in the challenge ({CRBBB})" in note for note in result["notes"])  # fmt: skip
    assert JUDGE.differences(task, said, said)["challenge_score"]["value"] == 0
    earlier = [of_codes(0, [NSR], ["NSR"], kept=False), of_codes(1, [RBBB], ["RBBB"], kept=False)]
    result = JUDGE.judged(task, earlier)
    assert value(result, "challenge_score") == 1
    assert any(f"{CRBBB} count there as a class of ours" in note for note in result["notes"])


def test_subgroups_have_intervals_and_small_ones_their_size_alone() -> None:
    rows = JUDGE.judged(TASK, lines())["tables"]["subgroups"]["rows"]
    male = [row for row in rows if row[1] == "male"]
    assert {row[3] for row in male} == {"macro_auc_present", "average_precision_present", "f_beta_present"}
    assert all(row[5] <= row[4] <= row[6] for row in male)
    assert [row[3] for row in rows if row[1] == "female"] == ["fewer than 30 records"]


def test_differences_are_of_the_same_records_and_zero_for_the_same_model() -> None:
    of = lines()
    same = JUDGE.differences(TASK, of, of)
    shares = {"ranking_loss", "hamming_loss", "exact_match"}
    assert all(
        one == {"value": 0, "low": None, "high": None} for name, one in same.items() if name not in shares
    )
    reach = WILSON_30  # 30 patients that are all alike
    assert all(same[name] == pytest.approx({"value": 0, "low": -reach, "high": reach}) for name in shares)
    before, after = lines(1, 0.5), lines(2, 4.0)
    found = JUDGE.differences(TASK, before, after)
    results = [JUDGE.judged(TASK, side) for side in (before, after)]
    assert found.keys() == results[0]["metrics"].keys()
    for name, change in found.items():
        assert change["value"] == pytest.approx(value(results[1], name) - value(results[0], name), abs=1e-12)
    low = found["macro_auc"]["low"]
    assert low is not None
    assert low > 0


def test_differences_of_a_lacking_class_exist_over_the_others() -> None:
    before, after = lines(1, 0.5, lacking="SB"), lines(2, 4.0, lacking="SB")
    found = JUDGE.differences(TASK, before, after)
    assert found.keys() == JUDGE.judged(TASK, after)["metrics"].keys()
    assert found["macro_auc"]["value"] is None
    assert found["macro_auc_present"]["value"] is not None


def test_other_labels_or_records_are_no_pair() -> None:
    of = lines()
    other = [*of]
    other[40] = {**of[40], "labels": [] if of[40]["labels"] else ["AF"]}
    with pytest.raises(ValueError, match="labels of the same records differ"):
        JUDGE.differences(TASK, of, other)
    with pytest.raises(ValueError, match="stand on one side only"):
        JUDGE.differences(TASK, of, of[:-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"logits": {"NSR": 0.0}}, "classes differ"),
        ({"labels": ["VF"]}, r"no class: \['VF'\]"),
        ({"logits": {"NSR": float("nan"), "AF": 0.0, "SB": 0.0}}, "NaN"),
    ],
)
def test_wrong_lines_are_refused(change: dict[str, Any], said: str) -> None:
    of = lines()
    of[50] = of[50] | change
    with pytest.raises(ValueError, match=said):
        JUDGE.judged(TASK, of)


def perfect(of: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**line, "logits": {name: 5.0 if name in line["labels"] else -5.0 for name in CLASSES}} for line in of
    ]


def test_a_perfect_model_has_wilsons_interval_and_says_where_it_has_none() -> None:
    result = JUDGE.judged(TASK, perfect(lines()))
    for name, worst in (("exact_match", 1.0), ("hamming_loss", 0.0), ("ranking_loss", 0.0)):
        low, high = sorted((worst, abs(worst - WILSON_30)))
        assert result["metrics"][name] == pytest.approx({"value": worst, "low": low, "high": high}), name
    assert (
        "Wilson interval over the groups, which are all alike: ranking_loss, hamming_loss" in result["method"]
    )
    assert result["metrics"]["f_beta"] == {"value": 1, "low": None, "high": None}
    assert any(
        note.startswith("no interval of macro_auc, ") and "every draw gives the same number" in note
        for note in result["notes"]
    )
    truth, _ = arrays(lines(), "test")
    sizes = np.array(list(Counter(place // 2 for place in np.flatnonzero(truth[:, 1])).values()))
    kish, of_squares = ((sizes**n).sum() ** 2 / (sizes ** (2 * n)).sum() for n in (1, 2))
    groups = np.sqrt(kish * of_squares)  # of unequal size: one or two records
    assert groups < len(sizes)
    row = dict(
        zip(result["tables"]["per_class"]["columns"], result["tables"]["per_class"]["rows"][1], strict=True)
    )
    square = 1.959964**2
    assert row["sensitivity_low"] == pytest.approx(1 - square / (groups + square))


def test_floors_by_hand() -> None:
    """Naming all: TP = positives, FP = the rest, so F2 = 5p / (4p + 1); naming none is wrong for each positive."""
    result = JUDGE.judged(TASK, lines())
    truth, _ = arrays(lines(), "test")
    p = truth.mean(axis=0)
    every, none = result["floors"]["every_class"], result["floors"]["no_class"]
    assert every["f_beta"]["value"] == pytest.approx((5 * p / (4 * p + 1)).mean())
    assert every["average_precision"]["value"] == pytest.approx(p.mean())
    assert every["macro_auc"] == {"value": 0.5, "low": None, "high": None}
    assert every["hamming_loss"]["value"] == pytest.approx(1 - p.mean())
    assert none["hamming_loss"]["value"] == pytest.approx(p.mean())
    assert none["exact_match"]["value"] == pytest.approx((~truth.any(axis=1)).mean())
    assert every["average_precision"]["low"] < p.mean() < every["average_precision"]["high"]
    gained = result["floor_differences"]
    assert gained["every_class"]["f_beta"]["value"] == pytest.approx(
        value(result, "f_beta") - every["f_beta"]["value"]
    )
    assert gained["no_class"]["hamming_loss"]["value"] == pytest.approx(
        value(result, "hamming_loss") - p.mean()
    )


def test_floors_of_a_lacking_class_exist_over_the_others() -> None:
    result = JUDGE.judged(TASK, lines(lacking="AF"))
    truth, _ = arrays(lines(lacking="AF"), "test")
    p = truth[:, [0, 2]].mean(axis=0)
    every = result["floors"]["every_class"]
    assert every["f_beta"]["value"] is None
    assert every["f_beta_present"]["value"] == pytest.approx((5 * p / (4 * p + 1)).mean())
    assert every["macro_auc_present"]["value"] == 0.5
    assert set(result["floor_differences"]["every_class"]) == {"f_beta_present"}


def test_decisions_no_better_than_a_floor_are_said_to_be() -> None:
    result = JUDGE.judged(TASK, lines(strength=0.0))
    nothing = " ".join(result["notes"])
    change = result["floor_differences"]["every_class"]["f_beta"]
    where = "worse than" if change["high"] < 0 else "not told apart from"
    assert f"f_beta: {where} the floor every class: " in nothing
    assert "hamming_loss: worse than the floor no class: " in nothing
    assert "floor" not in " ".join(JUDGE.judged(TASK, perfect(lines()))["notes"])


def test_a_class_that_is_never_decided_is_named() -> None:
    of = [{**line, "logits": {**line["logits"], "AF": -9.0 - (line["split"] == "test")}} for line in lines()]
    notes = JUDGE.judged(TASK, of)["notes"]
    assert [note for note in notes if note.startswith("AF: never decided")]


OFFICIAL = json.loads((Path(__file__).parent / "cinc_official.json").read_text(encoding="utf-8"))


def official_lines(classes: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return the kept recordings with some classes: a label by any of the class's own codes, scores as they are."""
    return [
        {
            "id": f"r{row}", "group": f"p{row}", "split": "test", "attributes": {}, "codes": one["codes"],
            "labels": [name for name, codes in classes.items() if set(codes) & set(one["codes"])],
            "logits": {name: math.log(s / (1 - s)) for name, s in zip(classes, one["scores"], strict=True)},
        }
        for row, one in enumerate(OFFICIAL["records"])
    ]  # fmt: skip


def of_official(classes: dict[str, list[str]]) -> dict[str, Any]:
    return TASK | {"classes": list(classes), "codes": classes, "thresholds": "half", "subgroups": []}


def test_numbers_are_those_of_the_challenges_own_programs() -> None:
    """What the programs of 2020 and 2021 gave for 60 kept recordings (`cinc_official.json` says how it was made)."""
    classes = {name: name.split("|") for name in OFFICIAL["classes"]}
    result = JUDGE.judged(of_official(classes), official_lines(classes))
    names = {
        "auroc": "macro_auc_present",
        "auprc": "average_precision_present",
        "accuracy": "exact_match",
        "f_measure": "macro_f1_cinc",
        "f_beta_measure": "f_beta_weighed_cinc",
        "g_beta_measure": "g_beta_weighed_cinc",
        "challenge_metric": "challenge_score",
    }
    assert names.keys() == OFFICIAL["official"].keys()
    found = {official: value(result, ours) for official, ours in names.items()}
    assert found == pytest.approx(OFFICIAL["official"], abs=1e-12)
    assert value(result, "macro_f1_present") > value(result, "macro_f1_cinc") + 0.01


def test_the_challenges_own_score_does_not_need_its_equivalent_codes_as_classes() -> None:
    """One code of each pair is a class; the labels of the other are there for the challenge score alone."""
    classes = {name: name.split("|")[:1] for name in OFFICIAL["classes"]}
    task, weights = of_official(classes), read_weights()
    of = of_split(task, official_lines(classes), "test")
    said = module._merged(task, of, of.logits >= 0, weights)

    def score(truth: Any) -> float:
        return challenge_score(truth, said, weights.classes, weights, of.groups, draws=0).score.value

    official = OFFICIAL["official"]["challenge_metric"]
    assert score(module._true(task, of, weights)) == pytest.approx(official, abs=1e-12)
    absent = dataclasses.replace(
        of, lines=[{key: kept for key, kept in line.items() if key != "codes"} for line in of.lines]
    )
    assert abs(score(module._true(task, absent, weights)) - official) > 0.01
