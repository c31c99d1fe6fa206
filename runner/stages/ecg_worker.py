"""One process of an ECG training: builds what the settings say, trains, and leaves weights and proof.

Alone, in the process of the train stage, or one of several that torchrun started. `python -m runner.stages.ecg_worker
NAME` reads `config/NAME.json`; `runner.stages.ecg_train` says what is in it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from runner.events import EventWriter
from runner.files import full_disk
from runner.native import distill
from runner.native.assembly import (
    choose_trained,
    method_of,
    network,
    objective_of,
    start_from,
    trained_facts,
    unlike,
    update_of,
    weights_file,
)
from runner.native.dataset import Records, open_records
from runner.native.errors import NativeError
from runner.native.feed import Feed, Order
from runner.native.journal import Journal
from runner.native.method import Method, Setup
from runner.native.model import EcgModel
from runner.native.optimiser import Update
from runner.native.snapshots import Snapshots
from runner.native.store import EcgStore
from runner.native.together import Together
from runner.native.train import Course, Ended, Training
from runner.native.watch import Watch
from runner.proof import FAILED
from runner.spec.problems import MachineError, RunnerError, StageError
from runner.stages.common import expand_path, read_json
from runner.stages.ecg_final import leave, seen_by
from runner.stages.ecg_teacher import teacher_of

if TYPE_CHECKING:
    from runner.native.board import Board

CHECKPOINTS_KEPT = 2
VERSIONS = ("torch", "numpy", "safetensors")
Settings = Mapping[str, Any]


@dataclass
class Stop:
    """Whether this process was asked to end; a second request ends it at once."""

    asked: bool = False

    def __call__(self) -> bool:
        """Return whether it was asked."""
        return self.asked

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Remember the first request."""
        del frame
        if self.asked:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.asked = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT for requests to stop inside the block."""
        before = {number: signal.signal(number, self.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def work(settings: Settings, events: EventWriter, environ: Mapping[str, str]) -> Ended:
    """Train in the run directory that is the current folder, and leave the final weights.

    Raises:
        StageError: the training failed; the proof says so too.
    """
    stop = Stop()
    together = Together.of(environ)
    device = together.device(settings["device"])
    out = Path(settings["out"])
    board = _board(out) if settings["tracking"]["tensorboard"] and together.writes else None
    journal = Journal(events if together.writes else None, out / "metrics.jsonl", out / "proof.json", board)
    with stop.listening(), together.join(device):
        journal.prove(device=settings["device"], processes=together.world)
        try:
            return _train(settings, environ, together, device, journal, stop)
        except NativeError as error:
            journal.prove(state=FAILED, reason=str(error))
            raise StageError(str(error)) from error


def _board(out: Path) -> Board:
    from runner.native.board import FOLDER, Board  # a second to import, and seldom asked for

    return Board(out / FOLDER)


def _train(
    settings: Settings,
    environ: Mapping[str, str],
    together: Together,
    device: torch.device,
    journal: Journal,
    stop: Callable[[], bool],
) -> Ended:
    repeatable(device)
    records = open_records(Path("data"))
    train, expect = settings["train"], settings["expect"]
    model = network(
        settings["model"], len(records.store.class_names), aux=train["aux"] is not None, seed=train["seed"]
    )
    model.check_length(records.store.time_points)
    _require_choice(records, train["select"])
    _start(settings["model"], model, records.store, environ, journal)
    chosen = choose_trained(model, settings["method"], train["seed"])
    model.to(device)
    wrapped = together.wrapped(model, _kind(settings))
    train_rows = records.sides["train"]
    labels = torch.from_numpy(train_rows.labels(np.arange(len(train_rows))))
    method, update = _method(
        settings, records, model, wrapped, together, labels, _taught(settings, records, device, environ)
    )
    facts = trained_facts(model, chosen, update)
    distributed = "none" if together.world == 1 else "ddp"
    journal.prove(**facts, distributed=distributed)
    _introduce(journal, settings, together, facts, distributed)
    held = records.sides["validation"]
    has_held = len(held) > 0
    out = Path(settings["out"])
    order = Order(len(train_rows), train["batch"], train["seed"], together.world)
    with Feed(
        records.sides["train"],
        order,
        device,
        cutmix=train["cutmix"],
        rank=together.rank,
        world=together.world,
    ) as feed:
        training = Training(
            model=model,
            method=method,
            feed=feed,
            held=seen_by(held, settings) if has_held else None,
            course=Course(
                steps=expect["steps"],
                seed=train["seed"],
                log_every=train["log_every"],
                evaluate_every=train["evaluate_every"] if has_held else None,
                save_every=train["save_every"],
                evaluation_batch=train["evaluation_batch"],
                keep_best=has_held,
                precision=train["precision"],
            ),
            watch=Watch(train["select"], train["patience"] if has_held else None),
            snapshots=Snapshots(out / "checkpoints", CHECKPOINTS_KEPT),
            journal=journal,
            together=together,
            stopping=stop,
        )
        ended = training.run()
    if ended.state == "finished" and together.writes:
        leave(settings, records, model, device, journal, ended)
    together.wait()
    return ended


# ------------------------------------------------------------------------------------------ the parts


def repeatable(device: torch.device) -> None:
    """Make this process compute the same twice: deterministic kernels, none chosen by timing."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def _start(
    model: Settings, built: EcgModel, store: EcgStore, environ: Mapping[str, str], journal: Journal
) -> None:
    """Give the network the weights that training starts from, and prove which: null where all are random."""
    given = model["checkpoint"]
    place = expand_path(given, environ, hub=False) if given else ""
    if not place:
        why = f"{given} is empty" if given else "model.checkpoint is not given"
        journal.event("note", text=f"training starts from random weights: {why}")
        journal.prove(started_from=None)
        return
    loaded = start_from(built, Path(place))
    for name, reason in loaded.left_out.items():
        journal.event("note", text=f"of the checkpoint {name} is not used: {reason}")
    if loaded.new:
        journal.event("note", text=f"{len(loaded.new)} tensors start at random, the first is {loaded.new[0]}")
    unlikeness = unlike(Path(place), store.leads, store.time_points, store.fs_hz)
    for text in unlikeness:
        journal.event("note", text=f"the checkpoint was trained on other recordings: {text}")
    journal.prove(
        started_from={"tensors": len(loaded.names), "new": list(loaded.new), "trained_on_other": unlikeness}
    )


def _require_choice(records: Records, select: str) -> None:
    """Refuse, before any step, validation records by which no weights can be chosen.

    Raises:
        NativeError: there are some, and each class is in all of them or in none.
    """
    held = records.sides["validation"]
    labels = held.labels(np.arange(len(held))) > 0.5
    if len(held) and not (labels.any(axis=0) & ~labels.all(axis=0)).any():
        raise NativeError(
            f"train.select: {select} cannot be computed: each of {labels.shape[1]} classes is in all or in none of the "
            f"{len(held)} validation records, so no weights could be chosen\n  give validation more records "
            "(data.split), or take a larger set"
        )


def _kind(settings: Settings) -> str:
    """Return the name of the method as far as sharing it out is concerned."""
    name: str = settings["method"]["name"]
    return "distill" if settings["distill"] else name


def _method(
    settings: Settings,
    records: Records,
    model: EcgModel,
    wrapped: torch.nn.Module | None,
    together: Together,
    labels: torch.Tensor,
    under: distill.Options | None,
) -> tuple[Method, Update]:
    train, expect, method = settings["train"], settings["expect"], settings["method"]
    upstream = method.get("compat") == "upstream"
    objective = objective_of(train, records.store.class_names, labels, check=not upstream)
    update = update_of(model, train, expect["steps"], expect["warmup_steps"])
    setup = Setup(
        model, objective, update, train["seed"], expect["steps"], train["precision"], wrapped, together
    )
    return method_of(setup, method, under), update


def _taught(
    settings: Settings, records: Records, device: torch.device, environ: Mapping[str, str]
) -> distill.Options | None:
    return _teacher(settings, records, device, environ) if settings["distill"] else None


def _teacher(
    settings: Settings, records: Records, device: torch.device, environ: Mapping[str, str]
) -> distill.Options:
    """Return the teacher, on its device, and how the student is taught.

    Raises:
        NativeError: its weights are of other classes or leads, or do not say of which network they are.
    """
    asked = settings["distill"]
    teacher = teacher_of(weights_file(Path(expand_path(asked["teacher"], environ, hub=False))), records)
    return distill.Options(
        teacher=teacher.to(device).eval(),
        label_weight=asked["label_weight"],
        kd_weight=asked["kd_weight"],
        temperature=asked["temperature"],
        leads=asked["leads"],
        bn=settings["method"]["bn"],
    )


def _introduce(
    journal: Journal, settings: Settings, together: Together, facts: Settings, distributed: str
) -> None:
    journal.event(
        "alive",
        versions={name: version(name) for name in VERSIONS},
        device=settings["device"],
        processes=together.world,
        distributed=distributed,
    )
    journal.event(
        "modules",
        trainable=facts["trainable"],
        total=facts["total"],
        share=facts["trainable"] / facts["total"],
        matched=facts["matched"],
        names=facts["names"],
    )


def main() -> None:
    """Be one of several processes of a training."""
    from runner.stages.engine import stop_with_parent

    stop_with_parent()
    name = sys.argv[1]
    try:
        ended = work(
            read_json(Path("config") / f"{name}.json"), EventWriter(Path("events.jsonl"), name), os.environ
        )
    except RunnerError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(MachineError.exit_code if full_disk(error) else error.exit_code)
    with suppress(BrokenPipeError):
        print(f"{ended.state} after step {ended.steps}", flush=True)


if __name__ == "__main__":
    main()
