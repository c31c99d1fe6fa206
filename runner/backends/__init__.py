"""Backends: modules that turn a spec into the files and stages of one training engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol, cast

from converters.numbers import Counts, Numbers
from runner.spec.kinds import Spec
from runner.spec.yaml_text import Path
from runner.stage import PlannedFile, Stage

BACKENDS: Mapping[str, str] = MappingProxyType(
    {"axolotl": "runner.backends.axolotl", "native": "runner.backends.native"}
)
"""Name -> module. Text, so that knowing the names imports nothing."""


class Backend(Protocol):
    """What a backend module offers: pure functions. Each is given specs of the backend's own kind alone."""

    @property
    def WHY(self) -> tuple[tuple[str, str], ...]:  # noqa: N802 - a constant of the module
        """Pattern of a key of `config` -> why a rehearsal sets it otherwise; the first that fits."""

    @property
    def DEVICES(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """What `compute.device: auto` may mean, the first that the machine has."""

    def rehearsed(self, spec: Spec) -> Spec:
        """Return the spec of the rehearsal: small, on the CPU, otherwise the same."""

    def stated_counts(self, spec: Spec) -> Counts | None:
        """Return the records per split where the spec says them, else None."""

    def with_counts(self, spec: Spec, counts: Counts) -> Spec:
        """Return the spec as if it stated the counts."""

    def numbers_of(self, spec: Spec, counts: Counts | None) -> Numbers:
        """Return the arithmetic of the run.

        Raises:
            CountedError: with these counts the run would not do what the spec asks for.
        """

    def needs_cuda(self, spec: Spec) -> Iterable[tuple[Path, str]]:
        """Yield what the spec asks for that its device, which is not CUDA, does not have."""

    def notes(self, spec: Spec, numbers: Numbers) -> tuple[str, ...]:
        """Return what a person should know before the run."""

    def files(self, spec: Spec, numbers: Numbers) -> tuple[PlannedFile, ...]:
        """Return the engine's files. The spec's device is resolved, not `auto`."""

    def config(self, spec: Spec, numbers: Numbers) -> Mapping[str, Any]:
        """Return the engine's main config, to compare two of them."""

    def stages(self, spec: Spec, numbers: Numbers, *, rehearsal: bool) -> tuple[Stage, ...]:
        """Return the processes of the run, in order."""


def backend(name: str) -> Backend:
    """Return the backend module of that name."""
    return cast(Backend, import_module(BACKENDS[name]))
