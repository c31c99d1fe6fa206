"""The page and the terminal: every text is text, and the marks say without colour what colours say."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from preview_value import TOKENS, drawn, value
from rich.console import Console

from runner.previewing.manifest_text import manifest_text
from runner.previewing.page import boxes, render
from runner.previewing.terminal import show


def printed(shown: dict[str, Any], folder: Path, **options: Any) -> str:
    out = io.StringIO()
    show(shown, folder, Console(file=out, highlight=False, width=80, **options))
    return out.getvalue()


def test_the_page_holds_its_pictures_and_no_markup_of_the_records(tmp_path: Path) -> None:
    page = render(value(TOKENS, [], drawn(tmp_path)), tmp_path)
    assert "<script" not in page
    assert "<b>one</b>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("data:image/png;base64,") == 1
    assert "http:" not in page
    assert "https:" not in page
    assert "2.00 across, 2.00 down pixels per mm of paper" in page


def test_tokens_of_an_image_are_one_box_and_a_wrong_one_stands_out() -> None:
    shown = list(boxes(TOKENS, set()))
    assert [(box.text, box.tone) for box in shown] == [
        ("<bos>", ""),
        ("<img> \u00d7 256", "image"),
        ("What", ""),
        ("<script>", ""),
        ("\u21b5", ""),
        ("Sinus", "learned"),
        ("\u2423rhythm", "learned"),
    ]
    assert [box.tone for box in boxes(TOKENS, {5})][1:4] == ["image", "wrong", "image"]


def test_the_terminal_marks_what_carries_loss_without_colour(tmp_path: Path) -> None:
    finding = {"fault": "prompt-learned", "message": "1 token of the prompt carries loss", "tokens": [1]}
    text = printed(value(TOKENS, [finding], drawn(tmp_path)), tmp_path, no_color=True)
    assert "\u27e6Sinus\u2502 rhythm\u27e7" in text
    assert "error: 1 token of the prompt carries loss" in text
    assert "warning: a warning" in text
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_no_color_is_respected_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in printed(value(TOKENS, [], []), tmp_path, force_terminal=True)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1;32m" in printed(value(TOKENS, [], []), tmp_path, force_terminal=True)


def test_a_thin_line_is_seen_in_the_terminal_and_padding_is_not(tmp_path: Path) -> None:
    text = printed(value(TOKENS, [], drawn(tmp_path)), tmp_path)
    dots = [line for line in text.splitlines() if any("\u2801" <= letter <= "\u28ff" for letter in line)]
    assert len(dots) == 1
    assert len(dots[0].strip()) == 76


def test_a_manifest_says_where_every_record_went() -> None:
    def audit(records: int) -> dict[str, Any]:
        return {
            "tokens": {"total": 10 * records, "p50": 10, "max": 12},
            "longer_than_context": {"records": 1, "share": 0.5},
            "label_share": 0.25,
        }

    manifest = {
        "records": {"read": 5, "kept": 3},
        "splits": {"train": {"records": 2, "groups": 2}, "test": {"records": 1, "groups": 1}},
        "dropped": {"no answer": {"count": 2, "ids": ["a", "b"]}},
        "split": {
            "by": "group",
            "seed": 7,
            "crossing": 0,
            "shared_questions": {},
            "crossing_duplicates": 0,
            "without_key": 0,
        },
    }
    tokens = {"context": 64, "splits": {"train": audit(2), "test": audit(1)}}
    text = manifest_text(manifest, tokens)
    assert "5 records read, 3 fit for use" in text
    assert "2: no answer (a, b)" in text
    assert "30 tokens in all; context 64" in text
    assert "\u2713 No group stands on two sides; split by group, seed 7." in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("train", "test"))]
    assert rows == [
        ["train", "2", "2", "10", "12", "1", "(50.0%)", "25.0%"],
        ["test", "1", "1", "10", "12", "1", "(50.0%)", "25.0%"],
    ]
    assert "tokens were not counted: no hub" in manifest_text(
        manifest, {"available": False, "reason": "no hub"}
    )
    assert "tokens" not in manifest_text(manifest, None)
