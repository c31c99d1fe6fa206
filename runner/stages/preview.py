"""The stage that shows records as the engine will see them: `preview/preview.json`, a page, and pictures.

Settings: `records`, how many; `config`, the engine's; `name`, `kind`, `architecture`, `template`, `context` of
the spec; `end_tokens`, which close an answer beside the tokenizer's end token; `rehearsal`; `small`, whether the model
is one of a few layers, whose encoder is too small to show anything. Ends with 1 where a
record teaches nothing or teaches its prompt. Needs the tokenizer and the processor of the model, not its weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner.events import EventWriter
from runner.previewing import engine as axolotl
from runner.previewing import sight
from runner.previewing.choose import TRAIN, Chosen, choose
from runner.previewing.page import render
from runner.previewing.supervision import IGNORED, Finding, judge, pieces
from runner.spec.problems import DataError
from runner.stages.common import stage_main, write_json, write_text
from runner.tokens import read_records, rows_of, template_of

FORMAT = 1
FOLDER = Path("preview")
UNCUT = 1 << 31
"""A context that nothing is longer than."""
ERROR_LINES = 20
"""Findings that are printed; the page has all."""


def preview(settings: Mapping[str, Any], events: EventWriter) -> int:
    """Write the preview of some records; return 1 where one of them is taught wrongly, else 0.

    Raises:
        MachineError: tokenizer or processor cannot be loaded.
        DataError: there is no training record, or an image cannot be opened.
    """
    chosen = choose(read_records(Path(TRAIN)), settings["records"])
    if not chosen:
        raise DataError(f"{TRAIN} has no record to show")
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    try:
        loaded = axolotl.load_engine(Path(settings["config"]), os.environ)
        ends = _ends(loaded.tokenizer, settings["end_tokens"])
        sizes = [
            [sight.size_of(file) for file in _images_of(one)] for one in chosen
        ]  # a torn one is named here
        rows = axolotl.engine_rows(loaded, [_as_row(one.record, settings["kind"]) for one in chosen])
        shown = []
        for number, (one, row, size) in enumerate(zip(chosen, rows, sizes, strict=True), start=1):
            shown.append(_record(loaded, one, row, size, number, ends, settings))
            events.write("progress", done=number, total=len(chosen), unit="records")
    finally:
        axolotl.tidy()
    value = {
        "format": FORMAT,
        "name": settings["name"],
        "kind": settings["kind"],
        "rehearsal": settings["rehearsal"],
        "model": str(loaded.config.base_model),
        "architecture": settings["architecture"],
        "tokenizer": type(loaded.tokenizer).__name__,
        "processor": type(loaded.processor).__name__ if loaded.processor else None,
        "strategy": loaded.strategy,
        "template": settings["template"],
        "context": settings["context"],
        "end_tokens": ends,
        "asked": settings["records"],
        "records": shown,
        "findings": sum(len(record["findings"]) for record in shown),
    }
    write_json(FOLDER / "preview.json", value)
    write_text(FOLDER / "preview.html", render(value, FOLDER))
    return _verdict(value, events)


def _verdict(value: Mapping[str, Any], events: EventWriter) -> int:
    lines = [
        f"record {record['id']}: {finding['message']}"
        for record in value["records"]
        for finding in record["findings"]
    ]
    for record in value["records"]:
        for text in record["warnings"]:
            events.write("note", text=f"{record['id']}: {text}")
    if not lines:
        return 0
    print(f"the engine ({value['strategy']}) does not teach what the records say:")
    for line in lines[:ERROR_LINES]:
        print(f"  {line}")
    if len(lines) > ERROR_LINES:
        print(f"  and {len(lines) - ERROR_LINES} more")
    print("  every token with its mark: preview/preview.html")
    return 1


def _ends(tokenizer: Any, named: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*named, *([tokenizer.eos_token] if tokenizer.eos_token else [])]))


def _record(
    loaded: axolotl.Engine,
    chosen: Chosen,
    row: axolotl.EngineRow | None,
    sizes: Sequence[tuple[int, int]],
    number: int,
    ends: Sequence[str],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    record = chosen.record
    head = {
        "id": str(record.get("id")),
        "source": record.get("source"),
        "asks": record.get("asks"),
        "line": chosen.line,
        "why": list(chosen.why),
        "messages": [{"role": message["role"], "text": message["content"]} for message in record["messages"]],
    }
    if row is None:
        dropped = Finding("dropped", "the engine leaves this record out of the training without a word")
        return {
            **head,
            "tokens": [],
            "counts": None,
            "images": [],
            "findings": [asdict(dropped)],
            "warnings": [],
        }
    whole = _length_before_the_cut(loaded, record, row, settings)
    decode = axolotl.decoder(loaded.tokenizer)
    texts = pieces(row.ids, decode)
    of_images = axolotl.image_ids(loaded.tokenizer, loaded.processor)
    judged = judge(
        row.ids,
        row.labels,
        texts,
        [
            _ways(loaded.tokenizer, message["content"], decode)
            for message in record["messages"]
            if _answers(message)
        ],
        ends,
        images=of_images,
        cut=whole > len(row.ids),
    )
    images = _images(loaded, row, _images_of(chosen), sizes, number, settings)
    learned = sum(label != IGNORED for label in row.labels[1:])
    counts = {
        "tokens": len(row.ids),
        "before_cut": whole,
        "learned": learned,
        "share": learned / len(row.ids),
        "image_tokens": sum(one in of_images for one in row.ids),
        "answers_whole": judged.answers_whole,
        "answers_cut": judged.answers_cut,
    }
    return {
        **head,
        "tokens": [
            {"id": one, "text": text, "learned": label != IGNORED, "image": one in of_images}
            for one, text, label in zip(row.ids, texts, row.labels, strict=True)
        ],
        "counts": counts,
        "images": images,
        "findings": [asdict(finding) for finding in judged.findings],
        "warnings": [*_length_warnings(counts, settings), *_sight_warnings(images)],
    }


def _images_of(chosen: Chosen) -> list[Path]:
    return [Path(image) for image in chosen.record.get("images") or ()]


def _answers(message: Mapping[str, Any]) -> bool:
    return bool(message["role"] == "assistant")


def _as_row(record: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the record as the train stage writes it for the engine."""
    if kind != "vlm":
        return dict(record)
    from converters.image_rows import to_row

    return to_row(record)


def _ways(tokenizer: Any, text: str, decode: Any) -> tuple[str, ...]:
    """Return an answer as it is written, and as the tokenizer spells it where it does not keep every letter."""
    spelt = decode(tokenizer(text.strip(), add_special_tokens=False)["input_ids"])
    return (text,) if spelt.strip() == text.strip() else (text, spelt)


def _length_before_the_cut(
    loaded: axolotl.Engine, record: Mapping[str, Any], row: axolotl.EngineRow, settings: Mapping[str, Any]
) -> int:
    """Return the tokens of a record before it was cut; rows with images are never cut."""
    if loaded.collator is not None or len(row.ids) < settings["context"]:
        return len(row.ids)
    template = template_of(loaded.tokenizer, settings["template"])
    one = next(rows_of(loaded.tokenizer, [record], template, UNCUT, settings["end_tokens"]))
    return max(one.tokens, len(row.ids))


def _images(
    loaded: axolotl.Engine,
    row: axolotl.EngineRow,
    files: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    number: int,
    settings: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return what is to be said of each image, and write its pictures."""
    if not files or loaded.processor is None:
        return []
    architecture, by = settings["architecture"], loaded.processor.image_processor
    patch = _patch_px(loaded, architecture)
    views = [("as the encoder sees it", "", sight.sights(architecture, row.inputs, sizes, by))]
    if settings["small"]:
        views = [
            ("as the full-size encoder sees it", "", sight.full_size_sights(architecture, files, by)),
            ("as the small encoder of this run sees it", "-small", views[0][2]),
        ]
    found = []
    for place, (file, size) in enumerate(zip(files, sizes, strict=True)):
        sheet = sight.sheet_px_per_mm(file, size)
        entry: dict[str, Any] = {
            "file": str(file),
            "width": size[0],
            "height": size[1],
            "sheet_px_per_mm": sheet,
        }
        entry["views"] = []
        for title, suffix, seen in views:
            one = seen[place]
            name = f"{number}-{place + 1}{suffix}.png"
            (FOLDER / name).write_bytes(sight.png_of(one.picture))
            entry["views"].append(
                {
                    "title": title,
                    "picture": name,
                    "width": one.size[0],
                    "height": one.size[1],
                    "content": one.content,
                    "tiles": one.tiles,
                    "factors": (one.content[0] / size[0], one.content[1] / size[1]),
                    "px_per_mm": sight.reaching(sheet, size, one),
                }
            )
        entry["attended"] = None if patch is None else sight.attended(views[0][2][place], patch)
        found.append(entry)
    return found


def _patch_px(loaded: axolotl.Engine, architecture: str) -> int | None:
    """Return the side of the patches that cross-attention looks at; None where images are tokens of the text."""
    if architecture != "mllama":
        return None
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        loaded.config.base_model, revision=loaded.config.revision_of_model, trust_remote_code=False
    )
    return int(config.vision_config.patch_size)


def _length_warnings(counts: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    found = []
    if counts["before_cut"] > counts["tokens"]:
        found.append(f"cut at the context: {counts['tokens']:,} of {counts['before_cut']:,} tokens are left")
    if counts["tokens"] > settings["context"]:
        found.append(
            f"longer than model.context: {counts['tokens']:,} tokens of {settings['context']:,}; the engine does not cut "
            "rows with images"
        )
    return found


def _sight_warnings(images: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a warning for each image of which too little detail reaches the encoder, or the full-size one of its kind."""
    found = []
    for image in images:
        reaching, drawn = image["views"][0]["px_per_mm"], image["sheet_px_per_mm"]
        if reaching is None:
            continue
        least = f"under {sight.LEAST_PX_PER_MM:g} the squares of 1 mm run into each other"
        if min(reaching) < sight.LEAST_PX_PER_MM:
            across, down = reaching
            found.append(f"{across:.2f} pixels per mm across and {down:.2f} down reach the encoder; {least}")
        elif min(drawn) < sight.LEAST_PX_PER_MM:
            found.append(
                f"the image has {drawn[0]:.2f} pixels per mm across and {drawn[1]:.2f} down, and is enlarged, which "
                f"brings no detail back; {least}"
            )
    return found


if __name__ == "__main__":
    stage_main("preview", preview)
