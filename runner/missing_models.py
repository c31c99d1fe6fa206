"""What is known to be wrong with a model before it is loaded: not in the cache, too short, of another size."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.places import LOCAL
from runner.spec.environment import expand
from runner.spec.load import Loaded
from runner.spec.model import TINY_RANDOM, AxolotlSpec
from runner.spec.problems import Problem
from runner.spec.text_file import UnreadableError, read_text
from runner.spec.yaml_text import Path as SpecPath
from runner.spec.yaml_text import dotted

POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
"""Keys of a model's config.json, or of its `text_config`, that say how many tokens it takes."""
STRETCHED = ("rope_scaling", "rope_parameters", "overrides_of_model_config", "overrides_of_model_kwargs")
"""Keys of `axolotl:` that give a model more positions than its own."""
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
WEIGHTS = ("*.safetensors", "*.bin", "*.index.json")
MAX_CONFIG = 10 * 1024 * 1024
"""Bytes of a config.json, and of the head of a safetensors file."""


def unfit_models(loaded: Loaded, environ: Mapping[str, str], *, rehearse: bool) -> Iterator[Problem]:
    """Yield a problem for each model that cannot be what the spec takes it for. A rehearsal reads none."""
    if rehearse:
        return
    spec = loaded.spec
    found = _of_ecg(loaded, environ) if spec.kind == "ecg" else _of_engine(spec, environ)
    for path, code, message, hint in found:
        mark = loaded.tree.mark(path)
        yield Problem(mark.file, mark.line, mark.column, dotted(path), code, message, hint)


Found = Iterator[tuple[SpecPath, str, str, str]]
"""Path, code, message and hint."""


def _of_engine(spec: AxolotlSpec, environ: Mapping[str, str]) -> Found:
    if spec.model.base == TINY_RANDOM:
        return
    for key in ("base", "tokenizer", "adapter"):
        given = getattr(spec.model, key)
        name = expand(given, environ) if given else ""
        if not name or name.startswith(LOCAL) or not _offline(environ):
            continue
        config = "adapter_config.json" if key == "adapter" else "config.json"
        of_tokenizer = key == "tokenizer"
        revision = spec.model.revision if key == "base" else None
        files = ("tokenizer.json", "tokenizer_config.json") if of_tokenizer else (config,)
        cached = next((file for item in files if (file := _cached(name, item, revision, environ))), None)
        if cached is None or not (of_tokenizer or any(any(cached.parent.glob(form)) for form in WEIGHTS)):
            what = "is not in the cache" if cached is None else "has no weights in the cache"
            message = (
                f"{given} {what}, and the hub may not be asked ({' or '.join(_offline(environ))} is set)"
            )
            hint = f"`hf download {given}` where there is a network, or give a local folder: ./, ../, / or ~/"
            yield ("model", key), "missing-file", message, hint
    config_file = _config_of(spec, environ)
    most = _positions(config_file) if config_file else None
    stretched = any(key in (spec.axolotl or {}) for key in STRETCHED)
    if most is not None and spec.model.context > most and not stretched:
        message = f"got {spec.model.context:,}; the model takes {most:,} tokens, its config.json says"
        hint = f"set model.context to at most {most}"
        yield ("model", "context"), "bad-value", message, hint


def _offline(environ: Mapping[str, str]) -> list[str]:
    return [name for name in OFFLINE if environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")]


def _cached(name: str, file: str, revision: str | None, environ: Mapping[str, str]) -> Path | None:
    """Return the place of a file of the hub in this machine's cache, without asking the hub."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    home = environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")  # noqa: PTH111 - as the hub's own
    folder = environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")  # noqa: PTH118 - as the hub's own
    try:
        found = try_to_load_from_cache(name, file, cache_dir=folder, revision=revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _config_of(spec: AxolotlSpec, environ: Mapping[str, str]) -> Path | None:
    name = expand(spec.model.base, environ)
    if name.startswith(LOCAL):
        return Path(name).expanduser() / "config.json"
    return _cached(name, "config.json", spec.model.revision, environ)


def _positions(config: Path) -> int | None:
    """Return how many tokens a model takes; None where its config.json does not say."""
    try:
        value: Any = json.loads(read_text(config, MAX_CONFIG))
    except (UnreadableError, ValueError, RecursionError):
        return None  # the engine says what is wrong with it
    sections = [value, value.get("text_config")] if isinstance(value, dict) else []
    said = [
        section[key]
        for section in sections
        if isinstance(section, dict)
        for key in POSITIONS
        if isinstance(section.get(key), int) and section[key] > 0
    ]
    return max(said, default=None)


def _of_ecg(loaded: Loaded, environ: Mapping[str, str]) -> Found:
    """Yield backbones that are not those of their checkpoints, as far as a checkpoint of ours says its own."""
    spec = loaded.spec
    if spec.kind != "ecg":
        return
    from runner.spec.ecg_facts import trainings

    for path, model, _, _ in trainings(spec):
        file = Path(expand(model.checkpoint, environ)).expanduser() if model.checkpoint else None
        named = _backbone_of(file) if file is not None and file.is_file() else None
        if named is not None and named != model.backbone:
            message = f"got {model.backbone}; the checkpoint's own facts say {named}"
            hint = f"write backbone: {named}, or give the checkpoint of a {model.backbone}"
            yield (*path, "model", "backbone"), "bad-value", message, hint


def _backbone_of(file: Path) -> str | None:
    """Return the backbone that a safetensors file of ours names in its head; None for any other file."""
    try:
        with file.open("rb") as opened:
            (size,) = struct.unpack("<Q", opened.read(8))
            head = json.loads(opened.read(size)) if size <= MAX_CONFIG else {}
        facts = json.loads(head["__metadata__"]["facts"])
        named = facts.get("backbone")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
        return None  # a published checkpoint, or a damaged one: whoever loads it says so
    return named if isinstance(named, str) else None
