"""Checkpoints of a run in a folder: each is there whole or not at all, and says by hash that it is.

    checkpoint-<step>/state.safetensors   what training changes of the model, optimiser moments, method
                                          (`runner.native.states`)
                      state.json          step, schedule, generators, data order, best so far, SHA-256 of the above
    best-<step>/weights.safetensors       what training changes, at the best evaluation so far

A folder is filled under another name, flushed to the disk and renamed. A best one stays as long as a checkpoint names
it, so that going on from any checkpoint finds the best that it speaks of.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from runner.checkpoints import read_header
from runner.files import read_json, sha256_of, write_json
from runner.native.checkpoints import load, save
from runner.native.errors import NativeError
from runner.native.method import Method
from runner.native.model import EcgModel
from runner.native.states import load_state, save_state
from runner.spec.problems import MachineError

STATE, FACTS, WEIGHTS = "state.safetensors", "state.json", "weights.safetensors"
FORMAT = 1
_NAME = re.compile(r"(checkpoint|best)-(\d+)")
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Found:
    """The newest whole checkpoint, and those that cannot be used, newest first, each with the reason."""

    newest: Path | None
    facts: Mapping[str, Any]
    damaged: tuple[tuple[Path, str], ...]

    @property
    def step(self) -> int:
        """Optimiser steps of the newest one; 0 without one."""
        step: int = self.facts.get("step", 0)
        return step


class Snapshots:
    """The checkpoints of one run.

    Args:
        folder: made when the first one is written.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        if keep < 1:
            raise NativeError(f"train.checkpoints: expected at least 1 to keep, got {keep}")
        self.folder, self.keep = folder, keep

    # ---------------------------------------------------------------------------------------- write

    def save(self, step: int, model: nn.Module, method: Method, facts: Mapping[str, Any]) -> Path:
        """Write the checkpoint of `step`, then remove what it makes superfluous.

        Args:
            step: optimiser steps done.
            model: what training changes of it is written: parameters that are trained, and all buffers.
            method: likewise.
            facts: JSON that the trainer goes on from; `best_step` in it names the best weights to keep.

        Raises:
            MachineError: it cannot be written; an earlier one is still there.
        """

        def fill(folder: Path) -> None:
            save_state(folder / STATE, model, method, {})
            digest = sha256_of(folder / STATE)
            write_json(folder / FACTS, {"format": FORMAT, **facts, "step": step, "sha256": digest})

        path = self._written(f"checkpoint-{step}", fill)
        self._prune()
        return path

    def save_best(self, step: int, model: nn.Module) -> None:
        """Write what training changes of `model`: parameters that are trained, and all buffers."""

        def fill(folder: Path) -> None:
            save(model, folder / WEIGHTS, {"step": str(step)}, trained_only=True)
            write_json(
                folder / FACTS, {"format": FORMAT, "step": step, "sha256": sha256_of(folder / WEIGHTS)}
            )

        self._written(f"best-{step}", fill)

    def _written(self, name: str, fill: Callable[[Path], None]) -> Path:
        target = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _emptied(self.folder / f"{_PARTIAL}{name}") as partial:
                fill(partial)
                for file in partial.iterdir():
                    _flush(file)
                if target.exists():  # of an earlier process, from the same step on
                    shutil.rmtree(target)
                partial.rename(target)
                _flush(self.folder)
        except OSError as error:
            raise MachineError(
                f"cannot write {target}: {error.strerror or error}\n  make room; earlier checkpoints are untouched"
            ) from error
        return target

    def _prune(self) -> None:
        """Remove all but the newest checkpoints, and the best weights that none of these names."""
        numbered = sorted(self._named("checkpoint"), reverse=True)
        for _, path in numbered[self.keep :]:
            shutil.rmtree(path, ignore_errors=True)
        named = set()
        for step, path in numbered[: self.keep]:
            facts, fault = _facts_of(path, step, None)
            named |= set() if fault else {facts.get("best_step")}
        for step, path in self._named("best"):
            if step not in named:
                shutil.rmtree(path, ignore_errors=True)

    # ----------------------------------------------------------------------------------------- read

    def find(self) -> Found:
        """Return the newest whole checkpoint: every file there, with the bytes that were written."""
        damaged: list[tuple[Path, str]] = []
        for step, path in sorted(self._named("checkpoint"), reverse=True):
            facts, fault = _facts_of(path, step, STATE)
            if not fault and facts.get("best_step") is not None:
                best = self.folder / f"best-{facts['best_step']}"
                _, best_fault = _facts_of(best, facts["best_step"], WEIGHTS)
                fault = best_fault and f"the best weights that it names, {best.name}: {best_fault}"
            if not fault:
                return Found(path, facts, tuple(damaged))
            damaged.append((path, fault))
        return Found(None, {}, tuple(damaged))

    def set_aside(self, path: Path) -> Path:
        """Rename a damaged checkpoint, so that it is not found again; return its new name."""
        number, name = 1, path.with_name(f"damaged-{path.name}")
        while name.exists():
            number += 1
            name = path.with_name(f"damaged-{path.name}-{number}")
        try:
            return path.rename(name)
        except OSError as error:
            raise MachineError(f"cannot rename the damaged {path}: {error.strerror}") from error

    def resume(self, path: Path, model: nn.Module, method: Method) -> None:
        """Set model and method to a checkpoint that `find` returned."""
        load_state(path / STATE, model, method)

    def load_best(self, step: int, model: EcgModel) -> None:
        """Set what training changes of `model` to the best weights, those of `step`."""
        path = self.folder / f"best-{step}"
        _, fault = _facts_of(path, step, WEIGHTS)
        if fault:
            raise NativeError(f"{path}: {fault}; start the run again")
        load(model, path / WEIGHTS, partial=True)

    def _named(self, kind: str) -> Iterator[tuple[int, Path]]:
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if (match := _NAME.fullmatch(path.name)) and match[1] == kind:
                    yield int(match[2]), path


def _facts_of(path: Path, step: int, name: str | None) -> tuple[Mapping[str, Any], str]:
    """Return what `state.json` says, and why it or the file `name` cannot be used; "" where they can."""
    try:
        facts: Mapping[str, Any] = read_json(path / FACTS)
        if facts.get("format") != FORMAT or facts.get("step") != step:
            return {}, f"{FACTS} is of format {facts.get('format')!r}, step {facts.get('step')!r}"
        if name is None:
            return facts, ""
        read_header(path / name)
        if sha256_of(path / name) != facts["sha256"]:
            return {}, f"{name} is damaged: its bytes are not those that were written"
    except FileNotFoundError as error:
        return {}, f"{Path(error.filename).name} is missing"
    except (MachineError, ValueError, KeyError, AttributeError, TypeError) as error:
        return {}, str(error).replace(f"{path}/", "")
    return facts, ""


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """Give a new folder, and leave nothing of it behind where it was not renamed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _flush(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
