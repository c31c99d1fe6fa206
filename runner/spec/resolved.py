"""A loaded spec as YAML with every value written out, each with the place that it came from."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from runner.spec.environment import PLACEHOLDER
from runner.spec.load import Loaded
from runner.spec.yaml_text import Path, Tree, scalar

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_WORDS_OF_1_1 = re.compile(r"y|yes|n|no|on|off|true|false|null", re.IGNORECASE)
"""Quoted, so that a YAML 1.1 reader finds the same text as ours."""

HEADER = "# Every value of the spec, defaults included, and the place it came from.\n"


def resolved_text(loaded: Loaded) -> str:
    """Return the whole spec as YAML; a comment after each value names its file and line, or `default`.

    Placeholders stay in free text, as in the spec itself; where one stands for a number or a word
    that was checked, the value is written and the placeholder is in the comment. Read back by
    `runner.spec.yaml_text.read`, the values are equal to those of `loaded.spec`.
    """
    values = loaded.spec.model_dump(mode="python")
    return HEADER + "\n".join(_mapping(values, (), loaded.tree)) + "\n"


def _mapping(value: Mapping[str, Any], path: Path, tree: Tree) -> Iterator[str]:
    indent = "  " * len(path)
    for key, item in value.items():
        place = (*path, key)
        if isinstance(item, (Mapping, tuple, list)) and item:
            yield f"{indent}{_text(key)}:"
            yield from _inside(item, place, tree)
        else:
            yield f"{indent}{_text(key)}: {_scalar(item)}  # {_origin(item, place, tree)}"


def _inside(value: Any, path: Path, tree: Tree) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from _mapping(value, path, tree)
        return
    indent = "  " * len(path)
    for number, item in enumerate(value):
        place = (*path, number)
        if isinstance(item, (Mapping, tuple, list)) and item:
            first, *rest = _inside(item, place, tree)
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(item)}  # {_origin(item, place, tree)}"


def _origin(value: Any, path: Path, tree: Tree) -> str:
    """Return the place of a value, or `default` where nothing was written."""
    written, found = _written(tree, path)
    if not found:
        return "default"
    mark = tree.mark(path)  # of a value that `--set` gave within { }, the mark of the whole
    place = f"{mark.file}:{mark.line}" if mark.line else mark.file
    replaced = isinstance(written, str) and written != value and PLACEHOLDER.search(written)
    return _printable(f"{place}, {written}" if replaced else place)


def _written(tree: Tree, path: Path) -> tuple[Any, bool]:
    """Return what stands at `path` in the file, and whether anything does."""
    value: Any = tree.value
    for part in path:
        entries = dict(enumerate(value)) if isinstance(value, tuple) else value
        if not isinstance(entries, Mapping) or part not in entries:
            return None, False
        value = entries[part]
    return value, True


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return _text(value)
    return "{}" if isinstance(value, Mapping) else "[]"


def _number(value: float) -> str:
    """Return a float so that YAML 1.1 reads a number too: 1.0e-05, not 1e-05."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    digits, mark, exponent = repr(value).partition("e")
    return f"{digits if '.' in digits else digits + '.0'}{mark}{exponent}"


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and isinstance(scalar(value), str) and not _WORDS_OF_1_1.fullmatch(value):
        return value
    return _printable(json.dumps(value, ensure_ascii=False))


def _printable(text: str) -> str:
    """Return `text` with what YAML or an editor would take for a line end or not show as an escape."""
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
