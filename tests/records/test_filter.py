from __future__ import annotations

from converters.records.filter import DUPLICATE, TOO_LONG, TOO_SHORT, filtered
from converters.records.mixture import named, taken
from converters.records.record import Ledger, Record
from runner.spec.sources import Filter


def record(name: str, answer: str, question: str = "Q?") -> Record:
    return {
        "id": name,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        "group": name,
        "question": question,
        "focus": None,
        "source": "messages",
    }


def test_every_dropped_record_is_counted_with_its_reason() -> None:
    ledger = Ledger()
    rows = [
        record("a", "one"),
        record("b", "one two"),
        record("c", "one two three four"),
        record("d", "one two"),
    ]
    kept = list(filtered(rows, Filter(min_answer_words=2, max_answer_words=3), ledger))
    assert [row["id"] for row in kept] == ["b"]
    assert {reason: entry["ids"] for reason, entry in ledger.as_json().items()} == {
        TOO_SHORT: ["a"],
        TOO_LONG: ["c"],
        DUPLICATE: ["d"],
    }


def test_the_limits_themselves_are_allowed() -> None:
    rows = [record("a", "one two"), record("b", "one two three")]
    assert len(list(filtered(rows, Filter(min_answer_words=2, max_answer_words=3), Ledger()))) == 2


def test_the_same_question_with_another_answer_is_no_duplicate() -> None:
    assert len(list(filtered([record("a", "yes"), record("b", "no")], Filter(), Ledger()))) == 2


def test_duplicates_stay_when_asked_to() -> None:
    assert len(list(filtered([record("a", "x"), record("b", "x")], Filter(deduplicate=False), Ledger()))) == 2


def test_a_share_is_chosen_by_seed_and_not_by_order() -> None:
    rows = [record(str(number), "x") for number in range(20)]
    chosen, others = taken(rows, 5, seed=1)
    again, _ = taken(rows[::-1], 5, seed=1)
    assert {row["id"] for row in chosen} == {row["id"] for row in again}
    assert len(others) == 15
    assert {row["id"] for row in taken(rows, 5, seed=2)[0]} != {row["id"] for row in chosen}


def test_a_record_in_a_mixture_has_the_name_of_its_part() -> None:
    assert named(record("a", "x"), "messages-2") | {"messages": []} == {
        "id": "messages-2/a",
        "messages": [],
        "group": "messages-2/a",
        "question": "Q?",
        "focus": None,
        "source": "messages-2",
    }
    assert named({**record("a", "x"), "group": "p1"}, "m")["group"] == "p1"
