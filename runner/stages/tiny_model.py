"""The stage that builds the small model and its tokenizer in `model/`, and counts the tokens.

Settings: `architecture`, `tokenizer` (a folder, or null: one is trained on `data/train.jsonl`),
`context`, `template`, `seed`, `patterns`, the spec's own regular expressions over module or parameter
names, which the model must have enough layers for, `end_tokens`, which close an answer beside the
tokenizer's end token, and `images`, whether the records have some.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.events import EventWriter
from runner.spec.problems import DataError, MachineError
from runner.stages.common import expand, expand_path, stage_main
from runner.token_audit import audit
from runner.tokens import load_tokenizer, read_records, template_of

MODEL = Path("model")
TRAIN = Path("data/train.jsonl")


def build_model(settings: Mapping[str, Any], events: EventWriter) -> None:
    """Write `model/` whole or not at all, then `data/tokens.json`.

    Raises:
        MachineError: the architecture or the tokenizer cannot be built or loaded; no room on disk.
        DataError: there are no training records, or the chat template refuses one.
    """
    from runner.tiny.architectures import build

    given = settings["tokenizer"]
    place = None if given is None else expand_path(given, os.environ, hub=True)
    settings = {**expand(settings, os.environ), "tokenizer": place}
    tokenizer, note = _tokenizer(settings, given)
    template_of(tokenizer, settings["template"])
    model = build(
        settings["architecture"],
        tokenizer,
        settings["context"],
        settings["seed"],
        settings["patterns"],
    )
    _save(model, tokenizer)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    events.write(
        "note",
        text=f"small random {settings['architecture']}: {model.config.get_text_config().num_hidden_layers} layers, "
        f"{parameters:,} parameters, the module names of the full size; {note}",
    )
    audit(
        str(MODEL),
        settings["template"],
        settings["context"],
        Path(),
        end_tokens=settings["end_tokens"],
        images="may_be_longer" if settings["images"] else None,
    )


def _tokenizer(settings: Mapping[str, Any], given: str | None) -> tuple[Any, str]:
    """Return the tokenizer and a line about where it comes from, as `given` in the spec."""
    from runner.tiny.tokenizer import complete, train

    if settings["tokenizer"] is not None:
        tokenizer = complete(load_tokenizer(settings["tokenizer"]), settings["architecture"])
        return tokenizer, f"tokenizer of {given} with {len(tokenizer):,} entries"
    if not TRAIN.exists():
        raise DataError(f"there is no {TRAIN} to train a tokenizer on")
    tokenizer, added = train(_texts(), settings["architecture"], settings["template"])
    more = (
        f", with the template's markers {', '.join(added)} added to the architecture's own" if added else ""
    )
    return tokenizer, f"tokenizer trained on {TRAIN} with {len(tokenizer):,} entries{more}"


def _texts() -> Iterator[str]:
    return (message["content"] for record in read_records(TRAIN) for message in record["messages"])


def _save(model: Any, tokenizer: Any) -> None:
    """Write both beside `model/` and rename: a killed process leaves no half-written model.

    Raises:
        MachineError: no room on disk, or no right to write there; nothing half is left.
    """
    from safetensors import SafetensorError

    from runner.tiny.processor import processor_of

    partial = MODEL.with_name(f".{MODEL.name}.partial")
    for old in (partial, MODEL):
        shutil.rmtree(old, ignore_errors=True)
    try:
        partial.mkdir()  # save_pretrained would only log that it cannot
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if (processor := processor_of(model, tokenizer)) is not None:
            processor.save_pretrained(partial)
        partial.rename(MODEL)
    except (OSError, SafetensorError) as error:  # which the writer of the weights raises on a full disk
        raise _cannot_write(getattr(error, "strerror", None) or error) from error
    except Exception as error:  # the writer of tokenizers raises this class itself; any other goes on
        if type(error) is not Exception:
            raise
        raise _cannot_write(error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _cannot_write(reason: object) -> MachineError:
    return MachineError(
        f"cannot write {MODEL.absolute()}: {reason}\n"
        "  make room, or give another folder with --runs; no half-written model was left"
    )


if __name__ == "__main__":
    stage_main("tiny_model", build_model)
