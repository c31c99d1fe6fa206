"""Reading the CSV tables that sets come with: every row, its columns checked, a fault named with its place."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from runner.spec.problems import DataError


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file as text by column.

    Raises:
        DataError: the file is missing, is not UTF-8 text, lacks one of `columns`, or has a row of another width.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            if lacking := [name for name in columns if name not in header]:
                raise DataError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(header)}")
            rows = []
            for row in reader:
                if None in row or None in row.values():  # too many cells, too few
                    raise DataError(f"{path}:{reader.line_num}: expected {len(header)} cells")
                rows.append(row)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"cannot read {path}: {error.strerror}\n  {right_folder(path)}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return rows


def right_folder(path: Path, named: Path | None = None) -> str:
    """Return which folder to give: often the one given lies a level above or below the set's own.

    Args:
        path: the table, where it is not.
        named: its folder as messages name it, where that is not its own name.
    """
    named = named or path.parent
    if (path.parent.parent / path.name).is_file():
        return f"it lies in {named.parent if named.name[:2] != '${' else f'{named}/..'}: give that folder"
    found = next((place for place in sorted(path.parent.glob(f"*/{path.name}")) if place.is_file()), None)
    return (
        f"it lies in {named / found.parent.name}: give that folder"
        if found
        else f"give the folder that holds {path.name}"
    )


def by_id(rows: Iterable[dict[str, str]], column: str, path: Path) -> dict[str, dict[str, str]]:
    """Return rows by their id.

    Raises:
        DataError: an id is there twice.
    """
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if row[column] in found:
            raise DataError(f"{path}: {column} {row[column]!r} is there twice")
        found[row[column]] = row
    return found


def whole_number(text: str) -> str:
    """Return an id that a table wrote as a float without its fraction.

    >>> whole_number("15709.0"), whole_number("a1")
    ('15709', 'a1')
    """
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text
