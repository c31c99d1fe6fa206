"""Backends: modules that turn a spec into the files and stages of one training engine."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol, cast

from converters.numbers import Numbers
from runner.spec.model import Spec
from runner.stage import PlannedFile, Stage

BACKENDS: Mapping[str, str] = MappingProxyType({"axolotl": "runner.backends.axolotl"})
"""Name -> module. Text, so that knowing the names imports nothing."""


class Backend(Protocol):
    """What a backend module offers: pure functions."""

    def files(self, spec: Spec, numbers: Numbers) -> tuple[PlannedFile, ...]:
        """Return the engine's files. The spec's device is resolved, not `auto`."""

    def config_of(self, files: tuple[PlannedFile, ...]) -> Mapping[str, Any]:
        """Return the engine's main config out of its files, to compare two of them."""

    def stages(self, spec: Spec, numbers: Numbers, *, rehearsal: bool) -> tuple[Stage, ...]:
        """Return the processes of the run, in order."""


def backend(name: str) -> Backend:
    """Return the backend module of that name."""
    return cast(Backend, import_module(BACKENDS[name]))
