"""The sound part of a spec that is wrong somewhere, so that the rules between its other fields still run.

What is missing or wrong is left out. A rule that asks for it gets `UnsoundError`, and is passed over:
it would only speak of what is reported already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from runner.spec.fields import TAGS, Path, classes_in, literals_in, parts_by_name
from runner.spec.section import Section


class _NothingSoundError(Exception):
    """Nothing of this value can be used."""


def sound_part(cls: type[Section], data: Mapping[str, Any], wrong: Collection[Path]) -> Section | None:
    """Return an instance of `cls` without the fields at the paths `wrong`; None where nothing is sound.

    Args:
        cls: the class of the spec.
        data: its values, without keys that nobody knows.
        wrong: paths of values that are missing or of a wrong type or value.
    """
    try:
        return _section(cls, data, (), frozenset(wrong))
    except _NothingSoundError:
        return None


def _section(cls: type[Section], data: Any, path: Path, wrong: frozenset[Path]) -> Section:
    if not isinstance(data, Mapping):
        raise _NothingSoundError
    values, unsound = {}, []
    for name, field in cls.model_fields.items():
        place = (*path, name)
        if name not in data:
            unsound += [name] if place in wrong or field.is_required() else []
            continue
        try:
            values[name] = _value(field.annotation, data[name], place, wrong)
        except _NothingSoundError:
            unsound.append(name)
    made = cls.model_construct(_fields_set=set(values), **values)
    for name in unsound:
        made.__dict__.pop(name, None)
    return made


def _value(annotation: Any, data: Any, path: Path, wrong: frozenset[Path]) -> Any:
    if path in wrong:
        raise _NothingSoundError
    below = any(place[: len(path)] == path for place in wrong)
    if not below:
        try:
            return TypeAdapter(annotation, config=_config(annotation)).validate_python(data)
        except ValidationError as error:  # a variant that nobody chose
            raise _NothingSoundError from error
    variants = classes_in(annotation)
    if isinstance(data, tuple):
        return tuple(_value(_one_of(variants), item, (*path, n), wrong) for n, item in enumerate(data))
    inner = parts_by_name(annotation)
    if inner is not None and isinstance(data, Mapping):
        return {name: _value(inner, item, (*path, name), wrong) for name, item in data.items()}
    cls = _chosen(variants, data)
    if cls is None:
        raise _NothingSoundError
    return _section(cls, data, path, wrong)


def _config(annotation: Any) -> Any:
    """Return the strictness of the spec for a plain type; a section has its own, and takes no other."""
    return None if classes_in(annotation) else Section.model_config


def _one_of(variants: tuple[type[BaseModel], ...]) -> Any:
    return variants[0] if len(variants) == 1 else tuple[variants]  # type: ignore[valid-type]  # made at run time


def _chosen(variants: tuple[type[BaseModel], ...], data: Any) -> type[Section] | None:
    """Return the class of a section: the variant that its word chooses."""
    found = [cls for cls in variants if issubclass(cls, Section)]
    if len(found) == 1:
        return found[0]
    for cls in found:
        tag = next((tag for tag in TAGS if tag in cls.model_fields), None)
        words = literals_in(cls.model_fields[tag].annotation) if tag else ()
        if tag and isinstance(data, Mapping) and data.get(tag) in words:
            return cls
    return None
