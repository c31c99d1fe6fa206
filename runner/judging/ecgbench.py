"""Answers to the items of a set of ECGBench: of its own file, or of the run's records."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.records.ecginstruct import Row, id_of, to_record
from converters.records.record import BadRecordError
from eval.ecgbench import SETS, BenchSet
from eval.ecgbench.invented import question_and_answer
from eval.label_sets import label_set_sha256
from runner.files import sha256_of
from runner.judging.generation import Options, answers, reference_of
from runner.judging.lines import Lines
from runner.judging.run import Judging
from runner.spec.problems import DataError
from runner.stages.common import expand_path

SHOWN = 5
"""Names in a message, at most."""
MOST_BYTES = 256 * 1024**2
"""Of a set's file; the largest published one is far smaller."""

Record = Mapping[str, Any]


def lock(run: Judging, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must also be equal for two results to be comparable."""
    name = SETS[task["set"]].label_set
    found: dict[str, Any] = {"label_set": label_set_sha256(name)} if name else {}
    if task["file"] is not None and task["items"] == "real":
        found["records"] = sha256_of(_place(task["file"]))
    return found


def predict(run: Judging, task: Mapping[str, Any], place: Lines) -> None:
    """Write the answer to every item.

    Raises:
        DataError: the file is missing or of another form, an item has no image that is there, or nothing is to judge.
        StageError: the model has too few positions, or predicts what is no number.
    """
    records = _records(run, task)
    missing = [record for record in records if record["id"] not in place]
    wanted = SETS[task["set"]].label_set
    for record, answer in answers(run, missing, Options(task["max_new_tokens"]), task["batch"]):
        labels = record.get("labels") or {}
        place.add(
            {
                "id": record["id"],
                "group": record["group"],
                "question": record["messages"][-2]["content"],
                "labels": labels.get(wanted) if wanted else None,
                **answer,
                "reference": reference_of(record),
            }
        )
        run.progress(len(place), len(records), "answers")
    place.finish([record["id"] for record in records])


def _records(run: Judging, task: Mapping[str, Any]) -> Sequence[Record]:
    if task["file"] is None:
        return run.records(task["split"], task["records"])
    if task["items"] == "invented":
        return invented(run.records(task["split"], task["records"]), SETS[task["set"]])
    images = None if task["images"] is None else _place(task["images"])
    return run.shown(items_of(_place(task["file"]), images)[: task["records"]])


def invented(records: Sequence[Record], of: BenchSet) -> list[dict[str, Any]]:
    """Return the records with a question in the form of the set and its answer, about the same images."""
    return [
        {**record, "asks": of.kind, "labels": None, "messages": _turns(*question_and_answer(of, number))}
        for number, record in enumerate(records)
    ]


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _place(written: str) -> Path:
    return Path(expand_path(written, os.environ, hub=False))


def items_of(file: Path, images: Path | None) -> list[dict[str, Any]]:
    """Return the items of a set's file as records, their images as absolute paths.

    Args:
        file: JSON, a list of items in any of the published forms.
        images: folder that image names are relative to; the file's own without it.

    Raises:
        DataError: no such file, no list of items, an item of no known form, or an image that is not there; counts
            and names them.
    """
    records, wrong, seen = [], [], Counter[str]()
    root = (images or file.parent).resolve()
    for number, value in enumerate(_listed(file), start=1):
        try:
            name = id_of(value) if isinstance(value, Mapping) else None
            record = to_record(Row(file.name, number, value, repeat=seen[name] if name else 0))
        except BadRecordError as error:
            wrong.append(f"{file.name}, item {number}: {error}")
            continue
        seen[name or ""] += 1
        paths = [root / path for path in record["images"]]
        wrong += [f"{record['id']}: the image {path} is not there" for path in paths if not path.is_file()]
        records.append({**record, "images": [str(path) for path in paths]})
    if wrong:
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        shown = "\n  ".join(wrong[:SHOWN])
        raise DataError(
            f"{file}: {len(wrong)} items cannot be judged\n  {shown}{more}\n  give `images`, their folder"
        )
    if not records:
        raise DataError(f"{file} holds no item: there is nothing to judge")
    return records


def _listed(file: Path) -> list[Any]:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise DataError(f"{file} is larger than {MOST_BYTES // 1024**2} MiB: is this a set of ECGBench?")
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{file} is no JSON: {error}") from error
    if not isinstance(found, list):
        raise DataError(f"{file}: expected a list of items, got {type(found).__name__}")
    return found
