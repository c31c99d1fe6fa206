"""The foreign words: every path exists, none hides one of our own words."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from converters.foreign import FOREIGN, WHY
from runner.spec.model import LlmSpec


def sections(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield ("" or "[]", class) for every mapping that a value of `annotation` may be."""
    origin = get_origin(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
    elif origin is Annotated:
        yield from sections(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from sections(part)
    elif origin is tuple:
        for mark, cls in sections(get_args(annotation)[0]):
            yield f"[]{mark}", cls


def paths(cls: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in cls.model_fields.items():
        found.add(prefix + name)
        for mark, inner in sections(field.annotation):
            found |= paths(inner, f"{prefix}{name}{mark}.")
    return found


def test_there_are_enough_words() -> None:
    assert len(FOREIGN) >= 80
    assert set(FOREIGN.values()) <= paths(LlmSpec)


@pytest.mark.parametrize(
    ("word", "path"),
    [
        ("lora_alpha", "method.alpha"),
        ("lora_r", "method.rank"),
        ("per_device_train_batch_size", "train.batch.micro"),
        ("micro_batch_size", "train.batch.micro"),
        ("num_train_epochs", "train.epochs"),
        ("sequence_len", "model.context"),
        ("lr", "train.learning_rate"),
        ("train_micro_batch_size_per_gpu", "train.batch.micro"),
    ],
)
def test_the_words_that_people_bring_along(word: str, path: str) -> None:
    assert FOREIGN[word] == path


def test_no_foreign_word_is_the_last_word_of_its_own_path() -> None:
    """Such a word is ours already; the search by nearness finds it."""
    assert {word for word, path in FOREIGN.items() if path.rpartition(".")[2] == word} == set()


def test_words_are_lower_case_and_advice_is_one_line() -> None:
    assert all(word == word.lower() for word in [*FOREIGN, *WHY])
    assert all(advice and "\n" not in advice for advice in WHY.values())
