"""pydantic's errors -> problems in our own words, with place, allowed values and nearest match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from runner.spec.describe import bound_in_words, type_in_words
from runner.spec.environment import PLACEHOLDER, has_placeholder
from runner.spec.fields import TAGS, Leaf, classes_in, field_at, field_in, literals_in, places_of
from runner.spec.nearest import nearest
from runner.spec.problems import MAX_CHOICES, Problem, choices
from runner.spec.yaml_text import Path, Tree, dotted, kind_of, kind_only, scalar

MAX_FAULTS = 300
"""Of a spec with more faults than this only these are looked at, and no rule between its keys."""

MAX_HINTS = 50
"""Of so many faults, those for which the nearest key or value is looked for."""


@dataclass(frozen=True)
class Vocabulary:
    """Words of other tools: `paths` have a counterpart here, `advice` says what to do instead.

    `values` are words that stand as values: spec path -> their word -> ours.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    advice: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kinds: Mapping[str, Vocabulary] = field(default_factory=dict)
    """Kind of spec -> its own words, where these are others."""

    def of(self, kind: str) -> Vocabulary:
        """Return the words for specs of a kind."""
        return self.kinds.get(kind, self)


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}
TAG_ERRORS = ("union_tag_invalid", "union_tag_not_found")
"""The word that selects a variant is unknown, or missing."""
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("of at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("of at most", "le"),
}


def problems_of(
    error: ValidationError, cls: type[BaseModel], data: Any, tree: Tree, vocabulary: Vocabulary
) -> tuple[Problem, ...]:
    """Return the problems of one failed validation.

    Where a word that selects a variant (`data.source`, `method.name`) is mistyped, the other keys of
    that section are checked as the nearest variant's, so that one slip does not hide the rest.
    """
    errors = _one_a_path(error.errors(include_url=False), data)
    if error.error_count() > MAX_FAULTS:
        found = [_problem(path, item, cls, data, tree, vocabulary) for path, item in errors[:MAX_HINTS]]
        return (*found, *(_plain_problem(path, item, tree) for path, item in errors[MAX_HINTS:]))
    found = [_problem(path, item, cls, data, tree, vocabulary) for path, item in errors]
    repaired = with_nearest_variants(error, data, cls)
    for path, item in errors:
        if item["type"] in TAG_ERRORS and _with_tag(data, path, item, cls) is data:
            found += _of_every_variant(path, item, cls, data, tree, vocabulary)
    if repaired is not data:
        known = {(p.path, p.code) for p in found}
        tags = {p.path for p in found}
        for path, item in _rest(repaired, cls):
            problem = _problem(path, item, cls, repaired, tree, vocabulary)
            if (problem.path, problem.code) not in known and problem.path not in tags:
                found.append(problem)
    return tuple(_without_echo(found))


def _plain_problem(path: Path, item: ErrorDetails, tree: Tree) -> Problem:
    """Return a problem without a search for what was meant: where there are so many, nobody reads each."""
    of_key = item["type"] == "extra_forbidden"
    mark = tree.mark(path, of_key=of_key)
    code = "unknown-key" if of_key else "bad-value"
    message = f"unknown key {path[-1]!r}" if of_key else item["msg"]
    return Problem(mark.file, mark.line, mark.column, dotted(path), code, message)


def with_nearest_variants(error: ValidationError, data: Any, cls: type[BaseModel]) -> Any:
    """Return the data with every mistyped word that selects a variant set to the nearest one there is."""
    for path, item in _one_a_path(error.errors(include_url=False), data):
        if item["type"] in TAG_ERRORS:
            data = _with_tag(data, path, item, cls)
    return data


def wrong_paths(error: ValidationError, data: Any) -> frozenset[Path]:
    """Return where values are missing or wrong."""
    return frozenset(path for path, _ in _one_a_path(error.errors(include_url=False), data))


def without_unknown(error: ValidationError, data: Any) -> Any:
    """Return the data without the keys that nobody knows, so that the rest can be checked further."""
    unknown = [
        path
        for path, item in _one_a_path(error.errors(include_url=False), data)
        if item["type"] == "extra_forbidden"
    ]
    return _removed(data, unknown) if unknown else data


def _removed(data: Any, paths: list[Path]) -> Any:
    """Return the data without what stands at `paths`, none of which is empty."""
    below: dict[int | str, list[Path]] = {}
    for path in paths:
        below.setdefault(path[0], []).append(path[1:])
    if isinstance(data, tuple):
        return tuple(_removed(item, below[n]) if n in below else item for n, item in enumerate(data))
    return {
        key: _removed(value, below[key]) if key in below else value
        for key, value in data.items()
        if () not in below.get(key, [])
    }


def _of_every_variant(
    path: Path, item: ErrorDetails, cls: type[BaseModel], data: Any, tree: Tree, vocabulary: Vocabulary
) -> list[Problem]:
    """Return what is wrong in a section whichever variant was meant, where nobody can tell which one was."""
    tag, section, slip = _tag_key(item), item["input"], _slip(item)
    if not isinstance(section, dict):
        return []
    kept = {key: value for key, value in section.items() if key != slip}
    shared: dict[tuple[Path, str], Problem] | None = None
    for word in _tags(cls, path, tag):
        variant = _replaced(data, path, {**kept, tag: word})
        found = {
            (place, wrong["type"]): _problem(place, wrong, cls, variant, tree, vocabulary)
            for place, wrong in _rest(variant, cls)
            if len(place) > len(path) and place[: len(path)] == path
        }
        shared = found if shared is None else {key: p for key, p in shared.items() if key in found}
    return list((shared or {}).values())


def _rest(data: Any, cls: type[BaseModel]) -> list[tuple[Path, ErrorDetails]]:
    try:
        cls.model_validate(data)
    except ValidationError as error:
        return _one_a_path(error.errors(include_url=False), data)
    return []


def _one_a_path(errors: Iterable[ErrorDetails], data: Any) -> list[tuple[Path, ErrorDetails]]:
    """Return each error with its path in the data; of the members of a union only the widest."""
    result: dict[tuple[Path, str], ErrorDetails] = {}
    found = list(errors)
    above = {item["loc"][:length] for item in found for length in range(len(item["loc"]))}
    for item in found:
        if item["type"] == "too_short" and item["loc"] in above:
            continue  # its entries are wrong, and so not counted
        path = _path_in(data, item["loc"], missing=item["type"] == "missing")
        kind = "type" if item["type"] in _EXPECTED else item["type"]
        if (path, kind) not in result or item["type"] == "float_type":
            result[path, kind] = item
    return [(path, item) for (path, _), item in result.items()]


def _path_in(data: Any, loc: tuple[int | str, ...], *, missing: bool) -> Path:
    """Return pydantic's location without the names of union members, which are no keys of the data."""
    path: list[int | str] = []
    value = data
    for number, part in enumerate(loc):
        in_mapping = isinstance(value, Mapping) and part in value
        in_list = isinstance(value, tuple) and isinstance(part, int) and part < len(value)
        if in_mapping or in_list:
            value = value[part]
        elif not (missing and number == len(loc) - 1):
            continue
        path.append(part)
    return tuple(path)


def _with_tag(data: Any, path: Path, item: ErrorDetails, cls: type[BaseModel]) -> Any:
    """Return the data with the section at `path` made into its nearest variant."""
    tag = _tag_key(item)
    allowed = _tags(cls, path, tag)
    section = data
    for part in path:
        section = section[part]
    if not isinstance(section, dict):
        return data
    slip = _slip(item)
    given = section.get(tag, section.get(slip) if slip else None)
    best = nearest(given, allowed) if isinstance(given, str) else None
    if best is None:
        return data
    fixed = {key: value for key, value in section.items() if key != slip} | {tag: best}
    return _replaced(data, path, fixed)


def _slip(item: ErrorDetails) -> str | None:
    """Return the key that looks like a mistyped selecting word (`sorce` for `source`)."""
    section, tag = item["input"], _tag_key(item)
    if not isinstance(section, Mapping) or tag in section:
        return None
    return next((key for key in section if nearest(key, [tag])), None)


def _replaced(data: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(data, tuple):
        return tuple(
            _replaced(item, rest, value) if number == head else item for number, item in enumerate(data)
        )
    return {**data, head: _replaced(data[head], rest, value)}


def _without_echo(found: list[Problem]) -> Iterable[Problem]:
    """Drop `missing key` where an unknown key was meant to be that key."""
    meant: set[str] = set()
    for problem in found:
        suggested = re.match(r"nearest: ([^;,]+)", problem.hint)
        if problem.code == "unknown-key" and suggested:
            section = problem.path.rpartition(".")[0]
            for name in suggested[1].split(" or "):
                meant |= {name, f"{section}.{name}" if section else name}
    for problem in found:
        if problem.code != "missing-key" or problem.path not in meant:
            yield problem


def _problem(
    path: Path, item: ErrorDetails, cls: type[BaseModel], data: Any, tree: Tree, vocabulary: Vocabulary
) -> Problem:
    kind = item["type"]
    of_key = kind == "extra_forbidden"
    slip = _slip(item) if kind == "union_tag_not_found" else None
    if slip:
        path, of_key = (*path, slip), True
        mark = tree.mark(path, of_key=True)
        near = f"nearest: {_tag_key(item)}"
        return Problem(
            mark.file, mark.line, mark.column, dotted(path), "unknown-key", f"unknown key {slip!r}", near
        )
    hidden = _hidden(path, item, tree)
    code, message, hint = _words(path, item, cls, data, vocabulary, hidden)
    if kind in TAG_ERRORS:
        path = (*path, _tag_key(item))
    mark = tree.mark(path, of_key=of_key)
    return Problem(mark.file, mark.line, mark.column, dotted(path), code, message, hint)


def _hidden(path: Path, item: ErrorDetails, tree: Tree) -> str:
    """Return what to say in place of a value that a variable of the environment gave; empty where none did."""
    of_tag = item["type"] in TAG_ERRORS
    written: Any = tree.value
    for part in (*path, _tag_key(item)) if of_tag else path:
        entries = dict(enumerate(written)) if isinstance(written, tuple) else written
        written = entries.get(part) if isinstance(entries, Mapping) else None
    if not has_placeholder(written) or not isinstance(written, str):
        return ""
    given = (
        item["input"].get(_tag_key(item)) if of_tag and isinstance(item["input"], Mapping) else item["input"]
    )
    plain = PLACEHOLDER.sub(r"${env:\g<name>}", written)
    return f"the value of {plain}, {kind_only(given)}"


def _words(
    path: Path, item: ErrorDetails, cls: type[BaseModel], data: Any, vocabulary: Vocabulary, hidden: str
) -> tuple[str, str, str]:
    """Return code, message and hint of one pydantic error; `hidden` is said in place of the value where it is given."""
    kind, given, context = item["type"], item["input"], item.get("ctx", {})
    shown, quoted = hidden or kind_of(given), hidden or repr(given)
    if kind == "extra_forbidden":
        return "unknown-key", f"unknown key {path[-1]!r}", _nearest_key(path, cls, data, vocabulary)
    if kind == "missing":
        leaf = field_in(cls, path, data)
        return "missing-key", "missing key", f"{type_in_words(leaf)}: {_about(leaf)}" if leaf else ""
    if kind == "union_tag_not_found":
        tag = _tag_key(item)
        return "missing-key", "missing key", choices(_tags(cls, path, tag))
    if kind == "union_tag_invalid":
        tag = _tag_key(item)
        value = given.get(tag) if isinstance(given, Mapping) else given
        return _unknown_value(value, _tags(cls, path, tag), (*path, tag), vocabulary, hidden)
    if kind == "literal_error":
        leaf = field_in(cls, path, data)
        return _unknown_value(
            given, literals_in(leaf.field.annotation) if leaf else (), path, vocabulary, hidden
        )
    if kind in _EXPECTED:
        return (
            "wrong-type",
            f"expected {_expected(kind, path, cls, data)}, got {shown}",
            _about(field_in(cls, path, data)) if hidden else _type_hint(kind, given),
        )
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return (
            "bad-value",
            f"expected a number {word} {bound_in_words(context[key])}, got {quoted if len(quoted) <= 60 else shown}",
            _about(field_in(cls, path, data)) + (BEYOND if key in ("le", "lt") and context[key] > 1 else ""),
        )
    if kind == "string_pattern_mismatch":
        message = f"{quoted} does not fit the pattern {context['pattern']}"
        return "bad-value", message, _about(field_in(cls, path, data))
    if kind in ("string_too_short", "too_short"):
        least = context["min_length"]
        message = (
            "must not be empty" if least == 1 else f"expected at least {least} entries, got {len(given)}"
        )
        return "bad-value", message, _about(field_in(cls, path, data))
    return "bad-value", f"{item['msg']}, got {shown}", _about(field_in(cls, path, data))


BEYOND = " A larger one is a slip of the keyboard, or more than any run could take."


def _expected(kind: str, path: Path, cls: type[BaseModel], data: Any) -> str:
    leaf = field_in(cls, path, data)
    if leaf and literals_in(leaf.field.annotation) and kind != "tuple_type":
        return "one of " + ", ".join(str(value) for value in literals_in(leaf.field.annotation))
    unit = f" of {leaf.unit}" if leaf and leaf.unit and kind in ("int_type", "float_type") else ""
    return _EXPECTED[kind] + unit


def _type_hint(kind: str, given: Any) -> str:
    number = kind in ("int_type", "float_type")
    if number and isinstance(given, str):
        return _number_hint(given.strip())
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"write {int(given)}"
    if isinstance(given, str) and kind == "bool_type":
        return "YAML 1.2 knows only true and false" if given.lower() in ("yes", "no", "on", "off") else ""
    if kind == "string_type" and isinstance(given, (bool, int, float)):
        shown = {True: "true", False: "false"}[given] if isinstance(given, bool) else given
        return f'put it in quotes: "{shown}"'
    if given is None:
        return "give a value, or leave the key out for its default"
    if kind == "tuple_type":
        one = given if isinstance(given, str) and len(given) < 40 else "a, b"
        return f"write a list: [{one}], or one `- item` a line"
    return ""


def _number_hint(text: str) -> str:
    """Return how to write a text as the number that it was meant to be."""
    if isinstance(scalar(text), (int, float)):
        return "remove the quotes"
    plain = re.sub(r"[_,](?=[0-9]{3})", "", text)
    if plain != text and isinstance(scalar(plain), (int, float)):
        return f"write {plain}"
    return ""


def _unknown_value(
    given: Any, allowed: tuple[Any, ...], path: Path, vocabulary: Vocabulary, hidden: str
) -> tuple[str, str, str]:
    names = [str(value) for value in allowed]
    if hidden:
        return "bad-value", f"expected one of the allowed words, got {hidden}", choices(names)
    if allowed and all(isinstance(value, int) for value in allowed):
        hint = "remove the quotes" if given in names else choices(names)
        return "wrong-type", f"expected the number {' or '.join(names)}, got {kind_of(given)}", hint
    if not isinstance(given, str):
        return "wrong-type", f"expected one of the allowed words, got {kind_of(given)}", choices(names)
    foreign = vocabulary.values.get(dotted(path), {}).get(given.lower())
    near = foreign or nearest(given, names)
    return "bad-value", f"unknown value {given!r}", choices(names) + (f"; nearest: {near}" if near else "")


def _tag_key(item: ErrorDetails) -> str:
    return str(item.get("ctx", {}).get("discriminator", "")).strip("'")


def _tags(cls: type[BaseModel], path: Path, tag: str) -> tuple[str, ...]:
    leaf = field_at(cls, (*path, tag))
    parent = field_at(cls, path)
    if parent is None or leaf is None:
        return ()
    variants = classes_in(parent.field.annotation)
    return tuple(
        str(value)
        for variant in variants
        if tag in variant.model_fields
        for value in literals_in(variant.model_fields[tag].annotation)
    )


def _about(leaf: Leaf | None) -> str:
    """Return what a key means."""
    if leaf is None or not leaf.field.description:
        return ""
    return leaf.field.description


def _nearest_key(path: Path, cls: type[BaseModel], data: Any, vocabulary: Vocabulary) -> str:
    """Return the hint for an unknown key: a sibling, another tool's word, or the same key elsewhere."""
    word = str(path[-1])
    siblings = _siblings(path, cls, data)
    near = nearest(word, siblings)
    plain = word.lower()
    if near:
        return "; ".join(filter(None, (f"nearest: {near}", _all_of(siblings, path[:-1]))))
    if plain in vocabulary.paths:
        advice = f"; {vocabulary.advice[plain]}" if plain in vocabulary.advice else ""
        return f"nearest: {vocabulary.paths[plain]}, which is what other tools call {word}{advice}"
    if plain in vocabulary.advice:
        return vocabulary.advice[plain]
    others = _other_variants(path, cls, data)
    if others:
        return f"{word!r} belongs to {others}; here {choices(siblings)}"
    places = places_of(cls).get(word)
    if places:
        return f"nearest: {' or '.join(places)}, where this key belongs"
    foreign = nearest(word, vocabulary.paths)
    if foreign:
        return f"nearest: {vocabulary.paths[foreign]}, which other tools call {foreign}"
    elsewhere = nearest(word, places_of(cls))
    if elsewhere:
        return f"nearest: {' or '.join(places_of(cls)[elsewhere])}"
    return choices(siblings)


def _all_of(names: list[str], section: Path) -> str:
    """Return the keys of a section, or where they are listed if they are many."""
    if len(names) <= MAX_CHOICES:
        return choices(names)
    word = dotted(tuple(part for part in section if isinstance(part, str)))
    return f"`runner explain {word}` lists all {len(names)} keys" if word else ""


def _other_variants(path: Path, cls: type[BaseModel], data: Any) -> str:
    """Return the words that choose a variant of this section which knows the key: `source: medquad`."""
    leaf = field_at(cls, path[:-1]) if path[:-1] else None
    found = [
        f"`{tag}: {literals_in(info.annotation)[0]}`"
        for variant in (classes_in(leaf.field.annotation) if leaf else ())
        if path[-1] in variant.model_fields
        for tag, info in variant.model_fields.items()
        if tag in TAGS and literals_in(info.annotation)
    ]
    return " or ".join(found)


def _siblings(path: Path, cls: type[BaseModel], data: Any) -> list[str]:
    """Return the keys allowed beside `path`, of the variant that the data select."""
    parent = path[:-1]
    value = data
    for part in parent:
        value = value[part]
    variants = classes_in(cls)
    if parent:
        leaf = field_at(cls, parent)
        variants = classes_in(leaf.field.annotation) if leaf else ()
    fitting = [variant for variant in variants if _selected(variant, value)] or list(variants)
    return list(dict.fromkeys(name for variant in fitting for name in variant.model_fields))


def _selected(variant: type[BaseModel], value: Any) -> bool:
    return all(
        value.get(name) in literals_in(info.annotation)
        for name, info in variant.model_fields.items()
        if name in TAGS and literals_in(info.annotation)
    )
