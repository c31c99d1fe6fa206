"""Reading the CSV tables that sets come with: every row, its columns checked, a fault named with its place."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path

from converters.records.ecg.files import UnfitError, first_line, opened
from converters.records.ecg.record import BAD_METADATA, NO_SIGNAL, Faulty
from converters.records.folders import right_folder
from runner.spec.problems import DataError

MAX_DIGITS = 18
"""Of a count: what has more is no count, and Python refuses to read a number of 5,000 digits."""


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file as text by column.

    Raises:
        DataError: the file is missing, is not UTF-8 text, lacks one of `columns`, or has a row of another width.
    """
    try:
        with TextIOWrapper(opened(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            if lacking := [name for name in columns if name not in header]:
                raise DataError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(header)}")
            rows = []
            for row in reader:
                if None in row or None in row.values():  # too many cells, too few
                    raise DataError(f"{path}:{reader.line_num}: expected {len(header)} cells")
                rows.append(row)
    except UnfitError as error:
        missing = error.reason == NO_SIGNAL
        raise DataError(
            f"cannot read {path}: {error}" + (f"\n  {right_folder(path)}" if missing else "")
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: it is no table of UTF-8 text: {first_line(error)}") from error
    return rows


def by_id(rows: Iterable[dict[str, str]], column: str, path: Path) -> dict[str, dict[str, str]]:
    """Return rows by their id.

    Raises:
        DataError: an id is there twice, or is empty.
    """
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if not row[column].strip():
            raise DataError(f"{path}: a row has no {column or 'name in its first column'}")
        if row[column] in found:
            raise DataError(f"{path}: {column} {row[column]!r} is there twice")
        found[row[column]] = row
    return found


def count_of(text: str) -> int | None:
    """Return a whole number of 0 or more that a cell holds, None where it holds none.

    >>> count_of("12"), count_of("-1"), count_of("1.5"), count_of("9" * 5000)
    (12, None, None, None)
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def fold_of(text: str, record_id: str) -> float | None:
    """Return a fold that a cell holds, None where it is empty.

    Raises:
        Faulty: it holds something else than a whole number.
    """
    if not text.strip():
        return None
    number = count_of(whole_number(text.strip()))
    if number is None:
        raise Faulty(BAD_METADATA, record_id, f"its fold is {text!r:.40}; expected a whole number")
    return float(number)


def whole_number(text: str) -> str:
    """Return an id that a table wrote as a float without its fraction.

    >>> whole_number("15709.0"), whole_number("a1")
    ('15709', 'a1')
    """
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text
