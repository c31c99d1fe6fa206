"""Records with images written as rows for the engine, each image looked for first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from converters.image_rows import faults, to_row
from runner.files import write_text
from runner.spec.problems import DataError
from runner.tokens import read_records

SHOWN = 5
"""Faulty records that are named; all are counted."""


def write_rows(records: Path, rows: Path) -> None:
    """Write the rows of a file of records, whole or not at all.

    Raises:
        DataError: a record has no image, an image that is not there, or a text that stands for one; counts
            and names them. One missing file would end the training in the middle.
    """
    lines: list[str] = []
    wrong: list[str] = []
    for record in read_records(records):
        wrong += [
            f"{record.get('id')}: {fault}" for fault in (*faults(record), *_missing(record.get("images", ())))
        ]
        lines.append(json.dumps(to_row(record), ensure_ascii=False) + "\n")
    if wrong:
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise DataError(
            f"{records} cannot be trained on: {len(wrong)} fault{'' if len(wrong) == 1 else 's'}\n  "
            + "\n  ".join(wrong[:SHOWN])
            + more
        )
    rows.parent.mkdir(parents=True, exist_ok=True)
    write_text(rows, "".join(lines))


def _missing(images: Iterable[str]) -> Iterator[str]:
    for image in images:
        if not Path(image).is_absolute():
            yield f"the image {image!r} is no absolute path"
        elif not Path(image).is_file():
            yield f"the image {image} is not there"
