"""Answers that a model writes: prompts as in training, batches by length, drawing that can be repeated.

A record's answer depends on the record alone: its prompt is made without its reference, its random
numbers come from a generator of its own, seeded with the task's seed and its id, and rows of a batch
are masked from each other. So the batch size and an interruption change nothing, in float32; in
bf16 and fp16 another batch size rounds otherwise, and a near tie between two tokens may fall the
other way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.judging.run import WHOLE, Judging
from runner.judging.vision import NOTHING, Seen
from runner.spec.problems import StageError
from runner.tokens import Row, end_ids, prompt_text, rows_of


@dataclass(frozen=True)
class Options:
    """How tokens are chosen."""

    max_new_tokens: int
    temperature: float = 0.0
    """0: the likeliest token."""
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Prompt:
    """What the model reads before it answers."""

    ids: tuple[int, ...]
    cut: int
    """Tokens taken from its left, since the model has too few positions."""


@dataclass(frozen=True)
class Written:
    """One answer."""

    ids: tuple[int, ...]
    """Without the token that ended it."""
    ended: bool
    """Whether the model ended it itself, within the tokens it was given."""


def answers(
    run: Judging, records: Sequence[Mapping[str, Any]], options: Options, batch: int
) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Yield each record and its answer's part of a line, longest prompts first.

    Raises:
        DataError: the template does not show the answer of a record.
        StageError: the model has too few positions, or predicts what is no number.
    """
    prompts = prompts_of(run, records, room_of(run.model, options.max_new_tokens))
    for part in by_length(prompts, batch):
        asked = [prompts[index] for index in part]
        written = written_parts(run, asked, [records[index] for index in part], options)
        yield from zip([records[index] for index in part], written, strict=True)


def by_length(prompts: Sequence[Prompt], batch: int) -> Iterator[list[int]]:
    """Yield the places of the prompts, `batch` at a time, longest first: what does not fit fails at once."""
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place].ids))
    for start in range(0, len(order), batch):
        yield order[start : start + batch]


def written_parts(
    run: Judging, prompts: Sequence[Prompt], records: Sequence[Mapping[str, Any]], options: Options
) -> list[dict[str, Any]]:
    """Return what a line says of each written answer, for one batch.

    That is `prompt` and `answer` as text, `reference`, `n_tokens` of the answer, `ended`, and
    `prompt_cut` in tokens.
    """
    ends = frozenset().union(*end_ids(run.tokenizer, run.settings["end_tokens"]))
    ids, names = [prompt.ids for prompt in prompts], [record["id"] for record in records]
    written = write_answers(run.model, ids, names, ends, options, run.looking_at(records))
    return [
        asked_part(run, prompt, record)
        | {
            "answer": run.tokenizer.decode(
                answer.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            ).strip(),
            "n_tokens": len(answer.ids),
            "ended": answer.ended,
        }
        for prompt, record, answer in zip(prompts, records, written, strict=True)
    ]


def said_parts(
    run: Judging, prompts: Sequence[Prompt], records: Sequence[Mapping[str, Any]], options: Options | None
) -> list[dict[str, Any]]:
    """Return what a line says of what was asked and, with `options`, of what was written, for one batch."""
    if options is not None:
        return written_parts(run, prompts, records, options)
    return [asked_part(run, prompt, record) for prompt, record in zip(prompts, records, strict=True)]


def asked_part(run: Judging, prompt: Prompt, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a line says of what was asked: `prompt`, `reference`, `prompt_cut`."""
    return {
        "prompt": run.tokenizer.decode(prompt.ids, clean_up_tokenization_spaces=False),
        "reference": reference_of(record),
        "prompt_cut": prompt.cut,
    }


def reference_of(record: Mapping[str, Any]) -> str:
    """Return what a written answer is compared with: the report where one is asked for, else the record's answer."""
    if record.get("asks") == "report" and record.get("reference"):
        return str(record["reference"])
    return str(record["messages"][-1]["content"])


# ------------------------------------------------------------------------------------------- prompts


def room_of(model: Any, after: int) -> int:
    """Return how many tokens a prompt may have, so that `after` more still have a position.

    Raises:
        StageError: none is left.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions is None:
        return WHOLE
    if after >= positions:
        raise StageError(
            f"the model has {positions} positions and {after} tokens are to follow the prompt, which leaves it "
            f"none\n  lower max_new_tokens of the task below {positions}"
        )
    return int(positions) - after


def prompts_of(run: Judging, records: Sequence[Mapping[str, Any]], room: int) -> list[Prompt]:
    """Return what stands before the last answer, as training's template and tokenizer make it.

    The context of the training does not cut a prompt. One longer than `room` loses its beginning.

    Raises:
        DataError: the template does not show the answer of a record; names it.
        StageError: a prompt's tokens are not those that the record begins with in training.
    """
    texts = [prompt_text(run.tokenizer, record, run.template, run.image_text) for record in records]
    tokens = run.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    prompts = []
    for record, ids, row in zip(records, tokens, whole_rows(run, records), strict=True):
        # The last token may be another in training, joined to the answer (two line breaks).
        if tuple(ids[:-1]) != row.input_ids[: len(ids) - 1]:
            raise StageError(
                f"the prompt of record {record['id']!r} is made into other tokens than the record begins with in "
                "training: the tokenizer reads a text differently from the beginning of a longer one"
            )
        if len(ids) > room and run.image_text is not None:
            raise StageError(
                f"the prompt of record {record['id']!r} has {len(ids)} tokens and the model room for {room}: cut at "
                "its beginning it would lose its image\n  lower max_new_tokens of the task"
            )
        prompts.append(Prompt(tuple(ids[-room:]), max(0, len(ids) - room)))
    return prompts


def whole_rows(run: Judging, records: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Yield the records as training sees them, but uncut."""
    return rows_of(run.tokenizer, records, run.template, WHOLE, run.settings["end_tokens"], run.image_text)


def left_padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[Any, Any, Any]:
    """Return input ids, attention mask and position ids, shape (record, token); every row ends at the right."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask, (mask.cumsum(dim=1) - 1).clamp(min=0)


# ------------------------------------------------------------------------------------------- writing


def write_answers(
    model: Any,
    prompts: Sequence[Sequence[int]],
    names: Sequence[str],
    ends: frozenset[int],
    options: Options,
    look: Callable[[Any], Seen] = lambda ids: NOTHING,
) -> list[Written]:
    """Return the answer to each prompt.

    Args:
        model: in evaluation mode.
        prompts: token ids; one batch.
        names: id of each record, which with the seed decides what is drawn for it.
        ends: tokens that end an answer.
        options: how tokens are chosen.
        look: padded ids -> the images of these prompts.

    Raises:
        StageError: a prediction is no number; names the record.
    """
    import torch
    from transformers import DynamicCache

    written: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    chances = uniforms(names, options) if options.temperature > 0 else None
    rows = list(range(len(prompts)))
    ids, mask, positions = left_padded(prompts, model.device)
    cache = DynamicCache(config=model.config.get_text_config())
    seen = look(ids)
    given: Mapping[str, Any] = seen.first
    with torch.inference_mode():
        for step in range(options.max_new_tokens):
            logits = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **given,
            ).logits[:, -1]
            _check_numbers(logits, [names[index] for index in rows])
            tokens = chosen(logits, None if chances is None else chances[rows, step], options)
            for index, token in zip(rows, tokens.tolist(), strict=True):
                if token in ends:
                    ended[index] = True
                elif not ended[index]:
                    written[index].append(token)
            going = [place for place, index in enumerate(rows) if not ended[index]]
            if not going:
                break
            if 2 * len(going) <= len(rows):  # at each half, for every time the whole cache is copied
                kept = torch.tensor(going, device=model.device)
                cache.batch_select_indices(kept)
                rows = [rows[place] for place in going]
                tokens, mask, positions = tokens[kept], mask[kept], positions[kept]
                seen = seen.kept(kept)
            ids, positions = tokens[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            seen, given = seen.later(1)
    return [Written(tuple(tokens), done) for tokens, done in zip(written, ended, strict=True)]


def uniforms(names: Sequence[str], options: Options) -> Any:
    """Return the random numbers of each record, shape (record, token), float64 in [0, 1).

    Each row comes from a generator of its own, seeded with SHA-256 of the seed and the record's id.
    """
    import torch

    rows = []
    for name in names:
        digest = hashlib.sha256(f"{options.seed}\0{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        rows.append(torch.rand(options.max_new_tokens, generator=generator, dtype=torch.float64))
    return torch.stack(rows)


def chosen(logits: Any, drawn: Any | None, options: Options) -> Any:
    """Return one token a row, shape (record,).

    Args:
        logits: shape (record, vocabulary).
        drawn: shape (record,), a number in [0, 1) for each row; None for the likeliest token.
        options: temperature and top_p.

    Drawing inverts the cumulative distribution in the order of the vocabulary: one random number a
    token, and a rounding error of the logits matters only where it lies on a boundary.
    """
    import torch

    if drawn is None:
        return logits.argmax(dim=-1)
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    probabilities = torch.softmax(logits.to(exact) / options.temperature, dim=-1)
    if options.top_p < 1:
        probabilities = probabilities * nucleus(probabilities, options.top_p)
    cumulative = probabilities.cumsum(dim=-1)
    wanted = drawn.to(device=logits.device, dtype=exact)[:, None] * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, wanted, right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)


def nucleus(probabilities: Any, top_p: float) -> Any:
    """Return which tokens are among the fewest likeliest that hold `top_p`, shape (record, vocabulary).

    Source:
        Holtzman et al. 2020, The Curious Case of Neural Text Degeneration, section 3.1.
    """
    import torch

    ordered, place = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    kept = ordered.cumsum(dim=-1) - ordered < top_p
    return torch.zeros_like(kept).scatter(-1, place, kept)


def _check_numbers(logits: Any, names: Sequence[str]) -> None:
    wrong = logits.isnan().any(dim=-1)
    if wrong.any():
        name = names[int(wrong.nonzero()[0, 0])]
        raise StageError(
            f"the model's prediction for record {name!r} is no number: the weights hold one that is none, or "
            "the precision is too small for the model"
        )
