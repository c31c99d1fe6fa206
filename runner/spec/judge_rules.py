"""The rules about a judge: where text may go, and how a key may travel."""

from __future__ import annotations

from collections.abc import Iterator

from eval.judge.address import STAND_IN, is_encrypted, is_this_machine
from runner.spec.model import AxolotlSpec
from runner.spec.tasks import JudgeTask
from runner.spec.yaml_text import Path

Broken = Iterator[tuple[Path, str]]


def _judges(spec: AxolotlSpec) -> Iterator[tuple[Path, JudgeTask]]:
    for number, task in enumerate(spec.evaluate):
        if isinstance(task, JudgeTask):
            yield ("evaluate", number), task


def judges_away(spec: AxolotlSpec) -> Iterator[tuple[JudgeTask, str]]:
    """Yield the judges on other machines, with their addresses."""
    for _, task in _judges(spec):
        if _away(task):
            yield task, task.endpoint


def _away(task: JudgeTask) -> bool:
    return task.endpoint != STAND_IN and not is_this_machine(task.endpoint)


def text_may_leave(spec: AxolotlSpec) -> Broken:
    """Yield endpoints on another machine that nobody agreed to send text to."""
    for path, task in _judges(spec):
        if _away(task) and not task.allow_text_to_leave:
            yield (*path, "endpoint"), f"answers and references would be sent to {task.endpoint}"


def key_is_encrypted(spec: AxolotlSpec) -> Broken:
    """Yield keys that would travel in the clear, or that nothing asks for."""
    for path, task in _judges(spec):
        if task.key_variable is None:
            continue
        if task.endpoint == STAND_IN:
            yield (*path, "key_variable"), f"a key for {STAND_IN!r}, which takes none"
        elif not is_encrypted(task.endpoint) and not is_this_machine(task.endpoint):
            yield (*path, "key_variable"), f"the key would be sent to {task.endpoint} unencrypted"
