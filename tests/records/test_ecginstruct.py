"""Rows of ECGInstruct and ECGBench: every form gives the same record, and every slip is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.records.ecginstruct import MARK, Row, recording_of, to_record
from converters.records.ptbxl_about import About
from converters.records.record import BadRecordError, Dropped

IMAGE = "ptb-xl/records500/07000/07190_hr-0.png"


def row(value: Any, **more: Any) -> Row:
    return Row("rows.json", 7, value, **more)


def talk(*turns: str, image: Any = IMAGE, **more: Any) -> dict[str, Any]:
    speakers = ("human", "gpt")
    told = [{"from": speakers[n % 2], "value": text} for n, text in enumerate(turns)]
    return {"id": "a", "image": image, "conversations": told, **more}


# ------------------------------------------------------------------------------------------------ forms

WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
TURNS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3)


def as_human_gpt(turns: list[tuple[str, str]]) -> dict[str, Any]:
    told = [({"from": "human", "value": q}, {"from": "gpt", "value": a}) for q, a in turns]
    return {"conversations": [turn for both in told for turn in both]}


def as_user_assistant(turns: list[tuple[str, str]]) -> dict[str, Any]:
    told = [({"from": "user", "value": q}, {"from": "assistant", "value": a}) for q, a in turns]
    return {"conversation": [turn for both in told for turn in both]}


def as_lists(turns: list[tuple[str, str]]) -> dict[str, Any]:
    told = [({"from": "human", "value": [q]}, {"from": "gpt", "value": [a]}) for q, a in turns]
    return {"conversations": [turn for both in told for turn in both]}


def as_arena(turns: list[tuple[str, str]]) -> dict[str, Any]:
    return {"conversations": [{"question": q, "answer": a} for q, a in turns]}


@given(TURNS, st.sampled_from(["{}\n", "{} ", "\n{}", " {} "]), st.booleans())
def test_every_form_gives_the_same_record(turns: list[tuple[str, str]], around: str, marked: bool) -> None:
    wanted = [
        {"role": role, "content": text}
        for question, answer in turns
        for role, text in (("user", question), ("assistant", answer))
    ]
    question = turns[0][0]
    first = around.format(MARK) + question if marked else question
    shown = [(first, turns[0][1]), *turns[1:]]
    for form in (as_human_gpt, as_user_assistant, as_lists, as_arena):
        record = to_record(row({"id": "a", "image": IMAGE, **form(shown)}))
        assert record["messages"] == wanted
        assert record["images"] == [IMAGE]
        assert record["question"] == question


def test_an_answer_of_several_options_is_one_text() -> None:
    value = talk("Which?", "x")
    value["conversations"][1]["value"] = ["qt interval", "rr interval"]
    assert to_record(row(value))["messages"][-1]["content"] == "qt interval, rr interval"


@pytest.mark.parametrize("text", [f"{MARK}\nWhat?", f"What?\n{MARK}", f"What?{MARK}", f"{MARK} What?"])
def test_the_mark_goes_wherever_it_stood(text: str) -> None:
    assert to_record(row(talk(text, "A.")))["messages"][0]["content"] == "What?"


def test_lines_of_a_question_stay_lines() -> None:
    record = to_record(row(talk(f"{MARK}\nWhich?\nA. one\nB. two", "A")))
    assert record["messages"][0]["content"] == "Which?\nA. one\nB. two"


# ------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "expected an object with image and conversations"),
        ({"image": IMAGE}, "no 'conversations'; its keys: image"),
        ({"image": IMAGE, "conversations": [], "conversation": []}, "both 'conversations' and 'conversation'"),
        ({"image": IMAGE, "conversations": "x"}, "expected a list of turns, got 'x'"),
        ({"image": IMAGE, "conversations": [{"role": "user", "content": "x"}]}, "has content, role; expected 'from'"),
        (talk("Q", "A") | {"conversations": [{"from": "ecg", "value": "x"}]}, "unknown speaker 'ecg'; allowed: human"),
        ({"image": IMAGE, "conversations": [{"from": "gpt", "value": "A"}]}, "expected the role 'user' here, got 'assistant'"),
        ({"image": IMAGE, "conversations": [{"answer": "A"}]}, "an answer without a question"),
        ({"image": IMAGE, "conversations": [{"question": "Q"}]}, "a question without an answer"),
        (talk("Q"), "the answer to learn is missing"),
        (talk("Q", ""), "the text is empty"),
        (talk(MARK, "A"), "the text is empty"),
        (talk("Q", f"{MARK} A"), "in what the assistant says"),
        (talk(f"{MARK}{MARK} Q", "A"), "2 marks <image> for 1 image;"),
        (talk(f"{MARK} Q", "A", f"{MARK} Q", "A"), "2 marks <image> for 1 image;"),
        (talk("Q", "A", image=None), "it has no image"),
        (talk("Q", "A", image=7), "image: expected a path, or a list of paths, got 7"),
        (talk("Q", "A") | {"conversations": [{"from": "human", "value": []}]}, "the list is empty"),
        (talk("Q", "A", id=[1]), "id: expected text, got a list"),
    ],
)  # fmt: skip
def test_a_slip_is_said(value: Any, said: str) -> None:
    with pytest.raises(BadRecordError) as caught:
        to_record(row(value))
    assert said in str(caught.value)


def test_two_images_have_two_marks() -> None:
    both = [IMAGE, "ptb-xl/00001_hr-0.png"]
    assert to_record(row(talk(f"{MARK}{MARK} Same?", "no", image=both)))["images"] == both


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(["id", "image", "conversations", "from", "value", "question", "answer"]), s, max_size=4), max_leaves=12))  # fmt: skip
def test_any_json_is_a_record_or_a_slip(value: Any) -> None:
    given_row = row(value)
    assert given_row.part
    try:
        record = to_record(given_row)
    except BadRecordError:
        return
    assert record["messages"][-1]["role"] == "assistant"


# ------------------------------------------------------------------------------------- names, groups, sources


def test_rows_of_other_sources_are_left_out() -> None:
    mimic = talk("Q", "A", image="mimic_v4/x-0.png")
    with pytest.raises(Dropped):
        to_record(row(mimic, keep=("ptb-xl",)))
    assert to_record(row(talk("Q", "A"), keep=("ptb-xl", "mimic_v4")))["images"] == [IMAGE]


@pytest.mark.parametrize(
    ("image", "group"),
    [
        (IMAGE, "ptbxl/7190"),
        ("test_images/ptb_test_v4/00002_lr-1.png", "ptbxl/2"),
        ("mimic_v4/files_p1000_p10001725_s41420867_41420867-0.png", "mimic-patient/10001725"),
        ("mimic_v4/files/p1000/p10001725/s41420867/41420867-3.png", "mimic-patient/10001725"),
        ("code15_v4/1169160-0.png", "code15_v4/1169160"),
        ("x.png", "./x"),
    ],
)
def test_the_file_name_says_what_is_shown(image: str, group: str) -> None:
    assert to_record(row(talk("Q", "A", image=image)))["group"] == group


def test_the_window_is_read_off_the_name() -> None:
    assert [recording_of(f"ptb-xl/0000{n}_hr-{n}.png").window for n in range(3)] == [0, 1, 2]


def test_an_id_that_comes_again_is_told_apart() -> None:
    assert to_record(row(talk("Q", "A"), repeat=2))["id"] == "a#3"


def test_ptbxl_gives_patient_side_and_labels() -> None:
    known = {"7190": About("13243", "test", {"LAFB": 100.0, "SR": 0.0}, {"sex": "male"})}
    record = to_record(row(talk("Q", "A"), ptbxl=known))
    assert record["group"] == "ptbxl-patient/13243"
    assert record["split"] == "test"
    assert record["labels"]["superclasses"] == ["CD"]
    other: Mapping[str, Any] = to_record(row(talk("Q", "A", image="x/9.png"), ptbxl=known))
    assert "labels" not in other


@pytest.mark.realdata
def test_the_authors_own_report_file(real_data: Path) -> None:
    file = real_data / "ecgbench_report_sample" / "ptb_report_generation_test.json"
    items = json.loads(file.read_text(encoding="utf-8"))
    records = [to_record(Row(file.name, n, value)) for n, value in enumerate(items, start=1)]
    assert len(records) == 349
    assert len({record["group"] for record in records}) == 349
    assert all(record["asks"] == "report" for record in records)
    assert records[0]["reference"] == "Sinus rhythm, normal axis, normal ECG."
