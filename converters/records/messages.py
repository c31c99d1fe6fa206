"""JSON lines, one conversation a line -> records. The form that the other sources are turned into."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from converters.records.record import BadRecordError, Record, checked_messages, checked_text, first_question
from runner.spec.nearest import nearest

KEYS = ("messages", "id", "group", "question", "focus", "split")
"""What a line may say. Others are let through and counted, but a misspelt one of these is refused."""
OF_IMAGES = ("images", "asks", "labels", "reference")
"""What a line about images may say beside them."""
FOREIGN: Mapping[str, str] = MappingProxyType(
    {
        "conversation": "messages",
        "conversations": "messages",
        "dialog": "messages",
        "dialogue": "messages",
        "groupid": "group",
        "mrn": "group",
        "participant": "group",
        "participantid": "group",
        "patient": "group",
        "patientid": "group",
        "person": "group",
        "personid": "group",
        "subject": "group",
        "subjectid": "group",
    }
)
"""Words of other data sets, in small letters without `_` and `-` -> our key for the same."""


@dataclass(frozen=True)
class Line:
    """One line of a JSONL file."""

    file: str
    number: int
    """Counts from 1."""
    text: bytes
    about_images: bool = False
    """Whether the records have images, and need them."""

    @property
    def place(self) -> str:
        """`file:line`, as editors open it."""
        return f"{self.file}:{self.number}"

    @property
    def part(self) -> str:
        """The file."""
        return self.file


def to_record(raw: Line) -> Record:
    """Return the record of one line; without an `id` it is `file:line`, without a `group` the id.

    Raises:
        BadRecordError: no JSON object, a key written twice or misspelt, or anything wrong with a value.
    """
    value = _object(raw.text)
    known = (*KEYS, *OF_IMAGES) if raw.about_images else KEYS
    for key in value.keys() - set(known):
        near = nearest(key, known)
        if near and near != "id" and near not in value:  # pid, qid, uid are no slips
            raise BadRecordError(f"unknown key {key!r}; nearest: {near}")
    unread = {key: _meant(key, value) for key in sorted(value.keys() - set(known))}
    if "messages" not in value:
        near = "; nearest: messages" if "messages" in unread.values() else ""
        raise BadRecordError(
            f"'messages' is missing; the line has {', '.join(sorted(value)) or 'no keys'}{near}"
        )
    messages = checked_messages(value["messages"])
    record_id = _name(value, "id") or raw.place
    record: Record = {
        "id": record_id,
        "messages": messages,
        "group": _name(value, "group") or record_id,
        "question": _name(value, "question") or first_question(messages),
        "focus": _name(value, "focus"),
        "source": "messages",
    }
    if "split" in value:
        record["split"] = _name(value, "split")
    if unread:
        record["unread"] = unread
    if raw.about_images:
        _take_images(value, record)
    return record


def _meant(key: str, value: Mapping[str, Any]) -> str | None:
    """Return our key for what a foreign one says, None where there is none or the line has it already."""
    ours = FOREIGN.get(key.lower().replace("_", "").replace("-", ""))
    return None if ours in value else ours


def _take_images(value: dict[str, Any], record: Record) -> None:
    """Put what a line says about its images into its record.

    Raises:
        BadRecordError: no image, or labels that are no texts by the names of their sets.
    """
    images = value.get("images")
    if not isinstance(images, list) or not images:
        raise BadRecordError(f"images: expected a list of paths, got {images!r:.60}")
    record["images"] = [checked_text(item, f"images[{number}]") for number, item in enumerate(images)]
    for message in record["messages"]:
        if "<image>" in message["content"]:
            raise BadRecordError(
                "a text has the mark <image>; take it out: the images come first by themselves"
            )
    labels = value.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(names, list) for names in labels.values()):
        raise BadRecordError(
            f"labels: expected lists of names by the name of a label set, got {labels!r:.60}"
        )
    if labels:
        record["labels"] = {
            name: [checked_text(one, f"labels.{name}") for one in names] for name, names in labels.items()
        }
    if (asks := _name(value, "asks")) is not None:
        record["asks"] = asks
    if (reference := _name(value, "reference")) is not None:
        record["reference"] = reference


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode().rstrip(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise BadRecordError(
            f"is not UTF-8: byte {error.start + 1} of the line is 0x{text[error.start]:02x}"
        ) from error
    except json.JSONDecodeError as error:
        raise BadRecordError(f"is not JSON: {error.msg} at column {error.colno}") from error
    except BadRecordError:  # of _unique
        raise
    except ValueError:  # Python reads no whole number of more than 4,300 digits
        raise BadRecordError("has a number of too many digits to be read") from None
    except RecursionError:
        raise BadRecordError("is nested too deep to be read") from None
    if not isinstance(value, dict):
        raise BadRecordError("expected a JSON object with 'messages', one a line")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRecordError(f"the key {twice!r} stands twice in one object")
    return value


def _name(value: dict[str, Any], key: str) -> str | None:
    """Return a name; a whole number is taken as its text, null as none."""
    name = value.get(key)
    if name is None:
        return None
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    return checked_text(name, key)
