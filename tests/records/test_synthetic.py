from __future__ import annotations

from collections import defaultdict

import pytest

from converters.records.record import Record
from converters.records.synthetic import (
    CAPACITY,
    FORMS,
    PER_DISEASE,
    SHORT_NAMES,
    Question,
    make_world,
    to_record,
)


def records(count: int, seed: int) -> list[Record]:
    world = make_world(count, seed)
    return [to_record(Question(number, world)) for number in range(count)]


@pytest.mark.parametrize("count", [10, 2000, PER_DISEASE * SHORT_NAMES + 50])
def test_every_question_is_another(count: int) -> None:
    made = records(count, seed=3)
    assert len({record["question"] for record in made}) == count
    assert len({record["id"] for record in made}) == count


def test_the_stated_capacity_is_there() -> None:
    world = make_world(CAPACITY, seed=1)
    assert len(set(world.diseases)) == CAPACITY // PER_DISEASE
    assert to_record(Question(CAPACITY - 1, world))["question"]


def test_a_seed_always_gives_the_same_and_another_seed_another_world() -> None:
    assert records(50, seed=1) == records(50, seed=1)
    assert records(50, seed=1) != records(50, seed=2)


def test_more_records_go_on_where_fewer_stopped() -> None:
    assert records(400, seed=5)[:100] == records(100, seed=5)


def test_the_facts_follow_the_name() -> None:
    """Every disease with one ending sits in one organ, so an unseen disease can be answered."""
    organs = defaultdict(set)
    for record in records(4000, seed=0):
        if record["question"].startswith("Which organ"):
            ending = next(end for end in make_world(10, 0).by_ending if str(record["focus"]).endswith(end))
            organs[ending].add(record["messages"][-1]["content"].split(" the ")[-1])
    assert len(organs) == 10
    assert all(len(values) == 1 for values in organs.values())


def test_two_ways_to_ask_get_the_same_fact() -> None:
    world = make_world(2400, seed=4)
    by_disease: dict[str | None, dict[str, str]] = defaultdict(dict)
    for number in range(2400):
        record = to_record(Question(number, world))
        by_disease[record["focus"]][record["question"]] = record["messages"][-1]["content"]
    asked = [
        (answers[f"Which drug treats {name}?"], answers[f"What is the treatment of {name}?"])
        for name, answers in by_disease.items()
        if f"Which drug treats {name}?" in answers
    ]
    assert len(asked) == 200
    assert all(one.split()[-1] == other.split()[-1] for one, other in asked)


def test_every_form_is_asked() -> None:
    starts = {question.partition("{disease}")[0] for question, _ in FORMS}
    asked = [record["question"] for record in records(100, seed=0)]
    assert all(any(question.startswith(start) for question in asked) for start in starts)
