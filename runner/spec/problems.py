"""What can be wrong, and how it is said: one `Problem` a fault, all of them in one error.

Every error that a user can cause is a `RunnerError` with an exit code; anything else is a bug and
keeps its traceback.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from runner.spec.visible import on_one_line

MAX_CHOICES = 12
"""Allowed values are listed up to this many; beyond it the nearest match says more."""

MAX_PROBLEMS = 200
"""Problems that are said one by one; of more, the first and how many there are."""

MAX_LETTERS = 2_000
"""Letters of one text of a problem; a longer one is cut."""

EXAMPLES = 5
"""Places that are listed where one cause has many."""


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
        """Return the two lines that a person reads; what a spec says in them cannot pass for a third."""
        file, path, message, hint = map(on_one_line, (self.file, self.path, self.message, self.hint))
        where = f"{file}:{self.line}:{self.column}" if self.line else file
        head = f"{where}: {path}: {message}" if path else f"{where}: {message}"
        return f"{head} [{self.code}]" + (f"\n  {hint}" if hint else "")


class RunnerError(Exception):
    """An error that the user can act on. `exit_code` is what the command ends with."""

    exit_code = 1


class SpecError(RunnerError):
    """The spec or the command line is wrong; nothing was started."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = bounded(problems)
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


def how_to_install(*extras: str) -> str:
    """Return the command that installs this program with extras, which works in its checkout alone.

    On the public index `runner` is another project, so that no message may say `pip install` and that name.

    >>> how_to_install("train", "eval")
    "pip install -c constraints.txt '.[train,eval]' (in the checkout of runner)"
    """
    what = f"'.[{','.join(extras)}]'" if extras else "."
    return f"pip install -c constraints.txt {what} (in the checkout of runner)"


def bounded(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems in the order of file and line, each once; of a great many the first and their number."""
    found = sorted(set(problems))
    shown = tuple(_clipped(problem) for problem in found[:MAX_PROBLEMS])
    if len(found) <= MAX_PROBLEMS:
        return shown
    message = f"and {len(found) - MAX_PROBLEMS:,} more problems"
    return (*shown, Problem(found[0].file, 0, 0, "", "too-many", message, "mend those above first"))


def _clipped(problem: Problem) -> Problem:
    return Problem(
        _cut(problem.file),
        problem.line,
        problem.column,
        _cut(problem.path),
        problem.code,
        _cut(problem.message),
        _cut(problem.hint),
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LETTERS else f"{text[:MAX_LETTERS]}... ({len(text):,} letters)"


def render(problems: Sequence[Problem]) -> str:
    """Return all problems as text, in the order of file and line, with a closing count."""
    files = sorted({problem.file for problem in problems})
    place = files[0] if len(files) == 1 else f"{len(files)} files"
    return "\n".join([*texts_of(problems), f"{counted(problems)} in {place}; nothing was started"])


def texts_of(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield the problems as people read them: one that stands in many places with the first few of these, and their number."""
    alike = Counter((problem.code, problem.message, problem.hint) for problem in problems)
    said: Counter[tuple[str, str, str]] = Counter()
    for problem in problems:
        cause = (problem.code, problem.message, problem.hint)
        said[cause] += 1
        if said[cause] <= EXAMPLES:
            yield problem.text()
        rest = alike[cause] - EXAMPLES
        if said[cause] == EXAMPLES and rest > 0:
            yield f"  and the same at {rest} more place{'' if rest == 1 else 's'}"


def counted(problems: Sequence[Problem]) -> str:
    """Return how many problems there are: `1 problem`, `7 problems`, `more than 200 problems`."""
    listed = sum(problem.code != "too-many" for problem in problems)
    more = "" if listed == len(problems) else "more than "
    return f"{more}{listed} problem{'' if listed == 1 else 's'}"


def choices(allowed: Iterable[str]) -> str:
    """Return `allowed: a, b, c`, shortened where the list is long."""
    names = list(allowed)
    shown = ", ".join(name if len(name) <= 60 else f"{name[:57]}..." for name in names[:MAX_CHOICES])
    rest = f", ... ({len(names)} in all)" if len(names) > MAX_CHOICES else ""
    return f"allowed: {shown}{rest}"
