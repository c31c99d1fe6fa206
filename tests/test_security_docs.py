"""docs/security.md names tests that exist, and every place of ours in which texts of records may lie."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(tests/[^`]+\.py)`", PAGE))
    assert len(named) > 15
    assert sorted(name for name in named if "def test_" not in _text(ROOT / name)) == []


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def test_every_line_of_what_is_not_trusted_is_held_by_a_test() -> None:
    table = PAGE.partition("## What is not trusted")[2].partition("\n\nWhat this")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    assert [row for row in rows if "`tests/" not in row.split("|")[3]] == []


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "docs" / "security.md", ROOT / "SECURITY.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target
