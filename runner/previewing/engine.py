"""The engine's own way from records to rows: its config, tokenizer, processor, data strategy and collator.

Axolotl decides by its config alone how a row is masked, and says so nowhere before the training. So nothing is built
after it here: the very functions that `axolotl train` calls are called, on the config of the run, up to the batch.
Checked against Axolotl 0.19.0 (cli/config.py, common/datasets.py, core/builders/causal.py). No weights are loaded.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from converters.axolotl import PLUGIN, PLUGIN_KEY
from runner.files import write_text
from runner.spec.environment import expand, has_placeholder
from runner.spec.problems import MachineError
from runner.stages.common import expand_path

PLACES = ("base_model", "tokenizer_config", "processor_config", "lora_model_dir")
"""Keys whose value is a folder, which is found from the user's own, or a hub id."""
OF_THE_DEVICE = (
    "deepspeed",
    "fsdp",
    "fsdp_config",
    "bf16",
    "fp16",
    "tf32",
    "load_in_4bit",
    "load_in_8bit",
    "adapter",
)
"""Keys about where and how weights are held. None of them changes a row, and a CPU refuses some of them."""
WORK = Path("preview/engine")
"""What the engine writes on the way; removed in the end."""


@dataclass(frozen=True)
class Engine:
    """Axolotl with its config, as it is before it loads any weights."""

    config: Any
    tokenizer: Any
    processor: Any | None
    collator: Any | None
    """What makes batches of rows with images; None for text, whose rows are made beforehand."""

    @property
    def strategy(self) -> str:
        """Return the name of the engine's class that chooses the tokens that carry loss."""
        chooser = None if self.collator is None else getattr(self.collator, "processing_strategy", None)
        if chooser is not None:
            return type(chooser).__name__
        kinds = {str(item["type"]) for item in self.config.datasets}
        return f"{', '.join(sorted(kinds))} strategy"


@dataclass(frozen=True)
class EngineRow:
    """One record as the engine trains on it; `inputs` are what else goes to the model, such as pixel values."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    inputs: Mapping[str, Any]


def load_engine(path: Path, environ: Mapping[str, str]) -> Engine:
    """Return the engine of a config: tokenizer and processor loaded, collator chosen.

    Raises:
        MachineError: tokenizer or processor cannot be loaded, or the engine refuses the config.
    """
    config = _read(path, environ)
    os.environ |= {"AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"}  # for whoever starts this by hand
    from axolotl.cli.config import prepare_plugins
    from axolotl.loaders import load_processor, load_tokenizer
    from axolotl.utils.config import normalize_cfg_datasets, normalize_config, validate_config
    from axolotl.utils.dict import DictDefault

    cfg = DictDefault(config)
    prepare_plugins(cfg)
    try:
        cfg = validate_config(cfg)
        normalize_config(cfg)
        normalize_cfg_datasets(cfg)
        tokenizer = load_tokenizer(cfg)
        processor = load_processor(cfg, tokenizer=tokenizer) if cfg.processor_type else None
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = "\n  ".join((str(error).strip() or type(error).__name__).splitlines()[:6])
        raise MachineError(
            f"the engine cannot be made ready for {cfg.base_model!r}: {reason}\n"
            "  a preview needs the tokenizer, and for images the processor, of model.base, not its weights: in the "
            "cache, on a hub that can be reached, or in a folder; --rehearse needs neither"
        ) from error
    return Engine(cfg, tokenizer, processor, _collator(cfg, tokenizer, processor) if processor else None)


def _read(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the run's config, without our plugin, which would begin a proof, and without what is of the device."""
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if key not in (PLUGIN_KEY, *OF_THE_DEVICE)}
    config["plugins"] = [name for name in config.get("plugins") or () if name != PLUGIN]
    for key, value in config.items():
        if has_placeholder(value):
            place = key in PLACES and isinstance(value, str)
            config[key] = expand_path(value, environ, hub=True) if place else expand(value, environ)
    config.pop("test_datasets", None)
    if config.get("eval_strategy"):
        config |= {"eval_strategy": "no", "load_best_model_at_end": False}
        for key in ("eval_steps", "metric_for_best_model", "greater_is_better", "early_stopping_patience"):
            config.pop(key, None)
    config |= {
        "bf16": False,
        "fp16": False,
        "tf32": False,
        "output_dir": str(WORK / "out"),
        "shuffle_merged_datasets": False,  # the order is all that tells the rows apart
        "dataset_num_proc": 1,
    }
    return config


def _collator(cfg: Any, tokenizer: Any, processor: Any) -> Any:
    """Return the collator that the engine's trainer builder chooses for this config."""
    from axolotl.core.builders.causal import HFCausalTrainerBuilder
    from axolotl.utils.chat_templates import get_chat_template_from_config

    builder = HFCausalTrainerBuilder(cfg, None, tokenizer, processor)
    arguments = SimpleNamespace(  # as the builder fills them in from the config
        pretraining=bool(cfg.pretraining_dataset),
        sample_packing=bool(cfg.sample_packing),
        eval_sample_packing=bool(cfg.eval_sample_packing),
        chat_template=get_chat_template_from_config(cfg=cfg, tokenizer=tokenizer)
        if cfg.chat_template
        else None,
        image_size=cfg.image_size or None,
        image_resize_algorithm=cfg.image_resize_algorithm or None,
    )
    return builder.build_collator(arguments, is_eval=False, padding=True)


def engine_rows(engine: Engine, rows: Sequence[Mapping[str, Any]]) -> list[EngineRow | None]:
    """Return rows as the engine trains on them, in order; None for one that it leaves out.

    Args:
        engine: from `load_engine`.
        rows: lines of the engine's data file.
    """
    together = _prepared(engine, rows, "all")
    if len(together) == len(rows):
        return [_engine_row(engine, row) for row in together]
    # The engine does not say which it has left out.
    each = [_prepared(engine, [row], str(number)) for number, row in enumerate(rows)]
    return [_engine_row(engine, found[0]) if found else None for found in each]


def _prepared(engine: Engine, rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Return what the engine's own preparation of data sets makes of some rows."""
    from axolotl.utils.data import prepare_datasets

    file = WORK / f"{name}.jsonl"
    write_text(file, "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows))
    cfg = type(engine.config)(engine.config)
    first = type(engine.config)(engine.config.datasets[0])
    first.path = str(file)
    cfg.datasets = [first]
    cfg.dataset_prepared_path = str(WORK / f"prepared-{name}")
    found, *_ = prepare_datasets(cfg, engine.tokenizer, processor=engine.processor)
    return list(found)


def _engine_row(engine: Engine, row: Mapping[str, Any]) -> EngineRow:
    if engine.collator is None:
        return EngineRow(tuple(row["input_ids"]), tuple(row["labels"]), {})
    batch = engine.collator([row])
    inputs = {key: value for key, value in batch.items() if key not in ("input_ids", "labels")}
    return EngineRow(tuple(batch["input_ids"][0].tolist()), tuple(batch["labels"][0].tolist()), inputs)


def tidy() -> None:
    """Remove what the engine wrote on the way."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.rmtree(Path("preview/datasets"), ignore_errors=True)


def image_ids(tokenizer: Any, processor: Any | None) -> frozenset[int]:
    """Return the ids of the tokens that stand for images or open and close one: these are never learned."""
    if processor is None:
        return frozenset()
    names = ("image_token_id", "boi_token_id", "eoi_token_id", "image_token", "boi_token", "eoi_token")
    found = {getattr(owner, name, None) for owner in (processor, tokenizer) for name in names}
    ids = {one for one in found if isinstance(one, int)}
    known = tokenizer.get_vocab()
    return frozenset(ids | {known[one] for one in found if isinstance(one, str) and one in known})


def decoder(tokenizer: Any) -> Any:
    """Return the function that spells ids as text: special tokens written out, nothing cleaned up."""

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    return decode
