"""ECGInstruct and ECGBench, rows of the published JSON files -> records: all forms that their authors use.

A row is an object with `id`, `image` (a path, or a list of paths) and a conversation under `conversations` or
`conversation`. A turn is `{"from", "value"}` with human and gpt, or user and assistant; a value may be a list of
texts (the options of ECG-QA's answers); the arena's turns are `{"question", "answer"}`. The mark `<image>` says
where an image stood in the text; here the images come first, and the marks go.

The file name of an image holds the recording: `ptb-xl/.../07190_hr-0.png` is record 7190 of PTB-XL from second 0,
`mimic_v4/.../files_p1000_p10001725_s41420867_41420867-0.png` a study of the patient 10001725.

Source:
    Liu et al., Teach Multimodal LLMs to Comprehend Electrocardiographic Images (PULSE), arXiv 2410.19008;
    github.com/AIMedLab/PULSE and the data sets PULSE-ECG/ECGInstruct and PULSE-ECG/ECGBench.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from converters.records.ptbxl_about import About, with_ptbxl
from converters.records.record import (
    BadRecordError,
    Dropped,
    Message,
    Record,
    checked_messages,
    checked_text,
    first_question,
)

MARK = "<image>"
"""Stands in a text for an image."""
NOT_KEPT = "image path without a folder of `keep`"
TURNS = ("conversations", "conversation")
"""Keys of the turns; the second one is that of the report test in the authors' repository."""
SPEAKERS: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
"""Word under `from` -> role."""
REPORT = re.compile(r"(?:^|[-_])report(?:[-_]|$)", re.IGNORECASE)

_WINDOW = re.compile(r"(?P<name>.+)-(?P<window>\d{1,4})")
_PTBXL = re.compile(r"(?P<id>\d{1,6})_[hl]r")
_MIMIC_PATIENT = re.compile(r"(?:^|[/_])p(?P<id>\d{8})(?=[/_]|$)")


@dataclass(frozen=True)
class Row:
    """One item of the JSON list."""

    file: str
    number: int
    """Counts from 1."""
    value: Any
    keep: tuple[str, ...] = ()
    """Only rows whose image path has one of these folders in it; all rows if empty."""
    repeat: int = 0
    """How many earlier items have the same id: the authors do not promise that ids are unique."""
    ptbxl: Mapping[str, About] = field(default_factory=dict)
    """What is known of PTB-XL's recordings, by ecg_id."""

    @property
    def place(self) -> str:
        """The file and the item in it."""
        return f"{self.file}, item {self.number}"

    @property
    def part(self) -> str:
        """The source that the image path begins with; the file where there is no path."""
        image = self.value.get("image") if isinstance(self.value, Mapping) else None
        first = image[0] if isinstance(image, list) and image else image
        return source_of(first) if isinstance(first, str) and first else self.file


@dataclass(frozen=True)
class Recording:
    """What an image's file name says about the recording that it shows."""

    source: str
    """`ptbxl`, `mimic`, or the first folder of the path."""
    name: str
    """The record as its source names it: an ecg_id without leading zeros, a file name."""
    window: int
    """Which stretch of the recording, counted from 0."""
    patient: str | None
    """Where the name itself says whose it is, as MIMIC's do."""

    @property
    def key(self) -> str:
        """One name for the recording, whatever image shows it."""
        return f"{self.source}/{self.name}"


def recording_of(image: str) -> Recording:
    """Return the recording that an image shows, by its path.

    >>> recording_of("ptb-xl/records500/07000/07190_hr-0.png")
    Recording(source='ptbxl', name='7190', window=0, patient=None)
    >>> recording_of("mimic_v4/files_p1000_p10001725_s41420867_41420867-0.png").patient
    '10001725'
    """
    path = PurePosixPath(image)
    found = _WINDOW.fullmatch(path.stem)
    name, window = (found["name"], int(found["window"])) if found else (path.stem, 0)
    ptbxl = _PTBXL.fullmatch(name)
    if ptbxl:
        return Recording("ptbxl", str(int(ptbxl["id"])), window, None)
    patient = _MIMIC_PATIENT.search(image)
    if patient:
        return Recording("mimic", name, window, patient["id"])
    return Recording(source_of(image), name, window, None)


def source_of(image: str) -> str:
    """Return the first folder of an image's path, `.` where it has none.

    >>> source_of("mimic_v4/a/b.png")
    'mimic_v4'
    """
    parts = PurePosixPath(image).parts
    return parts[0] if len(parts) > 1 else "."


def to_record(raw: Row) -> Record:
    """Return the record of one row; its images are paths as the row gives them.

    The group is the patient where PTB-XL's tables or the path say whose the recording is, else the recording.

    Raises:
        Dropped: no folder of `keep` is in the image path.
        BadRecordError: another form, a wrong order, more marks than images, or a text that is missing.
    """
    value = raw.value
    if not isinstance(value, Mapping):
        raise BadRecordError(f"expected an object with image and conversations, got {value!r:.60}")
    images = _images(value)
    record_id = id_of(value) or raw.place
    record_id = f"{record_id}#{raw.repeat + 1}" if raw.repeat else record_id
    if raw.keep and not any(set(raw.keep) & set(PurePosixPath(image).parts) for image in images):
        raise Dropped(NOT_KEPT, record_id)
    messages, marks = _without_marks(_turns(value))
    if not images:
        raise BadRecordError("it has no image; write a path under 'image', or leave the row out")
    if marks > len(images):
        raise BadRecordError(
            f"{marks} marks {MARK} for {len(images)} image{'' if len(images) == 1 else 's'}; "
            "take marks out, or list all images under 'image'"
        )
    checked = checked_messages(messages)
    shown = recording_of(images[0])
    record: Record = {
        "id": record_id,
        "messages": checked,
        "group": f"{shown.source}-patient/{shown.patient}" if shown.patient else shown.key,
        "question": first_question(checked),
        "focus": None,
        "source": "ecginstruct",
        "images": images,
    }
    if REPORT.search(record_id):
        record["asks"] = "report"
        record["reference"] = checked[-1]["content"]
    known = raw.ptbxl.get(shown.name) if shown.source == "ptbxl" else None
    return record if known is None else with_ptbxl(record, known)


def id_of(value: Mapping[str, Any]) -> str | None:
    """Return the id of an item as text, None where it has none."""
    given = value.get("id", value.get("question_id"))
    if given is None:
        return None
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    return checked_text(given, "id")


def _images(value: Mapping[str, Any]) -> list[str]:
    given = value.get("image", value.get("image_path"))
    listed = [] if given is None else given if isinstance(given, list) else [given]
    for item in listed:
        if not isinstance(item, str) or not item.strip():
            raise BadRecordError(f"image: expected a path, or a list of paths, got {item!r:.60}")
    return list(listed)


# ------------------------------------------------------------------------------------------------ turns


def _turns(value: Mapping[str, Any]) -> list[Message]:
    """Return the turns as messages, whichever form they are in."""
    named = [key for key in TURNS if key in value]
    if len(named) != 1:
        what = "both 'conversations' and 'conversation'" if named else "no 'conversations'"
        keys = ", ".join(sorted(map(str, value))) or "no keys"
        raise BadRecordError(f"it has {what}; its keys: {keys}")
    key = named[0]
    turns = value[key]
    if not isinstance(turns, list) or not turns:
        raise BadRecordError(f"{key}: expected a list of turns, got {turns!r:.60}")
    messages: list[Message] = []
    for number, turn in enumerate(turns):
        place = f"{key}[{number}]"
        if not isinstance(turn, Mapping):
            raise BadRecordError(f"{place}: expected an object, got {turn!r:.60}")
        messages += _arena(turn, place) if "question" in turn or "answer" in turn else [_turn(turn, place)]
    return messages


def _arena(turn: Mapping[str, Any], place: str) -> list[Message]:
    """Return the two messages of a turn in the form of ECG Arena."""
    for key, fault in (
        ("question", "an answer without a question"),
        ("answer", "a question without an answer"),
    ):
        if key not in turn:
            raise BadRecordError(f"{place}: {fault}")
    return [
        {"role": "user", "content": _text(turn["question"], f"{place}.question")},
        {"role": "assistant", "content": _text(turn["answer"], f"{place}.answer")},
    ]


def _turn(turn: Mapping[str, Any], place: str) -> Message:
    if "from" not in turn or "value" not in turn:
        has = ", ".join(sorted(map(str, turn))) or "no keys"
        raise BadRecordError(
            f"{place}: has {has}; expected 'from' and 'value' (or 'question' and 'answer', as ECG Arena has them)"
        )
    speaker = turn["from"]
    role = SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise BadRecordError(f"{place}.from: unknown speaker {speaker!r:.60}; allowed: {', '.join(SPEAKERS)}")
    return {"role": role, "content": _text(turn["value"], f"{place}.value")}


def _text(value: object, place: str) -> str:
    """Return a value as text; a list of texts, as ECG-QA's rows have, is joined by commas."""
    if isinstance(value, list):
        if not value:
            raise BadRecordError(f"{place}: the list is empty")
        return ", ".join(checked_text(item, f"{place}[{number}]") for number, item in enumerate(value))
    return checked_text(value, place)


def _without_marks(messages: Sequence[Message]) -> tuple[list[Message], int]:
    """Return the messages without marks, and how many there were; an answer has none."""
    result: list[Message] = []
    marks = 0
    for number, message in enumerate(messages):
        count = message["content"].count(MARK)
        marks += count
        if count and message["role"] != "user":
            raise BadRecordError(f"turn {number}: the mark {MARK} in what the {message['role']} says")
        text = re.sub(rf"[ \t]*{MARK}[ \t]*\n?", " ", message["content"]) if count else message["content"]
        text = "\n".join(line.strip() for line in text.splitlines()) if count else text
        result.append({"role": message["role"], "content": text.strip() if count else text})
    return result, marks
