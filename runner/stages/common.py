"""What every stage process does the same way: read its settings, run, end with the right code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from runner.events import EventWriter
from runner.files import read_json, write_json, write_text
from runner.spec.environment import expand
from runner.spec.problems import RunnerError

__all__ = ["expand", "read_json", "stage_main", "write_json", "write_text"]

Body = Callable[[Mapping[str, Any], EventWriter], int | None]


def stage_main(default_name: str, body: Body) -> NoReturn:
    """Run one stage in the current folder, which is a run directory, and end the process.

    The stage's name is the first argument, or `default_name`. `body` gets the settings of
    `config/<name>.json` and the event writer; what it returns is the exit code, None being 0. A
    `RunnerError` is printed without a traceback and ends the process with its exit code.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else default_name
    try:
        code = body(read_json(Path("config") / f"{name}.json"), EventWriter(Path("events.jsonl"), name))
    except RunnerError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    sys.exit(code or 0)
