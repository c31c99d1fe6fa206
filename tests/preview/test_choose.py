from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runner.previewing.choose import choose, length


def rows(*given_: tuple[str, int], **more: Any) -> list[dict[str, Any]]:
    """Return records of (source, length); each is named by its place."""
    return [
        {"id": str(place), "source": source, "messages": [{"role": "user", "content": "x" * size}], **more}
        for place, (source, size) in enumerate(given_)
    ]


def test_sources_come_first_then_the_longest_and_the_shortest() -> None:
    records = rows(("a", 5), ("a", 9), ("b", 5), ("a", 2), ("b", 5))
    chosen = choose(records, 5)
    assert [(one.line, one.why) for one in chosen] == [
        (1, ("the first of a",)),
        (3, ("the first of b",)),
        (2, ("the most characters",)),
        (4, ("the fewest characters",)),
        (5, ("one of the first",)),
    ]
    assert [one.line for one in choose(records, 2)] == [1, 3]


def test_a_record_that_is_several_of_these_is_taken_once_and_says_all() -> None:
    chosen = choose(rows(("a", 5), ("a", 2)), 2)
    assert [(one.line, one.why) for one in chosen] == [
        (1, ("the first of a", "the most characters")),
        (2, ("the fewest characters",)),
    ]


def test_kinds_of_questions_are_shown_where_there_is_room() -> None:
    records = rows(*[("a", 5)] * 4)
    for place, asks in enumerate(["report", "report", "rhythm", "intervals"]):
        records[place]["asks"] = asks
    why = {one.line: one.why for one in choose(records, 3)}
    assert why[3] == ("the first that asks for rhythm",)
    assert why[4] == ("the first that asks for intervals",)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), min_size=1, max_size=30),
    st.integers(1, 8),
)
def test_as_many_different_records_as_there_are_and_always_the_same(
    given_: list[tuple[str, int]], most: int
) -> None:
    records = rows(*given_)
    chosen = choose(iter(records), most)
    assert len({one.line for one in chosen}) == len(chosen) == min(most, len(records))
    assert chosen == choose(records, most)
    assert all(one.record is records[one.line - 1] and one.why for one in chosen)
    reasons = [reason for one in chosen for reason in one.why]
    if "the most characters" in reasons:
        longest = next(one for one in chosen if "the most characters" in one.why)
        assert length(longest.record) == max(map(length, records))
