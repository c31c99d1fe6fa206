from __future__ import annotations

from typing import Any

import pytest

from converters.records.huggingface import Row, column_problems, to_record, wanted_columns
from converters.records.record import BadRecordError, Dropped
from runner.spec.sources import HuggingfaceSource

PAIR = HuggingfaceSource(
    source="huggingface", id="a/b", question_column="q", answer_column="a", group_column="patient"
)
TURNS = HuggingfaceSource(source="huggingface", id="a/b", part="validation", messages_column="m")


def test_two_columns_become_a_record() -> None:
    record = to_record(Row("train", 4, {"q": " Q? ", "a": "A.", "patient": 17}, PAIR))
    assert record == {
        "id": "train:4",
        "messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}],
        "group": "17",
        "question": "Q?",
        "focus": None,
        "source": "huggingface",
    }


def test_messages_may_hold_the_nulls_of_a_table() -> None:
    turns = [
        {"role": "user", "content": "Q", "name": None},
        {"role": "assistant", "content": "A", "name": None},
    ]
    record = to_record(Row("validation", 0, {"m": turns}, TURNS))
    assert [sorted(message) for message in record["messages"]] == [["content", "role"]] * 2
    assert record["group"] == record["id"] == "validation:0"


@pytest.mark.parametrize(
    ("values", "reason"), [({"q": None, "a": "A"}, "no question"), ({"q": "Q", "a": " "}, "no answer")]
)
def test_a_row_without_question_or_answer_is_dropped(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(Dropped, match=reason):
        to_record(Row("train", 0, values | {"patient": None}, PAIR))


def test_a_column_of_numbers_is_no_text() -> None:
    with pytest.raises(BadRecordError, match="column a: expected text, got 3"):
        to_record(Row("train", 0, {"q": "Q", "a": 3, "patient": None}, PAIR))


def test_a_missing_column_is_named_with_the_nearest() -> None:
    assert wanted_columns(PAIR) == ("q", "a", "patient")
    assert column_problems(PAIR, ["q", "a", "pateint"]) == (
        "group_column: no column 'patient'; allowed: q, a, pateint; nearest: pateint",
    )


def test_columns_must_be_messages_or_a_pair() -> None:
    neither = HuggingfaceSource(source="huggingface", id="a/b", question_column="q")
    assert column_problems(neither, ["q", "a"]) == (
        "name messages_column, or question_column and answer_column; allowed: q, a",
    )
    both = HuggingfaceSource(source="huggingface", id="a/b", question_column="q", messages_column="m")
    assert column_problems(both, ["q", "m"]) == (
        "messages_column and question_column / answer_column cannot stand together",
    )
