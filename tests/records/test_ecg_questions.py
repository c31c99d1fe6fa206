"""Questions about recordings: answers worked out by hand, and a set that is the same wherever it is made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from converters.records.ecg.intervals import Intervals
from converters.records.ecg_questions import (
    Asking,
    Finding,
    Known,
    LeftOut,
    questions_about,
    report,
    to_record,
)
from converters.records.label_sets import labels_of_scp
from converters.records.record import Dropped

SINUS = Finding("sinus rhythm", rhythm=True)
BLOCK = Finding("left anterior fascicular block")
MAYBE = Finding("inferior myocardial infarction", possible=True)
MEASURED = Intervals(72.4, 160.0, 92.0, 388.0)
KNOWN = Known(
    "ptbxl/1", "ptbxl/1", "ptbxl-patient/9", (BLOCK, MAYBE, SINUS), labels_of_scp(["LAFB", "IMI", "SR"]), MEASURED, "train"
)  # fmt: skip
ALL = ("report", "superclasses", "subclasses", "statements", "code15", "rhythm", "intervals", "verify")


def answers(known: Known, *questions: str) -> list[str]:
    return [to_record(one)["messages"][-1]["content"] for one in questions_about(known, questions, 0)]


def test_a_report_worked_out_by_hand() -> None:
    assert report(KNOWN) == (
        "Sinus rhythm at 72 beats per minute. PR interval 160 ms, QRS duration 92 ms, QT interval 388 ms. "
        "Left anterior fascicular block. Possible inferior myocardial infarction. Conclusion: abnormal ECG."
    )


def test_a_normal_recording_is_called_normal() -> None:
    normal = replace(KNOWN, findings=(Finding("normal ECG"), SINUS), intervals=Intervals())
    assert report(normal) == "Sinus rhythm. Conclusion: normal ECG."


def test_without_a_rhythm_the_rate_is_told_all_the_same() -> None:
    known = replace(KNOWN, findings=(BLOCK,), intervals=Intervals(60.0))
    assert report(known) == (
        "Rhythm not stated at 60 beats per minute. Left anterior fascicular block. Conclusion: abnormal ECG."
    )


def test_answers_worked_out_by_hand() -> None:
    assert answers(KNOWN, "superclasses", "subclasses", "code15", "rhythm", "intervals") == [
        "MI, CD",
        "IMI, LAFB/LPFB",
        "none of these",
        "Sinus rhythm.",
        "Heart rate 72 beats per minute, PR interval 160 ms, QRS duration 92 ms, QT interval 388 ms.",
    ]


def test_no_pr_is_told_of_fibrillation() -> None:
    known = replace(KNOWN, findings=(Finding("atrial fibrillation", rhythm=True),))
    assert answers(known, "intervals") == [
        "Heart rate 72 beats per minute, QRS duration 92 ms, QT interval 388 ms."
    ]


def test_what_is_not_known_is_not_asked() -> None:
    bare = Known("x/1", "x/1", "g", (), {"code15": ["AF"]}, Intervals())
    assert [one.question for one in questions_about(bare, ALL, 0)] == ["code15"]


def test_the_question_lists_every_label_with_its_words() -> None:
    (one,) = questions_about(KNOWN, ["superclasses"], 0)
    for label in ("NORM (normal ECG)", "MI (myocardial infarction)", "HYP (hypertrophy)"):
        assert label in to_record(one)["question"]


def test_the_record_carries_what_evaluation_needs() -> None:
    by_question = {one.question: to_record(one) for one in questions_about(KNOWN, ALL, 0, ["x", "y"])}
    assert by_question["report"]["reference"] == report(KNOWN)
    assert by_question["report"]["labels"]["superclasses"] == ["MI", "CD"]
    assert by_question["rhythm"]["asks"] == "rhythm"
    assert by_question["verify"]["label"] in ("yes", "no")
    assert {record["group"] for record in by_question.values()} == {"ptbxl-patient/9"}
    assert {record["split"] for record in by_question.values()} == {"train"}
    assert len({record["id"] for record in by_question.values()}) == len(ALL)


def test_half_of_what_is_verified_is_there() -> None:
    """A thousand recordings: the share of yes lies within five standard errors, 0.08, of a half."""
    pool = ["left anterior fascicular block", "normal ECG", "sinus rhythm"] * 5
    labels = [
        to_record(one)["label"]
        for number in range(1000)
        for one in questions_about(replace(KNOWN, recording=f"r/{number}"), ["verify"], 3, sorted(pool))
    ]
    assert len(labels) == 1000
    assert labels.count("yes") / 1000 == pytest.approx(0.5, abs=0.08)


def test_a_possible_finding_is_neither_affirmed_nor_denied() -> None:
    asked = {
        one.asked_for
        for number in range(200)
        for one in questions_about(
            replace(KNOWN, recording=f"r/{number}"), ["verify"], 0, [MAYBE.words, "normal ECG"]
        )
    }
    assert asked == {BLOCK.words, SINUS.words, "normal ECG"}


def test_wording_follows_from_seed_and_name_alone() -> None:
    ask = [to_record(Asking(replace(KNOWN, recording=f"r/{n}"), "report", 0))["question"] for n in range(40)]
    again = [
        to_record(Asking(replace(KNOWN, recording=f"r/{n}"), "report", 0))["question"] for n in range(40)
    ]
    other = [
        to_record(Asking(replace(KNOWN, recording=f"r/{n}"), "report", 1))["question"] for n in range(40)
    ]
    assert ask == again
    assert ask != other
    assert len(set(ask)) == 3


def test_a_recording_that_is_left_out_is_counted() -> None:
    with pytest.raises(Dropped, match="all leads are flat"):
        to_record(LeftOut("ptbxl/3", ".", "all leads are flat"))
