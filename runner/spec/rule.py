"""What a rule between fields is. The rules themselves stand in one table per kind of spec."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from runner.spec.section import UnsoundError
from runner.spec.yaml_text import Path

Broken = Iterator[tuple[Path, str]]
"""A path and what was given there, for each place where a rule is broken."""

CODE = re.compile(r"R[0-9]{3}")
"""What the code of a rule looks like. Codes are never reused: a rule that goes leaves a gap."""

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Rule(Generic[Kind]):
    """One rule: what must hold, why, and what to do where it does not."""

    code: str
    title: str
    reason: str
    fix: str
    check: Callable[[Kind], Broken]


@dataclass(frozen=True)
class BrokenRule:
    """A rule that a spec breaks, and where."""

    path: Path
    code: str
    message: str
    hint: str


def broken(spec: Any, rules: Iterable[Rule[Any]]) -> Iterator[BrokenRule]:
    """Yield every one of `rules` that the spec breaks.

    Of a spec that is wrong in places (`runner.spec.sound`), a rule that asks for one of these ends there.
    """
    for rule in rules:
        with suppress(UnsoundError):
            for path, given in rule.check(spec):
                yield BrokenRule(path, rule.code, given, f"{rule.title}; {rule.fix}")
