"""The kinds of spec: which class checks each, and which rules hold between its fields.

A kind's classes and rules are imported when a spec of that kind is met, and not before: `validate` of a
language model's spec does not build the classes of an ECG one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from runner.spec.fields import leaves
from runner.spec.rule import BrokenRule, Rule, broken

if TYPE_CHECKING:
    from runner.spec.ecg import EcgSpec
    from runner.spec.model import LlmSpec
    from runner.spec.vlm import VlmSpec

Spec: TypeAlias = "LlmSpec | VlmSpec | EcgSpec"
"""A spec of any kind. `spec.kind` tells which: a type checker narrows on it."""


@dataclass(frozen=True)
class _Kind:
    module: str
    name: str
    rules: str


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "llm": _Kind("runner.spec.model", "LlmSpec", "runner.spec.rules"),
        "vlm": _Kind("runner.spec.vlm", "VlmSpec", "runner.spec.vlm_rules"),
        "ecg": _Kind("runner.spec.ecg", "EcgSpec", "runner.spec.ecg_rules"),
    }
)


class _Classes(Mapping[str, "type[LlmSpec] | type[VlmSpec] | type[EcgSpec]"]):
    """Word under `kind` -> the class that checks it, imported on the way."""

    def __getitem__(self, word: str) -> type[LlmSpec] | type[VlmSpec] | type[EcgSpec]:
        return _class_named(word)

    def __contains__(self, word: object) -> bool:
        return word in _KINDS

    def __iter__(self) -> Iterator[str]:
        return iter(_KINDS)

    def __len__(self) -> int:
        return len(_KINDS)


@cache
def _class_named(word: str) -> type[LlmSpec] | type[VlmSpec] | type[EcgSpec]:
    kind = _KINDS[word]
    found: type[LlmSpec] | type[VlmSpec] | type[EcgSpec] = getattr(import_module(kind.module), kind.name)
    return found


KINDS: Mapping[str, type[LlmSpec] | type[VlmSpec] | type[EcgSpec]] = _Classes()
"""Word under `kind` -> the class that checks it."""


@cache
def _paths(kind: str) -> frozenset[str]:
    return frozenset(leaf.path for leaf in leaves(KINDS[kind]))


def anchor(kind: str, path: str) -> str:
    """Return the place of a key in docs/spec.md; a key that an earlier kind has too is told apart by its kind."""
    first = next((other for other in _KINDS if path in _paths(other)), kind)
    return path if first == kind else f"{kind}.{path}"


def rules_of(kind: str) -> tuple[Rule[Any], ...]:
    """Return the rules between the fields of a kind of spec."""
    found: tuple[Rule[Any], ...] = import_module(_KINDS[kind].rules).RULES
    return found


def every_rule() -> tuple[Rule[Any], ...]:
    """Return the rules of all kinds by their codes, each once: some are of several kinds."""
    found = {rule.code: rule for kind in _KINDS for rule in rules_of(kind)}
    return tuple(found[code] for code in sorted(found))


def broken_rules(spec: Spec) -> Iterator[BrokenRule]:
    """Yield every rule of its kind that the spec breaks; `runner.spec.rule.broken` says how."""
    return broken(spec, rules_of(spec.kind))
