"""ROUGE from stored lines: worked by hand, floors beside it, paired differences, wrong input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eval.judges import judge, rouge
from runner.spec.tasks import RougeTask

TASK = RougeTask(task="rouge", stemmer=False, max_new_tokens=5).model_dump(mode="json")


def line(
    number: int,
    answer: str,
    reference: str,
    *,
    ended: bool = True,
    cut: int = 0,
    group: str | None = None,
    **floors: str,
) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "group": group or f"g{number // 2}",
        "prompt": "Question: rest?\nAnswer:",
        "answer": answer,
        "reference": reference,
        "n_tokens": len(answer.split()),
        "ended": ended,
        "prompt_cut": cut,
        "floors": {"repeat_question": "rest", "nearest_question": "take a rest", **floors},
    }


LINES = [
    line(0, "take a rest", "take a rest"),  # 1, 1, 1
    line(1, "", "take a rest", cut=3),  # 0, 0, 0
    line(2, "rest a bit", "take a rest", ended=False),  # 2 of 3 words; no pair; one in order: 2/3, 0, 1/3
    line(3, "a rest", "take a rest"),  # P 1, R 2/3: 0.8; pairs P 1, R 1/2: 2/3; 0.8
]


def test_worked_by_hand() -> None:
    result = rouge.judged(TASK, LINES)
    values = {name: value["value"] for name, value in result["metrics"].items()}
    assert values["rouge1"] == pytest.approx((1 + 0 + 2 / 3 + 0.8) / 4)
    assert values["rouge2"] == pytest.approx((1 + 0 + 0 + 2 / 3) / 4)
    assert values["rougeL"] == pytest.approx((1 + 0 + 1 / 3 + 0.8) / 4)
    assert values["ended"] == 0.75
    assert values["answer_tokens"] == 2.0
    assert result["metrics"]["rouge1"]["low"] <= values["rouge1"] <= result["metrics"]["rouge1"]["high"]
    assert (result["n_records"], result["n_groups"], result["n_empty"]) == (4, 2, 1)
    assert (result["n_ended"], result["n_prompt_cut"]) == (3, 1)
    assert result["headline"] == ["rouge1", "rouge2", "rougeL"]
    assert "no stemmer" in result["method"]
    assert "greedy answers of at most 5 tokens" in result["method"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_floors_are_judged_in_the_same_way() -> None:
    """`take a rest` is every reference; `rest` has P 1 and R 1/3: 0.5, no pair, 0.5."""
    floors = rouge.judged(TASK, LINES)["floors"]
    assert {name: value["value"] for name, value in floors["nearest_question"].items()} == {
        "rouge1": 1.0,
        "rouge2": 1.0,
        "rougeL": 1.0,
    }
    assert {name: value["value"] for name, value in floors["repeat_question"].items()} == {
        "rouge1": pytest.approx(0.5),
        "rouge2": 0.0,
        "rougeL": pytest.approx(0.5),
    }


def test_what_a_reader_must_know_is_noted() -> None:
    notes = rouge.judged(TASK, LINES)["notes"]
    assert "1 of 4 answers were not ended within 5 tokens" in notes
    assert "1 of 4 answers hold no letter a to z and no digit; they score 0" in notes
    assert "1 of 4 prompts lost their beginning: the model has too few positions" in notes
    (floor,) = [note for note in notes if "nearest_question" in note]
    assert floor.startswith(
        "worse than the floor nearest_question: rouge1 0.6167 against 1.0000, difference -0.3833 (-0.5000 to -0.2667)"
    )
    assert floor.endswith("; intervals too narrow, for there are only 2 groups")


def test_a_floor_is_called_better_only_where_all_of_the_interval_is() -> None:
    """30 records answer with one of three words or with all three: the floor is right each time."""
    lines = [line(n, ("take", "take a rest")[n % 3 == 0], "take a rest", group=f"g{n}") for n in range(30)]
    result = rouge.judged(TASK, lines)
    (note,) = [note for note in result["notes"] if "nearest_question" in note]
    assert note.startswith(
        "worse than the floor nearest_question: rouge1 0.6667 against 1.0000, difference -0.3333 ("
    )
    assert result["floor_differences"]["nearest_question"]["rouge1"]["high"] < 0
    assert result["narrow"] is None
    assert not any("repeat_question" in note for note in result["notes"])


def test_a_floor_that_cannot_be_told_apart_is_said_so() -> None:
    """Right where the floor is wrong and the reverse, 12 and 18 of 30: -0.2 +- 0.35."""
    lines = [
        line(
            n,
            "take a rest" if n < 12 else "no",
            "take a rest",
            group=f"g{n}",
            nearest_question="no" if n < 12 else "take a rest",
        )
        for n in range(30)
    ]
    notes = rouge.judged({**TASK, "floors": ["nearest_question"]}, lines)["notes"]
    (note,) = [note for note in notes if "nearest_question" in note]
    assert note.startswith(
        "not told apart from the floor nearest_question: rouge1 0.4000 against 0.6000, difference -0.2000 (-0.5"
    )


def test_scores_that_are_all_alike_have_no_interval_and_shares_have_wilsons() -> None:
    """No pair of words in any answer: ROUGE-2 is 0, and "0 to 0" would be a claim."""
    lines = [line(n, ("take", "rest a")[n % 2], "take a rest", group=f"g{n}") for n in range(40)]
    result = rouge.judged(TASK, lines)
    assert result["metrics"]["rouge2"] == {"value": 0.0, "low": None, "high": None}
    assert "no interval of rouge2: every draw gives the same number" in result["notes"]
    assert result["metrics"]["ended"] == {
        "value": 1.0,
        "low": pytest.approx(1 - 0.08762, abs=1e-5),
        "high": 1.0,
    }
    assert "Wilson interval over the groups, which are all alike: ended" in result["method"]


def test_nothing_to_note_is_not_noted() -> None:
    best = [line(n, "take a rest", "take a rest", nearest_question="no") for n in range(4)]
    assert rouge.judged({**TASK, "floors": ["nearest_question"]}, best)["notes"] == [
        "no interval of rouge1, rouge2, rougeL, answer_tokens: every draw gives the same number"
    ]


def test_the_stemmer_is_said_and_raises_the_score() -> None:
    lines = [line(0, "resting", "rests")]
    plain = rouge.judged(TASK, lines)["metrics"]["rouge1"]["value"]
    stemmed = rouge.judged({**TASK, "stemmer": True}, lines)
    assert (plain, stemmed["metrics"]["rouge1"]["value"]) == (0.0, 1.0)
    assert "Porter stemmer" in stemmed["method"]


def test_drawing_is_said() -> None:
    drawn = {**TASK, "temperature": 0.3, "top_p": 0.9, "seed": 7}
    assert "drawn at temperature 0.3, top_p 0.9, seed 7" in rouge.judged(drawn, LINES)["method"]


def test_differences_are_paired() -> None:
    """Every record changes from 0 to 1: no draw can give anything but 1; of 2 groups r is 0.6576."""
    before = [line(n, "", "take a rest", ended=False) for n in range(4)]
    after = [line(n, "take a rest", "take a rest") for n in range(4)]
    found = judge("rouge").differences(TASK, before, after)
    assert found["rougeL"] == {"value": 1.0, "low": None, "high": None}
    assert found["ended"] == {"value": 1.0, "low": pytest.approx(1 - 2 * 0.6576, abs=1e-4), "high": 1.0}
    assert found["answer_tokens"]["value"] == 3.0
    assert found.keys() == {"rouge1", "rouge2", "rougeL", "ended", "answer_tokens"}


def test_examples_are_taken_by_place() -> None:
    lines = [line(number, f"answer {number}", "take a rest") for number in range(20)]
    found = rouge.judged(TASK, lines)["examples"]
    assert [example["id"] for example in found] == ["r0", "r2", "r4", "r6", "r8", "r10", "r12", "r14"]
    assert found[1] == {
        "id": "r2",
        "prompt": "Question: rest?\nAnswer:",
        "answer": "answer 2",
        "reference": "take a rest",
    }


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="no records to judge"):
        rouge.judged(TASK, [])
    with pytest.raises(ValueError, match="1 ids occur more than once: 'r0'"):
        rouge.judged(TASK, [LINES[0], LINES[0]])
    with pytest.raises(ValueError, match="stand on one side only"):
        rouge.differences(TASK, LINES, LINES[:3])
    lacking = [{**LINES[0], "floors": {}}]
    with pytest.raises(ValueError, match="record 'r0' has no answer of the floor 'repeat_question'"):
        rouge.judged(TASK, lacking)
