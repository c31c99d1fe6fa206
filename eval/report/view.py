"""What a page shows: frozen values of text and numbers, no layout. The templates draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from eval.report.format import MISSING

Tone = Literal["", "good", "bad", "unsure", "muted"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    sort: float | str | None = None
    """What the column is sorted by; None stands last, whichever way."""
    note: str = ""
    """A smaller line below."""
    tone: Tone = ""
    badge: bool = False


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    number: bool = False
    """Numbers stand on the right, in digits of equal width."""
    hint: str = ""
    note: str = ""
    """A smaller line below the name."""
    code: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a header, sorted by a click on it."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    stacked: bool = False
    """On a narrow screen each row is a block of its own, a line a column, so that nothing lies outside the view."""
    kind: Literal["table"] = "table"

    def __post_init__(self) -> None:
        """Refuse a row of another length than the header.

        Raises:
            ValueError: a row's length differs; names the table.
        """
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.caption!r}: {len(row)} cells under {len(self.columns)} columns")


@dataclass(frozen=True)
class Picture:
    """A drawing: SVG for the page, PNG beside it."""

    name: str
    """Names the PNG file."""
    title: str
    caption: str
    svg: str = field(repr=False)
    png: bytes = field(repr=False)
    wide: bool = False
    kind: Literal["picture"] = "picture"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side where there is room."""

    items: tuple[Picture, ...]
    kind: Literal["pictures"] = "pictures"


@dataclass(frozen=True)
class Pairs:
    """Names and values."""

    items: tuple[tuple[str, str], ...]
    title: str = ""
    kind: Literal["pairs"] = "pairs"


@dataclass(frozen=True)
class Text:
    """A paragraph, a list of sentences, or text as it is (`code`)."""

    lines: tuple[str, ...]
    form: Literal["paragraph", "list", "code"] = "paragraph"
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class Check:
    """One thing that is proven or not."""

    passed: bool | None
    """None: it could not be checked."""
    text: str


@dataclass(frozen=True)
class Checks:
    """What was proven."""

    items: tuple[Check, ...]
    kind: Literal["checks"] = "checks"


@dataclass(frozen=True)
class Example:
    """One record: what was asked, what the models answered, what the record holds."""

    id: str
    prompt: str
    answers: tuple[tuple[str, str], ...]
    """Who answered, and what."""
    reference: str


@dataclass(frozen=True)
class Examples:
    """Records, in the order of the evaluation."""

    items: tuple[Example, ...]
    note: str = ""
    kind: Literal["examples"] = "examples"


@dataclass(frozen=True)
class Details:
    """Blocks folded away; a print shows them."""

    summary: str
    blocks: tuple[Block, ...]
    printed: bool = True
    """Whether a print shows them: the numbers behind a picture, or hundreds of packages, fill pages."""
    kind: Literal["details"] = "details"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str
    kind: Literal["heading"] = "heading"


@dataclass(frozen=True)
class Notice:
    """What a reader must know before any number that stands below it."""

    title: str
    text: str
    tone: Tone = "unsure"
    kind: Literal["notice"] = "notice"


Block = Table | Picture | Pictures | Pairs | Text | Checks | Examples | Details | Heading | Notice


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    id: str
    title: str
    blocks: tuple[Block, ...]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    kicker: str
    """A few words above the title."""
    summary: str
    notices: tuple[Notice, ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    footer: str

    def pictures(self) -> tuple[Picture, ...]:
        """Return every picture of the page, in order."""
        return tuple(picture for section in self.sections for picture in _pictures(section.blocks))


def _pictures(blocks: Sequence[Block]) -> tuple[Picture, ...]:
    found: list[Picture] = []
    for block in blocks:
        if isinstance(block, Picture):
            found.append(block)
        elif isinstance(block, Pictures):
            found.extend(block.items)
        elif isinstance(block, Details):
            found.extend(_pictures(block.blocks))
    return tuple(found)


def text_cell(text: object, note: str = "") -> Cell:
    """Return a cell of text; None is a dash."""
    shown = MISSING if text is None else str(text)
    return Cell(shown, sort=None if text is None else shown, note=note)


def count_cell(value: int | None, note: str = "") -> Cell:
    """Return a cell of a whole number, thousands apart."""
    return Cell(MISSING if value is None else f"{value:,}", sort=value, note=note)
