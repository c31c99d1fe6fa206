"""What the `runner` key of an Axolotl config says to the plugin: where to write, and what to hold it to."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class _Settings(BaseModel):
    """A closed mapping: a key that nobody reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodSettings(_Settings):
    """Which weights are meant to be trained, in words that the model can be checked against."""

    name: Literal["full", "lora", "dora", "qlora", "partial"]
    rank: int | None = None
    """Rank of the adapters."""
    pattern: Pattern | None = None
    """Regular expression over whole module names; each match gets an adapter."""
    parameters: tuple[Pattern, ...] = ()
    """Regular expressions over whole parameter names; each match is trained (method `partial`)."""
    train_fully: tuple[str, ...] = ()
    """Last parts of the names of modules that are trained in full beside the adapters."""
    groups: dict[str, Pattern] = Field(default_factory=dict)
    """Module group -> regular expression over whole module names; each must have a trained module."""
    layers_told_by: dict[str, Pattern] = Field(default_factory=dict)
    """Module group that is some of the layers -> regular expression over whole module names, with the number of the
    layer in a group of its own: the layers that have such a module must be those that the group trains."""


class RunnerSettings(_Settings):
    """The value of the key `runner`; all paths are relative to the run directory."""

    events: str
    """The event stream, appended to."""
    metrics: str
    """Step and evaluation events once more, and nothing else."""
    proof: str
    """What the engine did, as counted by the plugin; written whole."""
    steps: int = Field(ge=1)
    """Optimiser steps planned."""
    log_every: int = Field(ge=1)
    """A step event every so many optimiser steps."""
    method: MethodSettings
