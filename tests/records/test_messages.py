from __future__ import annotations

import json
from dataclasses import replace
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
        (
            b'{"messages": [], "n": ' + b"9" * 5000 + b"}",
            "holds a number of more than 4,300 digits; write it as text",
        ),
        (b'{"id": 1, "id": 2}', "the key 'id' stands twice in one object"),
        ({"text": "x"}, "'messages' is missing; the line has text"),
        ({}, "'messages' is missing; the line has no keys"),
        ({"conversations": []}, "'messages' is missing; the line has conversations; nearest: messages"),
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


@pytest.mark.parametrize(
    ("more", "unread"),
    [
        ({"patient": 3}, {"patient": "group"}),
        ({"Patient-ID": 3, "url": "u"}, {"Patient-ID": "group", "url": None}),
        ({"subject_id": 3, "group": "g"}, {"subject_id": None}),  # what it could mean is said already
        ({"pid": 1, "groups": [], "group": "g"}, {"groups": None, "pid": None}),
        ({"images": ["a.png"]}, {"images": None}),
    ],
)
def test_keys_that_nothing_reads_are_told_with_what_they_may_mean(
    more: dict[str, Any], unread: dict[str, str | None]
) -> None:
    assert to_record(line({"messages": MESSAGES, **more}))["unread"] == unread


def about_images(**more: Any) -> Line:
    return replace(line({"messages": MESSAGES, **more}), about_images=True)


def test_a_record_about_images_says_what_evaluation_needs() -> None:
    record = to_record(
        about_images(images=["a.png", "b.png"], asks="report", labels={"code15": ["AF"]}, reference="R.")
    )
    assert record["images"] == ["a.png", "b.png"]
    assert (record["asks"], record["labels"], record["reference"]) == ("report", {"code15": ["AF"]}, "R.")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "images: expected a list of paths, got None"),
        ({"images": "a.png"}, "images: expected a list of paths, got 'a.png'"),
        ({"images": []}, "images: expected a list of paths"),
        ({"images": ["a.png", ""]}, r"images\[1\]: the text is empty"),
        (
            {"images": ["a.png"], "labels": ["AF"]},
            "labels: expected lists of names by the name of a label set",
        ),
        ({"images": ["a.png"], "labels": {"code15": "AF"}}, "labels: expected lists of names"),
        ({"image": "a.png"}, "unknown key 'image'; nearest: images"),
    ],
)
def test_a_slip_about_images_is_said(more: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRecordError, match=said):
        to_record(about_images(**more))


def test_a_mark_in_the_text_is_refused() -> None:
    marked = [{"role": "user", "content": "<image> Q?"}, MESSAGES[1]]
    with pytest.raises(BadRecordError, match="a text has the mark <image>; take it out"):
        to_record(about_images(images=["a.png"], messages=marked))


def test_keys_of_images_are_the_owner_s_business_in_a_record_of_text() -> None:
    assert "images" not in to_record(
        line({"messages": MESSAGES, "image": "a.png", "label": "yes", "images": 7})
    )
