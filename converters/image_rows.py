"""Canonical record with images -> row as Axolotl's processing of images and text reads it. Pure.

Checked against Axolotl 0.19.0 (processing_strategies.py, ProcessingStrategy.__call__): of an `images` column it
takes the first image only, puts it behind the text and pads it to a square; parts of a message with a `path` go to
the processor as they are. So images are written as parts, before the text of the first question, and `<image>`
stands nowhere: the engine would teach it as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MARKS = (
    "<image>",
    "<start_of_image>",
    "<image_soft_token>",
    "<end_of_image>",
    "<|image|>",
)
"""Texts that stand for an image somewhere. One that is left in a message is taught as text, or counted as an image
that is not there, which stops the training."""


def to_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a record whose `images` are absolute paths.

    >>> record = {"images": ["/a.png"], "messages": [{"role": "user", "content": "What?"}]}
    >>> to_row(record)["messages"][0]["content"]
    [{'type': 'image', 'path': '/a.png'}, {'type': 'text', 'text': 'What?'}]
    """
    return {"messages": in_parts(record["messages"], record.get("images", ()))}


def in_parts(messages: Sequence[Mapping[str, Any]], images: Sequence[str]) -> list[dict[str, Any]]:
    """Return the messages with their texts as parts, and the images before the text of the first question."""
    first = next((number for number, message in enumerate(messages) if message["role"] == "user"), None)
    return [
        {
            "role": message["role"],
            "content": [
                *({"type": "image", "path": path} for path in (images if number == first else ())),
                {"type": "text", "text": message["content"]},
            ],
        }
        for number, message in enumerate(messages)
    ]


def faults(record: Mapping[str, Any]) -> list[str]:
    """Return why the engine could not train on a record; usually nothing.

    A batch of rows with and without an image stops the processor of Llama 3.2 Vision, and lets parts of a
    model idle on some processes and not on others.
    """
    found = [] if record.get("images") else ["it has no image"]
    texts = [message["content"] for message in record["messages"]]
    found += [
        f"its text holds {mark!r}, which stands for an image" for mark in MARKS if mark in "".join(texts)
    ]
    return found
