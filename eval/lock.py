"""What must be equal before two results may be compared.

Each result carries its lock: the task with its options, the records by hash, template, precision,
device, versions of what computed it. Which model was judged stands in the lock too, but is what a
comparison is about, so it is not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

IDENTITY = ("model", "adapter")
"""Parts of a lock that say which model was judged."""

LOCK = {
    "task": "options of the task in the spec: few-shot, batch, seeds, how answers are read",
    "task_version": "of each task of lm-eval",
    "task_file": "SHA-256 of each task of lm-eval: its prompt, its examples, its scoring",
    "few_shot": "answered examples before each question of lm-eval's tasks, given or the task's own",
    "harness": "versions of lm-eval and of what it reads questions with",
    "records": "SHA-256 of the records judged; of lm-eval's tasks, of each one's questions",
    "validation_records": "SHA-256 of the validation records that a temperature is fitted on, null without one",
    "rubric": "what a judge is asked: the rubric, and the SHA-256 of its prompt and schema",
    "vocabulary": "SHA-256 of the clinical findings and the cues of their denial",
    "template": "chat template: its word in the spec and the SHA-256 of its text",
    "tokenizer": "SHA-256 of its vocabulary",
    "images": "SHA-256 of what the processor does to an image, null for a model of text",
    "label_set": "SHA-256 of the labels, the words for them and the cues of their denial",
    "context": "tokens after which a record is cut",
    "signal": "of recordings: leads, those the model is given, length, sampling rate, what was done to them",
    "precision": "number format of the weights",
    "likelihoods": "number format of the output layer while labels are compared",
    "attention": "attention implementation",
    "device": "kind of device",
    "versions": "packages that computed the result",
    "model": "base model: its name, and its weights by SHA-256 or its commit",
    "adapter": "adapter: its name and its weights by SHA-256, null where there is none",
}
"""Part of a lock -> what it says."""


ADDED: Mapping[str, Any] = {"task.normalise": "token"}
"""Place in a lock that came later -> what results without it were judged by."""


@dataclass(frozen=True)
class Difference:
    """One place where two locks differ."""

    path: str
    one: Any
    other: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.one!r} and {self.other!r}"


def lock_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return where two locks differ, leaving out which model was judged.

    >>> lock_differences({"context": 384, "model": "a"}, {"context": 512, "model": "b"})
    (Difference(path='context', one=384, other=512),)
    """
    kept = [{key: value for key, value in lock.items() if key not in IDENTITY} for lock in (one, other)]
    return tuple(_differences("", *kept))


def _differences(path: str, one: Any, other: Any) -> Iterator[Difference]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            place = f"{path}.{key}" if path else str(key)
            before = ADDED.get(place)
            yield from _differences(place, one.get(key, before), other.get(key, before))
    elif one != other:
        yield Difference(path, one, other)
