"""Rows of a Hugging Face data set -> records: two columns, or one of messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from converters.records.record import (
    Dropped,
    Record,
    checked_messages,
    checked_text,
    first_question,
)
from runner.spec.nearest import nearest
from runner.spec.problems import choices
from runner.spec.sources import HuggingfaceSource

COLUMN_KEYS = ("messages_column", "question_column", "answer_column", "group_column")


@dataclass(frozen=True)
class Row:
    """One row, and the options that say which columns matter."""

    dataset: str
    """The part of the data set that is read (`train`)."""
    number: int
    """Counts from 0, as the library does."""
    values: Mapping[str, Any]
    options: HuggingfaceSource

    @property
    def place(self) -> str:
        """`part row N`."""
        return f"{self.dataset} row {self.number}"

    @property
    def part(self) -> str:
        """The part of the data set."""
        return self.dataset


def wanted_columns(options: HuggingfaceSource) -> tuple[str, ...]:
    """Return the columns that the options name."""
    return tuple(name for key in COLUMN_KEYS if (name := getattr(options, key)) is not None)


def column_problems(options: HuggingfaceSource, columns: Iterable[str]) -> tuple[str, ...]:
    """Return what is wrong with the column options, given the data set's columns."""
    known = list(columns)
    problems = []
    for key in COLUMN_KEYS:
        name = getattr(options, key)
        if name is not None and name not in known:
            near = nearest(name, known)
            problems.append(
                f"{key}: no column {name!r}; {choices(known)}" + (f"; nearest: {near}" if near else "")
            )
    pair = (options.question_column is None, options.answer_column is None)
    if options.messages_column is None and any(pair):
        problems.append(f"name messages_column, or question_column and answer_column; {choices(known)}")
    if options.messages_column is not None and not all(pair):
        problems.append("messages_column and question_column / answer_column cannot stand together")
    return tuple(problems)


def to_record(raw: Row) -> Record:
    """Return the record of one row; its id is `part:number`.

    Raises:
        Dropped: the question or the answer is null or empty.
        BadRecordError: a value of another type, or messages in a wrong form or order.
    """
    options, record_id = raw.options, f"{raw.dataset}:{raw.number}"
    if options.messages_column is not None:
        messages = checked_messages(_plain(raw.values[options.messages_column]))
    else:
        question = _value(raw, options.question_column, "no question", record_id)
        answer = _value(raw, options.answer_column, "no answer", record_id)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    group = None if options.group_column is None else raw.values[options.group_column]
    return {
        "id": record_id,
        "messages": messages,
        "group": record_id if group is None else str(group),
        "question": first_question(messages),
        "focus": None,
        "source": "huggingface",
    }


def _value(raw: Row, column: str | None, reason: str, record_id: str) -> str:
    value = raw.values[column or ""]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Dropped(reason, record_id)
    return checked_text(value, f"column {column}").strip()


def _plain(value: Any) -> Any:
    """Return messages with the nulls gone that a table puts where a message lacks a key."""
    if not isinstance(value, list):
        return value
    return [
        {key: item for key, item in message.items() if item is not None or key in ("role", "content")}
        if isinstance(message, Mapping)
        else message
        for message in value
    ]
