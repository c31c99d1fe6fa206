"""Looking into the typed spec: which fields there are, and what stands at a path."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Leaf:
    """One field of the spec, wherever it stands."""

    path: str
    """Dotted, without list positions: `evaluate.split`."""
    field: FieldInfo

    @property
    def form(self) -> str | None:
        """`path` or `hub-or-path` where the text may name a local file."""
        return self._extra().get("form")

    @property
    def placeholder(self) -> bool:
        """Whether `${env:NAME}` may stay in the text until a stage reads it."""
        return bool(self._extra().get("placeholder"))

    @property
    def unit(self) -> str | None:
        """The unit of a number."""
        return self._extra().get("unit")

    def _extra(self) -> dict[str, Any]:
        extra = self.field.json_schema_extra
        return extra if isinstance(extra, dict) else {}


def classes_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    """Return the section classes that an annotation allows, through unions, tuples and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    if get_origin(annotation) is Literal:
        return ()
    return tuple(
        cls for part in get_args(annotation) if not isinstance(part, FieldInfo) for cls in classes_in(part)
    )


def parts_by_name(annotation: Any) -> Any:
    """Return what the sections of a mapping by free names are (`dict[str, Part]`); None where there is no mapping.

    >>> parts_by_name(dict[str, int]) is None  # no sections: anything of its own
    True
    """
    if get_origin(annotation) is dict:
        return get_args(annotation)[1] if classes_in(annotation) else None
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return next((found for part in get_args(annotation) if (found := parts_by_name(part))), None)
    return None


def _by_name_only(annotation: Any) -> bool:
    """Return whether only a mapping by names may stand here, so that the next word of a path is such a name."""
    return get_origin(annotation) is dict and parts_by_name(annotation) is not None


def literals_in(annotation: Any) -> tuple[Any, ...]:
    """Return the values that the Literals of an annotation allow."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType, Annotated, tuple):
        return tuple(value for part in get_args(annotation) for value in literals_in(part))
    return ()


def field_at(annotation: Any, path: Path) -> Leaf | None:
    """Return the field at `path` of a spec class, the first that fits where variants differ."""
    return _field_named(annotation, tuple(part for part in path if isinstance(part, str)))


@cache
def _field_named(annotation: Any, names: tuple[str, ...]) -> Leaf | None:
    found: FieldInfo | None = None
    for name in names:
        fields = [cls.model_fields[name] for cls in classes_in(annotation) if name in cls.model_fields]
        inner = parts_by_name(annotation)
        if inner is not None and (not fields or _by_name_only(annotation)):
            annotation = inner  # a name of the user's; what is found stays the mapping's field
            continue
        if not fields:
            return None
        found = fields[0]
        annotation = Union[tuple(field.annotation for field in fields)]  # noqa: UP007 - made at run time
    return Leaf(".".join(names), found) if found else None


def field_in(annotation: Any, path: Path, data: Any) -> Leaf | None:
    """Return the field at `path` of the variants that `data` chooses by its words; as `field_at` where it chooses none."""
    found: FieldInfo | None = None
    for part in path:
        if isinstance(part, int):
            data = data[part] if isinstance(data, tuple) and part < len(data) else None
            continue
        classes = [cls for cls in classes_in(annotation) if part in cls.model_fields]
        inner = parts_by_name(annotation)
        if inner is not None and (not classes or _by_name_only(annotation)):
            annotation, data = inner, data.get(part) if isinstance(data, Mapping) else None
            continue
        if not classes:
            return None
        fields = [cls.model_fields[part] for cls in _fitting(classes, data)]
        found = fields[0]
        annotation = Union[tuple(field.annotation for field in fields)]  # noqa: UP007 - made at run time
        data = data.get(part) if isinstance(data, Mapping) else None
    names = [part for part in path if isinstance(part, str)]
    return Leaf(".".join(names), found) if found else None


def _fitting(classes: list[type[BaseModel]], data: Any) -> list[type[BaseModel]]:
    """Return the classes that a section's own words choose, all of them where none does."""
    if not isinstance(data, Mapping):
        return classes
    chosen = [
        cls
        for cls in classes
        if all(
            data[tag] in words
            for tag in TAGS
            if tag in cls.model_fields
            and isinstance(data.get(tag), (str, int))
            and (words := literals_in(cls.model_fields[tag].annotation))
        )
    ]
    return chosen or classes


def is_free_text(annotation: Any, path: Path) -> bool:
    """Return whether any text may stand at `path`, so that a placeholder can be kept in it."""
    leaf = field_at(annotation, path)
    if leaf is None or literals_in(leaf.field.annotation):
        return leaf is None  # below `axolotl:` and the like everything is free
    patterned = any(getattr(item, "pattern", None) for item in leaf.field.metadata)
    return not patterned and _takes_text(leaf.field.annotation)


def refuses_placeholder(annotation: Any, path: Path) -> bool:
    """Return whether a placeholder at `path` would be read before anything puts its value in.

    So it is with free text that is not marked to take one (a pattern, a heading, a system prompt), and
    below `axolotl:` and `deepspeed:`. What stands in a sweep is judged where it is laid over the spec.
    """
    leaf = field_at(annotation, path)
    if leaf is not None:
        return is_free_text(annotation, path) and not leaf.placeholder
    section = field_at(annotation, path[:1])
    return section is not None and get_origin(section.field.annotation) is dict


TAGS = ("spec", "kind", "source", "name", "task", "step")
"""Keys whose word chooses which other keys there are, wherever only certain words may stand."""


def chooses_variant(annotation: Any, path: Path) -> bool:
    """Return whether the word at `path` chooses a variant: a kind, a source, a method, a task."""
    leaf = field_at(annotation, path)
    return leaf is not None and path[-1] in TAGS and bool(literals_in(leaf.field.annotation))


def _takes_text(annotation: Any) -> bool:
    if annotation is str:
        return True
    return any(_takes_text(part) for part in get_args(annotation) if part is not Ellipsis)


def leaves(cls: type[BaseModel], under: str = "") -> Iterator[Leaf]:
    """Yield every field below `cls`, sections before what they hold; each path once."""
    seen: set[str] = set()
    for leaf in _walk(cls, under):
        if leaf.path not in seen:
            seen.add(leaf.path)
            yield leaf


def _walk(cls: type[BaseModel], under: str) -> Iterator[Leaf]:
    for name, field in cls.model_fields.items():
        path = f"{under}.{name}" if under else name
        yield Leaf(path, field)
        for inner in classes_in(field.annotation):
            yield from _walk(inner, path)


@cache
def places_of(cls: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Return, for every key of the spec, the paths where it may stand."""
    places: dict[str, list[str]] = {}
    for leaf in leaves(cls):
        places.setdefault(leaf.path.rpartition(".")[2], []).append(leaf.path)
    return {key: tuple(paths) for key, paths in places.items()}
