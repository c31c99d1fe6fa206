"""The trainer and the callback that count what Axolotl trains; imported inside the engine alone.

The forward and the backward pass are Axolotl's. What is added looks at logits that exist already,
without gradients and without random numbers, so the trained weights are the same bits.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from axolotl.core.trainers import AxolotlTrainer
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from runner.checkpoints import STATE_KEY
from runner.proof import FINISHED, INTERRUPTED
from runner.recorder import Recorder
from runner.spec.problems import StageError
from runner.token_sums import IGNORED, SUM_NAMES, Sums, count_batch, label_mask, token_sums

PARTS = (*SUM_NAMES, "not_finite", "stop")
"""What one process adds up on its device between two optimiser steps."""


class Pending:
    """Sums of this process that have not been shared yet, kept on the device: no wait per batch."""

    def __init__(self, device: torch.device) -> None:
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.values = torch.zeros(len(PARTS), dtype=wide, device=device)

    def add(self, **parts: torch.Tensor | float) -> None:
        """Add to the named parts."""
        for name, value in parts.items():
            self.values[PARTS.index(name)] += value

    def share(self, world_size: int) -> dict[str, float]:
        """Return the sums of all processes, and start again at zero. Every process must call it."""
        values = self.values.clone()
        self.values.zero_()
        if world_size > 1:
            torch.distributed.all_reduce(values)
        return dict(zip(PARTS, values.tolist(), strict=True))


class RunnerTrainer(AxolotlTrainer):  # type: ignore[misc]  # the engine is not typed
    """Axolotl's trainer, with sums over label tokens beside every loss."""

    recorder: Recorder
    pending: Pending

    def attach(self, recorder: Recorder) -> None:
        """Say where the numbers go; before training begins."""
        self.recorder = recorder
        self.pending = Pending(self.args.device)
        if self.args.device.type == "cpu":
            # Of several processes each has device `cpu:N`, and the trainer asks for its optimiser to be
            # loaded there, a place that torch does not know of. All CPU memory is one place.
            torch.serialization.register_package(11, lambda storage: None, _stay_on_cpu)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return Axolotl's loss unchanged; add its label tokens to the sums."""
        labels = inputs.get("labels")
        rows, tokens = count_batch(inputs)
        loss, outputs = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        if labels is not None:
            with torch.no_grad():
                self._count(loss.detach(), outputs, labels, rows, tokens, num_items_in_batch, model.training)
        return (loss, outputs) if return_outputs else loss

    def _count(
        self,
        loss: torch.Tensor,
        outputs: Any,
        labels: torch.Tensor,
        rows: int,
        tokens: torch.Tensor,
        items: Any,
        training: bool,
    ) -> None:
        if not training:
            real = self._real_rows(rows)
            if real < rows:  # rows repeated so that every process has a full batch are not judged
                labels, rows = labels.clone(), real
                labels[real:] = IGNORED
        logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
        if logits is not None and logits.ndim == 3 and logits.shape[:2] == labels.shape:
            nll, entropy, correct, count = token_sums(logits, labels).unbind()
            self.pending.add(loss=nll, entropy=entropy, correct=correct, label_tokens=count)
        else:  # a fused loss makes no logits: the engine's own loss, times what it was divided by
            count = label_mask(labels).sum()
            divided_by = items if items is not None and self.model_accepts_loss_kwargs else count
            self.pending.add(loss=loss * divided_by, label_tokens=count, without_logits=count)
        self.pending.add(tokens=tokens, rows=rows, not_finite=(~torch.isfinite(loss)).any())

    def _real_rows(self, rows: int) -> int:
        """Return how many rows of this evaluation batch are no repeats, as `gather_for_metrics` counts."""
        state = self.accelerator.gradient_state
        if not state.end_of_dataloader or state.remainder <= 0:
            return rows
        return int(min(max(state.remainder - self.args.process_index * self.args.eval_batch_size, 0), rows))

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """Evaluate as the engine does; the loss reported, and used to choose the best, is per label token."""
        training, self.pending = self.pending, Pending(self.args.device)
        try:
            output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
            shared = self.pending.share(self.args.world_size)
        finally:
            self.pending = training
        sums = Sums(**{name: shared[name] for name in SUM_NAMES})
        loss = sums.means()["loss"]
        if loss is not None:
            # The engine's own is a mean over batches, which depends on how rows fall into them.
            output.metrics[f"{metric_key_prefix}_loss"] = loss
            self.recorder.evaluation(self.state.global_step, float(self.state.epoch or 0), sums)
        return output


class RunnerCallback(TrainerCallback, ExportableState):  # type: ignore[misc]  # the engine is not typed
    """Shares the sums at every optimiser step, writes events, stops when asked to.

    Its name is the key under which `trainer_state.json` keeps the counters (`checkpoints.STATE_KEY`).
    """

    def __init__(
        self, trainer: RunnerTrainer, recorder: Recorder, processes: int, *, deepspeed: bool
    ) -> None:
        self._trainer = trainer
        self._recorder = recorder
        self._processes = processes
        self._deepspeed = deepspeed
        self._asked = False
        self._stop = False
        self._interrupted = False
        self._mark = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"args": {}, "attributes": self._recorder.counters.as_dict()}

    @property
    def interrupted(self) -> bool:
        """Whether the training ended because it was asked to."""
        return self._interrupted

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say what is alive, go on counting from the checkpoint, and listen for a request to stop."""
        trainer, recorder = self._trainer, self._recorder
        saved = state.stateful_callbacks
        resumed = state.global_step > 0
        recorder.begin(state.global_step, saved[STATE_KEY]["attributes"] if resumed else None)
        if resumed:
            args.eval_on_start = False  # an evaluation that was due at this step is in the trace already
            for callback in trainer.callback_handler.callbacks:
                # Early stopping would otherwise forget how long it has been waiting.
                stored = saved.get(type(callback).__name__)
                if (
                    callback is not self
                    and isinstance(callback, ExportableState)
                    and isinstance(stored, Mapping)
                ):
                    for name, value in stored["attributes"].items():
                        setattr(callback, name, value)
        device = args.device.type
        processes, kind = trainer.accelerator.num_processes, _distributed(trainer.model_wrapped)
        facts = {"device": device, "processes": processes, "distributed": kind}
        recorder.event("alive", versions=_versions(), **facts)
        recorder.progress(
            state.global_step,
            max_steps=state.max_steps,
            resumed_from=state.global_step if resumed else None,
            stopped_early=False,
            versions=_versions(),
            **facts,
        )
        if processes != self._processes:
            raise self._failure(
                f"{self._processes} processes were started, but each trains as one of {processes}: "
                "they would train apart from each other"
            )
        if self._deepspeed and kind != "deepspeed":
            raise self._failure(
                f"the config asks for DeepSpeed, but the engine did not start it (kind: {kind})"
            )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._mark = time.perf_counter()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def _failure(self, reason: str) -> StageError:
        self._recorder.failed(reason)
        return StageError(reason)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Share the sums of this step; all processes learn here whether to stop.

        Raises:
            StageError: the loss is not a finite number; the weights have not been changed by it.
        """
        pending = self._trainer.pending
        pending.add(stop=float(self._asked))
        shared = pending.share(args.world_size)
        self._stop = shared["stop"] > 0
        sums = Sums(**{name: shared[name] for name in SUM_NAMES})
        if shared["not_finite"] or not math.isfinite(sums.loss):
            why = (
                "no row of this step has a token that carries loss"
                if not sums.label_tokens
                else "the training has diverged: lower train.learning_rate, add warm-up steps, or use bf16 "
                "instead of fp16"
            )
            raise self._failure(
                f"the loss is not a finite number at step {state.global_step + 1} of {state.max_steps}: {why}"
            )
        now = time.perf_counter()
        self._recorder.counters.add(sums, now - self._mark)
        self._mark = now

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a log line where a step event is due; save and end where a stop was asked for."""
        if self._recorder.is_due(state.global_step, last=control.should_training_stop):
            control.should_log = True
        if self._stop and not control.should_training_stop:
            self._interrupted = True
            self._recorder.event("interrupt", step=state.global_step)
            control.should_save = control.should_training_stop = True
            control.should_evaluate = control.should_evaluate and not self._stop

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Write the step event where one is due; the engine's log line has its norm and learning rate."""
        last = state.global_step >= state.max_steps
        if logs and "loss" in logs and self._recorder.is_due(state.global_step, last=last):
            self._step_event(state, logs.get("grad_norm"), logs.get("learning_rate"))

    def _step_event(self, state: Any, grad_norm: float | None, learning_rate: float | None) -> None:
        self._recorder.step(
            state.global_step,
            state.max_steps,
            float(state.epoch),
            grad_norm=grad_norm,
            learning_rate=learning_rate,
            memory_mib=_memory_mib(self._trainer.args.device.type),
        )

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save where the loss is the lowest so far and the best is kept; take no time from the training's speed.

        The engine keeps the best of the evaluations only if it happens to save after that one, and goes back
        to an earlier checkpoint, or to none, where it does not.
        """
        loss = (kwargs.get("metrics") or {}).get("eval_loss")
        if args.load_best_model_at_end and state.global_step and loss is not None:
            control.should_save |= loss < (math.inf if state.best_metric is None else state.best_metric)
        self._mark = time.perf_counter()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say that a checkpoint is there."""
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        path = (
            path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
        )
        self._recorder.event("checkpoint", step=state.global_step, path=path.as_posix())
        self._recorder.progress(state.global_step)
        self._mark = time.perf_counter()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write down what was done."""
        if not self._interrupted and self._recorder.counters.window.rows:
            self._step_event(state, None, None)  # stopped early, between two step events
        self._recorder.progress(
            state.global_step,
            INTERRUPTED if self._interrupted else FINISHED,
            stopped_early=not self._interrupted and state.global_step < state.max_steps,
            keep_best=bool(args.load_best_model_at_end),
            best_step=_step_of(state.best_model_checkpoint) if args.load_best_model_at_end else None,
            lowest_step=state.best_global_step,
        )


def _step_of(checkpoint: str | None) -> int | None:
    """Return the step in a checkpoint's name, which the trainer has loaded at the end."""
    return None if checkpoint is None else int(checkpoint.rpartition("-")[2])


def _stay_on_cpu(storage: Any, location: str) -> Any:
    return storage if location.startswith("cpu:") else None


def _distributed(model: Any) -> str:
    """Return how the model was really wrapped: none, ddp, deepspeed or fsdp."""
    names = {cls.__name__ for cls in type(model).__mro__}
    if "DeepSpeedEngine" in names:
        return "deepspeed"
    if names & {"FullyShardedDataParallel", "FSDPModule"}:
        return "fsdp"
    return "ddp" if "DistributedDataParallel" in names else "none"


def _versions() -> dict[str, str]:
    """Return the versions of the packages that decide what a training does."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("axolotl", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "deepspeed"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _memory_mib(device: str) -> float:
    """Return the peak memory so far: of the device, or of this process where there is no such counter."""
    import resource
    import sys

    if device == "cuda":
        return float(torch.cuda.max_memory_allocated()) / 2**20
    if device == "mps":
        return float(torch.mps.driver_allocated_memory()) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
