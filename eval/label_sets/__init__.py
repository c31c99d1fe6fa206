"""Named sets of labels of an ECG, one data file each: their names, the words for them, and what is none of them.

A record's true labels stand under the set's name in its `labels`. A set that has `statements` takes over the words
of those statements of another set that its labels are made of (`of`); the other statements are none of its labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

LABEL_SETS = ("superclasses", "subclasses", "statements", "code15", "cpsc2018")
"""Names of the sets, which are those of the files."""


@dataclass(frozen=True)
class Label:
    """One label."""

    id: str
    """As the source of the data writes it: what a record's `labels` hold."""
    name: str
    """What a question asks for, and whose likelihood as an answer is compared."""
    forms: tuple[str, ...]
    """Words that stand for it in a text; with those of the statements that it is made of."""


@dataclass(frozen=True)
class LabelSet:
    """Labels in the order of every table."""

    name: str
    title: str
    version: int
    source: str
    labels: tuple[Label, ...]
    empty: tuple[str, ...]
    """Words of an answer that none of the labels is there."""
    others: tuple[str, ...]
    """Words that are none of the labels, though they may hold a label's word; with those of statements that no
    label is made of."""
    partial: bool
    """Whether many records have none of the labels, so that to name something else is an answer, and says so."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The labels as the source writes them."""
        return tuple(label.id for label in self.labels)


@cache
def label_set(name: str) -> LabelSet:
    """Return a set by its name.

    Raises:
        ValueError: there is none of this name, or its file names a statement that there is not.
    """
    if name not in LABEL_SETS:
        raise ValueError(f"no label set {name!r}; there are: {', '.join(LABEL_SETS)}")
    data = _read(name)
    statements = _read(data["statements"])["labels"] if "statements" in data else {}
    labels = tuple(
        Label(key, entry["name"], _forms(name, entry, statements)) for key, entry in data["labels"].items()
    )
    taken = {form for label in labels for form in label.forms}
    known = [*data["others"], *(form for entry in statements.values() for form in entry["forms"])]
    return LabelSet(
        name=name,
        title=data["title"],
        version=data["version"],
        source=data["source"],
        labels=labels,
        empty=tuple(data["empty"]),
        others=tuple(form for form in dict.fromkeys(known) if form not in taken),
        partial=data.get("partial", False),
    )


def label_set_sha256(name: str) -> str:
    """Return the hash of everything that decides what a set finds in a text."""
    data = _read(name)
    files = [name, *([data["statements"]] if "statements" in data else [])]
    total = hashlib.sha256()
    for path in (*(_path(file) for file in files), Path(__file__).parent.parent / "data" / "negation.yaml"):
        total.update(path.read_bytes())
    return total.hexdigest()


def _forms(name: str, entry: Mapping[str, Any], statements: Mapping[str, Any]) -> tuple[str, ...]:
    unknown = [code for code in entry.get("of", ()) if code not in statements]
    if unknown:
        raise ValueError(f"{name}: no statement {unknown[0]!r}, which a label is said to be made of")
    taken = [form for code in entry.get("of", ()) for form in statements[code]["forms"]]
    return tuple(dict.fromkeys([*entry["forms"], *taken]))


def _path(name: str) -> Path:
    return Path(__file__).parent / f"{name}.yaml"


@cache
def _read(name: str) -> Mapping[str, Any]:
    data: Mapping[str, Any] = yaml.safe_load(_path(name).read_text(encoding="utf-8"))
    return data
