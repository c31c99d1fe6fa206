from __future__ import annotations

import json
import string
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.bootstrap import SAME
from eval.entities import METRICS, counts, entity_score, findings, vocabulary
from eval.judges import entities as judge
from eval.phrases import Phrases, words_of

TASK = {"task": "entities", "split": "test"}


def found(text: str) -> dict[str, bool]:
    """Return entity -> denied; fails where a text says both of one."""
    said = findings(text)
    assert len({f.entity for f in said}) == len(said)
    return {f.entity: f.negated for f in said}


def line(number: int, answer: str, reference: str) -> dict[str, str]:
    return {
        "id": f"r{number}",
        "group": f"g{number}",
        "prompt": "?",
        "answer": answer,
        "reference": reference,
    }


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("no ST elevation", True),
        ("There is no evidence of ST-segment elevation.", True),
        ("without any significant ST elevation", True),
        ("ST elevation is not seen", True),
        ("ST elevation is absent", True),
        ("absent ST elevation", True),
        ("ST elevation: none", True),
        ("The tracing doesn't show ST elevation", True),
        ("The patient's ECG doesn\u2019t show ST elevation", True),
        ("negative for fever, cough or ST elevation", True),
        ("ST elevation was ruled out", True),
        ("ST elevation", False),
        ("No fever, ST elevation", False),
        ("No fever. ST elevation", False),
        ("No fever; ST elevation", False),
        ("No fever\nST elevation", False),
        ("No fever (ST elevation)", False),
        ("No fever but ST elevation", False),
        ("No fever, however ST elevation", False),
        ("No fever with ST elevation", False),
        ("No fever and there is ST elevation", False),
        ("Not only fever, ST elevation", False),
        ("No change in ST elevation", False),
        ("ST elevation cannot be ruled out", False),
        ("We cannot exclude ST elevation", False),
        ("ST elevation and P waves; Q waves are absent", False),
        ("ST elevation, Q waves not seen", False),
        ("ST elevation and Q wave is absent", False),
    ],
)
def test_a_denial_reaches_as_far_as_its_clause(text: str, denied: bool) -> None:
    assert found(text)["st_elevation"] is denied


def test_an_or_carries_a_denial_over_the_commas_of_its_list() -> None:
    said = found("No murmurs, fever, cough or chest pain, sinus rhythm.")
    assert [name for name, denied in said.items() if not denied] == ["sinus_rhythm"]
    assert len(said) == 5


def test_an_and_goes_on_with_a_denied_list_until_something_is_affirmed() -> None:
    assert found("no fever and chills") == {"fever": True, "chills": True}
    assert found("no fever and sinus rhythm") == {"fever": True, "sinus_rhythm": False}


@pytest.mark.parametrize(
    ("text", "not_there"),
    [
        ("AFL", "atrial_fibrillation"),
        ("STTC", "st_elevation"),
        ("STEMI", "st_depression"),
        ("ABNORMAL", "normal_ecg"),
        ("abnormal ECG", "normal_ecg"),
        ("the ecg is abnormal", "normal_ecg"),
        ("an anxious mi amigo", "myocardial_infarction"),
        ("the rapid response", "premature_atrial_complex"),
        ("this is normal behaviour", "normal_ecg"),
    ],
)
def test_a_code_inside_another_word_is_not_found(text: str, not_there: str) -> None:
    assert not_there not in found(text)


def test_the_codes_themselves_are_found() -> None:
    said = findings("NORM MI STTC CD HYP 1dAVb RBBB LBBB SB AF I-AVB PAC PVC STD STE")
    assert {f.entity for f in said} >= {
        "normal_ecg",
        "myocardial_infarction",
        "st_change",
        "conduction_disturbance",
        "hypertrophy",
        "av_block_1",
        "right_bundle_branch_block",
        "left_bundle_branch_block",
        "sinus_bradycardia",
        "atrial_fibrillation",
        "premature_atrial_complex",
        "premature_ventricular_complex",
        "st_depression",
        "st_elevation",
    }


def test_an_nstemi_denies_no_st_elevation_and_is_an_infarction() -> None:
    assert found("non-ST-elevation myocardial infarction") == {
        "nstemi": False,
        "myocardial_infarction": False,
    }


def test_a_denied_kind_says_nothing_of_the_kinds_above_it() -> None:
    assert found("inferior MI") == {"inferior_infarction": False, "myocardial_infarction": False}
    assert found("no inferior MI") == {"inferior_infarction": True}


def test_the_reversed_report_scores_half_where_word_overlap_is_nine_tenths() -> None:
    """Domain notes 5.2: the words differ in `no` alone. 1 shared finding of 2 and 2: precision = recall = 0.5."""
    got = counts("sinus rhythm st elevation", "sinus rhythm no st elevation")
    assert (got.shared, got.answered, got.referenced, got.contradicted) == (1, 2, 2, 1)
    score = entity_score([got], ["g"])
    assert score.entity_f1.value == 0.5
    assert score.entity_contradicted.value == 1.0
    assert counts("st elevation", "no st elevation").shared == 0


def test_numbers_worked_out_by_hand() -> None:
    """Record 1: 1 of 1 found, 2 in the reference: F1 2/3. Record 2: an empty answer: 0. Record 3: no finding at all."""
    records = [
        counts("fever", "fever and cough"),
        counts("", "asthma"),
        counts("nothing here", "nor there"),
    ]
    score = entity_score(records, ["a", "b", "c"])
    assert score.entity_f1.value == pytest.approx((2 / 3 + 0) / 2)
    assert score.entity_precision.value == pytest.approx((1 + 0) / 2)
    assert score.entity_recall.value == pytest.approx((1 / 2 + 0) / 2)
    assert score.entity_micro_precision.value == 1.0
    assert score.entity_micro_recall.value == pytest.approx(1 / 3)
    assert score.entity_micro_f1.value == pytest.approx(2 / 4)


def test_an_invented_finding_is_not_left_out() -> None:
    score = entity_score([counts("fever", "nothing of note")], ["g"])
    assert score.entity_f1.value == 0.0


def test_no_finding_anywhere_is_no_number_and_no_zero() -> None:
    result = judge.judged(TASK, [line(1, "hello", "there"), line(2, "a", "b")])
    assert result["metrics"]["entity_f1"] == {"value": None, "low": None, "high": None}
    assert any("2 of 2 references hold no finding" in note for note in result["notes"])


TERMS = st.sampled_from(["fever", "ST elevation", "no cough", "sinus rhythm", "asthma is absent", "MI"])
TEXTS = st.lists(TERMS, max_size=6).map(". ".join)


@given(TEXTS, TEXTS)
def test_the_score_is_symmetric_and_whole_only_for_the_same_findings(one: str, other: str) -> None:
    a, b = counts(one, other), counts(other, one)
    assert (a.shared, a.contradicted) == (b.shared, b.contradicted)
    assert (a.answered, a.referenced) == (b.referenced, b.answered)
    same = findings(one) == findings(other)
    assert (2 * a.shared == a.answered + a.referenced) == same


@given(st.text(string.printable, max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    assert {f.entity for f in findings(text)} <= set(vocabulary().parents)


@given(st.lists(st.sampled_from(["a", "b", "c", "a b", "b c", "a b c"]), max_size=12).map(" ".join))
def test_phrases_do_not_overlap_and_the_longest_wins(text: str) -> None:
    spans = Phrases([("k", p, p) for p in ("a", "a b", "b c", "a b c")]).spans(words_of(text))
    assert all(one.end <= other.start for one, other in pairwise(spans))
    letters = [word.folded for word in words_of(text)]
    for span in spans:
        if span.name == "a":
            assert letters[span.start + 1 : span.start + 2] != ["b"]


def test_a_form_of_two_entities_is_refused() -> None:
    with pytest.raises(ValueError, match="'x' stands for 'one' and for 'two'"):
        Phrases([("finding", "one", "x"), ("finding", "two", "x")])


def test_every_form_of_the_vocabulary_is_found_as_its_entity() -> None:
    import yaml

    from eval import entities

    text = (Path(entities.__file__).parent / "data/clinical_entities.yaml").read_text(encoding="utf-8")
    sections = yaml.safe_load(text)["entities"]
    forms = [
        (name, form) for part in sections.values() for name, entry in part.items() for form in entry["forms"]
    ]
    assert len(forms) > 900
    assert [(name, form) for name, form in forms if name not in {f.entity for f in findings(form)}] == []


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (
            "Sinus rhythm. ST segments are depressed in V5. T waves are inverted in leads II and III. A-V block I.",
            {"sinus_rhythm", "st_depression", "t_wave_inversion", "av_block_1", "av_block"},
        ),
        ("Sinus rhythm. Otherwise normal ECG.", {"sinus_rhythm", "normal_ecg"}),
        ("ECG normal", {"normal_ecg"}),
        (
            "Ventricular extrasystole(s), incomplete right bundle branch block",
            {"premature_ventricular_complex", "incomplete_rbbb"},
        ),
    ],
)
def test_reports_as_cardiologists_word_them(report: str, expected: set[str]) -> None:
    assert found(report) == dict.fromkeys(expected, False)


@pytest.mark.realdata
def test_every_real_report_has_a_finding_and_agrees_with_itself(real_data: Path) -> None:
    file = real_data / "ecgbench_report_sample" / "ptb_report_generation_test.json"
    reports = [item["conversation"][1]["value"] for item in json.loads(file.read_text(encoding="utf-8"))]
    assert len(reports) > 300
    assert [report for report in reports if not findings(report)] == []
    score = entity_score(
        [counts(report, report) for report in reports], [str(n) for n in range(len(reports))]
    )
    assert (score.entity_f1.value, score.entity_f1.reason, score.entity_contradicted.value) == (
        1.0,
        SAME,
        0.0,
    )
    shifted = [counts(one, other) for one, other in zip(reports, reports[1:] + reports[:1], strict=True)]
    assert entity_score(shifted, [str(n) for n in range(len(reports))]).entity_f1.high < 0.7


def test_the_difference_is_paired() -> None:
    """Two records go from nothing to everything: 1 whichever groups are drawn, which tells no interval."""
    before = [line(1, "", "fever"), line(2, "", "cough")]
    after = [line(1, "fever", "fever"), line(2, "a cough", "cough")]
    change = judge.differences(TASK, before, after)
    assert change.keys() == set(METRICS)
    assert change["entity_f1"] == {"value": 1.0, "low": None, "high": None}
    with pytest.raises(ValueError, match="stand on one side only"):
        judge.differences(TASK, before, after[:1])


def test_the_value_lies_within_its_interval() -> None:
    generator = np.random.default_rng(5)
    words = ["fever", "no cough", "MI", "asthma", "sinus rhythm"]
    texts = [
        (". ".join(generator.choice(words, 2)), ". ".join(generator.choice(words, 2))) for _ in range(60)
    ]
    result = judge.judged(TASK, [line(number, *pair) for number, pair in enumerate(texts)])
    sure = {name: metric for name, metric in result["metrics"].items() if metric["low"] is not None}
    assert {"entity_f1", "entity_precision", "entity_recall"} <= sure.keys()
    for metric in sure.values():
        assert metric["low"] <= metric["value"] <= metric["high"]
    assert sum(row[2] for row in result["tables"]["entities"]["rows"]) >= 60
