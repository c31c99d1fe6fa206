"""The pages and JSON Schemas that are made from the code: `python -m runner.docs` writes them.

`python -m runner.docs --check` writes nothing and ends with 1 where a committed file differs.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from inspect import get_annotations
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel

from runner.events import COMMON, EVENTS
from runner.files import write_text
from runner.spec.codes import FAULTS, Code
from runner.spec.describe import allowed, default, is_nullable, type_of
from runner.spec.fields import TAGS, Leaf, classes_in, leaves, literals_in
from runner.spec.kinds import KINDS, anchor, every_rule
from runner.spec.problems import UsageError

ROOT = Path(__file__).parent.parent
COMMAND = "python -m runner.docs"
_ENV = r"\$\{env:[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"
_PLACEHOLDERS = {
    "placeholder": {
        "description": "An environment variable: ${env:NAME} or ${env:NAME:-default}.",
        "type": "string",
        "pattern": f"^{_ENV}$",
    },
    "text_with_placeholder": {
        "description": "Text that holds an environment variable: ${env:NAME} or ${env:NAME:-default}.",
        "type": "string",
        "pattern": _ENV,
    },
    "without_placeholder": {
        "description": "Written out at every depth: read before anything could look a variable up.",
        "not": {"$ref": "#/$defs/text_with_placeholder"},
        "additionalProperties": {"$ref": "#/$defs/without_placeholder"},
        "items": {"$ref": "#/$defs/without_placeholder"},
    },
}
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def generated() -> dict[str, str]:
    """Return every generated file: path relative to the repository -> text."""
    schemas = {f"runner/spec/schema/{kind}.json": schema_text(kind) for kind in KINDS}
    pages = {"docs/spec.md": spec_page(), "docs/rules.md": rules_page(), "docs/events.md": events_page()}
    return schemas | pages


def main(arguments: list[str]) -> int:
    """Write the generated files, or with `--check` name those that are out of date."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"usage: {COMMAND} [--check]\n")
        return 2
    stale = [name for name, text in generated().items() if _text(ROOT / name) != text]
    if arguments:
        sys.stderr.writelines(f"{name} is out of date; run `{COMMAND}`\n" for name in stale)
        return 1 if stale else 0
    for name in stale:
        write_text(ROOT / name, generated()[name])
        sys.stdout.write(f"{name}\n")
    return 0


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None


# ------------------------------------------------------------------------------------------- schema


def schema_text(kind: str) -> str:
    """Return the JSON Schema (draft 2020-12) of a kind of spec, as it is committed.

    It describes the file as it is written: `extends` is allowed, with it nothing is required (the
    rest stands in the other file), and where a number or a word is expected a `${env:...}`
    placeholder may stand.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no kind {kind!r}\n  allowed: {', '.join(KINDS)}")
    cls = KINDS[kind]
    for section in {found for leaf in leaves(cls) for found in classes_in(leaf.field.annotation)}:
        section.model_rebuild()  # the class writes out an instance that is a default
    made = cls.model_json_schema()
    sections = {name: _section(schema) for name, schema in made.pop("$defs").items()}
    whole = _section(made)
    partial = {f"{name}_part": _part(schema) for name, schema in sections.items()}
    extends = {
        "description": "YAML files that this one is laid over, relative to it.",
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}},
        ],
    }
    properties = {"extends": extends, **whole["properties"]}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"runner spec, kind {kind}",
        "description": f"{whole['description']} Made by `{COMMAND}`.",
        "type": "object",
        "properties": {name: {"description": _said(item, sections)} for name, item in properties.items()},
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "then": {"$ref": "#/$defs/spec_part"},
        "else": {"$ref": "#/$defs/spec"},
        "$defs": {
            "spec": {**whole, "properties": properties},
            "spec_part": _part({**whole, "properties": properties}),
            **_PLACEHOLDERS,
            **sections,
            **partial,
        },
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _said(schema: Mapping[str, Any], sections: Mapping[str, Any]) -> str:
    """Return a property's description; pydantic leaves out one that is equal to its section's own."""
    section = sections.get(str(schema.get("$ref", "")).rpartition("/")[2], {})
    return str(schema.get("description") or section["description"])


def _section(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of one section, each property brought into our form."""
    properties = {name: _property(name, item) for name, item in schema["properties"].items()}
    return {key: value for key, value in schema.items() if key != "title"} | {"properties": properties}


def _property(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return one property: no made-up titles, standard bounds, unit in the description, placeholders."""
    outer = {key: schema[key] for key in ("description", "default") if key in schema}
    if "unit" in schema:
        outer["description"] = f"{outer['description']} Unit: {schema['unit']}."
        outer["x-unit"] = schema["unit"]
    if "form" in schema:
        outer["x-form"] = schema["form"]
    if "placeholder" in schema:
        outer["x-placeholder"] = schema["placeholder"]
    inner = _value({k: v for k, v in schema.items() if k not in (*outer, "unit", "form", "placeholder")})
    if "placeholder" not in schema:
        inner = _written_out(inner)
    if name in TAGS and ("const" in schema or "enum" in schema):
        inner = {key: value for key, value in schema.items() if key in ("type", "const", "enum")}
    return outer | inner


def _written_out(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that takes no placeholder where any text may stand."""
    made = dict(schema)
    types = made.get("type", ())
    if "string" in ({types} if isinstance(types, str) else types) and not made.keys() & {"enum", "const"}:
        made["not"] = {"$ref": "#/$defs/text_with_placeholder"}
    if isinstance(made.get("items"), dict):
        made["items"] = _written_out(made["items"])
    if made.get("additionalProperties") is True:
        made["additionalProperties"] = {"$ref": "#/$defs/without_placeholder"}
    return made


def _value(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "discriminator" in schema:
        return _variants(schema["discriminator"])
    made = {_BOUNDS.get(key, key): value for key, value in schema.items() if key != "title"}
    if "anyOf" in made:
        bounds = {key: made.pop(key) for key in _BOUNDS.values() if key in made}
        options = [{**option, **bounds} for option in _flat(made.pop("anyOf"))]
        made |= _one_of_types(options) if all("type" in option for option in options) else {"anyOf": options}
    if isinstance(made.get("items"), dict):
        made["items"] = _value(made["items"])
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = _value(made["additionalProperties"])
    types = made.get("type")
    types = {types} if isinstance(types, str) else set(types or ())
    if types & {"integer", "number", "boolean"} and "string" not in types:
        return {"if": {"$ref": "#/$defs/placeholder"}, "else": made}
    if "string" in types and made.keys() & {"enum", "const", "pattern"}:
        return {"if": {"$ref": "#/$defs/text_with_placeholder"}, "else": made}
    return made


def _flat(options: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for option in options:
        bounds = {_BOUNDS.get(key, key): v for key, v in option.items() if key not in ("anyOf", "title")}
        for inner in option.get("anyOf", [{}]):
            yield {**inner, **bounds}


def _one_of_types(options: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a union of plain types as one schema, so that a tool's message names what is wrong."""
    types = dict.fromkeys(option["type"] for option in options if option["type"] != "null")
    if "number" in types:
        types.pop("integer", None)  # JSON has numbers only
    if any(option["type"] == "null" for option in options):
        types["null"] = None
    (bounds,) = [{k: v for k, v in o.items() if k != "type"} for o in options if o["type"] != "null"][:1]
    return {"type": list(types) if len(types) > 1 else next(iter(types)), **bounds}


def _variants(discriminator: Mapping[str, Any]) -> dict[str, Any]:
    """Return a union as `if tag is X then X`, so that a tool's message is about the variant meant."""
    tag, mapping = discriminator["propertyName"], discriminator["mapping"]
    return {
        "type": "object",
        "properties": {tag: {"enum": list(mapping)}},
        "required": [tag],
        "allOf": [
            {"if": {"properties": {tag: {"const": word}}, "required": [tag]}, "then": {"$ref": ref}}
            for word, ref in mapping.items()
        ],
    }


def _part(schema: Any) -> Any:
    """Return a schema of the same keys where none is required, for files that extend others."""
    if isinstance(schema, list):
        return [_part(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "allOf" in schema:  # a union whose tag may stand in the other file
        (tag,) = schema["required"]
        refs = [{"$ref": f"{option['then']['$ref']}_part"} for option in schema["allOf"]]
        rest = {key: value for key, value in schema.items() if key not in ("required", "allOf")}
        return {**rest, "properties": {tag: schema["properties"][tag]}, "anyOf": refs}
    made = {key: _part(value) for key, value in schema.items() if key not in ("required", "default")}
    if "properties" in schema:
        made["properties"] = {name: _part(item) for name, item in schema["properties"].items()}
    if "$ref" in schema and "placeholder" not in schema["$ref"]:
        made["$ref"] = f"{schema['$ref']}_part"
    return made


# --------------------------------------------------------------------------------------------- pages

_NOTICE = f"<!-- Made from the code by `{COMMAND}`; changes here are lost. -->\n"

_SPEC_INTRO = """\
# The spec

One YAML file is one experiment. `runner validate FILE` checks it, `runner explain KEY` prints what
stands here about a key. This page is made from the classes in `runner/spec/`.

- YAML 1.2: `2e-4` is a number, `no` is text, and a key may stand only once.
- An unknown key is an error, at every depth. Nothing is converted: `'2e-4'` in quotes is text.
- A key without "required" may be left out and has the default given. `none` means that there is no
  value; `null` says the same in a file.
- `extends: other.yaml` (or a list) reads other files first and lays this one over them: sections key
  by key, lists and values as a whole. A section that chooses another `source`, `name`, `kind` or `task`
  is replaced whole. Name a file that is only a part `_something.yaml`, and `runner validate` of its
  folder passes it over.
- `--set train.epochs=1` on the command line is laid over the file, and passes the same checks.
- `${env:NAME}` and `${env:NAME:-default}` stand for environment variables. A number, a yes or no, and a
  word out of a list are looked up when the spec is loaded. Text is stored as written, and looked up by the
  stage that reads it: in PLACEHOLDERS, and nowhere else. Words that choose a variant (`spec`, `kind`,
  `source`, `name` of a method, `task`) and raw engine keys take none; secrets are refused.
- Paths are relative to the file that they stand in, those of `--set` to the current folder. A text
  that may also be a hub id is a path where it begins with `./`, `../`, `/` or `~/`.
- Editors check while you type where the first line is
  `# yaml-language-server: $schema=<path>/runner/spec/schema/llm.json`, `vlm.json` or `ecg.json`.
"""


def spec_page() -> str:
    """Return `docs/spec.md`: every key of every kind."""
    taking = [leaf.path for cls in KINDS.values() for leaf in leaves(cls) if leaf.placeholder]
    listed = ", ".join(f"`{path}`" for path in dict.fromkeys(taking))
    parts = [_NOTICE, _SPEC_INTRO.replace("PLACEHOLDERS", listed)]
    for kind, cls in KINDS.items():
        parts.append(f"## `kind: {kind}`\n\n{cls.__doc__}\n")
        parts.append(_anchored("\n".join(_section_parts(cls, "", 3)), kind))
    return _each_anchor_once("\n".join(parts))


def _anchored(part: str, kind: str) -> str:
    """Return the part of a kind with its own anchors, where an earlier kind has keys of the same names."""
    return re.sub(r'(?<=<a id=")[^"]*', lambda match: anchor(kind, match[0]), part)


def _each_anchor_once(page: str) -> str:
    seen: set[str] = set()

    def keep(match: re.Match[str]) -> str:
        first = match[0] not in seen
        seen.add(match[0])
        return match[0] if first else ""

    return re.sub(r'<a id="[^"]*"></a>', keep, page)


def _section_parts(cls: type[BaseModel], path: str, level: int) -> Iterator[str]:
    yield _table(path, cls.model_fields)
    yield from _inner(path, cls.model_fields, level)


_FORMS = {tuple: " (each item of the list)", dict: " (each by a name of your own)"}


def _inner(path: str, names: Mapping[str, Any], level: int) -> Iterator[str]:
    """Yield the sections that the fields hold."""
    for name, field in names.items():
        inner = f"{path}.{name}" if path else name
        variants = classes_in(field.annotation)
        if not variants:
            continue
        form = _FORMS.get(get_origin(field.annotation), "")
        yield f"{'#' * min(level, 5)} `{inner}`{form}\n"
        if len(variants) == 1:
            yield f"{_doc(variants[0])}\n"
            yield from _section_parts(variants[0], inner, level + 1)
        else:
            yield f"{field.description}\n"
            yield from _union_parts(variants, inner, level + 1)


def _union_parts(variants: tuple[type[BaseModel], ...], path: str, level: int) -> Iterator[str]:
    """Yield what all variants have in common once, then each with what is its own."""
    tag = next(name for name in variants[0].model_fields if name in TAGS)
    words = {variant: str(literals_in(variant.model_fields[tag].annotation)[0]) for variant in variants}
    yield f'One of these, chosen by the word under <a id="{path}.{tag}"></a>`{tag}` (required):\n'
    yield (
        "\n".join(f"- `{tag}: {words[variant]}`: {_doc(_named(variant, tag))}" for variant in variants) + "\n"
    )
    first = variants[0].model_fields
    common = {
        name: field
        for name, field in first.items()
        if name != tag
        and all(name in v.model_fields and repr(v.model_fields[name]) == repr(field) for v in variants)
    }
    if common:
        yield f"With any `{tag}`:\n"
        yield _table(path, common)
        yield from _inner(path, common, level)
    for own, having in _groups(variants, {tag, *common}).items():
        if not own:
            continue
        names = " or ".join(f"`{tag}: {words[variant]}`" for variant in having)
        fields = {name: having[0].model_fields[name] for name in own}
        yield f"With {names}:\n"
        yield _table(path, fields)
        yield from _inner(path, fields, level)


def _groups(
    variants: Iterable[type[BaseModel]], passed: set[str]
) -> dict[tuple[str, ...], list[type[BaseModel]]]:
    """Return the variants by the names of the fields that are their own."""
    groups: dict[tuple[str, ...], list[type[BaseModel]]] = {}
    for variant in variants:
        own = tuple(name for name in variant.model_fields if name not in passed)
        groups.setdefault(own, []).append(variant)
    return groups


def _named(variant: type[BaseModel], tag: str) -> type[BaseModel]:
    """Return the class that brings the word in: what a source is, and not how it is used here."""
    return next(cls for cls in variant.__mro__ if tag in get_annotations(cls))


def _doc(cls: type[BaseModel]) -> str:
    return " ".join((cls.__doc__ or "").split())


def _table(path: str, fields: Mapping[str, Any]) -> str:
    lines = ["| key | type | unit | default | allowed | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for name, field in fields.items():
        leaf = Leaf(f"{path}.{name}" if path else name, field)
        null = " or null" if is_nullable(field.annotation) else ""
        limits = _code(allowed(leaf)) if literals_in(field.annotation) else _bounds(allowed(leaf))
        lines.append(
            f'| <a id="{leaf.path}"></a>`{name}` | {type_of(field.annotation)}{null} | {leaf.unit or ""} '
            f"| {_default(leaf)} | {limits} | {_cell(field.description or '')} |"
        )
    return "\n".join(lines) + "\n"


def _code(words: str) -> str:
    return ", ".join(f"`{word}`" for word in words.split(", ")) if words else ""


def _bounds(words: str) -> str:
    return _cell(words if "pattern " not in words else words.replace("pattern ", "pattern `") + "`")


def _default(leaf: Leaf) -> str:
    if leaf.field.is_required():
        return "**required**"
    return "none" if leaf.field.default is None else _cell(f"`{default(leaf)}`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_RULES_INTRO = """\
# Rules and codes

Every message of `runner validate` ends with a code in brackets. `runner explain CODE` prints what
stands here. This page is made from the tables of rules in `runner/spec/` and `runner/spec/codes.py`.

## Rules between keys

Codes are never reused.
"""


def rules_page() -> str:
    """Return `docs/rules.md`: every rule, and every other code."""
    rules = [_code_part(Code(rule.code, rule.title, rule.reason, rule.fix)) for rule in every_rule()]
    faults = [_code_part(fault) for fault in FAULTS]
    return "\n".join([_NOTICE, _RULES_INTRO, *rules, "## Other codes\n", *faults])


def _code_part(code: Code) -> str:
    return (
        f'### <a id="{code.anchor}"></a>`{code.code}`: {code.title}\n\n'
        f"Why: {code.reason}\n\nTo mend it: {code.fix}.\n"
    )


_EVENTS_INTRO = """\
# The event stream

`events.jsonl` in a run directory: one JSON object a line, appended by every stage while it runs.
`runner launch` draws its progress from it, and any other tool may read it; a last line without its end
is one that is still being written. Numbers that are not finite are written as text (`"nan"`). This
page is made from `runner/events.py`.
"""


def events_page() -> str:
    """Return `docs/events.md`: every event with its fields."""
    parts = [_NOTICE, _EVENTS_INTRO, "## In every event\n", _pairs(COMMON)]
    for name, fields in EVENTS.items():
        parts.append(f"## `{name}`\n")
        parts.append(_pairs(fields))
    return "\n".join(parts)


def _pairs(fields: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | {_cell(meaning)} |" for name, meaning in fields.items()]
    return "\n".join(["| field | meaning |", "| --- | --- |", *rows]) + "\n"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
