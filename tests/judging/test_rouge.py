"""The task `rouge` as the stage runs it: lines, floors, an interruption, and the numbers again from the lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.judges import judge as judge_of
from runner.spec.problems import DataError, StageError
from runner.spec.tasks import RougeTask

torch = pytest.importorskip("torch", reason="needs the train extra")

from runner.judging import generation  # noqa: E402 - after the skip above

pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub)"
)

Make = Callable[..., Any]


def task(**changes: Any) -> dict[str, Any]:
    return RougeTask(task="rouge", stemmer=False, **{"max_new_tokens": 10, **changes}).model_dump(mode="json")


def test_lines_floors_and_result(make_model: Make, judge: Make, lines: Make, run_dir: Path) -> None:
    make_model()
    result = judge(task())
    stored = lines()
    assert [line["id"] for line in stored] == [f"r{number}" for number in range(19)]
    first = stored[0]
    assert first["floors"]["repeat_question"] == "What are the symptoms of disease 0 ?"
    trained = [json.loads(text) for text in (run_dir / "data" / "train.jsonl").read_text().splitlines()]
    assert first["floors"]["nearest_question"] in {record["messages"][1]["content"] for record in trained}
    assert first["reference"].startswith("Fever of 36 °C")
    assert first["attributes"] == {"sex": "female"}
    assert (result["n_records"], result["n_groups"]) == (19, 6)
    assert result["metrics"]["rouge1"]["value"] < result["floors"]["nearest_question"]["rouge1"]["value"]
    assert result["metrics"]["answer_tokens"]["value"] <= 10
    assert any("worse than the floor nearest_question" in note for note in result["notes"])
    again = judge_of("rouge").judged(task(), stored)
    assert {key: result[key] for key in again} == json.loads(json.dumps(again))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_killed_stage_ends_as_if_it_had_run_in_one_go(
    make_model: Make,
    judge: Make,
    lines: Make,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    temperature: float,
) -> None:
    """Killed in the third batch of three: six answers stand, and none is written a second time."""
    make_model()
    drawn = task(temperature=temperature, batch=3)
    whole, stored = judge(drawn), lines()
    asked: list[int] = []
    real = generation.write_answers

    def counting(model: Any, prompts: Any, *rest: Any) -> Any:
        asked.append(len(prompts))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(model, prompts, *rest)

    monkeypatch.setattr(generation, "write_answers", counting)
    with pytest.raises(KeyboardInterrupt):
        judge(drawn)
    assert judge(drawn) == whole
    assert lines() == stored
    assert sum(asked) - 3 == 19


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_batch_size_does_not_matter(
    make_model: Make, judge: Make, lines: Make, temperature: float
) -> None:
    make_model()
    judge(task(temperature=temperature, batch=1))
    alone = lines()
    judge(task(temperature=temperature, batch=19))
    assert lines() == alone


def test_more_tokens_than_positions_are_refused(make_model: Make, judge: Make) -> None:
    make_model(positions=64)
    with pytest.raises(
        StageError, match=r"64 positions and 64 tokens are to follow .*\n  lower max_new_tokens"
    ):
        judge(task(max_new_tokens=64))


def test_cut_prompts_are_counted_in_the_result(make_model: Make, judge: Make, lines: Make) -> None:
    make_model(positions=64)
    result = judge(task(max_new_tokens=50))
    count = sum(line["prompt_cut"] > 0 for line in lines())
    assert result["n_prompt_cut"] == count > 0
    assert any(f"{count} of 19 prompts lost their beginning" in note for note in result["notes"])


def test_no_training_question_is_an_error(make_model: Make, judge: Make, run_dir: Path) -> None:
    make_model()
    (run_dir / "data" / "train.jsonl").write_text("")
    with pytest.raises(DataError, match=r"the floor nearest_question: no training questions"):
        judge(task())
    assert judge(task(floors=("repeat_question",)))["floors"].keys() == {"repeat_question"}


def test_an_empty_split_is_an_error(make_model: Make, judge: Make, run_dir: Path) -> None:
    make_model()
    (run_dir / "data" / "test.jsonl").write_text("")
    with pytest.raises(DataError, match=r"holds no record: there is nothing to judge"):
        judge(task())
