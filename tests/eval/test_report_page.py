"""The page as text: escaped, self-contained, and sorted by what the cells say."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from eval.report.card import markdown, markdown_table
from eval.report.page import render
from eval.report.view import (
    Cell,
    Check,
    Checks,
    Column,
    Details,
    Example,
    Examples,
    Heading,
    Notice,
    Page,
    Pairs,
    Section,
    Table,
    Text,
)

BITING = "<img src=x onerror=alert(1)> & \"'</script>"
ESCAPED = "&lt;img src=x onerror=alert(1)&gt; &amp; &#34;&#39;&lt;/script&gt;"


def page(text: str) -> Page:
    table = Table(
        text, (Column(text, hint=text, note=text), Column("n", number=True)),
        ((Cell(text, sort=text, note=text), Cell("1", sort=1.5)), (Cell("b", badge=True), Cell("-"))),
    )  # fmt: skip
    blocks = (
        table, Text((text,)), Text((text,), "list"), Text((text,), "code"), Heading(text), Pairs(((text, text),), text),
        Checks((Check(True, text), Check(False, text), Check(None, text))),
        Examples((Example(text, text, ((text, text),), text),), text), Details(text, (Text((text,)),)),
    )  # fmt: skip
    return Page(
        text, text, text, (Notice(text, text),), ((text, text),), (Section("s", text, blocks, text),), text
    )


def test_every_text_of_a_page_is_escaped() -> None:
    plain, biting = render(page("PLAIN")), render(page(BITING))
    assert "<img" not in biting
    assert biting.count(ESCAPED) == plain.count("PLAIN") > 20
    assert biting.count("<script>") == biting.count("</script>") == 1


def test_the_page_names_nothing_outside_itself() -> None:
    html = render(page("PLAIN"))
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)[^\"]*", html)
    assert "url(" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_only_the_page_s_own_script_may_run() -> None:
    html = render(page("PLAIN"))
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in html or f"script-src 'sha256-{digest}'" in html
    assert "default-src" in html


def test_a_cell_carries_what_it_is_sorted_by_and_a_missing_one_nothing() -> None:
    html = render(page("PLAIN"))
    assert '<td class="num " data-sort="1.5">1</td>' in html
    assert '<td class="num ">-</td>' in html


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="'t': 1 cells under 2 columns"):
        Table("t", (Column("a"), Column("b")), ((Cell("1"),),))


def test_a_table_in_markdown() -> None:
    table = Table("t", (Column("a|b"), Column("n", number=True)), ((Cell("x\ny", note="why"), Cell("1")),))
    assert markdown_table(table) == "| a\\|b | n |\n| --- | ---: |\n| x y (why) | 1 |\n"


@pytest.mark.parametrize("text", ["*a*", "_a_", "`a`", "[a](b)", "<a>", "a\n# b", "a | b"])
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    shown = markdown(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[*_`\[\]|<>]", shown)
