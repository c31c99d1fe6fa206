"""Answers to questions, written by the model, and those of the floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.floors_text import nearest_questions
from runner.judging.generation import Options, answers
from runner.judging.lines import Lines
from runner.judging.run import Judging
from runner.spec.problems import DataError
from runner.tokens import read_records

TRAINED = Path("data/train.jsonl")


def predict(run: Judging, task: Mapping[str, Any], place: Lines) -> None:
    """Write the answer to every record, and that of each floor.

    Raises:
        DataError: there is nothing to judge, or nothing to compare a question with.
        StageError: the model has too few positions, or predicts what is no number.
    """
    records = run.records(task["split"], task["records"])
    missing = [record for record in records if record["id"] not in place]
    floors = floor_answers(missing, task["floors"])
    options = Options(task["max_new_tokens"], task["temperature"], task["top_p"], task["seed"])
    for record, answer in answers(run, missing, options, task["batch"]):
        line = {"id": record["id"], "group": record["group"], **answer, "floors": floors[record["id"]]}
        if record.get("attributes"):
            line["attributes"] = record["attributes"]
        place.add(line)
        run.progress(len(place), len(records), f"{task['split']} answers")
    place.finish([record["id"] for record in records])


def floor_answers(records: Sequence[Mapping[str, Any]], floors: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return record id -> floor -> its answer.

    Raises:
        DataError: no training record to take an answer from.
    """
    asked = {record["id"]: _question(record) for record in records}
    found: dict[str, dict[str, str]] = {name: {} for name in asked}
    if "repeat_question" in floors:
        for name, question in asked.items():
            found[name]["repeat_question"] = question
    if "nearest_question" in floors and asked:
        known = list(read_records(TRAINED))
        try:
            places = nearest_questions([_question(record) for record in known], list(asked.values()))
        except ValueError as error:
            raise DataError(
                f"the floor nearest_question: {error}\n  take it out of the task's floors"
            ) from error
        for name, place in zip(asked, places, strict=True):
            found[name]["nearest_question"] = known[place]["messages"][-1]["content"]
    return found


def _question(record: Mapping[str, Any]) -> str:
    """Return what the user said last before the answer."""
    return str(record["messages"][-2]["content"])
