"""What the engine makes of rows with images, looked at before the first step.

Such rows become tokens, pixels and labels while training. A few of them are made here by the engine's own collator
and compared, token by token, with what `runner.tokens` makes of the same record for the evaluation, whose labels
come from the text of the answer and not from the engine's search for markers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.image_text import image_text_of
from runner.spec.problems import StageError
from runner.tokens import IGNORED, rows_of

INSPECTED = 8
"""Rows of each split that are looked at, at most."""
WHOLE = 1 << 31


@dataclass(frozen=True)
class Inspected:
    """What was found in the rows that were looked at."""

    rows: int
    tokens: int
    label_tokens: int
    first: Mapping[str, Sequence[int]]
    """Tokens and labels of the first row, as the engine trains on it."""


def inspect(dataset: Any, collator: Any, end_tokens: Sequence[str], classes: int, split: str) -> Inspected:
    """Return what the engine's collator makes of the first rows of a split.

    Args:
        dataset: rows as `converters.image_rows` writes them.
        collator: the engine's, with its processing strategy.
        end_tokens: that close an answer beside the tokenizer's end token.
        classes: of the model's output layer; a label must be one of them.
        split: train or validation, for messages.

    Raises:
        StageError: a row has no image, no token that carries loss, a label that the model cannot predict, or
            other tokens or labels than the evaluation will see.
    """
    strategy = collator.processing_strategy
    processor = strategy.processor
    made: list[tuple[list[int], list[int]]] = []
    wanted = list(
        rows_of(
            processor.tokenizer,
            [_record(dataset[number]) for number in range(min(INSPECTED, len(dataset)))],
            strategy.chat_template,
            WHOLE,
            end_tokens,
            image_text_of(processor),
        )
    )
    for number, row in enumerate(wanted):
        batch = collator([dataset[number]])
        if "pixel_values" not in batch:
            raise StageError(f"{split} row {number}: the engine's processor was given no image")
        ids, labels = (batch[name][0].tolist() for name in ("input_ids", "labels"))
        _same(f"{split} row {number}", (ids, labels), (row.input_ids, row.labels), processor.tokenizer)
        beyond = sorted({label for label in labels if label != IGNORED and not 0 <= label < classes})
        if beyond:
            words = ", ".join(repr(processor.tokenizer.decode([label])) for label in beyond)
            raise StageError(
                f"{split} row {number}: {words} carries loss, and is none of the {classes:,} tokens that the "
                "model can write"
            )
        if row.label_tokens == 0:
            raise StageError(f"{split} row {number}: no token carries loss; the template marks no answer")
        made.append((ids, labels))
    return Inspected(
        rows=len(made),
        tokens=sum(len(ids) for ids, _ in made),
        label_tokens=sum(row.label_tokens for row in wanted),
        first={"input_ids": made[0][0], "labels": made[0][1]} if made else {"input_ids": [], "labels": []},
    )


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a row, as `converters.image_rows.to_row` was given it."""
    parts = [part for message in row["messages"] for part in message["content"]]
    return {
        "images": [part["path"] for part in parts if part["type"] == "image"],
        "messages": [
            {
                "role": message["role"],
                "content": "".join(part["text"] for part in message["content"] if part["type"] == "text"),
            }
            for message in row["messages"]
        ],
    }


def _same(
    where: str,
    engine: tuple[Sequence[int], Sequence[int]],
    ours: tuple[Sequence[int], Sequence[int]],
    tokenizer: Any,
) -> None:
    for what, theirs, own in zip(("tokens", "labels"), engine, ours, strict=True):
        if list(theirs) == list(own):
            continue
        pairs = zip(theirs, own, strict=False)
        place = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(theirs), len(own)))
        near = tokenizer.decode(list(engine[0][max(0, place - 4) : place + 4]))
        raise StageError(
            f"{where}: the engine makes other {what} of it than the evaluation will, from position {place} on "
            f"(near {near!r}; {len(theirs)} and {len(own)} {what})\n"
            "  the processor, its tokenizer or the chat template is not what this release was checked with"
        )
