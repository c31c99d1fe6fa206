"""A model card as Markdown, with the front matter that model hubs read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from eval.report.page import environment
from eval.report.view import Table


@dataclass(frozen=True)
class Card:
    """What a card says: Markdown, whatever was given goes through `markdown`; the tables are those of the page."""

    title: str
    """Plain, as are the tables."""
    front_matter: Mapping[str, Any]
    """Keys of a hub's card: base_model, library_name, tags, license, metrics."""
    warnings: tuple[str, ...]
    intro: tuple[str, ...]
    results: Table
    reference: tuple[str, ...]
    use: str
    limits: tuple[str, ...]
    data: tuple[str, ...]
    training: Table
    settings: tuple[str, ...]
    learned: str
    environment: tuple[str, ...]


def render_card(card: Card) -> str:
    """Return the card as Markdown with YAML front matter."""
    front = yaml.safe_dump(dict(card.front_matter), sort_keys=False, allow_unicode=True, width=1000)
    made = environment()
    made.filters |= {"markdown_table": markdown_table, "markdown": markdown}
    text = made.get_template("card.md.j2").render(card=card, front_matter=front)
    return re.sub(r"\n{3,}", "\n\n", text)


def markdown_table(table: Table) -> str:
    """Return a table in Markdown; the smaller line of a cell follows in brackets."""
    head = "| " + " | ".join(markdown(column.name) for column in table.columns) + " |"
    rule = "| " + " | ".join("---:" if column.number else "---" for column in table.columns) + " |"
    rows = [
        "| " + " | ".join(markdown(c.text + (f" ({c.note})" if c.note else "")) for c in row) + " |"
        for row in table.rows
    ]
    return "\n".join([head, rule, *rows]) + "\n"


JOINERS = "\u200c\u200d"
"""Not printable by themselves, and part of how some languages are written."""


def markdown(text: str) -> str:
    r"""Return a text that Markdown shows as it is, on one line: no markup, no HTML, nothing that turns it around.

    >>> markdown("a|b <c>")
    'a\\|b &lt;c&gt;'
    >>> markdown("1. # x")
    '1\\. # x'
    """
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() or c in JOINERS else "\ufffd" for c in line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\|`*_\[\]~$])", r"\\\1", line)
    line = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)  # a list
    return re.sub(r"^([#+=-])(?=[#=\s-]|$)", r"\\\1", line)  # a heading, a list, a line
