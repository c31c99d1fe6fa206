"""A stage: one process of a run, with what it reads, what it writes and what it was told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SAYS = "runner: "
"""What a stage's own word on why it failed begins with, in its log among the words of packages."""


@dataclass(frozen=True)
class PlannedFile:
    """A file that the plan writes into the run directory; `path` is relative to it."""

    path: str
    text: str


@dataclass(frozen=True)
class Stage:
    """One process of a run.

    It is started as `python -m MODULE` with the run directory as working directory, reads its
    `settings` from `config/<name>.json`, writes events to `events.jsonl` and its own output to
    `logs/<name>.log`. It ends with 0, 1, 2, 3 or 130, as the command line does.
    A stage is not run again when its settings, the hashes of what it reads and the version of
    runner are those of its last success and what it writes is still there.
    """

    name: str
    module: str
    reads: tuple[str, ...]
    """Files and folders, relative to the run directory, that an earlier stage or the plan wrote."""
    writes: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables set for the process, beside those of runner itself."""
