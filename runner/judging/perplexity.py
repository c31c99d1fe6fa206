"""Held-out loss of the answers' tokens: sums of each record over its label tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from runner.judging.lines import Lines
from runner.judging.model import padded
from runner.judging.run import Judging
from runner.judging.vision import NOTHING, Seen
from runner.spec.problems import DataError, StageError
from runner.tokens import IGNORED, Row

LABELS_AT_ONCE = 2048
"""Label tokens whose predictions are held in float32 at a time, which bounds the memory."""


def predict(run: Judging, task: Mapping[str, Any], place: Lines) -> None:
    """Write the sums of every record; they are 0 where no answer token is within the context.

    Raises:
        DataError: no record has one.
        StageError: a record's loss is no number; names it.
    """
    records = run.records(task["split"], task["records"])
    rows = run.rows(records)
    judged = [index for index, row in enumerate(rows) if row.label_tokens]
    if not judged:
        raise DataError(
            f"data/{task['split']}.jsonl has no record with an answer token within {run.settings['context']} "
            "tokens; there is nothing to judge"
        )
    for record, row in zip(records, rows, strict=True):
        if not row.label_tokens and record["id"] not in place:
            place.add(_line(record, row, 0.0, 0, 0.0))
    missing = [index for index in judged if records[index]["id"] not in place]
    missing.sort(key=lambda index: -len(rows[index].input_ids))
    for start in range(0, len(missing), task["batch"]):
        batch = missing[start : start + task["batch"]]
        scores = score_rows(
            run.model, [rows[index] for index in batch], run.looking_at([records[index] for index in batch])
        )
        for index, (nll, correct, entropy) in zip(batch, scores, strict=True):
            record, row = records[index], rows[index]
            if not math.isfinite(nll):
                raise StageError(
                    f"the loss of record {record['id']!r} is {nll}: the weights hold a value that is no number, "
                    "or the precision is too small for the model"
                )
            place.add(_line(record, row, nll, correct, entropy))
        run.progress(len(place), len(records), f"{task['split']} records")
    place.finish([record["id"] for record in records])


def _line(record: Mapping[str, Any], row: Row, nll: float, correct: int, entropy: float) -> dict[str, Any]:
    return {
        "id": record["id"],
        "group": record["group"],
        "nll": nll,
        "label_tokens": row.label_tokens,
        "answer_bytes": row.answer_bytes,
        "correct": correct,
        "entropy": entropy,
        "cut": row.tokens > len(row.input_ids),
    }


def score_rows(
    model: Any, rows: Sequence[Row], look: Callable[[Any], Seen] = lambda ids: NOTHING
) -> list[tuple[float, int, float]]:
    """Return nats, correct tokens and entropy in nats, each summed over a row's label tokens.

    The rows are one batch, padded on the right and masked. Sums are made in float64, in a fixed order.

    Args:
        model: in evaluation mode.
        rows: token ids and labels.
        look: padded ids -> the images of these rows.
    """
    import torch

    ids, mask = padded(rows, model.device)
    labels = torch.full(ids.shape, IGNORED, device=model.device)
    for place, row in enumerate(rows):
        labels[place, : len(row.labels)] = torch.tensor(row.labels, device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **look(ids).first).logits[:, :-1]
        wanted = labels[:, 1:]
        where = wanted != IGNORED
        owner = where.nonzero()[:, 0]
        parts = [
            _token_scores(logits[where_part], wanted[where_part])
            for where_part in _split(where.nonzero(), LABELS_AT_ONCE)
        ]
        per_token = torch.cat(parts).to("cpu", torch.float64)
        sums = torch.zeros(len(rows), 3, dtype=torch.float64).index_add_(0, owner.cpu(), per_token)
    return [(float(nll), round(float(correct)), float(entropy)) for nll, correct, entropy in sums]


def _split(places: Any, size: int) -> Iterator[Any]:
    """Yield (row, token) index pairs of at most `size` tokens."""
    for part in places.split(size):
        yield part[:, 0], part[:, 1]


def _token_scores(logits: Any, labels: Any) -> Any:
    """Return nats, correct (0 or 1) and entropy of each token, shape (token, 3), float32.

    Args:
        logits: shape (token, vocabulary).
        labels: shape (token,).
    """
    import torch

    logs = torch.log_softmax(logits.float(), dim=-1)
    nll = -logs.gather(1, labels[:, None])[:, 0]
    entropy = torch.special.entr(logs.exp()).sum(dim=-1)
    return torch.stack([nll, (logs.argmax(dim=-1) == labels).float(), entropy], dim=1)
