"""The value of a preview -> what a terminal shows. Without colours the marks alone say the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.previewing.page import SPACE, boxes
from runner.previewing.words import about, counted, image_facts, lead_of, measured
from runner.spec.visible import all_visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LOSS = ("\u27e6", "\u27e7")
"""Stand around what carries loss."""
TONES = {"learned": "bold green", "image": "blue", "wrong": "bold red", "": ""}
BETWEEN = "\u2502"
"""Stands between two tokens."""
PICTURE_COLUMNS = 100
INK = 0.20
"""Share by which a pixel must be darker than the paper to be ink; lines of a grid are paler."""


def show(value: Mapping[str, Any], folder: Path, console: Console) -> None:
    """Print a preview: each record with its images, its numbers and its tokens."""
    from rich.text import Text

    value = all_visible(value)
    for name, text in about(value):
        console.print(Text.assemble((f"{name:<12}", "dim"), text))
    for record in value["records"]:
        console.print()
        console.print(Text(f"record {record['id']}", "bold underline"))
        _indented(Text(lead_of(record), "dim"), console)
        for image in record["images"]:
            _image(image, folder, console)
        facts = [
            *counted(record, value["context"]),
            *(fact for image in record["images"] for fact in image_facts(image)),
        ]
        for name, text in facts:
            _indented(Text.assemble((f"{name}: ", "dim"), text), console)
        _indented(_tokens(record), console)
        for finding in record["findings"]:
            _indented(Text(f"error: {finding['message']}", "bold red"), console)
        for warning in record["warnings"]:
            _indented(Text(f"warning: {warning}", "yellow"), console)


def _indented(text: Text, console: Console) -> None:
    """Print a text in lines that begin below each other and end where their words do."""
    for line in text.wrap(console, console.width - 4):
        line.rstrip()
        line.pad_left(2)
        console.print(line)


def _image(image: Mapping[str, Any], folder: Path, console: Console) -> None:
    from PIL import Image
    from rich.text import Text

    view = image["views"][0]
    console.print(Text(f"  {image['file']}", "dim"), soft_wrap=True)  # a path that is cut cannot be copied
    _indented(Text(f"{view['title']}: {measured(view)}"), console)
    columns = min(PICTURE_COLUMNS, console.width - 4)
    with Image.open(folder / view["picture"]) as picture:
        for line in in_dots(picture.crop((0, 0, *view["content"])), columns):  # without its padding
            console.print(Text(f"  {line}"))


def in_dots(picture: Any, columns: int) -> Iterator[str]:
    """Yield the lines of a picture in braille letters, 2 x 4 dots each; dark ink on pale paper becomes dots.

    A dot is set where the darkest pixel of its place is: thin lines do not get lost.
    """
    import numpy as np
    from PIL import Image

    grey = np.asarray(picture.convert("L"), dtype=np.float64) / 255
    across = columns * 2
    down = max(4, round(grey.shape[0] * across / grey.shape[1] / 4) * 4)
    size = (across, down)
    # An enlarged picture is taken as it is; of a reduced one the darkest pixel of each place.
    rows = np.array_split(grey, down) if grey.shape[0] > down else None
    if rows is None or grey.shape[1] <= across:
        darkest = (
            np.asarray(picture.convert("L").resize(size, Image.Resampling.BILINEAR), dtype=np.float64) / 255
        )
    else:
        darkest = np.array([[part.min() for part in np.array_split(row.min(axis=0), across)] for row in rows])
    paper = float(np.median(grey))
    ink = darkest < paper - _threshold(grey, paper)
    bits = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
    cells = ink.reshape(down // 4, 4, columns, 2).transpose(0, 2, 1, 3)
    for line in (cells * bits).sum(axis=(2, 3)):
        yield "".join(chr(0x2800 + int(code)) for code in line).rstrip("\u2800")


def _threshold(grey: Any, paper: float) -> float:
    """Return how much darker than the paper ink is: half way to the darkest, which a pale grid does not reach."""
    return max(INK, (paper - float(grey.min())) / 2)


def _tokens(record: Mapping[str, Any]) -> Text:
    """Return the tokens in a row, those that carry loss between their marks."""
    from rich.text import Text

    wrong = {place for finding in record["findings"] for place in finding["tokens"]}
    text = Text()
    inside, at_start = False, True
    for box in boxes(record["tokens"], wrong):
        loss = box.tone in ("learned", "wrong")
        if loss != inside:
            text.append(LOSS[0] if loss else LOSS[1], style="bold")
            inside = loss
        elif not at_start:
            text.append(BETWEEN, style="dim")
        text.append(box.text.replace(SPACE, " "), style=TONES[box.tone])
        at_start = box.breaks
        if box.breaks:
            text.append("\n")
    if inside:
        text.append(LOSS[1], style="bold")
    text.rstrip()
    return text
