from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from converters.records.record import Record
from converters.records.split import SIDES, Divided, SplitError, cut, divide, prove
from runner.spec.sources import Split


def record(name: str, group: str | None = None, **more: Any) -> Record:
    text = more.pop("text", f"Is it {name}?")
    made: Record = {
        "id": name,
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}],
        "group": group or name,
        "question": text,
        "focus": None,
        "source": "messages",
    }
    made.update(more)  # type: ignore[typeddict-item]
    return made


def grouped(sizes: Sequence[int]) -> list[Record]:
    return [
        record(f"{group}.{number}", f"g{group}") for group, size in enumerate(sizes) for number in range(size)
    ]


def ids(divided: Divided) -> dict[str, list[str]]:
    return {side: [row["id"] for row in divided.parts[side]] for side in SIDES}


def by(word: str, train: float, validation: float, test: float, seed: int = 42) -> Split:
    return Split.model_validate(
        {"train": train, "validation": validation, "test": test, "by": word, "seed": seed}
    )


SIZES = st.lists(st.integers(1, 9), min_size=3, max_size=40)


@given(SIZES, st.data(), st.integers(0, 5))
def test_counts_are_exact_no_group_crosses_and_nothing_is_lost(
    sizes: list[int], data: st.DataObject, seed: int
) -> None:
    """There is always a way when both breaks can cost a whole group less one."""
    total, slack = sum(sizes), 2 * (max(sizes) - 1)
    assume(total - slack >= 1)
    train = data.draw(st.integers(1, total - slack))
    validation = data.draw(st.integers(0, total - slack - train))
    test = data.draw(st.integers(0, total - slack - train - validation))
    rows = grouped(sizes)
    split = by("group", train, validation, test, seed)
    assume(max(sizes) > 1)
    divided = divide(rows, split)
    assert {side: len(part) for side, part in divided.parts.items()} == {
        "train": train,
        "validation": validation,
        "test": test,
    }
    placed = [row["id"] for part in (*divided.parts.values(), divided.left_out) for row in part]
    assert sorted(placed) == sorted(row["id"] for row in rows)
    proof = prove(divided.parts, split)
    assert (proof["crossing"], proof["crossing_duplicates"]) == (0, 0)


@given(SIZES, st.integers(0, 5), st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.3, 0.2), (0.9, 0.0, 0.1)]))
def test_ratios_use_every_record_and_no_group_crosses(
    sizes: list[int], seed: int, ratios: tuple[float, float, float]
) -> None:
    rows, split = grouped(sizes), by("group", *ratios, seed=seed)
    assume(max(sizes) > 1)
    divided = divide(rows, split)
    assert divided.left_out == ()
    assert sum(map(len, divided.parts.values())) == sum(sizes)
    assert prove(divided.parts, split)["crossing"] == 0
    assert divided.parts["train"]
    assert bool(divided.parts["validation"]) == (ratios[1] > 0)
    assert bool(divided.parts["test"]) == (ratios[2] > 0)


@settings(max_examples=30)
@given(SIZES, st.randoms(use_true_random=False), st.sampled_from(["counts", "ratios"]))
def test_the_order_of_the_records_does_not_matter(sizes: list[int], rng: random.Random, how: str) -> None:
    assume(max(sizes) > 1)
    rows = grouped(sizes)
    split = by("group", 1, 1, 0) if how == "counts" else by("group", 0.7, 0.2, 0.1)
    shuffled = rng.sample(rows, len(rows))
    assert ids(divide(shuffled, split)) == ids(divide(rows, split))
    assert divide(shuffled, split).left_out == divide(rows, split).left_out


def test_ratios_of_single_records_are_exact() -> None:
    divided = divide([record(str(number)) for number in range(200)], by("record", 0.8, 0.15, 0.05))
    assert [len(divided.parts[side]) for side in SIDES] == [160, 30, 10]


def test_another_seed_gives_another_split() -> None:
    rows = [record(str(number)) for number in range(50)]
    assert ids(divide(rows, by("record", 30, 10, 10, seed=1))) != ids(
        divide(rows, by("record", 30, 10, 10, seed=2))
    )


def test_a_new_record_moves_few_others() -> None:
    """One more record of its own group pushes at most one record over each of the two borders."""
    rows, split = [record(str(number)) for number in range(1000)], by("record", 700, 150, 150)
    before, after = ids(divide(rows, split)), ids(divide([*rows, record("new")], split))
    assert sum(len(set(before[side]) - set(after[side])) for side in SIDES) <= 3


def test_a_group_that_does_not_fit_is_broken_off_and_its_rest_left_out() -> None:
    """Groups of 4 into 6 and 4: one whole group, two of another (2 left out), then a whole one."""
    divided = divide(grouped([4, 4, 4]), by("group", 6, 4, 0))
    assert [len(divided.parts[side]) for side in SIDES] == [6, 4, 0]
    assert len(divided.left_out) == 2
    broken = {row["group"] for row in divided.left_out}
    assert len(broken) == 1
    assert broken <= {row["group"] for row in divided.parts["train"]}


@pytest.mark.parametrize("seed", range(20))
def test_an_exact_packing_is_found_when_the_first_order_has_none(seed: int) -> None:
    """4 + 3 + 3 into 6 and 4: only 3 + 3 and 4 works."""
    divided = divide(grouped([4, 3, 3]), by("group", 6, 4, 0, seed=seed))
    assert [len(divided.parts[side]) for side in SIDES] == [6, 4, 0]


def test_too_few_records_give_the_numbers() -> None:
    with pytest.raises(SplitError) as error:
        divide(grouped([5, 5]), by("group", 8, 2, 1))
    assert str(error.value) == (
        "data.split wants 8 + 2 + 1 = 11 records (train, validation, test); there are 10 in 2 groups\n"
        "  lower the counts, or write ratios (0.8, 0.1, 0.1)"
    )


def test_groups_that_cannot_be_divided_give_the_largest() -> None:
    with pytest.raises(SplitError, match="there are 10 in 1 group, the largest of 10, which no order"):
        divide(grouped([10]), by("group", 5, 5, 0))


def test_ratios_of_one_group_leave_nothing_for_the_others() -> None:
    with pytest.raises(
        SplitError, match=r"data.split.validation is 0.1 of 10 records, but of 1 group none is left for it"
    ):
        divide(grouped([10]), by("group", 0.8, 0.1, 0.1))


def test_groups_by_another_word_say_by_which() -> None:
    rows = [record(str(number), question="one" if number else "two") for number in range(4)]
    with pytest.raises(SplitError, match="but of 2 groups by question none is left for it"):
        divide(rows, by("question", 0.5, 0.25, 0.25))


def test_no_records_leave_nothing_to_train_on() -> None:
    with pytest.raises(SplitError, match="leaves no training records: 0 records in 0 groups by record"):
        divide([], by("record", 1.0, 0.0, 0.0))


def test_a_focus_is_the_same_in_any_case_and_spacing() -> None:
    rows = [
        record(str(number), focus=name) for number, name in enumerate(["Asthma", "ASTHMA ", "asthma", "Gout"])
    ]
    divided = divide(rows, by("focus", 0.5, 0.5, 0.0))
    assert sorted(len(part) for part in divided.parts.values()) == [0, 1, 3]


def test_records_without_focus_stay_with_their_group() -> None:
    rows = [record("a", "d1"), record("b", "d1"), record("c", focus="x"), record("d", focus="y")]
    split = by("focus", 2, 1, 1)
    divided = divide(rows, split)
    assert prove(divided.parts, split)["without_key"] == 2
    assert any({"a", "b"} == set(names) for names in ids(divided).values())


def test_a_key_that_no_record_has_is_refused() -> None:
    with pytest.raises(
        SplitError, match=r"by is focus, but no record has a focus\n  split by question, group or record"
    ):
        divide([record("a"), record("b")], by("focus", 1, 1, 0))
    with pytest.raises(SplitError, match="by is group, but no record has a group of its own"):
        divide([record("a"), record("b")], by("group", 1, 1, 0))


def test_equal_records_stay_on_one_side_whatever_the_key() -> None:
    rows = [record(str(number), text=f"Is it {number // 3}?") for number in range(60)]
    split = by("record", 30, 15, 15)
    proof = prove(divide(rows, split).parts, split)
    assert proof["crossing_duplicates"] == 0
    assert set(proof["shared_questions"].values()) == {0}


def test_the_proof_finds_what_crosses() -> None:
    """A split made wrong by hand: group g and question 'same' on two sides, one record on both."""
    twin = record("twin", "g", text="same")
    parts = {
        "train": (twin, record("a", "h")),
        "validation": (record("b", "g", text="Same ?"),),
        "test": (dict(twin) | {"id": "t2"},),
    }
    assert prove(parts, by("group", 1, 1, 1)) == {  # type: ignore[arg-type]
        "by": "group",
        "seed": 42,
        "groups": {"train": 2, "validation": 1, "test": 1},
        "crossing": 1,
        "crossing_duplicates": 1,
        "shared_questions": {"train, validation": 1, "train, test": 1, "validation, test": 1},
        "without_key": 0,
    }


@pytest.mark.parametrize("word", ["record", "question"])
def test_groups_that_a_split_by_something_else_tears_apart_are_counted(word: str) -> None:
    """Patient g on two sides, though each record, and each question, stands on one; h is on one side alone."""
    parts = {
        "train": (record("a", "g", text="one"), record("b", "h", text="two")),
        "test": (record("c", "g", text="three"), record("d", "h2", text="four")),
    }
    assert prove(parts, by(word, 0.5, 0, 0.5))["crossing_groups"] == 1  # type: ignore[arg-type]
    whole = {"train": parts["train"], "test": parts["test"][1:]}
    proof = prove(whole, by(word, 0.5, 0, 0.5))  # type: ignore[arg-type]
    assert "crossing_groups" not in proof
    assert proof["own_groups"] == 3


def test_a_given_split_is_taken_and_cut_to_the_counts() -> None:
    rows = [record(str(number), split=SIDES[number % 3]) for number in range(30)]
    assert all(
        {int(name) % 3 for name in names} == {number}
        for number, names in enumerate(ids(divide(rows, by("given", 0.8, 0.1, 0.1))).values())
    )
    divided = divide(rows, by("given", 8, 1, 0))
    assert [len(divided.parts[side]) for side in SIDES] == [8, 1, 0]
    assert len(divided.left_out) == 21
    with pytest.raises(SplitError, match=r"wants 11 \+ 1 \+ 1 records .* have 10 \+ 10 \+ 10"):
        divide(rows, by("given", 11, 1, 1))


def test_a_given_split_with_other_words_names_them() -> None:
    rows = [record("a", split="train"), record("b", split="tests"), record("c")]
    with pytest.raises(SplitError) as error:
        divide(rows, by("given", 0.8, 0.1, 0.1))
    assert "2 of 3 records do not say train, validation, test" in str(error.value)
    assert "'tests' 1 times (nearest: test)" in str(error.value)


def test_given_without_training_records_is_refused() -> None:
    with pytest.raises(SplitError, match="no record is given to train"):
        divide([record("a", split="test")], by("given", 0.8, 0.1, 0.1))


def test_a_rehearsal_takes_the_first_of_each_split() -> None:
    divided = divide([record(str(number)) for number in range(50)], by("record", 30, 10, 10))
    small = cut(divided.parts, {"train": 5, "validation": 20, "test": 2})
    assert [len(small.parts[side]) for side in SIDES] == [5, 10, 2]
    assert small.parts["train"] == divided.parts["train"][:5]
    assert len(small.left_out) == 33


def test_a_question_about_another_image_is_another_question() -> None:
    one, other = (
        record("1", group="a", question="Which rhythm?"),
        record("2", group="b", question="Which rhythm?"),
    )
    parts: dict[str, list[Record]] = {"train": [one], "test": [other]}
    assert prove(parts, by("group", 0.5, 0, 0.5))["shared_questions"] == {"train, test": 1}
    seen: dict[str, list[Record]] = {
        "train": [{**one, "images": ["a"]}],
        "test": [{**other, "images": ["b"]}],
    }
    proof = prove(seen, by("group", 0.5, 0, 0.5))
    assert proof["shared_questions"] == {"train, test": 0}
    assert proof["images"] == 2
