"""What a field of the spec takes, in words: its type, unit, bounds and default. For the docs and `explain`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from runner.spec.fields import Leaf, classes_in, literals_in

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
_BOUNDS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))


def type_of(annotation: Any) -> str:
    """Return the type of a field in words.

    >>> type_of(int | float | None), type_of(tuple[str, ...]), type_of(dict[str, Any])
    ('number, whole or decimal', 'list of text', 'mapping of text to anything')
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_of(parts[0])
    if origin in (Union, types.UnionType):
        members = [part for part in parts if part is not type(None)]
        if {int, float} <= set(members):
            return "single value" if str in members else "number, whole or decimal"
        return " or ".join(dict.fromkeys(type_of(part) for part in members))
    if origin is tuple:
        return f"list of {_plural(type_of(parts[0]))}"
    if origin is dict:
        return f"mapping of {type_of(parts[0])} to {_plural(type_of(parts[1]))}"
    if literals_in(annotation):
        return "one word" if all(isinstance(value, str) for value in literals_in(annotation)) else "number"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return _WORDS[annotation]


def _plural(words: str) -> str:
    if words == "one word":
        return "words"
    return words if words in ("text", "anything") or words.endswith("s") else f"{words}s"


def allowed(leaf: Leaf) -> str:
    """Return the allowed values or the bounds in words; empty where anything of the type will do."""
    words = [str(value) for value in literals_in(leaf.field.annotation)]
    if words:
        return ", ".join(words)
    return ", ".join(_bounds(leaf.field))


def _bounds(field: FieldInfo) -> Iterator[str]:
    for item in field.metadata:
        for name, word in _BOUNDS:
            if (bound := getattr(item, name, None)) is not None:
                yield f"{word} {bound_in_words(bound)}"
        if getattr(item, "min_length", None):
            yield "not empty"
        if pattern := getattr(item, "pattern", None):
            yield f"pattern {pattern}"


def bound_in_words(bound: float) -> str:
    """Return a bound as people write it.

    >>> bound_in_words(2**32 - 1), bound_in_words(0.5), bound_in_words(1e12)
    ('4,294,967,295', '0.5', '1,000,000,000,000')
    """
    return f"{bound:,.0f}" if float(bound).is_integer() and abs(bound) < 1e13 else f"{bound:g}"


def is_nullable(annotation: Any) -> bool:
    """Return whether `null` may stand here, as if the key were left out."""
    return type(None) in get_args(annotation)


def default(leaf: Leaf) -> str:
    """Return the default as it would be written in a spec; `required` where there is none.

    A section's default is the defaults of its keys, and so `{}`.
    """
    field = leaf.field
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in value)}]"
    return str(value) if value != "" else '""'


def type_in_words(leaf: Leaf) -> str:
    """Return type, unit and limits of a field: `whole number, in records, at least 1`."""
    annotation = leaf.field.annotation
    parts = [type_of(annotation)]
    variants = classes_in(annotation)
    if len(variants) == 1:
        parts[0] += f" with {', '.join(variants[0].model_fields)}"
    if leaf.unit:
        parts.append(f"in {leaf.unit}")
    if limits := allowed(leaf):
        if not literals_in(annotation):
            parts.append(limits)
        elif type_of(annotation).startswith("list"):
            parts.append(f"of {limits}")
        else:
            parts[0] = f"one of {limits}" if "," in limits else f"always {limits}"
    return ", ".join(parts)


def in_words(leaf: Leaf) -> str:
    """Return everything about a field in one line: `whole number, in records, at least 1; required`."""
    given = default(leaf)
    return f"{type_in_words(leaf)}; {given if given == 'required' else f'default {given}'}"
