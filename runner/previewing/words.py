"""What a preview says of its records in words, for the page and the terminal alike. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def about(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of what holds for all records."""
    facts = [
        ("Model", f"{value['model']} ({value['architecture']})"),
        ("Tokenizer", value["tokenizer"]),
        ("Processor", value["processor"] or "none: text alone"),
        ("Masking", value["strategy"]),
        ("Template", value["template"]),
        ("Context", f"{value['context']:,} tokens"),
        ("Ends a turn", ", ".join(value["end_tokens"]) or "nothing known"),
    ]
    return [(name, str(text)) for name, text in facts]


def lead_of(record: Mapping[str, Any]) -> str:
    """Return why a record was taken, and where it stands."""
    return f"{'; '.join(record['why'])} (line {record['line']:,} of data/train.jsonl)"


def counted(record: Mapping[str, Any], context: int) -> list[tuple[str, str]]:
    """Return names and values of what was counted in a record; `context` is what the model reads at most."""
    counts = record["counts"]
    if counts is None:
        return []
    length = f"{counts['tokens']:,} of {context:,} tokens"
    if counts["before_cut"] > counts["tokens"]:
        length += f", cut from {counts['before_cut']:,}"
    facts = [
        ("Length", length),
        ("Carry loss", f"{counts['learned']:,} tokens ({counts['share']:.1%})"),
    ]
    if record["images"]:
        facts.append(
            ("Of images", f"{counts['image_tokens']:,} token{'' if counts['image_tokens'] == 1 else 's'}")
        )
    answers = f"{counts['answers_whole']} whole"
    facts.append(("Answers", answers + (f", {counts['answers_cut']} cut" if counts["answers_cut"] else "")))
    return facts


def image_facts(image: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of one image."""
    view = image["views"][0]
    facts = [("Image", f"{image['width']:,} x {image['height']:,} pixels")]
    if image["sheet_px_per_mm"] is None:
        facts.append(("Pixels per mm", "not known: no manifest beside the image"))
    else:
        across, down = image["sheet_px_per_mm"]
        facts.append(("Pixels per mm, drawn", _across(across, down)))
        facts.append(("Pixels per mm, reaching the encoder", _across(*view["px_per_mm"])))
    if image["attended"]:
        facts.append(("Looked at by cross-attention", f"{image['attended']:,} positions"))
    return facts


def measured(view: Mapping[str, Any]) -> str:
    """Return the size of a view, its tiles, and by how much the image was scaled.

    >>> measured({"width": 1120, "height": 1120, "content": (1120, 865), "tiles": (2, 2), "factors": (0.509, 0.509),
    ...           "px_per_mm": None})
    '1120 x 1120 pixels in 2 x 2 tiles, the image 1120 x 865 of them; scaled by 0.509 across and 0.509 down'
    """
    text = f"{view['width']} x {view['height']} pixels"
    rows, columns = view["tiles"]
    if rows * columns > 1:
        text += f" in {rows} x {columns} tiles"
    if tuple(view["content"]) != (view["width"], view["height"]):
        text += f", the image {view['content'][0]} x {view['content'][1]} of them"
    text += f"; scaled by {view['factors'][0]:.3g} across and {view['factors'][1]:.3g} down"
    if view["px_per_mm"] is not None:
        text += f": {_across(*view['px_per_mm'])} pixels per mm of paper"
    return text


def _across(across: float, down: float) -> str:
    return f"{across:.2f} across, {down:.2f} down"
