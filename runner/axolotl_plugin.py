"""The plugin inside Axolotl: proves that it is alive, checks what is trained, and records it.

Written into an Axolotl config as `plugins: [runner.axolotl_plugin.RunnerPlugin]` with the key `runner`
(`runner.plugin_settings.RunnerSettings`). Hooks in the order in which Axolotl 0.19.0 calls them. All that it
does to the training: on CPU, keep every process's model on the CPU; seed the initialisation of adapters;
where the best checkpoint is kept, save after an evaluation that is the best so far; on SIGTERM, save and stop.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel

from runner.image_proof import Inspected, inspect
from runner.load_back import fault_of, trusts
from runner.plugin_settings import RunnerSettings
from runner.recorder import Recorder
from runner.spec.environment import PLACEHOLDER, expand, has_placeholder
from runner.spec.problems import RunnerError, StageError
from runner.stages.common import expand_path
from runner.token_sums import IGNORED
from runner.trainable import NAMES_SHOWN, check, expected_trainable, matched_counts, measure

SHORTEST_REDACTED = 8
"""Values of environment variables at least this long are taken out of the engine's log."""


REPEATED = re.compile(r"(<[^<>]+>)\1{3,}")
"""One special token four times or more: the hundreds that stand for an image."""

PLACES = ("base_model", "tokenizer_config", "lora_model_dir")
"""Keys whose value is a folder, which is found from the user's own, or a hub id."""


class RunnerArgs(BaseModel):
    """The key that this plugin adds to Axolotl's config; Axolotl's own keys stay open."""

    runner: RunnerSettings


class RunnerPlugin(BasePlugin):  # type: ignore[misc]  # the engine is not typed
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._recorder: Recorder | None = None
        self._callback: Any = None
        self._expected = 0
        self._modules: tuple[str, ...] = ()

    def get_input_args(self) -> str:
        """Return the class whose fields become legal keys of the config."""
        return "runner.axolotl_plugin.RunnerArgs"

    def register(self, cfg: Any) -> None:
        """Say that the plugin is alive; put `${env:NAME}` values in, in memory only."""
        settings = RunnerSettings.model_validate(_plain(cfg.get("runner") or {}))
        self._recorder = Recorder(settings, writes=int(os.environ.get("RANK", "0")) == 0)
        self._recorder.prove()
        with self._recording():
            _expand_in_place(cfg)

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Keep the model of every process on the CPU; Axolotl would place it on device number `rank`."""
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and _on_cpu():
            cfg.device_map = {"": "cpu"}

    def pre_model_load(self, cfg: Any) -> None:
        """Seed what is drawn while the model is made.

        Axolotl leaves that to the trainer, which is made later: new embeddings and adapters would begin
        with other numbers in every run of the same config.
        """
        from transformers import set_seed

        if cfg.seed is not None:
            set_seed(int(cfg.seed))

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Count what the method must train, on the model as it is before any adapter."""
        with self._recording() as recorder:
            self._modules = tuple(name for name, _ in model.named_modules())
            tying = bool(cfg.peft_ensure_weight_tying)
            self._expected = expected_trainable(recorder.settings.method, model, keep_tied=tying)

    def get_trainer_cls(self, cfg: Any) -> Any:
        """Return Axolotl's trainer with the sums beside the loss."""
        from runner.axolotl_trainer import RunnerTrainer

        return RunnerTrainer

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """Connect the trainer with the recorder."""
        from runner.axolotl_trainer import RunnerCallback

        with self._recording() as recorder:
            trainer.attach(recorder)
            processes = int(os.environ.get("WORLD_SIZE", "1"))
            self._callback = RunnerCallback(trainer, recorder, processes, deepspeed=bool(cfg.deepspeed))
        return [self._callback]

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Check what is trained, and what it is trained on, before the first step."""
        with self._recording() as recorder:
            method = recorder.settings.method
            trained = measure(trainer.model)
            recorder.prove(
                trainable=trained.trainable, total=trained.total, expected_trainable=self._expected
            )
            recorder.event(
                "modules",
                trainable=trained.trainable,
                total=trained.total,
                share=trained.trainable / trained.total,
                matched=matched_counts(method, trained.modules),
                names=list(trained.modules[:NAMES_SHOWN]),
            )
            check(method, self._expected, trained, self._modules)
            if recorder.writes:
                sides = {"train": (trainer.train_dataset, trainer.data_collator)}
                if trainer.eval_dataset is not None:
                    sides["validation"] = (trainer.eval_dataset, trainer.eval_data_collator)
                for split, (dataset, collator) in sides.items():
                    if hasattr(collator, "processing_strategy"):
                        ends, classes = list(cfg.eot_tokens or ()), _classes(trainer.model)
                        seen = inspect(dataset, collator, ends, classes, split)
                        _describe_images(recorder, split, len(dataset), seen, trainer.processing_class)
                    else:
                        _describe(recorder, split, dataset, trainer.processing_class)

    def post_train(self, cfg: Any, model: Any) -> None:
        """End at once after an interruption: the checkpoint is saved, and there are no final weights.

        Axolotl calls this twice after a training that ended by itself; nothing happens then.
        """
        if self._callback is not None and self._callback.interrupted:
            from axolotl.utils.distributed import cleanup_distributed

            cleanup_distributed()
            raise SystemExit(0)

    def post_train_unload(self, cfg: Any) -> None:
        """Load the saved weights back from the disk, here where all that it needs is imported already."""
        with self._recording() as recorder:
            if recorder.writes:
                adapter = recorder.settings.method.name not in ("full", "partial")
                fault = fault_of(
                    Path(cfg.output_dir), adapter=adapter, proof=recorder.proof, trust_remote_code=trusts(cfg)
                )
                recorder.prove(load_back=fault)

    @contextmanager
    def _recording(self) -> Iterator[Recorder]:
        """Give the recorder; a `RunnerError` goes into the proof before it ends the engine."""
        if self._recorder is None:
            raise StageError("Axolotl has not called the plugin's register hook")
        try:
            yield self._recorder
        except RunnerError as error:
            self._recorder.failed(str(error))
            raise


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value


def _on_cpu() -> bool:
    import torch

    return not torch.cuda.is_available() and not torch.backends.mps.is_available()


def _expand_in_place(cfg: Any) -> None:
    """Replace `${env:NAME}` in the config that Axolotl holds, and keep the values out of its log.

    The file stays as it is, and with it the copy that Axolotl puts into the model card.
    """
    private: set[str] = set()
    for key in list(cfg):
        value = _plain(cfg[key])
        if has_placeholder(value):
            private |= set(_values(value))
            place = key in PLACES and isinstance(value, str)
            cfg[key] = expand_path(value, os.environ, hub=True) if place else expand(value, os.environ)
    if private:
        redact = _Redact(private)
        for name in ("", "axolotl"):
            for handler in logging.getLogger(name).handlers:
                handler.addFilter(redact)


def _values(value: Any) -> Iterator[str]:
    """Yield the values of the variables that the texts in `value` name."""
    if isinstance(value, str):
        for match in PLACEHOLDER.finditer(value):
            found = os.environ.get(match["name"], "")
            if len(found) >= SHORTEST_REDACTED:
                yield found
    elif isinstance(value, dict):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _values(item)


class _Redact(logging.Filter):
    """Takes private values out of log records."""

    def __init__(self, private: set[str]) -> None:
        super().__init__()
        self._private = sorted(private, key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        for value in self._private:
            text = text.replace(value, "[from the environment]")
        record.msg, record.args = text, ()
        return True


def _describe(recorder: Recorder, split: str, dataset: Any, tokenizer: Any) -> None:
    """Write the `dataset` event of one split.

    Raises:
        StageError: no token carries loss.
    """
    names = set(getattr(dataset, "column_names", None) or ())
    if not {"input_ids", "labels"} <= names:
        return  # rows that are made into tokens while training
    tokens = label_tokens = empty = 0
    for batch in dataset.select_columns(["input_ids", "labels"]).with_format("numpy").iter(batch_size=1000):
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            carried = int((labels[1:] != IGNORED).sum())
            tokens += len(ids)
            label_tokens += carried
            empty += carried == 0
    first = dataset[0] if len(dataset) else {"input_ids": [], "labels": []}
    if split == "train":  # evaluation must make the same tokens of the same record
        recorder.prove(first_row={name: list(first[name]) for name in ("input_ids", "labels")})
    recorder.event(
        "dataset",
        split=split,
        rows=len(dataset),
        inspected=len(dataset),
        tokens=tokens,
        label_tokens=label_tokens,
        label_share=label_tokens / tokens if tokens else 0.0,
        first=marked(tokenizer, first["input_ids"], first["labels"]),
    )
    if not label_tokens:
        raise StageError(
            f"no token of the {split} records carries loss: the template marks no assistant answer, or every "
            "answer is cut off at the context length"
        )
    if empty:
        recorder.event("note", text=f"{empty} of {len(dataset)} {split} rows have no token that carries loss")


def _describe_images(recorder: Recorder, split: str, rows: int, seen: Inspected, tokenizer: Any) -> None:
    """Write the `dataset` event of rows that become tokens while training, of those that were looked at."""
    if split == "train":
        recorder.prove(first_row={name: list(values) for name, values in seen.first.items()})
    first = marked(tokenizer, list(seen.first["input_ids"]), list(seen.first["labels"]))
    recorder.event(
        "dataset",
        split=split,
        rows=rows,
        inspected=seen.rows,
        tokens=seen.tokens,
        label_tokens=seen.label_tokens,
        label_share=seen.label_tokens / seen.tokens if seen.tokens else 0.0,
        first=REPEATED.sub(lambda many: f"{many[1]} x {len(many[0]) // len(many[1])}", first),
    )


def _classes(model: Any) -> int:
    """Return how many tokens the model can write."""
    return int(model.get_output_embeddings().weight.shape[0])


def marked(tokenizer: Any, ids: list[int], labels: list[int]) -> str:
    """Return a row as text, with the spans that carry loss between ⟦ and ⟧."""
    parts: list[str] = []
    start = 0
    for end in range(1, len(ids) + 1):
        if end == len(ids) or (labels[end] == IGNORED) != (labels[start] == IGNORED):
            text = tokenizer.decode(ids[start:end], skip_special_tokens=False)
            parts.append(text if labels[start] == IGNORED else f"⟦{text}⟧")
            start = end
    return "".join(parts)
