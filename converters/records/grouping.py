"""Records that must not be parted although their groups differ: one recording in two sets, two patients in one question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from converters.records.record import Record


def together(records: Sequence[Record]) -> list[Record]:
    """Return the records with groups put together that share a name of `keep_with`.

    A group takes part under its own name too. What is put together is named by the first of its groups in the
    alphabet, whatever the order of the records.
    """
    parent: dict[str, str] = {}
    for record in records:
        for name in record.get("keep_with", ()):
            _join(parent, record["group"], name)
    groups = {record["group"] for record in records}
    first: dict[str, str] = {}
    for group in sorted(groups & parent.keys()):
        first.setdefault(_root(parent, group), group)
    return [
        {**record, "group": first[_root(parent, record["group"])]} if record["group"] in parent else record
        for record in records
    ]


def shared(sides: Iterable[Iterable[Record]]) -> list[str]:
    """Return the groups that stand on more than one side, in the order of the alphabet."""
    met: set[str] = set()
    twice: set[str] = set()
    for rows in sides:
        groups = {record["group"] for record in rows}
        twice |= groups & met
        met |= groups
    return sorted(twice)


def _root(parent: dict[str, str], name: str) -> str:
    while parent.setdefault(name, name) != name:
        parent[name] = parent[parent[name]]
        name = parent[name]
    return name


def _join(parent: dict[str, str], one: str, other: str) -> None:
    parent[_root(parent, one)] = _root(parent, other)
