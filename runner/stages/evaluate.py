"""The stage that judges a model on held-out records: `baseline` before training, `evaluate` after.

Settings: `model` (folder or hub id), `revision`, `adapter` (folder or null), `tokenizer` (or null:
the model's), `template`, `context`, `tasks` (each a perplexity task of the spec), `device`,
`precision`, `attention`, `out`, `trust_remote_code`, and `end_tokens`, as given to training.

It writes `out`, and beside it one JSON line a record, from which every number can be computed again.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.events import EventWriter
from runner.spec.problems import DataError, MachineError, StageError
from runner.stages.common import expand, expand_path, stage_main, write_json, write_text
from runner.tokens import IGNORED, Row, load_tokenizer, read_records, rows_of, template_of

if TYPE_CHECKING:
    from eval.bootstrap import Interval
    from eval.perplexity import HeldOut, RecordScore

LABELS_AT_ONCE = 2048
"""Label tokens whose predictions are held in float32 at a time, which bounds the memory."""

PROGRESS_EVERY_S = 1.0

PLACES = ("model", "adapter", "tokenizer")
"""Settings that are a folder or a hub id."""


def evaluate(settings: Mapping[str, Any], events: EventWriter) -> None:
    """Judge the model on each task and write the numbers.

    Raises:
        MachineError: the model or the device is not there.
        DataError: a task has no record with an answer token.
        StageError: the model's loss is no number, or the adapter changes nothing.
    """
    written, settings = settings, _expanded(settings)
    tokenizer = load_tokenizer(
        settings["tokenizer"] or settings["model"],
        revision=None if settings["tokenizer"] else settings["revision"],
        trust_remote_code=settings["trust_remote_code"],
    )
    model = load_model(settings)
    proof: dict[str, Any] | None = None
    results, lines = [], []
    for task in settings["tasks"]:
        records, rows = _task_rows(settings, task, tokenizer)
        if settings["adapter"] and proof is None:
            model, proof = attach_adapter(model, settings["adapter"], rows[: task["batch"]])
        scores = _scores(model, records, rows, task, events)
        result, metrics = _judged(task, scores, records, rows)
        results.append(result)
        lines += [
            json.dumps({"split": task["split"], **asdict(score)}, ensure_ascii=False) for score in scores
        ]
        events.write("result", task=task["task"], split=task["split"], metrics=metrics)
    out = Path(settings["out"])
    write_text(out.with_name(f"{out.stem}_records.jsonl"), "".join(f"{line}\n" for line in lines))
    write_json(
        out,
        {
            "model": written["model"],
            "revision": written["revision"],
            "adapter": None if proof is None else {"path": written["adapter"], **proof},
            "template": settings["template"],
            "context": settings["context"],
            "device": str(model.device),
            "precision": settings["precision"],
            "results": results,
            "versions": _versions(),
        },
    )


def _expanded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with placeholders replaced; what is written keeps them."""
    places = {
        key: expand_path(settings[key], os.environ, hub=True) for key in PLACES if settings[key] is not None
    }
    return {**expand(settings, os.environ), **places}


# --------------------------------------------------------------------------------------------- model


def load_model(settings: Mapping[str, Any]) -> Any:
    """Return the model on its device, in evaluation mode, without its adapter.

    Raises:
        MachineError: the weights cannot be loaded, or the device is not there.
    """
    import torch
    from transformers import AutoModelForCausalLM

    device = device_of(settings["device"])
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            settings["model"],
            revision=settings["revision"],
            dtype=kinds[settings["precision"]],
            attn_implementation=settings["attention"],
            trust_remote_code=settings["trust_remote_code"],
        )
    except (OSError, ValueError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(f"the model {settings['model']!r} cannot be loaded: {reason}") from error
    return model.to(device).eval()


def device_of(wanted: str) -> str:
    """Return the torch device for the spec's word.

    Raises:
        MachineError: the wanted device is not on this machine.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, present in there.items() if present)
    if not there[wanted]:
        raise MachineError(
            f"this machine has no {wanted} device; it has: {', '.join(n for n, present in there.items() if present)}"
        )
    return wanted


def attach_adapter(model: Any, adapter: str, rows: Sequence[Row]) -> tuple[Any, dict[str, Any]]:
    """Return the model with its adapter, and the proof that the adapter acts.

    The proof: every weight that the model expects of the adapter is in its file, and some logit of
    `rows` differs from the base model's.

    Raises:
        MachineError: the adapter cannot be loaded.
        StageError: weights are missing from it, or it changes nothing.
    """
    import torch
    from peft import PeftModel

    ids, mask = _padded(rows, model.device)
    with torch.inference_mode():
        before = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        try:
            tuned = PeftModel.from_pretrained(model, adapter, is_trainable=False).eval()
        except (OSError, ValueError) as error:
            raise MachineError(f"the adapter {adapter!r} cannot be loaded: {error}") from error
        after = tuned(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    _same_weights(tuned, adapter)
    largest = float((after - before).abs()[mask.bool()].max())
    if not largest > 0:
        raise StageError(
            f"the adapter {adapter!r} changes no prediction of the base model: it was not trained, or "
            "belongs to another model"
        )
    return tuned, {"largest_logit_change": largest}


def _same_weights(model: Any, adapter: str) -> None:
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    path = Path(adapter) / "adapter_model.safetensors"
    if not path.is_file():
        return
    with safe_open(path, framework="pt") as file:
        stored = set(file.keys())
    lacking = sorted(set(get_peft_model_state_dict(model)) - stored)
    if lacking:
        raise StageError(
            f"{path} lacks {len(lacking)} weights that the adapter should have, among them {lacking[0]}"
        )


# -------------------------------------------------------------------------------------------- scores


def _task_rows(
    settings: Mapping[str, Any], task: Mapping[str, Any], tokenizer: Any
) -> tuple[list[dict[str, Any]], list[Row]]:
    """Return the task's records and rows, in the order of the file."""
    path = Path("data") / f"{task['split']}.jsonl"
    records = list(read_records(path, task["records"]))
    template = template_of(tokenizer, settings["template"])
    rows = list(rows_of(tokenizer, records, template, settings["context"], settings["end_tokens"]))
    if not any(row.label_tokens for row in rows):
        raise DataError(
            f"{path} has no record with an answer token within {settings['context']} tokens; there is nothing to judge"
        )
    return records, rows


def _scores(
    model: Any,
    records: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
    task: Mapping[str, Any],
    events: EventWriter,
) -> list[RecordScore]:
    """Return one score for each record with label tokens, in the order of the records."""
    from eval.perplexity import RecordScore

    judged = [index for index, row in enumerate(rows) if row.label_tokens]
    order = sorted(judged, key=lambda index: -len(rows[index].input_ids))
    found: dict[int, RecordScore] = {}
    last = time.monotonic()
    for batch in _batches(order, task["batch"]):
        for index, (nll, correct, entropy) in zip(
            batch, score_rows(model, [rows[index] for index in batch]), strict=True
        ):
            record, row = records[index], rows[index]
            if not math.isfinite(nll):
                raise StageError(
                    f"the loss of record {record['id']!r} is {nll}: the weights hold a value that is no number, "
                    "or the precision is too small for the model"
                )
            found[index] = RecordScore(
                id=record["id"],
                group=record["group"],
                nll=nll,
                label_tokens=row.label_tokens,
                answer_bytes=row.answer_bytes,
                correct=correct,
                entropy=entropy,
            )
        if time.monotonic() - last >= PROGRESS_EVERY_S or len(found) == len(judged):
            last = time.monotonic()
            events.write("progress", done=len(found), total=len(judged), unit=f"{task['split']} records")
    return [found[index] for index in judged]


def score_rows(model: Any, rows: Sequence[Row]) -> list[tuple[float, int, float]]:
    """Return nats, correct tokens and entropy in nats, each summed over a row's label tokens.

    The rows are one batch, padded on the right and masked. Sums are made in float64, in a fixed order.
    """
    import torch

    ids, mask = _padded(rows, model.device)
    labels = torch.full(ids.shape, IGNORED, device=model.device)
    for place, row in enumerate(rows):
        labels[place, : len(row.labels)] = torch.tensor(row.labels, device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
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


def _padded(rows: Sequence[Row], device: Any) -> tuple[Any, Any]:
    """Return input ids and attention mask, shape (record, token), padded on the right with id 0."""
    import torch

    width = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row.input_ids)] = torch.tensor(row.input_ids)
        mask[place, : len(row.input_ids)] = 1
    return ids.to(device), mask.to(device)


def _batches(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


# ------------------------------------------------------------------------------------------- results


def _judged(
    task: Mapping[str, Any],
    scores: Sequence[RecordScore],
    records: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
) -> tuple[dict[str, Any], dict[str, float | None]]:
    """Return the result as it is stored, and metric -> value for the event."""
    from eval.bootstrap import DRAWS, LEVEL
    from eval.perplexity import METHOD, METRICS, held_out

    judged = held_out(scores)
    result = {
        "task": task["task"],
        "split": task["split"],
        "n_records": len(scores),
        "n_groups": len({score.group for score in scores}),
        "n_without_answer": len(records) - len(scores),
        "n_cut": sum(row.tokens > len(row.input_ids) for row in rows),
        "label_tokens": sum(score.label_tokens for score in scores),
        "answer_bytes": sum(score.answer_bytes for score in scores),
        "metrics": _metrics(judged, METRICS),
        "method": METHOD.format(level=LEVEL, draws=DRAWS, seed=0),
    }
    return result, {name: _finite(getattr(judged, name).value) for name in METRICS}


def _metrics(judged: HeldOut, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    intervals: dict[str, Interval] = {name: getattr(judged, name) for name in names}
    return {
        name: {"value": _finite(i.value), "low": _finite(i.low), "high": _finite(i.high)}
        for name, i in intervals.items()
    }


def _finite(value: float) -> float | None:
    """Return the value, or None where it is no finite number: JSON has no word for those."""
    return value if math.isfinite(value) else None


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "peft", "tokenizers", "torch", "transformers")}


if __name__ == "__main__":
    stage_main("evaluate", evaluate)
