"""Answers for the findings score: written by the model, compared with their references later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.entities import vocabulary_sha256
from runner.judging.generation import Options, answers
from runner.judging.lines import Lines
from runner.judging.run import Judging


def lock(run: Judging, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must also be equal for two results to be comparable."""
    return {"vocabulary": vocabulary_sha256()}


def predict(run: Judging, task: Mapping[str, Any], place: Lines) -> None:
    """Write the answer to every record.

    Raises:
        DataError: there is nothing to judge.
        StageError: the model has too few positions, or predicts what is no number.
    """
    records = run.records(task["split"], task["records"], task["asks"])
    missing = [record for record in records if record["id"] not in place]
    for record, answer in answers(run, missing, options_of(task), task["batch"]):
        place.add({"id": record["id"], "group": record["group"], **answer})
        run.progress(len(place), len(records), f"{task['split']} answers")
    place.finish([record["id"] for record in records])


def options_of(task: Mapping[str, Any]) -> Options:
    """Return how a task that lets the model write chooses tokens."""
    return Options(task["max_new_tokens"], task["temperature"], task["top_p"], task["seed"])
