"""The page of a preview in a real browser: it loads nothing, can be read in both schemes, and fits a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from preview_value import TOKENS, drawn, value

from runner.previewing.page import render
from tests.browser.test_page import CONTRAST, DESK_PX, PHONE_PX, browser

__all__ = ["browser"]

FINDING = {"fault": "prompt-learned", "message": "1 token of the prompt carries loss", "tokens": [257]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [PHONE_PX, DESK_PX])
def test_it_asks_for_nothing_and_every_word_can_be_read(
    browser: Any, tmp_path: Path, width_px: int, scheme: str
) -> None:
    page = tmp_path / "page.html"
    page.write_text(render(value(TOKENS, [FINDING], drawn(tmp_path)), tmp_path), encoding="utf-8")
    (tmp_path / "1-1.png").unlink()
    context = browser.new_context(
        viewport={"width": width_px, "height": 900}, color_scheme=scheme, offline=True
    )
    try:
        opened, asked, said = context.new_page(), [], []
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("console", lambda message: said.append(message.text))
        opened.goto(page.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
        assert said == []
        assert opened.evaluate(CONTRAST) == []
        assert opened.evaluate("document.documentElement.scrollWidth") <= width_px
        assert opened.eval_on_selector("figure img", "image => [image.naturalWidth, image.complete]") == [
            200,
            True,
        ]
        assert opened.locator(".tokens .wrong").inner_text() == "What"
    finally:
        context.close()
