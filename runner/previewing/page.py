"""The value of a preview -> one HTML file that needs nothing else, in the style of the report."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.report.page import environment
from eval.report.view import Notice
from runner.previewing.words import about, counted, image_facts, lead_of, measured

TEMPLATE = "preview.html.j2"
SPACE = "\u2423"
"""Stands for a space in a token."""
RUN_OF_IMAGE = 4
"""So many tokens of an image in a row, and more, are shown as one box."""


@dataclass(frozen=True)
class Box:
    """One token, or a row of equal ones, on the page."""

    text: str
    tone: str
    title: str
    breaks: bool = False


def render(value: Mapping[str, Any], folder: Path) -> str:
    """Return the page. Every text is escaped; the page loads nothing and runs no script.

    Args:
        value: of `preview.json`.
        folder: holds the pictures that the value names; they are put into the page.
    """
    records = [
        _record(record, number, folder, value["context"])
        for number, record in enumerate(value["records"], start=1)
    ]
    page = {
        "title": f"What {value['name']} is taught",
        "kicker": "Preview of training records" + (" in a rehearsal" if value["rehearsal"] else ""),
        "summary": f"{len(records)} of the training records, as the engine makes them into tokens "
        f"and chooses those that carry loss ({value['strategy']}).",
        "facts": about(value),
        "notices": tuple(_notices(value)),
        "records": records,
        "footer": "Made by `runner data SPEC --preview N` with the engine's own processor and masking. What should carry "
        "loss is read off the record itself and compared.",
    }
    return environment().get_template(TEMPLATE).render(page=page)


def _notices(value: Mapping[str, Any]) -> Iterator[Notice]:
    wrong = [record["id"] for record in value["records"] if record["findings"]]
    if wrong:
        yield Notice(
            "The engine does not teach what the records say.", f"Look at: {', '.join(wrong)}.", "bad"
        )
    if value["rehearsal"]:
        yield Notice(
            "This is a rehearsal.",
            "The tokenizer is small and trained on these records, so there are more tokens than there will be. What "
            "carries loss is chosen by the same code from the same config.",
        )


def _record(record: Mapping[str, Any], number: int, folder: Path, context: int) -> dict[str, Any]:
    wrong = {place for finding in record["findings"] for place in finding["tokens"]}
    notices = [Notice(_HEADS[finding["fault"]], finding["message"], "bad") for finding in record["findings"]]
    notices += [Notice("Look at this.", text) for text in record["warnings"]]
    return {
        "anchor": f"record-{number}",
        "id": record["id"],
        "lead": lead_of(record),
        "notices": notices,
        "images": [_image(image, folder) for image in record["images"]],
        "facts": [
            *counted(record, context),
            *(fact for image in record["images"] for fact in image_facts(image)),
        ],
        "tokens": list(boxes(record["tokens"], wrong)),
        "messages": [(message["role"], message["text"]) for message in record["messages"]],
    }


_HEADS = {
    "nothing-learned": "Nothing is learned from this record.",
    "prompt-learned": "The prompt is learned.",
    "image-learned": "Tokens of an image are learned.",
    "wrong-label": "Other tokens are learned than those that are there.",
    "answer-missed": "An answer is not learned.",
    "end-missed": "The end of an answer is not learned.",
    "dropped": "The engine leaves this record out.",
}


def _image(image: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    views = []
    for view in image["views"]:
        data = base64.b64encode((folder / view["picture"]).read_bytes()).decode()
        views.append({**view, "data": f"data:image/png;base64,{data}", "text": measured(view)})
    return {"file": image["file"], "views": views}


def boxes(tokens: Sequence[Mapping[str, Any]], wrong: set[int]) -> Iterator[Box]:
    """Yield the boxes of a row's tokens; long rows of one image token become one box."""
    place = 0
    while place < len(tokens):
        token = tokens[place]
        same = _same(tokens, place, wrong)
        if token["image"] and place not in wrong and same >= RUN_OF_IMAGE:
            yield Box(
                f"{token['text']} \u00d7 {same}",
                "image",
                f"tokens {place} to {place + same - 1}: {token['id']}",
            )
            place += same
            continue
        tone = (
            "wrong"
            if place in wrong
            else "learned"
            if token["learned"]
            else "image"
            if token["image"]
            else ""
        )
        yield Box(visible(token["text"]), tone, f"token {place}: {token['id']}", "\n" in token["text"])
        place += 1


def _same(tokens: Sequence[Mapping[str, Any]], place: int, wrong: set[int]) -> int:
    after = place
    while after < len(tokens) and tokens[after]["id"] == tokens[place]["id"] and after not in wrong:
        after += 1
    return after - place


def visible(text: str) -> str:
    r"""Return a token's text with its white space to be seen.

    >>> visible(" is\n"), visible("")
    ('␣is↵', '·')
    """
    if not text:
        return "\u00b7"  # a part of a letter, which the token after it completes
    return text.replace(" ", SPACE).replace("\n", "\u21b5").replace("\t", "\u21e5")
