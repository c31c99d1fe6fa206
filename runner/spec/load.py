"""One spec file -> a checked, frozen `Spec`, with every problem of it reported at once.

The way: text -> tree with places (`yaml_text`) -> `extends` merged -> `--set` laid over ->
`${env:...}` looked up -> typed classes (`model`) -> cross-field rules (`rules`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Union

from pydantic import ValidationError

from runner.spec.environment import ANY_PLACEHOLDER, PLACEHOLDER, SECRET, SECRET_NAME, substitute
from runner.spec.fields import (
    Leaf,
    chooses_variant,
    classes_in,
    field_at,
    is_free_text,
    leaves,
    refuses_placeholder,
)
from runner.spec.kinds import KINDS, Spec, broken_rules
from runner.spec.messages import (
    MAX_FAULTS,
    Vocabulary,
    problems_of,
    with_nearest_variants,
    without_unknown,
    wrong_paths,
)
from runner.spec.nearest import nearest
from runner.spec.problems import Problem, SpecError, choices
from runner.spec.rule import CODE
from runner.spec.section import UnsoundError
from runner.spec.sound import sound_part
from runner.spec.text_file import MAX_BYTES, NotUtf8Error, UnreadableError, kind_of_file, read_text
from runner.spec.yaml_text import MAX_DEPTH, Mark, Tree, dotted, kind_of, read, scalar
from runner.spec.yaml_text import Path as SpecPath

MAX_EXTENDS = 20
MAX_FILES = 100
"""Files that are read for one spec, each counted as often as it is extended."""


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


@dataclass(frozen=True)
class Examined:
    """What is wrong with a file, and its sound part."""

    problems: tuple[Problem, ...]
    spec: Spec | None
    """Whole where there are no problems. Otherwise what is wrong is left out: asking for it is an
    `UnsoundError`. None where nothing is sound."""
    tree: Tree | None
    of_reading: tuple[Problem, ...] = ()
    """Those of the problems that were found before any value was looked at: in files and in `--set`."""


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
    return whole(file, examine(file, sets=sets, environ=environ, vocabulary=vocabulary, checks=checks))


def whole(file: Path, examined: Examined) -> Loaded:
    """Return the spec of a file in which nothing was found wrong.

    Raises:
        SpecError: something was.
    """
    if examined.problems or examined.spec is None or examined.tree is None:
        raise SpecError(examined.problems)
    problems: list[Problem] = []
    text = _text_of(file, problems)
    if text is None:  # it went away meanwhile
        raise SpecError(problems)
    return Loaded(examined.spec, file, text, examined.tree)


def examine(
    file: Path,
    *,
    sets: Sequence[str] = (),
    environ: Mapping[str, str],
    vocabulary: Vocabulary,
    checks: Sequence[Check] = (),
    within: Path | None = None,
) -> Examined:
    """Return everything that is wrong with the spec of `file`, and what of it is sound.

    A rule or a check whose values are sound is heard, whatever else is wrong. Arguments as of `load`; `within` is
    for specs of others: no file outside this folder is read, and no variable looked up.
    """
    problems: list[Problem] = []
    reading = _Reading(problems, _class_named(_kind_of_all(file, within)), within)
    tree = _read_file(file, reading, ())
    if tree is None:
        return Examined(tuple(problems), None, None)
    return _examined(tree, problems, sets, None if within else environ, vocabulary, checks)


def examine_changed(
    base: Examined,
    *,
    sets: Sequence[str],
    environ: Mapping[str, str] | None,
    vocabulary: Vocabulary,
    checks: Sequence[Check] = (),
) -> Examined:
    """Return what `examine` would with `sets` beside those of `base`, without reading its files again.

    `base` is left as it is. `environ` is None where no variable may be looked up.
    """
    if base.tree is None:
        return base
    tree = Tree(base.tree.value, dict(base.tree.values), dict(base.tree.keys))
    return _examined(tree, list(base.of_reading), sets, environ, vocabulary, checks)


def _examined(
    tree: Tree,
    problems: list[Problem],
    sets: Sequence[str],
    environ: Mapping[str, str] | None,
    vocabulary: Vocabulary,
    checks: Sequence[Check],
) -> Examined:
    for change in sets:
        _lay_over(tree, change, problems)
    of_reading = tuple(problems)
    expanded = _look_up(tree, environ, problems)
    spec = _typed(tree, expanded, vocabulary, problems)
    if spec is not None:
        faults = [Fault(f.path, f.code, f.message, f.hint) for f in broken_rules(spec)]
        for check in checks:
            with suppress(UnsoundError):
                faults.extend(check(spec))
        taken = _taken(tree.value, environ or {})
        problems.extend(_placed(tree, _without_values(fault, taken)) for fault in faults)
    return Examined(tuple(_without_echo(problems)), spec, tree, of_reading)


def _without_echo(problems: Sequence[Problem]) -> Iterable[Problem]:
    """Yield the problems without those that only follow from another one.

    A value that could not be looked up has no type; a section with an unknown or a double key may
    lack something only for that reason; a secret is not repeated in what is said of its value.
    """
    nothing = {problem.path for problem in problems if problem.code in ("env", "secret")}
    slips = {p.path.rpartition(".")[0] for p in problems if p.code in ("unknown-key", "duplicate-key")}
    for problem in problems:
        of_value = problem.path in nothing and problem.code not in ("env", "secret")
        of_slip = problem.path in slips and CODE.fullmatch(problem.code) is not None
        if not of_value and not of_slip:
            yield problem


def _taken(value: Any, environ: Mapping[str, str]) -> Mapping[str, re.Pattern[str]]:
    """Return name -> how its value may be written in a message, for the variables that a value names."""
    texts, names = [value], set[str]()
    while texts:
        inside = texts.pop()
        if isinstance(inside, str):
            names.update(match["name"] for match in PLACEHOLDER.finditer(inside))
        else:
            texts += (
                inside.values() if isinstance(inside, dict) else inside if isinstance(inside, tuple) else ()
            )
    return {name: _written(environ[name]) for name in sorted(names) if len(environ.get(name, "")) > 1}


def _written(text: str) -> re.Pattern[str]:
    """Return a pattern for a value as a message may hold it: as text, and as a number with or without commas."""
    value = scalar(text)
    forms = {text, repr(text)[1:-1]}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        forms |= {str(value), f"{value:,}", f"{value:g}" if abs(value) < 1e300 else ""} - {""}
    longest = sorted(forms, key=len, reverse=True)
    return re.compile(rf"(?<![\w.,])(?:{'|'.join(map(re.escape, longest))})(?![\w]|[.,]\w)")


def _without_values(fault: Fault, taken: Mapping[str, re.Pattern[str]]) -> Fault:
    """Return a fault that names a variable where it held its value."""
    message, hint = fault.message, fault.hint
    for name, pattern in taken.items():
        message, hint = (pattern.sub(f"${{env:{name}}}", part) for part in (message, hint))
    return Fault(fault.path, fault.code, message, hint)


def _placed(tree: Tree, fault: Fault) -> Problem:
    mark = tree.mark_of_section(fault.path)
    return Problem(
        mark.file, mark.line, mark.column, dotted(fault.path), fault.code, fault.message, fault.hint
    )


# ------------------------------------------------------------------------------- files and `extends`


@dataclass
class _Reading:
    """What is read for one spec."""

    problems: list[Problem]
    """Takes what is wrong."""
    cls: Any
    """The class of the spec that all files make, which knows the local paths; a file may leave its kind to those that
    it extends, or to those that extend it."""
    within: Path | None
    """The folder that no file is read from outside of; None: all may be read."""
    files: int = 0

    def report(self, mark: Mark, message: str, hint: str = "") -> None:
        """Take a fault of an `extends`."""
        self.problems.append(Problem(mark.file, mark.line, mark.column, "extends", "extends", message, hint))


def _read_file(file: Path, reading: _Reading, above: tuple[Path, ...]) -> Tree | None:
    """Return the tree of `file` laid over those that it extends; `above` are the files that led here."""
    if not lies_within(file, reading.within):
        message, hint = f"leads out of {_shown(reading.within or file)}", _OUTSIDE
        reading.problems.append(Problem(_shown(file), 0, 0, "", "file", message, hint))
        return None
    reading.files += 1
    text = _text_of(file, reading.problems)
    if text is None:
        return None
    parsed, found = _parsed(text, _shown(file))
    reading.problems.extend(found)
    if parsed is None:
        return None
    tree = Tree(_copied(parsed.value), dict(parsed.values), dict(parsed.keys))
    _make_paths_absolute(tree, file.parent, reading.cls)
    bases = tree.value.pop("extends", ())
    names = (bases,) if isinstance(bases, str) else bases
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        wrong = bases if not isinstance(names, tuple) else next(n for n in names if not isinstance(n, str))
        reading.report(
            tree.mark(("extends",)), f"expected a file name or a list of them, got {kind_of(wrong)}"
        )
        return tree
    merged: Tree | None = None
    for number, name in enumerate(names):
        mark = tree.mark(("extends",) if isinstance(bases, str) else ("extends", number))
        if reading.files >= MAX_FILES:
            message = f"more than {MAX_FILES} files are read for one spec"
            reading.report(mark, message, "a file that is extended several times is counted each time")
            break
        base = _base_of(file, name, mark, reading, above)
        if base is not None:
            merged = base if merged is None else _merge(merged, base)
    return tree if merged is None else _merge(merged, tree)


_OUTSIDE = "with --untrusted no file outside this folder is read; --root DIR names another folder"


def lies_within(file: Path, folder: Path | None) -> bool:
    """Return whether a file, links followed, lies below a folder; anything does where there is none."""
    if folder is None:
        return True
    real = _real(file)
    return real is not None and Path(real).is_relative_to(os.path.realpath(folder))


def _real(file: Path) -> str | None:
    """Return a file's name with links followed; None where no file can have that name."""
    try:
        return os.path.realpath(file)
    except ValueError:  # a NUL, half a letter
        return None


@lru_cache(maxsize=64)
def _parsed(text: str, name: str) -> tuple[Tree | None, tuple[Problem, ...]]:
    """Return what `read` does, once for a text: many specs extend the same few files. Not to be changed."""
    tree, found = read(text, name)
    return tree, tuple(found)


def _kind_of_all(file: Path, within: Path | None) -> Any:
    """Return what stands under `kind` in `file`, or in the last of the files that it extends which has one."""
    return next((tree.value["kind"] for _, tree in _below(file, within) if "kind" in tree.value), None)


def files_read(file: Path, within: Path | None = None) -> tuple[Path, ...]:
    """Return `file` and all that it extends, at any depth: what `examine` read of a spec that is sound."""
    return tuple(found for found, _ in _below(file, within))


def _below(file: Path, within: Path | None) -> Iterable[tuple[Path, Tree]]:
    """Yield `file` and all that it extends, each file once, the last that a file extends before the others."""
    pending, seen = [file], set[str]()
    while pending and len(seen) < MAX_FILES:
        file = pending.pop()
        real = _real(file)
        if real is None or real in seen or not lies_within(file, within):
            continue
        seen.add(real)
        text = _text_of(file, [])
        tree = None if text is None else _parsed(text, _shown(file))[0]
        if tree is None:
            continue
        yield file, tree
        bases = tree.value.get("extends", ())
        names = (bases,) if isinstance(bases, str) else bases if isinstance(bases, tuple) else ()
        pending += [file.parent / name for name in names if isinstance(name, str)]


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return tuple(_copied(item) for item in value) if isinstance(value, tuple) else value


def _base_of(file: Path, name: str, mark: Mark, reading: _Reading, above: tuple[Path, ...]) -> Tree | None:
    base = file.parent / name
    chain = (*above, file.resolve())
    if "${" in name:
        message, hint = f"a placeholder in {name!r}", "a file name in `extends` is written out"
    elif not lies_within(base, reading.within):
        message, hint = f"{name!r} lies outside of {_shown(reading.within or file)}", _OUTSIDE
    elif wrong := _no_file(base, name, file):
        message, hint = wrong
    elif base.resolve() in chain:
        names = " -> ".join(_shown(item) for item in (*chain[chain.index(base.resolve()) :], base.resolve()))
        message, hint = f"a circle: {names}", "take one of these links out"
    elif len(chain) > MAX_EXTENDS:
        message, hint = f"more than {MAX_EXTENDS} files extend one another", "put some of them together"
    else:
        return _read_file(base, reading, chain)
    reading.report(mark, message, hint)
    return None


def _no_file(base: Path, name: str, file: Path) -> tuple[str, str] | None:
    """Return message and hint where there is no regular file `base`, which `file` calls `name`."""
    try:
        mode = base.stat().st_mode
    except (OSError, ValueError):  # a name too long, with a NUL, or in a folder that may not be entered
        near = nearest(base.name, _spec_names(base.parent))
        hint = f"nearest: {Path(name).parent / near}" if near else "the name is relative to this file"
        return f"no file {name!r} beside {_shown(file)}", hint
    if stat.S_ISREG(mode):
        return None
    return f"{name!r} is {kind_of_file(mode)}", "name a spec, or a part of one"


def _spec_names(folder: Path) -> list[str]:
    try:
        return sorted(item.name for item in folder.glob("*.y*ml"))
    except (OSError, ValueError):
        return []


def _text_of(file: Path, problems: list[Problem]) -> str | None:
    try:
        return read_text(file, MAX_BYTES)
    except NotUtf8Error as error:
        problems.append(Problem(_shown(file), 0, 0, "", "yaml", str(error), "save it as UTF-8"))
    except UnreadableError as error:
        problems.append(Problem(_shown(file), 0, 0, "", "file", str(error)))
    return None


def _shown(file: Path) -> str:
    """Return a file's name as short as it can be given from here."""
    try:
        return str(Path(os.path.realpath(file)).relative_to(Path.cwd())) if file.is_absolute() else str(file)
    except ValueError:
        return str(file)


def _merge(under: Tree, over: Tree) -> Tree:
    """Return `over` laid over `under`: mappings key by key, everything else as a whole."""
    merged = Tree({}, {(): over.values[()]}, {})
    merged.value = _merged((), under.value, under, over.value, over, merged)
    return merged


def _merged(path: SpecPath, low: Any, under: Tree, high: Any, over: Tree, into: Tree) -> dict[str, Any]:
    """Return two mappings laid over each other, with the places of what is taken from each."""
    result: dict[str, Any] = {}
    for key in dict.fromkeys((*low, *high)):
        place = (*path, key)
        source = over if key in high else under
        into.keys[place], into.values[place] = source.keys[place], source.values[place]
        both = isinstance(low.get(key), dict) and isinstance(high.get(key), dict)
        if both and not _changes_kind(low[key], high[key]):
            result[key] = _merged(place, low[key], under, high[key], over, into)
        else:
            result[key] = source_value = high[key] if key in high else low[key]
            _take_marks(source_value, place, source, into)
    return result


def _take_marks(value: Any, path: SpecPath, source: Tree, into: Tree) -> None:
    for part, item in value.items() if isinstance(value, dict) else _numbered(value):
        place = (*path, part)
        into.values[place] = source.values[place]
        if place in source.keys:
            into.keys[place] = source.keys[place]
        _take_marks(item, place, source, into)


def _numbered(value: Any) -> Iterable[tuple[int, Any]]:
    return enumerate(value) if isinstance(value, tuple) else ()


def _changes_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether `new` selects another variant (another source, another method) than `old`."""
    return any(
        word in old and word in new and old[word] != new[word] for word in ("source", "name", "task", "kind")
    )


# -------------------------------------------------------------------------------------------- `--set`


_SET_PART = re.compile(r"([^.\[\]]+)((?:\[[0-9]{1,6}\])*)")


def _lay_over(tree: Tree, change: str, problems: list[Problem]) -> None:
    """Lay one `a.b=value` over the tree; the value is read as YAML."""
    change = change.encode(errors="surrogatepass").decode(errors="replace")  # argv may hold any bytes
    name = _name_of(change)
    path_text, equals, value_text = (part.strip() for part in change.partition("="))

    def report(message: str, hint: str) -> None:
        problems.append(Problem(name, 0, 0, path_text if equals else "", "set", message, hint))

    path = _set_path(path_text)
    if not equals or path is None:
        report("expected path=value", "for example --set train.epochs=1")
        return
    if len(path) > MAX_DEPTH:
        report(f"a path of {len(path):,} parts; a spec has at most {MAX_DEPTH} levels", "")
        return
    if path == ("extends",):
        report("`extends` cannot be set", "write it into the file")
        return
    value: Any = scalar(value_text)
    if value_text[:1] in ("[", "{", '"', "'"):
        inner, found = read(f"value: {value_text}", name)
        if inner is None or found:
            for item in found:
                report(item.message, item.hint)
            return
        value = inner.value["value"]
    try:
        tree.value = _with(tree.value, path, 0, value)
    except _CannotSetError as error:
        report(str(error), "")
        return
    for length in range(1, len(path)):
        tree.values.setdefault(path[:length], Mark(name))
    for table in (tree.values, tree.keys):
        for gone in [item for item in table if item[: len(path)] == path]:
            del table[gone]
        table[path] = Mark(name)
    for place in _paths_below(value, path):
        _absolute_at(tree, place, Path.cwd(), _class_of(tree))


def sets_twice(sets: Sequence[str]) -> list[Problem]:
    """Return a problem for each change that a later one makes void without a word."""
    problems = []
    for number, change in enumerate(sets):
        path = _set_path(change.partition("=")[0].strip())
        for later in sets[number + 1 :] if path else ():
            other = _set_path(later.partition("=")[0].strip())
            if path and other and path[: len(other)] == other:
                name, message = _name_of(change), f"{dotted(path)} is set again by `{_name_of(later)}`"
                problems.append(Problem(name, 0, 0, dotted(path), "set", message, "keep one of them"))
                break
    return problems


def _name_of(change: str) -> str:
    """Return a `--set` as messages name it, without an access token that stands in it; argv may hold any bytes."""
    return SECRET.sub("***", f"--set {change.encode(errors='surrogatepass').decode(errors='replace')}")


def _set_path(text: str) -> SpecPath | None:
    """Return the path of a `--set`, written as messages write it: `evaluate[0].split`; None if it is none."""
    parts: list[str | int] = []
    for piece in text.split("."):
        match = _SET_PART.fullmatch(piece)
        if match is None:
            return None
        parts.append(match[1])
        parts.extend(int(number) for number in re.findall("[0-9]+", match[2]))
    return tuple(parts)


class _CannotSetError(Exception):
    """The path of a `--set` leads nowhere."""


def _with(inside: Any, path: SpecPath, depth: int, value: Any) -> Any:
    """Return `inside` with `value` at what is left of the path; missing sections are made."""
    if depth == len(path):
        return value
    part, here = path[depth], dotted(path[:depth])
    if isinstance(part, int):
        if not isinstance(inside, tuple):
            raise _CannotSetError(f"{here} is {kind_of(inside)}, which has no positions")
        if part >= len(inside):
            raise _CannotSetError(f"{here} has {len(inside)} entries, counted from 0")
        return tuple(_with(v, path, depth + 1, value) if n == part else v for n, v in enumerate(inside))
    if isinstance(inside, tuple):
        is_position = re.fullmatch("[0-9]{1,6}", part) is not None
        wanted = (int(part),) if is_position else (0, part)
        example = dotted((*path[:depth], *wanted, *path[depth + 1 :]))
        raise _CannotSetError(f"{here} is a list; name an entry, for example {example}")
    if inside is not None and not isinstance(inside, dict):
        raise _CannotSetError(f"{here} is {kind_of(inside)}, which has no keys")
    section = inside or {}
    return {**section, part: _with(section.get(part), path, depth + 1, value)}


# ------------------------------------------------------------------------- paths and the environment


def _make_paths_absolute(tree: Tree, folder: Path, cls: Any) -> None:
    """Turn every local path of a file into an absolute one: in a file it is relative to that file."""
    for path in list(tree.values):
        _absolute_at(tree, path, folder, cls)
    sweep = tree.value.get("sweep")
    if isinstance(sweep, dict):
        axes, arms = sweep.get("axes"), sweep.get("arms")
        if isinstance(axes, dict):
            for name, values in axes.items():
                if isinstance(values, tuple):
                    axes[name] = tuple(_absolute_in_sweep(cls, name, value, folder) for value in values)
        for changes in arms.values() if isinstance(arms, dict) else ():
            if isinstance(changes, dict):
                for name, value in changes.items():
                    changes[name] = _absolute_in_sweep(cls, name, value, folder)


def _absolute_in_sweep(cls: Any, name: str, value: Any, folder: Path) -> Any:
    """Return a value that a sweep gives to the spec path `name` with its local paths absolute, at any depth."""

    def made(value: Any, path: SpecPath) -> Any:
        if isinstance(value, dict):
            return {key: made(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(made(item, (*path, number)) for number, item in enumerate(value))
        leaf = field_at(cls, path) if isinstance(value, str) else None
        return value if leaf is None or leaf.form is None else absolute(value, folder, leaf)

    path = _set_path(name)
    return value if path is None else made(value, path)


def _paths_below(value: Any, path: SpecPath) -> Iterable[SpecPath]:
    yield path
    for part, item in value.items() if isinstance(value, dict) else _numbered(value):
        yield from _paths_below(item, (*path, part))


def _absolute_at(tree: Tree, path: SpecPath, folder: Path, cls: Any) -> None:
    parent: Any = tree.value
    for part in path[:-1]:
        parent = parent[part]
    text = parent[path[-1]] if path and isinstance(parent, dict) else None
    if not isinstance(text, str):
        return
    leaf = field_at(cls, path)
    if leaf is not None and leaf.form is not None:
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
    return os.path.normpath(folder.absolute() / os.path.expanduser(text))  # noqa: PTH111 - of no user: as it is


def _is_local(text: str, leaf: Leaf) -> bool:
    return leaf.form == "path" or text.startswith(("./", "../", "/", "~/"))


def _look_up(tree: Tree, environ: Mapping[str, str] | None, problems: list[Problem]) -> Any:
    """Return the values with every placeholder replaced; report variables that are missing or secret.

    Without `environ` nothing is looked up: a placeholder stands for its default.
    """

    def walk(value: Any, path: SpecPath) -> Any:
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(walk(item, (*path, number)) for number, item in enumerate(value))
        if not isinstance(value, str):
            return value
        if found := SECRET.search(value):
            message = f"{found[0][:4]}... looks like an access token"
            report(
                path,
                message,
                "take it out and make it invalid; the engines read theirs from the environment",
                "secret",
            )
        return _value_of(value, path) if "${" in value else value

    def report(path: SpecPath, message: str, hint: str, code: str = "env") -> None:
        mark = tree.mark(path)
        problems.append(Problem(mark.file, mark.line, mark.column, dotted(path), code, message, hint))

    def _value_of(text: str, path: SpecPath) -> Any:
        if chooses_variant(_class_of(tree), path):
            report(path, f"a placeholder in {text!r}", "a word that chooses the other keys is written out")
        for other in ANY_PLACEHOLDER.finditer(PLACEHOLDER.sub("", text)):
            report(path, f"{other[0]!r} is not a placeholder", "write ${env:NAME} or ${env:NAME:-default}")
        secret = [match for match in PLACEHOLDER.finditer(text) if SECRET_NAME.search(match["name"])]
        if PLACEHOLDER.search(text) and not secret and refuses_placeholder(_class_of(tree), path):
            taking = ", ".join(_taking_placeholders(_class_of(tree)))
            hint = f"this is written out; numbers, words out of a list and these texts take one: {taking}"
            report(path, f"a placeholder in {text!r}", hint)
            return text
        for match in secret:
            report(
                path,
                f"{match['name']} looks like a secret, which a spec never carries",
                "leave it out: the engines read tokens such as HF_TOKEN and WANDB_API_KEY from the "
                "environment themselves",
            )
        result, missing = substitute(text, environ or {})
        for item in missing:
            default = f"give a default: ${{env:{item.name}:-default}}"
            if environ is None:
                report(
                    path, f"the environment variable {item.name} is not looked up with --untrusted", default
                )
            else:
                message = f"the environment variable {item.name} is not set"
                report(path, message, f"set it, or {default}")
        whole = PLACEHOLDER.fullmatch(text) is not None
        return scalar(result) if whole and not is_free_text(_class_of(tree), path) else result

    return walk(tree.value, ())


def _taking_placeholders(cls: Any) -> Iterable[str]:
    """Return the paths of the free texts that may hold a placeholder."""
    for kind in classes_in(cls):
        yield from (leaf.path for leaf in leaves(kind) if leaf.placeholder and "components" not in leaf.path)


def _class_of(tree: Tree) -> Any:
    return _class_named(tree.value.get("kind"))


def _class_named(kind: Any) -> Any:
    """Return the class of a kind; any kind's where nobody says which, or says one that there is not."""
    known = KINDS.get(kind) if isinstance(kind, str) else None
    return known or Union[tuple(KINDS.values())]  # noqa: UP007 - made at run time


# ------------------------------------------------------------------------------------- typed classes


def _typed(tree: Tree, expanded: Any, vocabulary: Vocabulary, problems: list[Problem]) -> Spec | None:
    """Return the spec with placeholders kept in free text, or its sound part after reporting what is wrong."""
    expanded = _with_kind(tree, expanded, problems)
    if expanded is None:
        return None
    version = expanded.get("spec")
    if isinstance(version, int) and not isinstance(version, bool) and version != 1:
        mark = tree.mark(("spec",))
        message = f"format {version} is not one that this release reads"
        hint = "allowed: 1; write `spec: 1`" if version < 1 else "allowed: 1; a newer runner reads it"
        problems.append(Problem(mark.file, mark.line, mark.column, "spec", "bad-value", message, hint))
        expanded = {**expanded, "spec": 1}
    cls = KINDS[expanded["kind"]]
    try:
        spec = cls.model_validate(expanded)
    except ValidationError as error:
        problems.extend(problems_of(error, cls, expanded, tree, vocabulary.of(expanded["kind"])))
        if error.error_count() > MAX_FAULTS:
            return None
        expanded = with_nearest_variants(error, without_unknown(error, expanded), cls)
        try:
            spec = cls.model_validate(expanded)
        except ValidationError as rest:
            # A variant put right may have keys of its own that nobody knows.
            expanded = without_unknown(rest, expanded)
            return sound_part(cls, expanded, wrong_paths(rest, expanded))  # type: ignore[return-value]  # of the kind
    if expanded == tree.value:
        return spec  # no placeholder anywhere
    kept = _keep_placeholders(expanded, tree.value, cls, ())
    return cls.model_validate({**kept, "spec": expanded["spec"]})


def _keep_placeholders(expanded: Any, written: Any, cls: Any, path: SpecPath) -> Any:
    """Return `expanded` with the text as written wherever a placeholder stands in a free text."""
    if isinstance(expanded, dict):
        return {k: _keep_placeholders(v, written.get(k, v), cls, (*path, k)) for k, v in expanded.items()}
    if isinstance(expanded, tuple):
        return tuple(_keep_placeholders(v, written[n], cls, (*path, n)) for n, v in enumerate(expanded))
    keep = isinstance(written, str) and "${" in written and is_free_text(cls, path)
    return written if keep else expanded


def _with_kind(tree: Tree, expanded: Any, problems: list[Problem]) -> Any:
    """Return the values with a kind that there is; report one that is not, and go on with the nearest.

    None where nobody can tell which kind was meant.
    """
    kind = expanded.get("kind")
    if isinstance(kind, str) and kind in KINDS:
        return expanded

    def report(key: str, code: str, message: str, hint: str, *, of_key: bool = False) -> None:
        mark = tree.mark((key,) if key in tree.value else (), of_key=of_key)
        problems.append(Problem(mark.file, mark.line, mark.column, key, code, message, hint))

    slip = next((key for key in tree.value if nearest(key, ["kind"])), None)
    given = expanded.get(slip)
    near = nearest(given, KINDS) if isinstance(given, str) else None
    if slip is None:
        report("kind", "missing-key", "missing key", choices(KINDS))
    elif slip != "kind":
        report(slip, "unknown-key", f"unknown key {slip!r}", "nearest: kind", of_key=True)
    elif isinstance(given, str):
        hint = choices(KINDS) + (f"; nearest: {near}" if near else "")
        report("kind", "bad-value", f"unknown value {given!r}", hint)
    else:
        report("kind", "wrong-type", f"expected text, got {kind_of(given)}", choices(KINDS))
    rest = {key: value for key, value in expanded.items() if key != slip}
    return {**rest, "kind": near} if near else None
