"""What can be wrong, and how it is said: one `Problem` a fault, all of them in one error.

Every error that a user can cause is a `RunnerError` with an exit code; anything else is a bug and
keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_CHOICES = 12
"""Allowed values are listed up to this many; beyond it the nearest match says more."""


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of one file.

    `line` and `column` count from 1, as editors do; 0 means the file as a whole. `path` is the
    place in the spec (`train.batch.micro`), `code` the rule (`R012`) or the kind of fault
    (`unknown-key`), `message` what was given and what is allowed, `hint` what to do.
    """

    file: str
    line: int
    column: int
    path: str
    code: str
    message: str
    hint: str = ""

    def text(self) -> str:
        """Return the two lines that a person reads."""
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        head = f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"
        return f"{head} [{self.code}]" + (f"\n  {self.hint}" if self.hint else "")


class RunnerError(Exception):
    """An error that the user can act on. `exit_code` is what the command ends with."""

    exit_code = 1


class SpecError(RunnerError):
    """The spec or the command line is wrong; nothing was started."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__(render(self.problems))


class UsageError(RunnerError):
    """The command line asks for something that cannot be; nothing was started."""

    exit_code = 2


class DataError(RunnerError):
    """The data are missing, empty or damaged; no model was started."""

    exit_code = 2


class StageError(RunnerError):
    """A stage of a run failed."""

    exit_code = 1


class CountedError(StageError):
    """The spec does not go with the records that there are, which only the data stage could count."""

    exit_code = 2


class MachineError(RunnerError):
    """This machine lacks something: a package, a GPU, disk space, a free run."""

    exit_code = 3


def render(problems: Sequence[Problem]) -> str:
    """Return all problems as text, in the order of file and line, with a closing count."""
    files = sorted({problem.file for problem in problems})
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    place = files[0] if len(files) == 1 else f"{len(files)} files"
    lines = [problem.text() for problem in problems]
    return "\n".join([*lines, f"{count} in {place}; nothing was started"])


def choices(allowed: Iterable[str]) -> str:
    """Return `allowed: a, b, c`, shortened where the list is long."""
    names = list(allowed)
    shown = ", ".join(names[:MAX_CHOICES])
    rest = f", ... ({len(names)} in all)" if len(names) > MAX_CHOICES else ""
    return f"allowed: {shown}{rest}"
