"""How long the records are in tokens, how many are cut, and how many tokens carry loss.

Counted with the tokenizer and the template that training uses, before any weights are loaded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from runner.files import read_json, write_json
from runner.image_text import image_text_of, load_processor
from runner.spec.environment import expand
from runner.spec.problems import DataError
from runner.stages.common import expand_path
from runner.tokens import Row, load_tokenizer, read_records, rows_of, template_of

SPLITS = ("train", "validation", "test")
TOKENS = Path("data/tokens.json")
MANIFEST = Path("data/manifest.json")
WHOLE = 1 << 31
"""A context that nothing is longer than."""


def audit(
    tokenizer: str,
    template: str,
    context: int,
    run_dir: Path,
    *,
    end_tokens: Sequence[str] = (),
    revision: str | None = None,
    images: Literal["whole", "may_be_longer"] | None = None,
) -> dict[str, Any]:
    """Tokenise every record of a run's splits, write `data/tokens.json` and return its value.

    Placeholders are replaced here, so that the file keeps them.

    Args:
        tokenizer: hub id or folder; a folder may be relative to the run directory.
        template: the spec's `data.template`.
        context: rows longer than this many tokens are cut.
        run_dir: holds `data/train.jsonl` and the other splits; an absent split has 0 records.
        end_tokens: that close an answer beside the tokenizer's end token.
        revision: of the tokenizer on the hub.
        images: of records with images, which the engine never cuts: `whole` refuses those that are longer than
            the context, `may_be_longer` (a rehearsal, whose small tokenizer makes more tokens) counts them.

    Raises:
        MachineError: the tokenizer cannot be loaded, or a variable is not set.
        DataError: a record is damaged, the template refuses one, or no training record has a token
            that carries loss.
    """
    place = expand_path(tokenizer, os.environ, hub=True)
    local = run_dir / place
    where = str(local) if local.is_dir() else place
    commit = None if revision is None else expand(revision, os.environ)
    written = None
    if images is None:
        loaded = load_tokenizer(where, revision=commit)
    else:
        processor = load_processor(where, revision=commit)
        loaded, written = processor.tokenizer, image_text_of(processor)
    jinja = template_of(loaded, template)
    splits = {}
    for split in SPLITS:
        path = run_dir / "data" / f"{split}.jsonl"
        records = read_records(path) if path.exists() else iter(())
        kept = context if images is None else WHOLE
        rows = list(rows_of(loaded, records, jinja, kept, end_tokens, written))
        splits[split] = count_tokens(rows, context)
    if images == "whole":
        _refuse_longer(splits, context)
    if splits["train"]["records"] and not splits["train"]["label_tokens"]:
        raise DataError(
            f"no training record keeps a single answer token within {context} tokens; nothing could be learned\n"
            "  raise model.context, or look at the records in data/train.jsonl"
        )
    result = {"tokenizer": tokenizer, "template": template, "context": context, "splits": splits}
    write_json(run_dir / TOKENS, result)
    if images is None:
        _note_truncation(run_dir / MANIFEST, result)
    return result


def _refuse_longer(splits: Mapping[str, Mapping[str, Any]], context: int) -> None:
    """Raise DataError where a record is longer than the context: the engine would train on it uncut."""
    longer = {name: part["longer_than_context"]["records"] for name, part in splits.items()}
    if not any(longer.values()):
        return
    most = max(part["tokens"]["max"] or 0 for part in splits.values())
    counts = ", ".join(f"{count} of {name}" for name, count in longer.items() if count)
    raise DataError(
        f"records with images are longer than model.context of {context} tokens: {counts}; the longest has {most}\n"
        "  the engine does not cut such records; raise model.context, or lower data.filter.max_answer_words"
    )


def _note_truncation(path: Path, counted: Mapping[str, Any]) -> None:
    """Write into the manifest, where there is one, how many records of each split are cut."""
    if not path.exists():
        return
    splits = {name: part["longer_than_context"] for name, part in counted["splits"].items()}
    write_json(path, {**read_json(path), "truncation": {"context": counted["context"], **splits}})


def count_tokens(rows: Sequence[Row], context: int) -> dict[str, Any]:
    """Return the counts of one split; shares and quantiles of no records are None.

    `tokens` measures the records before the cut; `kept_tokens`, `label_tokens` and `label_share`
    what training sees after it. Quantiles are by nearest rank: the value of a record that is there.
    """
    lengths = sorted(row.tokens for row in rows)
    total, kept = sum(lengths), sum(len(row.input_ids) for row in rows)
    labels = sum(row.label_tokens for row in rows)
    longer = sum(length > context for length in lengths)
    return {
        "records": len(rows),
        "tokens": {
            "total": total,
            "p50": _quantile(lengths, 0.5),
            "p90": _quantile(lengths, 0.9),
            "max": lengths[-1] if lengths else None,
        },
        "longer_than_context": {"records": longer, "share": _share(longer, len(rows))},
        "kept_tokens": kept,
        "label_tokens": labels,
        "label_share": _share(labels, kept),
        "records_without_labels": sum(row.label_tokens == 0 for row in rows),
        "characters_per_token": _share(sum(row.characters for row in rows), total),
        "bytes_per_token": _share(sum(row.bytes for row in rows), total),
    }


def _quantile(ordered: Sequence[int], share: float) -> int | None:
    """Return the nearest-rank quantile: the smallest value that `share` of all do not exceed.

    >>> _quantile([10, 20, 30], 0.5), _quantile([10, 20, 30], 0.9), _quantile([], 0.5)
    (20, 30, None)
    """
    return ordered[max(1, math.ceil(share * len(ordered))) - 1] if ordered else None


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
