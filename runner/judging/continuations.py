"""Likelihoods of many continuations of one beginning: what they share, with its image, is read once.

For every record the rows' longest common beginning is run through the model and kept in the cache; each row then adds
its own few tokens. Seventy-one labels of a record thus cost one image and one prompt, and not seventy-one.

Rows are padded on the left before what they share and on the right behind it, so that no padding lies between two
tokens of a row: a sliding window sees the same tokens as without padding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runner.judging.exact import exact_output
from runner.judging.generation import left_padded
from runner.judging.vision import NOTHING, Seen


@dataclass(frozen=True)
class Continuation:
    """A prompt and the answer whose likelihood is wanted."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    """At least one token."""


def score_continuations(
    model: Any,
    records: Sequence[Sequence[Continuation]],
    at_once: int,
    look: Callable[[Any], Seen] = lambda ids: NOTHING,
) -> list[list[float]]:
    """Return nats of each answer after its prompt, by record, in the order given.

    Args:
        model: in evaluation mode.
        records: continuations of each record; they begin alike, with the record's images in that beginning.
        at_once: rows of one record per forward pass.
        look: padded ids of the beginnings -> their images.
    """
    import torch
    from transformers import DynamicCache

    rows = [list(dict.fromkeys((*one.prompt, *one.answer[:-1]) for one in of)) for of in records]
    shared = [_shared(of) for of in records]
    ids, mask, positions = left_padded(
        [of[0].prompt[:length] for of, length in zip(records, shared, strict=True)], model.device
    )
    seen = look(ids)
    cache = DynamicCache(config=model.config.get_text_config())
    found: list[dict[tuple[int, ...], dict[int, Any]]] = [{} for _ in records]
    with torch.inference_mode(), exact_output(model):
        model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **seen.first,
        )
        wanted = [_wanted(of) for of in records]
        for start in range(0, max(map(len, rows)), at_once):
            part = [
                (number, row)
                for number, of in enumerate(rows)
                for row in sorted(of, key=len)[start : start + at_once]
            ]
            of_part = [(number, row, shared[number]) for number, row in part]
            logs = _logs(model, copy.deepcopy(cache), mask, positions, seen, of_part, wanted)
            for (number, row), log in zip(part, logs, strict=True):
                found[number][row] = log
    return [
        [_nats(found[number][(*one.prompt, *one.answer[:-1])], one) for one in of]
        for number, of in enumerate(records)
    ]


def _shared(of: Sequence[Continuation]) -> int:
    """Return how many tokens all prompts begin with, at least one less than the shortest has."""
    shortest = min((one.prompt for one in of), key=len)
    others = [one.prompt for one in of]
    alike = next(
        (n for n, token in enumerate(shortest) if any(other[n] != token for other in others)), len(shortest)
    )
    return max(1, min(alike, len(shortest) - 1))


def _wanted(of: Sequence[Continuation]) -> dict[tuple[int, ...], dict[int, list[int]]]:
    """Return row -> place of a prediction -> tokens whose likelihood is asked for there."""
    wanted: dict[tuple[int, ...], dict[int, list[int]]] = {}
    for one in of:
        places = wanted.setdefault((*one.prompt, *one.answer[:-1]), {})
        for step, token in enumerate(one.answer):
            places.setdefault(len(one.prompt) - 1 + step, []).append(token)
    return wanted


def _logs(
    model: Any,
    cache: Any,
    mask: Any,
    positions: Any,
    seen: Seen,
    part: Sequence[tuple[int, tuple[int, ...], int]],
    wanted: Sequence[dict[tuple[int, ...], dict[int, list[int]]]],
) -> list[dict[int, dict[int, float]]]:
    """Return for each row: place -> token -> log likelihood.

    Args:
        model: in evaluation mode.
        cache: of the beginnings; it is changed.
        mask: of the beginnings, shape (record, token).
        positions: of the beginnings, shape (record, token).
        seen: the images' state behind the beginnings.
        part: number of the record, row, tokens of the row that stand in the cache.
        wanted: what `_wanted` returned, by record.
    """
    import torch

    owner = torch.tensor([number for number, _, _ in part], device=model.device)
    rest = [row[length:] for _, row, length in part]
    width = max(map(len, rest))
    ids = torch.tensor([[*tokens, *([0] * (width - len(tokens)))] for tokens in rest], device=model.device)
    own = torch.tensor([[1] * len(t) + [0] * (width - len(t)) for t in rest], device=model.device)
    cache.batch_select_indices(owner)
    _, given = seen.kept(owner).later(width)
    places = sorted({place - length for number, row, length in part for place in wanted[number][row]})
    logits = model(
        input_ids=ids,
        attention_mask=torch.cat([mask[owner], own], dim=1),
        position_ids=positions[owner, -1:] + 1 + torch.arange(width, device=model.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.tensor(places, device=model.device),
        **given,
    ).logits
    logs = torch.log_softmax(logits.float(), dim=-1)
    return [
        {
            place: {token: float(logs[line, places.index(place - length), token]) for token in tokens}
            for place, tokens in wanted[number][row].items()
        }
        for line, (number, row, length) in enumerate(part)
    ]


def _nats(logs: dict[int, dict[int, float]], one: Continuation) -> float:
    return sum(logs[len(one.prompt) - 1 + step][token] for step, token in enumerate(one.answer))
