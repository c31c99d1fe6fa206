"""ECG-QA, questions about one or two recordings of PTB-XL -> records whose images are those recordings.

An item has `question`, `answer` (a list of texts, in no order), `ecg_id` (one, or two in the order in which the
question names them), `question_type` and `attribute_type`. Which patient, fold and labels a recording has is
PTB-XL's to say, not the file's: `train.json`, `valid.json` and `test.json` are read as one.

Source:
    Oh et al., ECG-QA, NeurIPS 2023 Datasets and Benchmarks; github.com/Jwoo5/ecg-qa, ecgqa/ptbxl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from converters.records.ptbxl_about import About, with_ptbxl
from converters.records.record import BadRecordError, Dropped, Record, checked_text

COMPARISON = "question about two recordings (comparisons: leave_out)"
TWO_SIDES = "its two recordings are on two sides of the published folds"
NOT_THERE = "recording is not in the PTB-XL given"


@dataclass(frozen=True)
class Item:
    """One item of the JSON list."""

    file: str
    number: int
    """Counts from 1."""
    value: Any
    comparisons: Literal["leave_out", "two_images"]
    known: Mapping[str, About]
    """The recordings of PTB-XL that are there, by ecg_id."""

    @property
    def place(self) -> str:
        """The file and the item in it."""
        return f"{self.file}, item {self.number}"

    @property
    def part(self) -> str:
        """The type of the question; the file where it has none."""
        kind = self.value.get("question_type") if isinstance(self.value, Mapping) else None
        return kind if isinstance(kind, str) and kind else self.file


def to_record(raw: Item) -> Record:
    """Return the record of one item; its images are `ptbxl/<ecg_id>`.

    Answers are joined by commas in alphabetical order, so that the same set is always the same text. The group is
    the patient; two recordings of two patients are kept together with either.

    Raises:
        Dropped: a comparison that is not wanted, or a recording that is not there.
        BadRecordError: a value is missing or of another form.
    """
    value = raw.value
    if not isinstance(value, Mapping):
        raise BadRecordError(f"expected an object with question, answer and ecg_id, got {value!r:.60}")
    for key in ("question", "answer", "ecg_id", "question_type", "sample_id"):
        if key not in value:
            raise BadRecordError(f"{key!r} is missing; it has {', '.join(sorted(map(str, value)))}")
    sample = value["sample_id"]
    record_id = f"ecg-qa/{raw.file}/{sample}"
    ecgs = value["ecg_id"]
    whole = isinstance(ecgs, list) and all(isinstance(one, int) and one is not True for one in ecgs)
    if not whole or len(ecgs) not in (1, 2):
        raise BadRecordError(f"ecg_id: expected one or two numbers, got {ecgs!r:.60}")
    if len(ecgs) == 2 and raw.comparisons == "leave_out":
        raise Dropped(COMPARISON, record_id)
    names = [str(one) for one in ecgs]
    if any(name not in raw.known for name in names):
        raise Dropped(NOT_THERE, record_id)
    question = checked_text(value["question"], "question")
    groups = sorted({raw.known[name].group for name in names})
    answer = _answer(value["answer"])
    record: Record = {
        "id": record_id,
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
        "group": groups[0],
        "question": question,
        "focus": None,
        "source": "ecg_qa",
        "images": [f"ptbxl/{name}" for name in names],
        "asks": checked_text(value["question_type"], "question_type"),
        "keep_with": groups,
    }
    if "verify" in record["asks"]:
        record["label"] = answer
    if len(names) == 2:  # labels would not say of which
        side = _side_of_both([raw.known[name] for name in names], record_id)
        return record if side is None else {**record, "split": side}
    return with_ptbxl(record, raw.known[names[0]])


def _side_of_both(both: Sequence[About], record_id: str) -> str | None:
    """Return the side of two recordings; what would stand on two sides is left out."""
    sides = {known.split for known in both}
    if len(sides) > 1:
        raise Dropped(TWO_SIDES, record_id)
    return sides.pop()


def _answer(value: object) -> str:
    if not isinstance(value, list):
        raise BadRecordError(f"answer: expected a list of texts, got {value!r:.60}")
    if not value:
        return "none"
    return ", ".join(sorted(checked_text(one, f"answer[{number}]") for number, one in enumerate(value)))
