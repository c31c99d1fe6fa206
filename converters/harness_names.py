"""The names of lm-eval's tasks, groups and tags, written down so that a spec can be checked without it.

`python -m converters.harness_names` writes them anew from the installed harness. A test compares.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from converters.raw_problem import RawProblem
from runner.spec.model import AxolotlSpec
from runner.spec.nearest import nearest
from runner.spec.tasks import LmEvalTask

HARNESS = "0.4.11"
"""The version of lm-eval that the names are of."""

OWN = Path(__file__).parent.parent / "eval" / "tasks"
"""Our own task files."""

CODE = "harness-task"

MAX_HINTS = 20
"""Unknown names for which the nearest of the harness's thousands is looked for."""


def unknown_tasks(spec: AxolotlSpec) -> Iterator[RawProblem]:
    """Yield the names under `evaluate[].tasks` that the harness does not know.

    Where a folder of own task files is given, its names are known to nobody before the run.
    """
    unknown = 0
    for number, task in enumerate(spec.evaluate):
        if not isinstance(task, LmEvalTask) or task.include is not None:
            continue
        for place, name in enumerate(task.tasks):
            if name not in harness_names():
                path = ("evaluate", number, "tasks", place)
                hint = _instead(name) if unknown < MAX_HINTS else ""
                yield RawProblem(path, CODE, f"lm-eval {HARNESS} has no task {name!r}", hint)
                unknown += 1


def _instead(name: str) -> str:
    alike = (other for other in sorted(harness_names()) if other[:1] == name[:1])
    near = nearest(name, alike)
    own = "or give the folder of your own task files under `include`"
    return f"nearest: {near}; {own}" if near else f"`lm_eval ls tasks` lists them; {own}"


def _file() -> Any:
    return files("converters").joinpath("engine", f"lm_eval-{HARNESS}.json")


@cache
def harness_names() -> frozenset[str]:
    """Return every name that `evaluate[].tasks` may hold without a folder of one's own."""
    return frozenset(json.loads(_file().read_text(encoding="utf-8"))["names"])


def installed_names() -> list[str]:
    """Return the same from the harness that is installed, and our own task files."""
    from lm_eval.tasks import TaskManager

    return sorted(TaskManager(include_path=str(OWN)).all_tasks)


if __name__ == "__main__":
    text = json.dumps({"lm_eval": HARNESS, "names": installed_names()}, indent=0, ensure_ascii=False)
    Path(str(_file())).write_text(text + "\n", encoding="utf-8")
    print(f"wrote {_file()}", file=sys.stderr)
