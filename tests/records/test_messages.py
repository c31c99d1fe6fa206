from __future__ import annotations

import json
from typing import Any

import pytest

from converters.records.messages import Line, to_record
from converters.records.record import BadRecordError

MESSAGES = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]


def line(value: Any, number: int = 3) -> Line:
    return Line("a/b.jsonl", number, value if isinstance(value, bytes) else json.dumps(value).encode())


def test_messages_alone_are_enough() -> None:
    assert to_record(line({"messages": MESSAGES})) == {
        "id": "a/b.jsonl:3",
        "messages": MESSAGES,
        "group": "a/b.jsonl:3",
        "question": "Q?",
        "focus": None,
        "source": "messages",
    }


def test_what_the_line_says_of_itself_is_kept() -> None:
    record = to_record(
        line(
            {
                "messages": MESSAGES,
                "id": 5,
                "group": "p1",
                "question": "x",
                "focus": "f",
                "split": "test",
                "url": "u",
            }
        )
    )
    assert (record["id"], record["group"], record["question"], record["focus"]) == ("5", "p1", "x", "f")
    assert record["split"] == "test"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b'{"messages": [', "is not JSON: Expecting value at column 15"),
        (b'{"a": "\xff"}', "is not UTF-8: byte 8 of the line is 0xff"),
        (b"[1]", "expected a JSON object with 'messages', one a line"),
        (b"[" * 100_000, "is nested too deep to be read"),
        (b'{"id": 1, "id": 2}', "the key 'id' stands twice in one object"),
        ({"text": "x"}, "'messages' is missing; the line has text"),
        ({}, "'messages' is missing; the line has no keys"),
        ({"mesages": MESSAGES}, "unknown key 'mesages'; nearest: messages"),
        ({"messages": MESSAGES, "groop": "x"}, "unknown key 'groop'; nearest: group"),
        ({"messages": MESSAGES, "group": ["x"]}, "group: expected text, got a list"),
        ({"messages": MESSAGES, "group": ""}, "group: the text is empty"),
        ({"messages": MESSAGES, "id": True}, "id: expected text, got true or false"),
    ],
)
def test_a_bad_line_is_named(value: Any, said: str) -> None:
    with pytest.raises(BadRecordError) as error:
        to_record(line(value))
    assert str(error.value) == said


def test_keys_of_the_owner_are_let_through_even_beside_short_names_of_ours() -> None:
    assert to_record(line({"messages": MESSAGES, "pid": 1, "qid": 2, "meta": {}}))["id"] == "a/b.jsonl:3"
