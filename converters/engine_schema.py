"""The escape hatches `axolotl:` and `deepspeed:` checked against the engines' own vocabularies.

Axolotl ignores a key that it does not know, at every depth; DeepSpeed ignores one at its top level.
So the vocabularies were exported once from the installed engines (`write_vocabularies`) into
converters/engine/*.json, as JSON Schema in which every mapping with named keys is closed, and raw
keys are checked with those, without the engines. A test compares the files with the engines installed.

Four things are refused: an unknown key, a value of the wrong type, a key that the spec has a word for,
and a key that is not in `AXOLOTL_ALLOWED` or `DEEPSPEED_ALLOWED`, since it would break what a run
promises (the steps, the rows, the split, what is trained, nothing sent away) or do nothing at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from converters import axolotl
from converters.engine_keys import (
    AXOLOTL_ALLOWED,
    AXOLOTL_REASONS,
    DEEPSPEED_ALLOWED,
    DEEPSPEED_REASONS,
    MORE_WORDS,
    OTHERWISE,
)
from converters.foreign import FOREIGN, WHY
from converters.raw_problem import RawProblem
from runner.spec.model import AxolotlSpec
from runner.spec.nearest import nearest

__all__ = ["RawProblem", "check_raw", "vocabulary", "write_vocabularies"]

AXOLOTL_VERSION = "0.19.0"
DEEPSPEED_VERSION = "0.18.9"

FOLDER = "engine"
FILES: Mapping[str, str] = MappingProxyType(
    {
        "axolotl": f"axolotl-{AXOLOTL_VERSION}.json",
        "deepspeed": f"deepspeed-{DEEPSPEED_VERSION}.json",
    }
)


def engine_words() -> dict[str, str]:
    """Return Axolotl key -> the spec path that says the same."""
    words = {key: path for path, key in reversed(axolotl.FIELDS)}
    for path, keys in reversed(axolotl.BY_RULE.items()):
        words |= dict.fromkeys(keys, path)
    # A foreign word is the better advice where several paths make one key.
    return {key: FOREIGN.get(key, path) for key, path in words.items()} | dict(MORE_WORDS)


def check_raw(spec: AxolotlSpec) -> list[RawProblem]:
    """Return what is wrong with the raw keys under `axolotl:` and `deepspeed:`; usually nothing."""
    return [*_check_axolotl(spec.axolotl), *_check_deepspeed(spec.deepspeed)]


def _check_axolotl(raw: Mapping[str, Any]) -> Iterator[RawProblem]:
    if not raw:
        return
    words, known = engine_words(), vocabulary("axolotl")
    for key, value in raw.items():
        path = ("axolotl", key)
        if key not in known["properties"]:
            yield _unknown(path, key, known["properties"], "Axolotl")
        elif key not in AXOLOTL_ALLOWED and key in words:
            hint = f"write {words[key]}" + (f"; {WHY[key]}" if key in WHY else "")
            yield RawProblem(path, "engine-reserved", f"{key!r} has a word of its own in the spec", hint)
        elif key not in AXOLOTL_ALLOWED:
            hint = f"take it out: {_reason(key, AXOLOTL_REASONS)}"
            yield RawProblem(path, "engine-reserved", f"{key!r} may not be written raw", hint)
        else:
            yield from _faults(path, value, known["properties"][key], known, "Axolotl")


def _check_deepspeed(raw: Mapping[str, Any]) -> Iterator[RawProblem]:
    if not raw:
        return
    known = vocabulary("deepspeed")
    reasons = dict(DEEPSPEED_REASONS)
    for key, value in raw.items():
        path = ("deepspeed", key)
        inner = value if isinstance(value, Mapping) else {}
        if key not in known["properties"]:
            yield _unknown(path, key, known["properties"], "DeepSpeed")
        elif key not in DEEPSPEED_ALLOWED:
            message = f"{key!r} may not be written raw"
            yield RawProblem(path, "engine-reserved", message, reasons.get(key, f"take it out: {OTHERWISE}"))
        else:
            for part in inner:
                if reason := reasons.get(f"{key}.{part}"):
                    message = f"{key + '.' + str(part)!r} has a word of its own in the spec"
                    yield RawProblem((*path, part), "engine-reserved", message, reason)
            yield from _faults(path, value, known["properties"][key], known, "DeepSpeed")


def _reason(key: str, reasons: tuple[tuple[str, str], ...]) -> str:
    return next((reason for pattern, reason in reasons if fnmatchcase(key, pattern)), OTHERWISE)


def _unknown(path: tuple[str | int, ...], key: str, known: Mapping[str, Any], engine: str) -> RawProblem:
    near = nearest(str(key), known)
    ours = FOREIGN.get(str(key)) or (FOREIGN.get(near) if near else None)
    if near and ours and engine == "Axolotl" and len(path) == 2:
        hint = f"nearest: {near}, for which the spec has the word {ours}"
        return RawProblem(path, "engine-key", f"{engine} has no key {key!r}", hint)
    hint = f"nearest: {near}" if near else f"write {ours}" if ours else f"see {engine}'s own documentation"
    return RawProblem(path, "engine-key", f"{engine} has no key {key!r}", hint)


# ------------------------------------------------------------------------- values against the schema


def _faults(
    path: tuple[str | int, ...], value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], engine: str
) -> list[RawProblem]:
    """Return the unknown keys inside `value`; without any, the fault of its type, if it has one."""
    unknown = list(_unknown_keys(path, value, schema, root, engine))
    if unknown:
        return unknown
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    whole = {"$defs": root["$defs"], "anyOf": [schema]}
    error = best_match(Draft202012Validator(whole).iter_errors(value))
    if error is None:
        return []
    place = (*path, *error.absolute_path)
    found = value
    for part in error.absolute_path:
        found = found[part]
    expected = _described(_schema_at(schema, error.absolute_path, root) or schema, root)
    return [
        RawProblem(
            place, "engine-type", f"expected {expected}, got {found!r}", f"as {engine}'s own schema says"
        )
    ]


def _unknown_keys(
    path: tuple[str | int, ...], value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], engine: str
) -> Iterator[RawProblem]:
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            for inner in (form["items"] for form in _forms(schema, root) if "items" in form):
                yield from _unknown_keys((*path, index), item, inner, root, engine)
    if not isinstance(value, Mapping):
        return
    objects = [form for form in _forms(schema, root) if form.get("type") == "object"]
    if not objects or any(form.get("additionalProperties", True) is not False for form in objects):
        return
    names = {name: inner for form in objects for name, inner in form.get("properties", {}).items()}
    for key, item in value.items():
        if key not in names:
            yield _unknown((*path, key), str(key), names, engine)
        else:
            yield from _unknown_keys((*path, key), item, names[key], root, engine)


def _forms(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the plain schemas that `schema` may stand for, references and alternatives resolved."""
    if "$ref" in schema:
        yield from _forms(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    elif "anyOf" in schema:
        for part in schema["anyOf"]:
            yield from _forms(part, root)
    else:
        yield schema


def _schema_at(schema: Mapping[str, Any], place: Any, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of a value inside another, or None where it is not to be told apart."""
    for part in place:
        inner = [
            form["properties"].get(part)
            if isinstance(part, str) and "properties" in form
            else form.get("items")
            for form in _forms(schema, root)
        ]
        found = [form for form in inner if form is not None]
        if not found:
            return None
        schema = {"anyOf": found}
    return schema


_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def _described(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    texts: dict[str, None] = {}
    for form in _forms(schema, root):
        if "enum" in form or "const" in form:
            texts |= dict.fromkeys(repr(value) for value in form.get("enum", [form.get("const")]))
        elif form.get("type") in _TYPES and form["type"] != "null":
            limits = [
                f" {word} {form[name]}"
                for name, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("pattern", "like"))
                if name in form
            ]
            texts[_TYPES[form["type"]] + "".join(limits)] = None
    return " or ".join(texts) or "another value"


# --------------------------------------------------------------------------------- the vocabularies


@cache
def vocabulary(engine: str) -> dict[str, Any]:
    """Return the committed JSON Schema of `axolotl` or `deepspeed`."""
    text = files("converters").joinpath(FOLDER, FILES[engine]).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def write_vocabularies(folder: Path) -> list[Path]:
    """Export both vocabularies from the installed engines into `folder`; return the files written."""
    exports = {"axolotl": export_axolotl, "deepspeed": export_deepspeed}
    paths = []
    for engine, export in exports.items():
        path = folder / FILES[engine]
        path.write_text(json.dumps(export(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def export_axolotl() -> dict[str, Any]:
    """Return the vocabulary of the installed Axolotl: names, aliases and types, nothing else."""
    from axolotl.utils.schemas.config import AxolotlInputConfig

    named = _exported(AxolotlInputConfig, by_alias=False)
    aliased = _exported(AxolotlInputConfig, by_alias=True)
    return {
        "title": f"Axolotl {AXOLOTL_VERSION}",
        "type": "object",
        "additionalProperties": False,
        "properties": named["properties"] | aliased["properties"],
        "$defs": named["$defs"] | aliased["$defs"],
    }


def export_deepspeed() -> dict[str, Any]:
    """Return the vocabulary of the installed DeepSpeed.

    Its top level is no class: the keys are those that `DeepSpeedConfig` asks for when it reads a
    config, noted by a mapping that writes down every question. Sections that are classes have their
    types; the others stand without one, and none of them is allowed.
    """
    from deepspeed.comm.config import CommsLoggerConfig
    from deepspeed.compile.config import CompileConfig
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.utils.config import DeepSpeedThroughputTimerConfig

    sections = {
        "bf16": DeepSpeedBF16Config,
        "comms_logger": CommsLoggerConfig,
        "compile": CompileConfig,
        "fp16": DeepSpeedFP16Config,
        "zero_optimization": DeepSpeedZeroConfig,
    }
    properties: dict[str, Any] = {key: {} for key in sorted(_asked_of_deepspeed())}
    definitions: dict[str, Any] = {}
    for key, section in sections.items():
        exported = _exported(section, by_alias=True)
        definitions |= exported.pop("$defs")
        properties[key] = exported
    timer = _exported(DeepSpeedThroughputTimerConfig, by_alias=True)
    definitions |= timer.pop("$defs")
    closed = {"type": "object", "additionalProperties": False}
    properties["timers"] = closed | {"properties": {"throughput": timer}}
    properties |= {key: {"type": kind} for key, kind in _DEEPSPEED_SCALARS.items()}
    properties["communication_data_type"] = {"type": "string", "enum": ["fp16", "bf16", "fp32"]}
    return closed | {
        "title": f"DeepSpeed {DEEPSPEED_VERSION}",
        "properties": properties,
        "$defs": definitions,
    }


_DEEPSPEED_SCALARS: Mapping[str, str] = MappingProxyType(
    {
        "disable_allgather": "boolean",
        "gradient_predivide_factor": "number",
        "memory_breakdown": "boolean",
        "prescale_gradients": "boolean",
        "sparse_gradients": "boolean",
        "steps_per_print": "integer",
        "wall_clock_breakdown": "boolean",
        "zero_allow_untested_optimizer": "boolean",
        "zero_force_ds_cpu_optimizer": "boolean",
    }
)
"""Allowed keys of DeepSpeed's top level that are plain values (runtime/constants.py)."""


def _asked_of_deepspeed() -> set[str]:
    """Return the top-level keys that DeepSpeed asks for when it reads a config."""
    from deepspeed.runtime.config import DeepSpeedConfig

    asked: set[str] = set()

    class Noting(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return super().get(key, default)

        def __getitem__(self, key: str) -> Any:
            asked.add(key)
            return super().__getitem__(key)

        def __contains__(self, key: object) -> bool:
            asked.add(str(key))
            return super().__contains__(key)

        def keys(self) -> Any:
            return self

        def __copy__(self) -> Noting:
            return self

    DeepSpeedConfig(Noting(train_batch_size=1, zero_optimization={}))
    return asked


def _exported(model: Any, *, by_alias: bool) -> dict[str, Any]:
    """Return the JSON Schema of a pydantic class, closed, with nothing but names and types."""
    from pydantic.json_schema import GenerateJsonSchema

    class NamesAndTypes(GenerateJsonSchema):
        def default_schema(self, schema: Any) -> Any:
            return self.generate_inner(schema["schema"])

        def generate_inner(self, schema: Any) -> Any:
            metadata = schema.get("metadata") or {}
            if "pydantic_js_extra" in metadata:  # DeepSpeed keeps functions there
                kept = {key: value for key, value in metadata.items() if key != "pydantic_js_extra"}
                schema = {**schema, "metadata": kept}
            return super().generate_inner(schema)

        def enum_schema(self, schema: Any) -> Any:
            values = [member.value for member in schema["members"]]
            if all(isinstance(value, str | int) for value in values):
                return super().enum_schema(schema)
            return {"type": "string"}  # values that are no text (torch.dtype) are given by their names

    exported = model.model_json_schema(by_alias=by_alias, schema_generator=NamesAndTypes)
    closed = _closed(exported)
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": closed["properties"],
        "$defs": closed.get("$defs", {}),
    }


_KEPT = frozenset(
    {"$ref", "anyOf", "allOf", "type", "enum", "const", "items", "prefixItems", "additionalProperties"}
    | {"pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"}
)


def _closed(schema: Any) -> Any:
    """Return the schema without descriptions, every mapping with named keys closed."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: _closed(inner) for name, inner in value.items()}
        elif key in ("oneOf", "anyOf"):
            kept["anyOf"] = _closed(value)
        elif key in _KEPT:
            kept[key] = _closed(value)
    if kept.get("type") == "object" and "properties" in kept:
        kept["additionalProperties"] = False  # and nothing required: a raw section is laid over ours
    return kept


if __name__ == "__main__":
    for written in write_vocabularies(Path(__file__).parent / FOLDER):
        print(written)
