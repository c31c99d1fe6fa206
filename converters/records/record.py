"""The canonical record, what every source must give, and the few facts that are read off one."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NotRequired, Protocol, TypedDict

from runner.spec.nearest import nearest

ROLES = ("system", "user", "assistant")
FOREIGN_ROLES: Mapping[str, str] = MappingProxyType(
    {
        "ai": "assistant",
        "bot": "assistant",
        "chatgpt": "assistant",
        "developer": "system",
        "gpt": "assistant",
        "human": "user",
        "model": "assistant",
        "prompter": "user",
    }
)
"""Words of other forms of conversations (ShareGPT, OpenAssistant, Gemini), in small letters -> our role."""
MAX_IDS = 50
"""Ids kept per reason in the manifest; the count is always whole."""


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


class Record(TypedDict):
    """One conversation that ends with the answer to learn.

    `group` is what belongs together (a document, a patient), the record's own `id` where the source
    says nothing. `question` is the first question, `focus` the disease or drug it is about, `split`
    the side that the source itself puts the record on. A row of a table has three keys more: `label`,
    its class as it is answered, `features`, its numbers by column (None: missing), from which a classical
    model may tell the label, and `attributes`, what sub-groups are made by (sex, age band, site).

    A record about images has `images`, in the order in which the first question shows them: what their source
    calls them while the records are made, absolute paths once they are written. `asks` is the kind of question
    (report, superclasses, rhythm, ...). `labels` are, by the name of a label set (`converters.records.label_sets`),
    those of its labels that are true of what is shown, in the set's order: a set that is not named is not
    known, an empty list says that none holds. `reference` is the report that a written one is judged against.
    `keep_with`, not written, are names (of a patient, a recording, a signal): records that share one are one group.
    `unread`, not written, are the keys of what it was made from that nothing reads -> the key that may be meant.
    """

    id: str
    messages: list[Message]
    group: str
    question: str
    focus: str | None
    source: str
    split: NotRequired[str | None]
    label: NotRequired[str]
    features: NotRequired[dict[str, float | None]]
    attributes: NotRequired[dict[str, str]]
    images: NotRequired[list[str]]
    asks: NotRequired[str]
    labels: NotRequired[dict[str, list[str]]]
    reference: NotRequired[str]
    keep_with: NotRequired[list[str]]
    unread: NotRequired[dict[str, str | None]]


class Raw(Protocol):
    """What a reader hands to `to_record`: one raw thing that knows where it comes from."""

    @property
    def place(self) -> str:
        """Where a person finds it: `file:line`, a row, an XML file."""

    @property
    def part(self) -> str:
        """The collection, file or part of the source that it is counted under."""


class Dropped(Exception):  # noqa: N818 - no error: the record is left out, and counted by `reason`
    """The source has this record, but there is nothing to learn from it."""

    def __init__(self, reason: str, record_id: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.record_id = record_id


class BadRecordError(ValueError):
    """A record that someone has to mend; the message says what is wrong, without the place."""


@dataclass
class Ledger:
    """Dropped records by reason: how many, and the first ids."""

    counts: Counter[str] = field(default_factory=Counter)
    ids: dict[str, list[str]] = field(default_factory=dict)

    def drop(self, reason: str, record_id: str) -> None:
        """Count one dropped record."""
        self.counts[reason] += 1
        known = self.ids.setdefault(reason, [])
        if len(known) < MAX_IDS:
            known.append(record_id)

    def as_json(self) -> dict[str, Any]:
        """Return `{reason: {"count", "ids"}}`, reasons sorted."""
        return {
            reason: {"count": self.counts[reason], "ids": self.ids[reason]} for reason in sorted(self.counts)
        }


def answer_of(record: Record) -> str:
    """Return the last message, which is the answer to learn."""
    return record["messages"][-1]["content"]


def words(text: str) -> int:
    r"""Return how many runs of characters between white space `text` has.

    >>> words("take  two\ntablets")
    3
    """
    return len(text.split())


def fingerprint(record: Record) -> bytes:
    """Return a digest of messages and images alone: equal for records that teach the same."""
    taught: Any = record["messages"]
    if images := record.get("images"):  # the same words about another image teach something else
        taught = [taught, images]
    return hashlib.sha256(json.dumps(taught, ensure_ascii=False).encode()).digest()


def normalise(text: str) -> str:
    """Return `text` so that two ways of writing the same question or name compare equal.

    Unicode compatibility forms, letter case, runs of white space, and white space and `?`, `!`, `.`
    at the end do not count.

    >>> normalise("What is  (are) Asthma ?") == normalise("what is (are) asthma?")
    True
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\s?!.]+$", "", " ".join(plain.split()))


def order(seed: int | str, text: str) -> bytes:
    """Return the place of `text` in the shuffle of `seed`.

    It depends on the seed and the text alone: not on the order of files, nor on what else there is.
    """
    return hashlib.sha256(f"{seed}\0{text}".encode()).digest()


def ranked(names: Iterable[str], seed: int | str) -> list[str]:
    """Return `names` in the shuffle of `seed`."""
    return sorted(names, key=lambda name: (order(seed, name), name))


def checked_messages(value: object) -> list[Message]:
    """Return `value` as messages: an optional system message, then user and assistant in turn.

    Raises:
        BadRecordError: another form, an unknown role, an empty text, a wrong order, or no answer at the end.
    """
    if not isinstance(value, list):
        raise BadRecordError(f"messages: expected a list, got {_kind(value)}")
    if not value:
        raise BadRecordError("messages: the list is empty")
    messages = [_checked_message(item, number) for number, item in enumerate(value)]
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    for number, message in enumerate(turns, start=len(messages) - len(turns)):
        wanted = "assistant" if (number - (len(messages) - len(turns))) % 2 else "user"
        if message["role"] != wanted:
            raise BadRecordError(
                f"messages[{number}]: expected the role {wanted!r} here, got {message['role']!r}"
            )
    if messages[-1]["role"] != "assistant":
        raise BadRecordError(
            f"messages: the last one is the {messages[-1]['role']}'s; the answer to learn is missing"
        )
    return messages


def _checked_message(item: object, number: int) -> Message:
    place = f"messages[{number}]"
    if not isinstance(item, Mapping):
        raise BadRecordError(f"{place}: expected an object with role and content, got {_kind(item)}")
    if "role" not in item and {"from", "value"} <= set(item):
        said = item["from"]
        role = FOREIGN_ROLES.get(said.lower()) if isinstance(said, str) else None
        also = f", with the role {role!r} for {said!r}" if role else ""
        raise BadRecordError(f"{place}: has 'from' and 'value'; write 'role' and 'content'{also}")
    for key in ("role", "content"):
        if key not in item:
            raise BadRecordError(f"{place}: {key!r} is missing")
    unknown = sorted(set(item) - {"role", "content"})
    if unknown:
        raise BadRecordError(f"{place}: unknown key {unknown[0]!r}; a message has role and content")
    role, content = item["role"], item["content"]
    if role not in ROLES:
        near = FOREIGN_ROLES.get(role.lower()) or nearest(role, ROLES) if isinstance(role, str) else None
        hint = f"; nearest: {near}" if near else ""
        raise BadRecordError(f"{place}: unknown role {role!r}; allowed: {', '.join(ROLES)}{hint}")
    return {"role": role, "content": checked_text(content, f"{place}.content")}


def checked_text(value: object, place: str) -> str:
    """Return `value` as text.

    Raises:
        BadRecordError: no text, an empty one, or one that UTF-8 cannot hold.
    """
    if not isinstance(value, str):
        raise BadRecordError(f"{place}: expected text, got {_kind(value)}")
    if not value.strip():
        raise BadRecordError(f"{place}: the text is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRecordError(f"{place}: holds half of a surrogate pair, which UTF-8 cannot write") from None
    return value


def first_question(messages: Iterable[Message]) -> str:
    """Return the first thing the user says."""
    return next(message["content"] for message in messages if message["role"] == "user")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    name = names.get(type(value))
    return name if name else f"{value!r:.60}"
