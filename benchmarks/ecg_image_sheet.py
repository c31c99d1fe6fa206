"""Draw `docs/ecg_images.png`: every layout, every colour scheme and every artefact, of invented recordings.

python -m benchmarks.ecg_image_sheet [--out docs/ecg_images.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.ecg_image import FS_HZ, recording
from converters.ecg_image import Page, render
from converters.ecg_image.colours import SCHEMES
from converters.ecg_image.layout import LAYOUTS
from converters.records.ecg.record import LEADS
from runner.spec.ecg_image import Artefacts, Render

TILE = (420, 325)
CAPTION = 22
COLUMNS = 4
EACH: dict[str, dict[str, Any]] = {  # a little stronger than the defaults, to be seen at this size
    "rotation": {"angle": [6, 6]},
    "skew": {"angle": [8, 8]},
    "perspective": {"strength": [0.12, 0.12]},
    "crop": {"share": [0.05, 0.12]},
    "folds": {"count": 2},
    "gaussian_noise": {"deviation": [40, 40]},
    "salt_and_pepper": {"share": [0.03, 0.03]},
    "jpeg": {"quality": [5, 5]},
    "colour_temperature": {"temperature": [3500, 3500]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/ecg_images.png"))
    arguments = parser.parse_args()
    tiles = [*layouts(), *schemes(), *artefacts()]
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (TILE[0] + 8), rows * (TILE[1] + CAPTION + 6)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for number, (caption, page) in enumerate(tiles):
        x, y = number % COLUMNS * (TILE[0] + 8), number // COLUMNS * (TILE[1] + CAPTION + 6)
        draw.text((x + 4, y + 3), caption, fill="black", font=font)
        sheet.paste(Image.fromarray(page.image).resize(TILE, Image.Resampling.BOX), (x, y + CAPTION))
    sheet.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        arguments.out, optimize=True
    )
    print(f"{arguments.out}: {len(tiles)} pages, {arguments.out.stat().st_size / 1e3:.0f} KB")


def drawn(**options: Any) -> Page:
    return render(recording(3), FS_HZ, LEADS, Render(px_per_mm=4.0, **options), record="sheet", seed=1)


def layouts() -> list[tuple[str, Page]]:
    return [(f"layout: {name}", drawn(layout=name)) for name in LAYOUTS]


def schemes() -> list[tuple[str, Page]]:
    pages = [(f"scheme: {name}", drawn(scheme=name)) for name in SCHEMES if name != "red"]
    gaps = recording(3)
    gaps[1, 2000:2600] = np.nan
    gaps[LEADS.index("V2")] = np.nan
    options = Render(px_per_mm=4.0)
    pages.append(("V2 missing, a gap in II", render(gaps, FS_HZ, LEADS, options, record="sheet")))
    pages.append(("grid: major, antialias: false", drawn(grid="major", antialias=False)))
    return pages


def artefacts() -> list[tuple[str, Page]]:
    pages = []
    for name in Artefacts.model_fields:
        chosen = Artefacts.model_validate_json(json.dumps({name: EACH.get(name, {})}))
        pages.append((f"artefact: {name}", drawn(artefacts=chosen)))
    every = Artefacts.model_validate_json(json.dumps({name: {} for name in Artefacts.model_fields}))
    return [*pages, ("all artefacts at their default strength", drawn(artefacts=every))]


if __name__ == "__main__":
    main()
