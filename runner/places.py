"""The places of this machine that a spec names: files and folders that a run reads, found by their declaration.

A field that may name a local place is declared so (`form` in `runner.spec.section.key`), in whichever kind of
spec and however deep it stands; nothing here knows a kind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from runner.files import canonical_sha256
from runner.spec.environment import PLACEHOLDER, substitute
from runner.spec.fields import Leaf, leaves
from runner.spec.kinds import KINDS, Spec
from runner.spec.yaml_text import Path as SpecPath

WRITTEN = ("cache", "uri")
"""Keys of places that a run writes to, and that need not be there."""
WEIGHTS = ("base", "adapter", "checkpoint", "teacher")
"""Keys of places that hold weights, which a rehearsal does not read."""
LOCAL = ("./", "../", "/", "~/")
"""What a local path begins with, where a hub id may stand too."""


@dataclass(frozen=True)
class Place:
    """One place that a spec names."""

    path: SpecPath
    given: str
    """As in the spec: placeholders are kept."""
    may_be_hub: bool
    """Whether a hub id may stand there; a local path then says so with ./, ../, / or ~/."""
    required: bool
    """Whether the spec cannot leave it out."""

    @property
    def of_weights(self) -> bool:
        """Whether weights lie there."""
        return self.path[-1] in WEIGHTS

    def where(self, environ: Mapping[str, str]) -> Path | None:
        """Return the local file or folder, relative to the current folder; None where none is named.

        None is returned for a hub id, for a text that is empty once its variables are put in, and for a
        variable that is not set, which is reported elsewhere.
        """
        text, missing = substitute(self.given, environ)
        if missing or not text or (self.may_be_hub and not text.startswith(LOCAL)):
            return None
        return Path(text).expanduser()


def places(spec: Spec) -> Iterator[Place]:
    """Yield every place that a run of `spec` may read, in the order of the spec's fields."""
    yield from _places_below(spec, ())


def _places_below(value: Any, path: SpecPath) -> Iterator[Place]:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            inner, form = getattr(value, name), Leaf(name, field).form
            if form is not None and isinstance(inner, str):
                if name not in WRITTEN:
                    yield Place((*path, name), inner, form == "hub-or-path", field.is_required())
            else:
                yield from _places_below(inner, (*path, name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _places_below(inner, (*path, name))
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield from _places_below(inner, (*path, number))


@cache
def place_keys() -> frozenset[str]:
    """Return the last words of all keys, of any kind of spec, that may name a local place that is read."""
    named = {leaf.path.rpartition(".")[2] for kind in KINDS for leaf in leaves(KINDS[kind]) if leaf.form}
    return frozenset(named - set(WRITTEN))


def content_of(place: Path) -> Mapping[str, Any]:
    """Return what tells whether a file or folder has changed: each file's name, size and time of change.

    It is not a hash of the content: a set of recordings may have terabytes.
    """
    if not place.exists():
        return MappingProxyType({})
    files = (Path(folder, name) for folder, _, names in os.walk(place) for name in names)
    found = [place] if place.is_file() else sorted(files)
    return {str(file): list(_size_and_time(file)) for file in found}


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        known = file.stat()
    except OSError:  # a link to nothing
        return -1, -1
    return known.st_size, known.st_mtime_ns


def variables_sha256(spec: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return a hash over the values of the variables that a stored spec's places use.

    Two runs of one plan may read different data where a place is given by a variable.
    """
    keys = place_keys()
    values: dict[str, str] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, str) and key in keys and PLACEHOLDER.search(value):
            values[value] = substitute(value, environ)[0]
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                walk(inner, name)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                walk(inner, key)

    walk(spec, "")
    return canonical_sha256(values)
