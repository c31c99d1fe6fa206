"""ECG-QA: its items as records, joined to what PTB-XL knows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from converters.records.ecg_qa import COMPARISON, NOT_THERE, TWO_SIDES, Item, to_record
from converters.records.ptbxl_about import About
from converters.records.record import BadRecordError, Dropped

ONE = {
    "question": "Noise?",
    "answer": ["no"],
    "ecg_id": [127],
    "question_type": "single-verify",
    "sample_id": 5,
}
TWO = {
    **ONE,
    "ecg_id": [127, 126],
    "answer": ["rr interval", "qt interval"],
    "question_type": "comparison_x-query",
}
KNOWN = {
    "127": About("9", "train", {"SR": 0.0}, {}),
    "126": About("8", "train", {"SR": 0.0}, {}),
    "125": About("7", "test", {"SR": 0.0}, {}),
}


def item(value: Any, comparisons: Any = "two_images") -> Item:
    return Item("train.json", 3, value, comparisons, KNOWN)


def test_one_recording() -> None:
    record = to_record(item(ONE))
    assert record["messages"] == [
        {"role": "user", "content": "Noise?"},
        {"role": "assistant", "content": "no"},
    ]
    assert (record["images"], record["group"], record["split"]) == (["ptbxl/127"], "ptbxl-patient/9", "train")
    assert (record["asks"], record["label"]) == ("single-verify", "no")
    assert record["labels"]["statements"] == ["SR"]


def test_two_recordings_in_the_order_of_the_question() -> None:
    record = to_record(item(TWO))
    assert record["images"] == ["ptbxl/127", "ptbxl/126"]
    assert record["messages"][1]["content"] == "qt interval, rr interval"
    assert record["keep_with"] == ["ptbxl-patient/8", "ptbxl-patient/9"]
    assert "labels" not in record


@pytest.mark.parametrize(
    ("value", "comparisons", "reason"),
    [
        (TWO, "leave_out", COMPARISON),
        ({**ONE, "ecg_id": [1]}, "two_images", NOT_THERE),
        ({**TWO, "ecg_id": [127, 125]}, "two_images", TWO_SIDES),
    ],
)
def test_what_is_left_out(value: Any, comparisons: str, reason: str) -> None:
    with pytest.raises(Dropped) as caught:
        to_record(item(value, comparisons))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "expected an object"),
        ({key: value for key, value in ONE.items() if key != "answer"}, "'answer' is missing"),
        ({**ONE, "ecg_id": 127}, "ecg_id: expected one or two numbers, got 127"),
        ({**ONE, "ecg_id": [1, 2, 3]}, "ecg_id: expected one or two numbers"),
        ({**ONE, "answer": "no"}, "answer: expected a list of texts"),
        ({**ONE, "question": ""}, "question: the text is empty"),
    ],
)
def test_a_slip_is_said(value: Any, said: str) -> None:
    with pytest.raises(BadRecordError, match=said):
        to_record(item(value))


@pytest.mark.realdata
def test_real_questions(real_data: Path) -> None:
    values = json.loads(
        (real_data / "ecg_qa_ptbxl" / "paraphrased" / "train.json").read_text(encoding="utf-8")
    )
    known = {str(ecg): About(str(ecg), "train", {}, {}) for value in values for ecg in value["ecg_id"]}
    records = [to_record(Item("train.json", n, value, "two_images", known)) for n, value in enumerate(values)]
    assert Counter(len(record["images"]) for record in records) == {1: 278, 2: 94}
    assert Counter(record["label"] for record in records if "label" in record) == {"no": 203, "yes": 75}
