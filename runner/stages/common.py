"""What every stage process does the same way: read its settings, run, end with the right code."""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from runner.events import EventWriter
from runner.files import full_disk, read_json, write_json, write_text
from runner.spec.environment import expand, has_placeholder
from runner.spec.problems import MachineError, RunnerError
from runner.stage import SAYS

__all__ = ["expand", "expand_path", "read_json", "stage_main", "throttled", "write_json", "write_text"]

FOLDER_VARIABLE = "RUNNER_CWD"
"""The absolute folder that the user launched from, set by the executor."""

LOCAL = ("./", "../", "/", "~/")
"""What a local path begins with, where a hub id may stand too."""

PROGRESS_EVERY_S = 0.25

MAKE_ROOM = "make room, then go on with runner launch --resume"

Body = Callable[[Mapping[str, Any], EventWriter], int | None]


def expand_path(text: str, environ: Mapping[str, str], *, hub: bool) -> str:
    """Return a place with its placeholders replaced; a relative one is below the user's folder.

    A text without a placeholder is as the plan wrote it: absolute, in the run directory, or a hub id.

    Args:
        text: a path or, with `hub`, a hub id.
        environ: the variables; `RUNNER_CWD` is the user's folder.
        hub: whether a relative path is one only where it says so: with ./, ../, / or ~/.

    Raises:
        MachineError: a variable is not set and has no default; names it.
    """
    if not has_placeholder(text):
        return text
    value: str = expand(text, environ)
    if not value or (hub and not value.startswith(LOCAL)):
        return value
    return os.path.normpath(Path(environ.get(FOLDER_VARIABLE, "")) / Path(value).expanduser())


def stage_main(default_name: str, body: Body) -> NoReturn:
    """Run one stage in the current folder, which is a run directory, and end the process.

    The stage's name is the first argument, or `default_name`. `body` gets the settings of
    `config/<name>.json` and the event writer; what it returns is the exit code, None being 0. A
    `RunnerError` is printed without a traceback and ends the process with its exit code; a full disk ends it with 3,
    whichever library met it.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else default_name
    try:
        code = body(read_json(Path("config") / f"{name}.json"), EventWriter(Path("events.jsonl"), name))
    except RunnerError as error:
        print(f"{SAYS}{error}", file=sys.stderr, flush=True)
        sys.exit(MachineError.exit_code if full_disk(error) else error.exit_code)
    except Exception as error:
        if (said := full_disk(error)) is None:
            raise
        traceback.print_exc()
        print(f"{SAYS}{said}\n  {MAKE_ROOM}", file=sys.stderr, flush=True)
        sys.exit(MachineError.exit_code)
    sys.exit(code or 0)


def throttled(events: EventWriter) -> Callable[[int, int | None, str], None]:
    """Return a function that writes progress events, at most four a second and always the last."""
    last = -math.inf

    def progress(done: int, total: int | None, unit: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY_S or done == total:
            last = now
            events.write("progress", done=done, total=total, unit=unit)

    return progress
