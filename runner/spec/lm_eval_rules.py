"""The rules about tasks of lm-eval."""

from __future__ import annotations

from collections.abc import Iterator

from runner.spec.model import AxolotlSpec
from runner.spec.tasks import LmEvalTask
from runner.spec.yaml_text import Path


def each_once(spec: AxolotlSpec) -> Iterator[tuple[Path, str]]:
    """Yield tasks that stand twice, and a second list of several."""
    seen: set[str] = set()
    several = False
    for number, task in enumerate(spec.evaluate):
        if not isinstance(task, LmEvalTask):
            continue
        for place, name in enumerate(task.tasks):
            if name in seen:
                yield ("evaluate", number, "tasks", place), f"{name!r} stands twice"
            seen.add(name)
        if several and len(task.tasks) > 1:
            yield ("evaluate", number, "tasks"), "a second list of several tasks"
        several = several or len(task.tasks) > 1
