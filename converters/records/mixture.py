"""Several sources as one: their names, and how a component's share is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from converters.records.record import Record, ranked


def component_names(words: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each component: its source word, numbered from the second of a kind.

    >>> component_names(["messages", "medquad", "messages"])
    ('messages', 'medquad', 'messages-2')
    """
    met: Counter[str] = Counter()
    names = []
    for word in words:
        met[word] += 1
        names.append(word if met[word] == 1 else f"{word}-{met[word]}")
    return tuple(names)


def named(record: Record, name: str) -> Record:
    """Return `record` as part of a mixture: its source is `name`, its id begins with it.

    A group that is the record's own id stays so; a group of the source's stays as it is, so that a
    disease or patient that two components share is still one group.
    """
    record_id = f"{name}/{record['id']}"
    group = record_id if record["group"] == record["id"] else record["group"]
    return {**record, "id": record_id, "group": group, "source": name}


def taken(records: Sequence[Record], take: int, seed: int) -> tuple[list[Record], list[Record]]:
    """Return `take` records chosen by `seed`, in their own order, and those that are left.

    Raises:
        ValueError: there are fewer.
    """
    if take > len(records):
        raise ValueError(f"take is {take}, but there are {len(records)} records")
    chosen = set(ranked((record["id"] for record in records), seed)[:take])
    return (
        [record for record in records if record["id"] in chosen],
        [record for record in records if record["id"] not in chosen],
    )
