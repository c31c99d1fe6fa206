"""`runner explain WORD`: what a rule, another code, a key of the spec or another tool's word means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel

from converters.foreign import FOREIGN, WHY
from runner.spec.codes import CODES, Code
from runner.spec.describe import in_words
from runner.spec.fields import TAGS, Leaf, classes_in, field_at, leaves, literals_in
from runner.spec.kinds import KINDS, anchor
from runner.spec.nearest import nearest
from runner.spec.problems import UsageError

_POSITION = re.compile(r"\[\d*\]")


def explain(word: str) -> str:
    """Return what `word` means: a code (`R012`, `unknown-key`), a key or a foreign word.

    A key is a path as messages write it (`train.batch.micro`, `evaluate[0].split`) or its last part
    alone, which may stand in several places.

    Raises:
        UsageError: nothing has that name; names the nearest.
    """
    found = [*_codes(word), *_keys(word), *_foreign(word)]
    if not found:
        known = [*CODES, *_all_leaves(), *(path.rpartition(".")[2] for path in _all_leaves()), *FOREIGN, *WHY]
        near = nearest(word, known)
        hint = f"nearest: {near}" if near else "see docs/rules.md for the codes and docs/spec.md for the keys"
        raise UsageError(f"nothing is called {word!r}: no code, no key of the spec\n  {hint}")
    return "\n\n".join(found)


def _codes(word: str) -> Iterator[str]:
    code = CODES.get(word.upper()) or CODES.get(word.lower())
    if code:
        yield explain_code(code)


def explain_code(code: Code) -> str:
    """Return a code with its reason and its fix."""
    return (
        f"{code.code}: {code.title}\n  why: {code.reason}\n  fix: {code.fix}\n"
        f"  see docs/rules.md#{code.anchor}"
    )


def _all_leaves() -> dict[str, dict[str, Leaf]]:
    """Return path -> kind -> the key, paths in the order of the first kind that has them."""
    found: dict[str, dict[str, Leaf]] = {}
    for kind, cls in KINDS.items():
        for leaf in leaves(cls):
            found.setdefault(leaf.path, {})[kind] = leaf
    return found


def _choices_at(kind: str, path: str) -> dict[str, None]:
    """Return the words of a key that chooses between sections (`method.name`), in their order; none of any other key."""
    if path == "kind":
        return dict.fromkeys(KINDS)
    section, _, tag = path.rpartition(".")
    parent = field_at(KINDS[kind], tuple(section.split("."))) if section else None
    variants = classes_in(parent.field.annotation) if parent else ()
    words = [literals_in(v.model_fields[tag].annotation) for v in variants if tag in v.model_fields]
    chooses = tag in TAGS and len(words) > 1 and all(len(word) == 1 for word in words)
    return dict.fromkeys(str(word[0]) for word in words) if chooses else {}


def _keys(word: str) -> Iterator[str]:
    path = _POSITION.sub("", word).lower()
    found = _all_leaves()
    if path in found:
        yield from _of_kinds(found[path])
        return
    ending = f".{path}"
    for name, of_kind in found.items():
        if name.endswith(ending):
            yield from _of_kinds(of_kind)


def _of_kinds(of_kind: Mapping[str, Leaf]) -> Iterator[str]:
    """Yield what a key means, once for all kinds in which it means the same."""
    said: set[str] = set()
    for kind, leaf in of_kind.items():
        text = _explain_key(leaf, _choices_at(kind, leaf.path))
        if text not in said:
            said.add(text)
            mark = "" if kind == next(iter(KINDS)) else f"(of kind {kind}) "
            yield f"{mark}{text}\n  see docs/spec.md#{anchor(kind, leaf.path)}"


def _explain_key(leaf: Leaf, chooses: Iterable[str]) -> str:
    words = ", ".join(chooses)
    said = f"one of {words}; required" if words else in_words(leaf)
    lines = [f"{leaf.path}: {said}", f"  {leaf.field.description}"]
    if words and (section := leaf.path.rpartition(".")[0]):
        lines.append(f"  each brings keys of its own: `runner explain {section}` lists them")
    if variants := classes_in(leaf.field.annotation):
        lines.append(f"  keys: {', '.join(_names(variants))}")
    return "\n".join(lines)


def _names(variants: Iterable[type[BaseModel]]) -> dict[str, None]:
    return dict.fromkeys(name for variant in variants for name in variant.model_fields)


def _foreign(word: str) -> Iterator[str]:
    plain = word.lower()
    if plain in FOREIGN:
        path = _POSITION.sub("", FOREIGN[plain])
        advice = f"\n  {WHY[plain]}" if plain in WHY else ""
        yield f"{word} is another tool's word for {path}{advice}\n\n{next(_of_kinds(_all_leaves()[path]))}"
    elif plain in WHY:
        yield f"{word} is another tool's word, with no key of its own here\n  {WHY[plain]}"
