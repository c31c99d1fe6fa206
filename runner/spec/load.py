"""One spec file -> a checked, frozen `Spec`, with every problem of it reported at once.

The way: text -> tree with places (`yaml_text`) -> `extends` merged -> `--set` laid over ->
`${env:...}` looked up -> typed classes (`model`) -> cross-field rules (`rules`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from pydantic import ValidationError

from runner.spec.environment import ANY_PLACEHOLDER, PLACEHOLDER, SECRET_NAME, substitute
from runner.spec.fields import Leaf, field_at, is_free_text
from runner.spec.messages import Vocabulary, problems_of, without_unknown
from runner.spec.model import KINDS, Spec
from runner.spec.nearest import nearest
from runner.spec.problems import Problem, SpecError, choices
from runner.spec.rules import broken_rules
from runner.spec.yaml_text import MAX_BYTES, Mark, Tree, dotted, kind_of, read, scalar
from runner.spec.yaml_text import Path as SpecPath

MAX_EXTENDS = 20


@dataclass(frozen=True)
class Fault:
    """A fault found by a check from outside this package: a path in the spec and what is wrong there."""

    path: SpecPath
    code: str
    message: str
    hint: str = ""


Check = Callable[[Spec], Iterable[Fault]]


@dataclass(frozen=True)
class Loaded:
    """A spec and where each of its values came from."""

    spec: Spec
    file: Path
    text: str
    """The file as written."""
    tree: Tree
    """The merged values as written, placeholders kept, and their places."""


def load(
    file: Path,
    *,
    sets: Sequence[str] = (),
    environ: Mapping[str, str],
    vocabulary: Vocabulary,
    checks: Sequence[Check] = (),
) -> Loaded:
    """Return the spec of `file`.

    Args:
        file: the YAML file.
        sets: changes as on the command line, `a.b=value`, laid over the file before any check.
        environ: where `${env:NAME}` is looked up.
        vocabulary: the foreign words that a nearest key may come from.
        checks: further checks of a spec that is right in itself, such as those of an engine.

    Raises:
        SpecError: everything that is wrong, of the file and of what it extends.
    """
    problems: list[Problem] = []
    tree = _read_file(file, problems, ())
    if tree is None:
        raise SpecError(problems)
    for change in sets:
        _lay_over(tree, change, problems)
    expanded = _look_up(tree, environ, problems)
    spec = _typed(tree, expanded, vocabulary, problems)
    if spec is not None:
        faults = [Fault(f.path, f.code, f.message, f.hint) for f in broken_rules(spec)]
        for check in checks:
            faults.extend(check(spec))
        problems.extend(_placed(tree, fault) for fault in faults)
    if problems or spec is None:
        unset = {problem.path for problem in problems if problem.code == "env"}
        raise SpecError(p for p in problems if p.code == "env" or p.path not in unset)
    return Loaded(spec, file, file.read_text(encoding="utf-8"), tree)


def _placed(tree: Tree, fault: Fault) -> Problem:
    mark = tree.mark(fault.path)
    return Problem(
        mark.file, mark.line, mark.column, dotted(fault.path), fault.code, fault.message, fault.hint
    )


# ------------------------------------------------------------------------------- files and `extends`


def _read_file(file: Path, problems: list[Problem], above: tuple[Path, ...]) -> Tree | None:
    """Return the tree of `file` laid over those that it extends; `above` are the files that led here."""
    text = _text_of(file, problems)
    if text is None:
        return None
    tree, found = read(text, _shown(file))
    problems.extend(found)
    if tree is None:
        return None
    _make_paths_absolute(tree, file.parent)
    bases = tree.value.pop("extends", ())
    names = (bases,) if isinstance(bases, str) else bases
    mark = tree.mark(("extends",))
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        message = f"expected a file name or a list of them, got {kind_of(bases)}"
        problems.append(Problem(mark.file, mark.line, mark.column, "extends", "extends", message))
        return tree
    merged: Tree | None = None
    for name in names:
        base = _base_of(file, name, mark, problems, above)
        if base is not None:
            merged = base if merged is None else _merge(merged, base)
    return tree if merged is None else _merge(merged, tree)


def _base_of(
    file: Path, name: str, mark: Mark, problems: list[Problem], above: tuple[Path, ...]
) -> Tree | None:
    base = file.parent / name
    chain = (*above, file.resolve())
    if base.resolve() in chain:
        names = " -> ".join(_shown(item) for item in (*chain[chain.index(base.resolve()) :], base.resolve()))
        message, hint = f"extends itself: {names}", "take one of these links out"
    elif len(chain) > MAX_EXTENDS:
        message, hint = f"more than {MAX_EXTENDS} files extend one another", ""
    elif not base.is_file():
        near = nearest(base.name, [item.name for item in base.parent.glob("*.y*ml")])
        message = f"no file {name!r} beside {_shown(file)}"
        hint = f"nearest: {near}" if near else "the name is relative to this file"
    else:
        return _read_file(base, problems, chain)
    problems.append(Problem(mark.file, mark.line, mark.column, "extends", "extends", message, hint))
    return None


def _text_of(file: Path, problems: list[Problem]) -> str | None:
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            message = f"{size:,} bytes; a spec has at most {MAX_BYTES:,}"
            problems.append(Problem(_shown(file), 0, 0, "", "yaml", message))
            return None
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        problems.append(Problem(_shown(file), 0, 0, "", "yaml", message, "save it as UTF-8"))
    except OSError as error:
        problems.append(Problem(_shown(file), 0, 0, "", "file", f"cannot be read: {error.strerror}"))
    return None


def _shown(file: Path) -> str:
    """Return a file's name as short as it can be given from here."""
    try:
        return str(file.resolve().relative_to(Path.cwd())) if file.is_absolute() else str(file)
    except ValueError:
        return str(file)


def _merge(under: Tree, over: Tree) -> Tree:
    """Return `over` laid over `under`: mappings key by key, everything else as a whole."""
    value = dict(under.value)
    values, keys = dict(under.values), dict(under.keys)
    _merge_into(value, over.value, over, (), values, keys)
    values[()] = over.values[()]
    return Tree(value, values, keys)


def _merge_into(
    target: dict[str, Any],
    source: Mapping[str, Any],
    over: Tree,
    path: SpecPath,
    values: dict[SpecPath, Mark],
    keys: dict[SpecPath, Mark],
) -> None:
    for key, value in source.items():
        place = (*path, key)
        old = target.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and not _changes_kind(old, value):
            target[key] = dict(old)
            values[place], keys[place] = over.values[place], over.keys[place]
            _merge_into(target[key], value, over, place, values, keys)
            continue
        size = len(place)
        for table in (values, keys):
            for gone in [item for item in table if item[:size] == place]:
                del table[gone]
        target[key] = value
        values.update({item: mark for item, mark in over.values.items() if item[:size] == place})
        keys.update({item: mark for item, mark in over.keys.items() if item[:size] == place})


def _changes_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether `new` selects another variant (another source, another method) than `old`."""
    return any(word in old and word in new and old[word] != new[word] for word in ("source", "name", "task"))


# -------------------------------------------------------------------------------------------- `--set`


def _lay_over(tree: Tree, change: str, problems: list[Problem]) -> None:
    """Lay one `a.b=value` over the tree; the value is read as YAML."""
    name = f"--set {change}"
    path_text, equals, value_text = change.partition("=")
    parts = path_text.strip().split(".")
    if not equals or not all(parts):
        problems.append(
            Problem(name, 0, 0, "", "set", "expected path=value", "for example --set train.epochs=1")
        )
        return
    value: Any = scalar(value_text)
    if value_text[:1] in ("[", "{", '"', "'"):
        inner, found = read(f"value: {value_text}", name)
        if inner is None or found:
            problems.extend(Problem(name, 0, 0, path_text, "set", item.message, item.hint) for item in found)
            return
        value = inner.value["value"]
    place: Any = tree.value
    for depth, part in enumerate(parts[:-1], start=1):
        inside = place.get(part)
        if inside is not None and not isinstance(inside, dict):
            message = f"{'.'.join(parts[:depth])} is {kind_of(inside)}, which has no keys"
            problems.append(Problem(name, 0, 0, path_text, "set", message))
            return
        place[part] = dict(inside) if inside else {}
        tree.values[tuple(parts[:depth])] = tree.mark(tuple(parts[:depth]))
        place = place[part]
    place[parts[-1]] = value
    path: SpecPath = tuple(parts)
    for table in (tree.values, tree.keys):
        for gone in [item for item in table if item[: len(path)] == path]:
            del table[gone]
        table[path] = Mark(name)
    _absolute_at(tree, path, Path.cwd())


# ------------------------------------------------------------------------- paths and the environment


def _make_paths_absolute(tree: Tree, folder: Path) -> None:
    """Turn every local path of a file into an absolute one: in a file it is relative to that file."""
    for path in list(tree.values):
        _absolute_at(tree, path, folder)


def _absolute_at(tree: Tree, path: SpecPath, folder: Path) -> None:
    leaf = field_at(_class_of(tree), path)
    parent: Any = tree.value
    for part in path[:-1]:
        parent = parent[part]
    if leaf is None or leaf.form is None or not path or not isinstance(parent, dict):
        return
    text = parent[path[-1]]
    if isinstance(text, str):
        parent[path[-1]] = absolute(text, folder, leaf)


def absolute(text: str, folder: Path, leaf: Leaf) -> str:
    """Return a local path as an absolute one; a hub id, and a text that begins with a placeholder, as it is.

    The default inside a placeholder is a path too, and is made absolute like one.
    """
    match = PLACEHOLDER.match(text)
    if match:
        default = match["default"]
        if not default or not _is_local(default, leaf):
            return text
        whole = f"${{env:{match['name']}:-{os.path.normpath(folder.absolute() / default)}}}"
        return whole + text[match.end() :]
    if not text or not _is_local(text, leaf):
        return text
    return os.path.normpath(folder.absolute() / Path(text).expanduser())


def _is_local(text: str, leaf: Leaf) -> bool:
    return leaf.form == "path" or text.startswith(("./", "../", "/", "~/"))


def _look_up(tree: Tree, environ: Mapping[str, str], problems: list[Problem]) -> Any:
    """Return the values with every placeholder replaced; report variables that are missing or secret."""

    def walk(value: Any, path: SpecPath) -> Any:
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(walk(item, (*path, number)) for number, item in enumerate(value))
        if not isinstance(value, str) or "${" not in value:
            return value
        return _value_of(value, path)

    def report(path: SpecPath, message: str, hint: str) -> None:
        mark = tree.mark(path)
        problems.append(Problem(mark.file, mark.line, mark.column, dotted(path), "env", message, hint))

    def _value_of(text: str, path: SpecPath) -> Any:
        for other in ANY_PLACEHOLDER.finditer(PLACEHOLDER.sub("", text)):
            report(path, f"{other[0]!r} is not a placeholder", "write ${env:NAME} or ${env:NAME:-default}")
        for match in PLACEHOLDER.finditer(text):
            if SECRET_NAME.search(match["name"]):
                report(
                    path,
                    f"{match['name']} looks like a secret, which a spec never carries",
                    "leave it out: the engines read tokens such as HF_TOKEN and WANDB_API_KEY from the "
                    "environment themselves",
                )
        result, missing = substitute(text, environ)
        for item in missing:
            report(
                path,
                f"the environment variable {item.name} is not set",
                f"set it, or give a default: ${{env:{item.name}:-default}}",
            )
        whole = PLACEHOLDER.fullmatch(text) is not None
        return scalar(result) if whole and not is_free_text(_class_of(tree), path) else result

    return walk(tree.value, ())


def _class_of(tree: Tree) -> Any:
    """Return the class of the tree's kind; for a file that leaves its kind to another, any kind's."""
    kind = tree.value.get("kind")
    known = KINDS.get(kind) if isinstance(kind, str) else None
    return known or Union[tuple(KINDS.values())]  # noqa: UP007 - made at run time


# ------------------------------------------------------------------------------------- typed classes


def _typed(tree: Tree, expanded: Any, vocabulary: Vocabulary, problems: list[Problem]) -> Spec | None:
    """Return the spec with placeholders kept in free text, or None after reporting what is wrong."""
    kind = expanded.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        _report_kind(tree, kind, problems)
        return None
    version = expanded.get("spec")
    if isinstance(version, int) and not isinstance(version, bool) and version != 1:
        mark = tree.mark(("spec",))
        message = f"format {version} is not one that this release reads"
        hint = "allowed: 1; write `spec: 1`" if version < 1 else "allowed: 1; a newer runner reads it"
        problems.append(Problem(mark.file, mark.line, mark.column, "spec", "bad-value", message, hint))
        expanded = {**expanded, "spec": 1}
    cls = KINDS[kind]
    try:
        cls.model_validate(expanded)
    except ValidationError as error:
        problems.extend(problems_of(error, cls, expanded, tree, vocabulary))
        expanded = without_unknown(error, expanded)
        try:
            cls.model_validate(expanded)
        except ValidationError:
            return None
    kept = _keep_placeholders(expanded, tree.value, cls, ())
    return cls.model_validate({**kept, "spec": expanded["spec"]})  # type: ignore[return-value]  # one kind so far


def _keep_placeholders(expanded: Any, written: Any, cls: Any, path: SpecPath) -> Any:
    """Return `expanded` with the text as written wherever a placeholder stands in a free text."""
    if isinstance(expanded, dict):
        return {k: _keep_placeholders(v, written[k], cls, (*path, k)) for k, v in expanded.items()}
    if isinstance(expanded, tuple):
        return tuple(_keep_placeholders(v, written[n], cls, (*path, n)) for n, v in enumerate(expanded))
    keep = isinstance(written, str) and "${" in written and is_free_text(cls, path)
    return written if keep else expanded


def _report_kind(tree: Tree, kind: Any, problems: list[Problem]) -> None:
    if "kind" in tree.value:
        mark = tree.mark(("kind",))
        near = nearest(kind, KINDS) if isinstance(kind, str) else None
        message = (
            f"unknown value {kind!r}" if isinstance(kind, str) else f"expected text, got {kind_of(kind)}"
        )
        hint = choices(KINDS) + (f"; nearest: {near}" if near else "")
        problems.append(Problem(mark.file, mark.line, mark.column, "kind", "bad-value", message, hint))
        return
    mark = tree.mark(())
    slip = next((key for key in tree.value if nearest(key, ["kind"])), None)
    if slip:
        mark = tree.mark((slip,), of_key=True)
        message, hint = f"unknown key {slip!r}", "nearest: kind"
        problems.append(Problem(mark.file, mark.line, mark.column, slip, "unknown-key", message, hint))
        return
    problems.append(
        Problem(mark.file, mark.line, mark.column, "kind", "missing-key", "missing key", choices(KINDS))
    )
