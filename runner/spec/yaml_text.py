"""YAML text -> plain values with the place each one came from.

YAML 1.2 core rules, from PyYAML's events: `2e-4` is a number, `no` is text, and what a spec never
needs is refused with its place: duplicate keys, tags, merge keys, several documents, keys that are
no text, runaway aliases, deep nesting. The tree is built here and not by `yaml.compose`, which
ends the process on a file of 100,000 opening brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from runner.spec.problems import Problem

MAX_DEPTH = 50
MAX_NODES = 50_000
"""Values in a file, each alias counted with all that it stands for."""

MAX_ANCHORS = 200

Path = tuple[str | int, ...]

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = {**dict.fromkeys(("true", "True", "TRUE"), True), **dict.fromkeys(("false", "False", "FALSE"), False)}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_MAX_DIGITS = 200
"""A number of more digits stays text: every whole number that is read then fits into a float."""


@dataclass(frozen=True)
class Mark:
    """Where a value stands: file, and line and column counted from 1. Line 0: the file as a whole."""

    file: str
    line: int = 0
    column: int = 0


@dataclass
class Tree:
    """A value of dicts, tuples and scalars, and the marks of everything in it.

    `values[path]` is where a value begins, `keys[path]` where its key does.
    """

    value: Any
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)

    def mark(self, path: Path, *, of_key: bool = False) -> Mark:
        """Return the place of `path`, or of the key of the nearest parent that was written down."""
        if path in self.values and not of_key:
            return self.values[path]
        for length in range(len(path), 0, -1):
            if path[:length] in self.keys:
                return self.keys[path[:length]]
            if path[:length] in self.values:
                return self.values[path[:length]]
        return self.values.get((), Mark(""))

    def mark_of_section(self, path: Path) -> Mark:
        """Return the place of `path`, of a mapping or a list that of its key: a block begins a line below it."""
        value: Any = self.value
        for part in path:
            in_list = isinstance(value, tuple) and isinstance(part, int) and part < len(value)
            if not in_list and not (isinstance(value, Mapping) and part in value):
                return self.mark(path)
            value = value[part]
        return self.mark(path, of_key=isinstance(value, (Mapping, tuple)))


class _RefusedError(Exception):
    def __init__(self, mark: Mark, code: str, message: str, hint: str = "", path: Path = ()) -> None:
        super().__init__(message)
        self.problem = Problem(mark.file, mark.line, mark.column, dotted(path), code, message, hint)


def dotted(path: Path) -> str:
    """Return a path as it is written in messages: `evaluate[0].split`.

    >>> dotted(("evaluate", 0, "split"))
    'evaluate[0].split'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def scalar(text: str) -> Any:
    """Return what a plain (unquoted) scalar means under YAML 1.2's core schema.

    >>> [scalar(word) for word in ("2e-4", "no", "0o17", "~", "1_000", "True")]
    [0.0002, 'no', 15, None, '1_000', True]
    """
    if text in _BOOL:
        return _BOOL[text]
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _NULL.fullmatch(text):
        return None
    if len(text) <= _MAX_DIGITS:
        if _INT.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def read(text: str, file: str) -> tuple[Tree | None, tuple[Problem, ...]]:
    """Return the tree of one YAML document and what is wrong with it.

    Faults that leave the rest readable (duplicate keys) come with a tree; others with None.
    """
    builder = _Builder(file)
    try:
        tree = builder.document(yaml.parse(text, Loader=_LOADER))
    except _RefusedError as refused:
        return None, (*builder.problems, refused.problem)
    except yaml.YAMLError as error:
        return None, (*builder.problems, _syntax_problem(error, text, file))
    except (ValueError, UnicodeError) as error:  # libyaml reports unprintable characters in this way
        return None, (*builder.problems, Problem(file, 0, 0, "", "yaml", f"not YAML: {error}"))
    return tree, tuple(builder.problems)


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_NOT_CLOSED = {"flow sequence": "[", "flow mapping": "{", "quoted scalar": "quote"}
_ADVICE = {
    "mapping values are not allowed": "a text that holds `: ` needs quotes; keys of one section stand in one column",
    "did not find expected key": "keys of one section stand in one column; a text that holds quotes needs quotes",
    "could not find expected ':'": "a key is followed by a colon and a space",
    "did not find expected '-'": "items of one list stand in one column, each after `- `",
    "did not find expected node content": "a value is missing, or a [ or { above is not closed",
    "found unknown escape": 'in "..." a backslash begins an escape; take single quotes',
    "alphabetic or numeric character": "a text that begins with * or & needs quotes",
    "control characters": "an unprintable character stands in the file; retype the line",
    "special characters": "an unprintable character stands in the file; retype the line",
}
"""A part of what libyaml says -> what to do."""


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    """Return a fault of the syntax; one that is not closed is reported where it opens."""
    said = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = str(getattr(error, "context", None) or "")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    opened = next((sign for words, sign in _NOT_CLOSED.items() if context.endswith(words)), None)
    ends = said.startswith("did not find expected ',' or") or said == "found unexpected end of stream"
    lines = re.split("\r\n|\r|\n", text)
    written = lines[mark.line] if mark and mark.line < len(lines) else ""
    hint = next((advice for words, advice in _ADVICE.items() if words in said), "")
    if "cannot start any token" in said and mark:
        sign = written[mark.column : mark.column + 1]
        hint = (
            "YAML is indented with spaces, never tabs"
            if sign == "\t"
            else f"a text that begins with {sign} needs quotes"
        )
    elif opened and ends and "${" in written:
        hint = 'inside { } or [ ] a placeholder needs quotes: {device: "${env:NAME}"}'
    elif opened and ends and error.context_mark:  # type: ignore[attr-defined]  # of MarkedYAMLError
        mark, said = error.context_mark, f"the {opened} that opens here is not closed"  # type: ignore[attr-defined]
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return Problem(file, line, column, "", "yaml", f"not YAML: {said}", hint)


@dataclass
class _Anchor:
    value: Any
    nodes: int
    marks: dict[Path, Mark]
    keys: dict[Path, Mark]


class _Builder:
    """Builds one tree out of events, counting what it builds."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.nodes = 0
        self.anchors: dict[str, _Anchor | None] = {}
        self.marks: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}

    def document(self, events: Iterator[Any]) -> Tree:
        self.events = events
        next(events)  # stream start
        event = next(events)
        if isinstance(event, yaml.StreamEndEvent):
            raise _RefusedError(Mark(self.file), "yaml", "the file is empty")
        value = self._value(next(events), ())
        next(events)  # document end
        event = next(events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise _RefusedError(self._mark(event), "yaml", "a second document begins", "one spec a file")
        if not isinstance(value, dict):
            raise _RefusedError(
                Mark(self.file, 1, 1),
                "yaml",
                f"expected a mapping of keys and values, got {kind_only(value)}",
            )
        return Tree(value, self.marks, self.keys)

    def _mark(self, event: Any) -> Mark:
        return Mark(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _count(self, nodes: int, mark: Mark, path: Path) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise _RefusedError(
                mark,
                "alias",
                f"the file stands for more than {MAX_NODES:,} values",
                "aliases (`*name`) repeat all that their anchor holds; write fewer of them",
                path,
            )

    def _value(self, event: Any, path: Path) -> Any:
        mark = self._mark(event)
        self._count(1, mark, path)
        if len(path) > MAX_DEPTH:
            raise _RefusedError(mark, "yaml", f"nested more than {MAX_DEPTH} deep", path=path[:3])
        self.marks[path] = mark
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, mark)
        before = self.nodes - 1
        if event.anchor:
            if len(self.anchors) >= MAX_ANCHORS:
                raise _RefusedError(mark, "alias", f"more than {MAX_ANCHORS} anchors", path=path)
            self.anchors[event.anchor] = None
        value = self._content(event, path, mark)
        if event.anchor:
            self._remember(event.anchor, value, path, self.nodes - before)
        return value

    def _content(self, event: Any, path: Path, mark: Mark) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0] and not event.style
            if event.tag is not None and event.tag != "!":
                raise _RefusedError(mark, "yaml", f"the tag {event.tag!r} is not allowed", "remove it", path)
            return scalar(event.value) if plain else event.value
        if event.tag is not None:
            raise _RefusedError(mark, "yaml", f"the tag {event.tag!r} is not allowed", "remove it", path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self._value(event, (*path, len(items))))
            return tuple(items)
        return self._mapping(path)

    def _mapping(self, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        twice: dict[str, tuple[Mark, Mark]] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            mark = self._mark(event)
            key = self._key(event, mark, path)
            if key == "<<":
                raise _RefusedError(
                    mark, "yaml", "merge keys (`<<`) are not part of YAML 1.2", "use `extends`", path
                )
            place = (*path, key)
            if key in result:
                twice.setdefault(key, (mark, self.keys[place]))
                self._forget(result[key], place)
            self.keys[place] = mark
            result[key] = self._value(next(self.events), place)
        for key, (mark, first) in twice.items():
            message = f"the key {key!r} stands twice; first at line {first.line}"
            self.problems.append(
                Problem(
                    self.file,
                    mark.line,
                    mark.column,
                    dotted((*path, key)),
                    "duplicate-key",
                    message,
                    "keep one of them",
                )
            )
        return result

    def _forget(self, value: Any, path: Path) -> None:
        """Drop the places of a value that is replaced by a later one."""
        del self.marks[path], self.keys[path]
        pending = [(value, path)] if isinstance(value, (dict, tuple)) else []
        while pending:
            inside, above = pending.pop()
            parts = inside.items() if isinstance(inside, dict) else enumerate(inside)
            for part, item in parts:
                place = (*above, part)
                del self.marks[place]
                self.keys.pop(place, None)
                if isinstance(item, (dict, tuple)):
                    pending.append((item, place))

    def _key(self, event: Any, mark: Mark, path: Path) -> str:
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(mark, "yaml", "a key must be text, not an alias", "write it out", path)
        if not isinstance(event, yaml.ScalarEvent):
            hint = "a key is a word before a colon"
            raise _RefusedError(mark, "yaml", "a key must be text, not a list or a mapping", hint, path)
        if event.tag is not None and event.tag != "!":
            raise _RefusedError(mark, "yaml", f"the tag {event.tag!r} is not allowed", "remove it", path)
        key: str = event.value
        if not key:
            raise _RefusedError(mark, "yaml", "a key is missing before the colon", path=path)
        if not event.style and not isinstance(scalar(key), str):
            message, hint = f"a key must be text, got {kind_of(scalar(key))}", f'put it in quotes: "{key}"'
            raise _RefusedError(mark, "yaml", message, hint, path)
        return key

    def _remember(self, anchor: str, value: Any, path: Path, nodes: int) -> None:
        size = len(path)
        self.anchors[anchor] = _Anchor(
            value,
            nodes,
            {place[size:]: mark for place, mark in self.marks.items() if place[:size] == path},
            {place[size:]: mark for place, mark in self.keys.items() if place[:size] == path},
        )

    def _alias(self, event: Any, path: Path, mark: Mark) -> Any:
        anchor = self.anchors.get(event.anchor)
        if anchor is None:
            known = "holds itself" if event.anchor in self.anchors else "is not defined above"
            hint = "write the value out; a text that begins with * needs quotes"
            raise _RefusedError(mark, "alias", f"the anchor {event.anchor!r} {known}", hint, path)
        self._count(anchor.nodes, mark, path)
        self.marks |= {(*path, *place): m for place, m in anchor.marks.items()}
        self.keys |= {(*path, *place): m for place, m in anchor.keys.items()}
        return _copy(anchor.value)


def _copy(value: Any) -> Any:
    """Return a value that can be changed without changing the one that an anchor names."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return tuple(_copy(item) for item in value) if isinstance(value, tuple) else value


def kind_only(value: Any) -> str:
    """Return what a value is and how long, without a word of it.

    >>> kind_only("secret"), kind_only(12), kind_only((1, 2))
    ('text of 6 letters', 'a number of 2 characters', 'a list')
    """
    if isinstance(value, str):
        return f"text of {len(value):,} letter{'' if len(value) == 1 else 's'}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"a number of {len(str(value))} character{'' if len(str(value)) == 1 else 's'}"
    return "true or false" if isinstance(value, bool) else kind_of(value)


def kind_of(value: Any) -> str:
    """Return what a value is, in words: `the text '2e-4'`, `the number 3`, `a list`.

    >>> kind_of("2e-4"), kind_of(3), kind_of(()), kind_of(None), kind_of(True)
    ("the text '2e-4'", 'the number 3', 'a list', 'nothing', 'true')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else f"the text {value[:57]!r}..."
    if isinstance(value, (int, float)):
        return f"the number {value!r}" if len(repr(value)) <= 30 else f"a number of {len(repr(value))} digits"
    return "a mapping" if isinstance(value, Mapping) else "a list"
