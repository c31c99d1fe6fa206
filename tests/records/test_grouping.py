from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from converters.records.grouping import shared, together
from converters.records.record import Record


def record(name: str, group: str, *keep_with: str) -> Record:
    made: Record = {"id": name, "messages": [], "group": group, "question": "q", "focus": None, "source": "s"}
    return {**made, "keep_with": list(keep_with)} if keep_with else made


def test_one_recording_in_two_sets_is_one_group() -> None:
    rows = [
        record("a", "patient/2", "signal/x"),
        record("b", "signal/x", "signal/x"),
        record("c", "patient/1"),
    ]
    assert [row["group"] for row in together(rows)] == ["patient/2", "patient/2", "patient/1"]


def test_chains_hang_together() -> None:
    rows = [
        record("a", "p1", "p1", "p2"),
        record("b", "p2", "p2", "p3"),
        record("c", "p3"),
        record("d", "p4"),
    ]
    assert [row["group"] for row in together(rows)] == ["p1", "p1", "p1", "p4"]


NAMES = st.sampled_from("abcdefgh")


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, st.lists(NAMES, max_size=2)), max_size=12))
def test_the_order_of_records_does_not_matter(rows: list[tuple[str, list[str]]]) -> None:
    made = [record(str(n), group, *names) for n, (group, names) in enumerate(rows)]
    there = {row["id"]: row["group"] for row in together(made)}
    assert there == {row["id"]: row["group"] for row in together(made[::-1])}
    for row in made:  # whoever shares a name is in one group
        for other in made:
            if {row["group"], *row.get("keep_with", ())} & {other["group"], *other.get("keep_with", ())}:
                assert there[row["id"]] == there[other["id"]]


def test_groups_on_two_sides_are_named() -> None:
    assert shared([[record("a", "p1"), record("b", "p2")], [record("c", "p2")], []]) == ["p2"]
