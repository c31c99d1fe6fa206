"""The value of a preview, as the stage would write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runner.previewing.sight import png_of


def token(text: str, *, learned: bool = False, image: bool = False, number: int = 1) -> dict[str, Any]:
    return {"id": number, "text": text, "learned": learned, "image": image}


TOKENS = [
    token("<bos>"),
    *[token("<img>", image=True, number=7)] * 256,
    token("What"),
    token("<script>"),
    token("\n"),
    token("Sinus", learned=True),
    token(" rhythm", learned=True),
]


def value(
    tokens: list[dict[str, Any]], findings: list[dict[str, Any]], images: list[dict[str, Any]]
) -> dict[str, Any]:
    counts = {
        "tokens": len(tokens),
        "before_cut": len(tokens),
        "learned": 2,
        "share": 2 / len(tokens),
        "image_tokens": 256,
        "answers_whole": 1,
        "answers_cut": 0,
    }
    record = {
        "id": "<b>one</b>",
        "why": ["the most characters"],
        "line": 4,
        "messages": [{"role": "user", "text": "What <script>"}],
        "tokens": tokens,
        "counts": counts,
        "images": images,
        "findings": findings,
        "warnings": ["a warning"],
    }
    return {
        "name": "made",
        "rehearsal": False,
        "model": "model",
        "architecture": "gemma3",
        "tokenizer": "T",
        "processor": "P",
        "strategy": "S",
        "template": "gemma3",
        "context": 4096,
        "end_tokens": ["<eos>"],
        "records": [record],
        "findings": len(findings),
    }


def drawn(folder: Path) -> list[dict[str, Any]]:
    """Return one image: pale paper with a thin dark line across its middle, and a strip of padding below."""
    picture = np.full((100, 200, 3), 250, dtype=np.uint8)
    picture[40] = 20
    picture[80:] = 0
    (folder / "1-1.png").write_bytes(png_of(picture))
    view = {
        "title": "as the encoder sees it",
        "picture": "1-1.png",
        "width": 200,
        "height": 100,
        "content": [200, 80],
        "tiles": [1, 1],
        "factors": [0.5, 0.5],
        "px_per_mm": [2.0, 2.0],
    }
    image = {
        "file": "/a/page.png",
        "width": 400,
        "height": 160,
        "sheet_px_per_mm": [4.0, 4.0],
        "views": [view],
    }
    return [{**image, "attended": None}]
