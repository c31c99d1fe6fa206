"""The rules about a judge: where text may go, and how a key may travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from eval.judge.address import STAND_IN, is_encrypted, is_this_machine
from runner.spec.model import AxolotlSpec
from runner.spec.tasks import EcgBenchTask, Grader, JudgeTask
from runner.spec.yaml_text import Path

Broken = Iterator[tuple[Path, str]]


@dataclass(frozen=True)
class Sent:
    """Whose answers and references go to a judge."""

    split: str
    """The split of the run's own records, or in words the set of ECGBench whose items they answer."""


def _judges(spec: AxolotlSpec) -> Iterator[tuple[Path, Sent, Grader]]:
    """Yield every judge that is asked; invented items are graded by the stand-in, whatever the task says."""
    for number, task in enumerate(spec.evaluate):
        if isinstance(task, JudgeTask):
            yield ("evaluate", number), Sent(task.split), task
        elif isinstance(task, EcgBenchTask) and task.judge is not None and task.items == "real":
            yield ("evaluate", number, "judge"), Sent(f"ECGBench's {task.set}"), task.judge


def judges_away(spec: AxolotlSpec) -> Iterator[tuple[Sent, str]]:
    """Yield what goes to judges on other machines, with their addresses."""
    for _, sent, judge in _judges(spec):
        if _away(judge):
            yield sent, judge.endpoint


def _away(judge: Grader) -> bool:
    return judge.endpoint != STAND_IN and not is_this_machine(judge.endpoint)


def text_may_leave(spec: AxolotlSpec) -> Broken:
    """Yield endpoints on another machine that nobody agreed to send text to."""
    for path, _, judge in _judges(spec):
        if _away(judge) and not judge.allow_text_to_leave:
            yield (*path, "endpoint"), f"answers and references would be sent to {judge.endpoint}"


def key_is_encrypted(spec: AxolotlSpec) -> Broken:
    """Yield keys that would travel in the clear, or that nothing asks for."""
    for path, _, judge in _judges(spec):
        if judge.key_variable is None:
            continue
        if judge.endpoint == STAND_IN:
            yield (*path, "key_variable"), f"a key for {STAND_IN!r}, which takes none"
        elif not is_encrypted(judge.endpoint) and not is_this_machine(judge.endpoint):
            yield (*path, "key_variable"), f"the key would be sent to {judge.endpoint} unencrypted"
