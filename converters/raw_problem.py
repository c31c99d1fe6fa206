"""A fault that a converter finds: where in the spec, and what to say. The loader adds the line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.spec.problems import RunnerError


@dataclass(frozen=True, order=True)
class RawProblem:
    """One fault, without file and line.

    `path` is the place in the spec (`("axolotl", "datasets", 0, "type")`), `code` the kind of fault
    (`engine-key`, `engine-type`, `engine-reserved`, `module-group`, `harness-task`).
    """

    path: tuple[str | int, ...]
    code: str
    message: str
    hint: str


class ConvertError(RunnerError):
    """A spec that cannot be written as an engine's config. The checks of the spec find it first."""

    exit_code = 2

    def __init__(self, problems: Iterable[RawProblem]) -> None:
        self.problems = tuple(problems)
        lines = [f"{dotted(problem.path)}: {problem.message}\n  {problem.hint}" for problem in self.problems]
        super().__init__("\n".join(lines))


def dotted(path: tuple[str | int, ...]) -> str:
    """Return the path as people write it.

    >>> dotted(("axolotl", "datasets", 0, "type"))
    'axolotl.datasets[0].type'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
