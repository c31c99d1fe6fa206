"""Loading a spec with every check there is: typed fields, rules, and what the engines would say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from converters import foreign_ecg
from converters.foreign import FOREIGN, VALUES, WHY
from runner.spec.kinds import Spec
from runner.spec.load import Examined, Fault, Loaded, examine, examine_changed, load, sets_twice, whole
from runner.spec.messages import Vocabulary
from runner.spec.nearest import nearest
from runner.spec.problems import EXAMPLES, Problem, SpecError, UsageError, choices
from runner.spec.section import UnsoundError
from runner.spec.yaml_text import Tree, dotted
from runner.spec_files import EVERYTHING, Trust, missing_text
from runner.sweep import MAX_ARMS, Arm, arms, size

MAX_VALUES = 200_000
"""Values of all arms of a sweep together: each arm is a spec of its own, and checked as one."""

VOCABULARY = Vocabulary(FOREIGN, WHY, VALUES, {"ecg": Vocabulary(foreign_ecg.FOREIGN)})


def load_spec(
    file: Path, sets: Sequence[str], environ: Mapping[str, str], within: Path | None = None
) -> Loaded:
    """Return the spec of `file`, checked in every way that needs no machine, with every arm of its sweep.

    Args:
        file: the YAML file.
        sets: changes as on the command line.
        environ: where `${env:NAME}` is looked up.
        within: for the specs of others: no file outside this folder is read, and no variable looked up.

    Raises:
        SpecError: everything that is wrong.
    """
    examined = examine(file, sets=sets, environ=environ, vocabulary=VOCABULARY, checks=CHECKS, within=within)
    arms_wrong = _arm_problems(examined, None if within else environ)
    problems = [*sets_twice(sets), *examined.problems, *arms_wrong]
    if problems:
        raise SpecError(problems)
    return whole(file, examined)


def load_arm(file: Path, arm: str | None, sets: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Return the spec of `file`, or of one arm of its sweep.

    Raises:
        SpecError: everything that is wrong.
        UsageError: the sweep has no arm of that name; names the nearest.
    """
    if not file.exists():
        raise UsageError(missing_text(file))
    loaded = load_spec(file, sets, environ)
    if arm is None:
        return loaded
    known = {item.name: item for item in arms(loaded.spec)}
    if arm not in known:
        near = nearest(arm, known)
        allowed = choices(known) if known else f"{file} has no sweep"
        raise UsageError(f"no arm {arm!r}; {allowed}" + (f"; nearest: {near}" if near else ""))
    return _load_one(file, [*sets, *known[arm].alone], environ)


def load_arms(
    file: Path, base: Spec, sets: Sequence[str], environ: Mapping[str, str]
) -> list[tuple[Arm, Loaded]]:
    """Return every arm of the sweep of `base`, the spec of `file` with `sets`, as a spec of its own."""
    return [(arm, _load_one(file, [*sets, *arm.alone], environ)) for arm in arms(base)]


def _load_one(file: Path, sets: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    return load(file, sets=sets, environ=environ, vocabulary=VOCABULARY, checks=CHECKS)


def _arm_problems(base: Examined, environ: Mapping[str, str] | None) -> Iterable[Problem]:
    """Yield what is wrong with each arm of the sweep and not with the spec itself, at the place of the sweep."""
    try:
        sweep = base.spec.sweep if base.spec else None
        count = size(sweep) if sweep else 0
    except UnsoundError:
        return
    if base.spec is None or base.tree is None or sweep is None:
        return
    mark = base.tree.mark(("sweep",), of_key=True)
    if not 0 < count <= MAX_ARMS:
        message = f"the sweep has {count:,} arms; at least 1 and at most {MAX_ARMS} are allowed"
        hint = "give values under `axes`, `arms` or `seeds`, or fewer of them"
        yield Problem(mark.file, mark.line, mark.column, "sweep", "sweep", message, hint)
        return
    if count * len(base.tree.values) > MAX_VALUES:
        message = (
            f"{count:,} arms of a spec with {len(base.tree.values):,} values; at most {MAX_VALUES:,} together"
        )
        hint = "take what the arms share out of the spec, or fewer arms"
        yield Problem(mark.file, mark.line, mark.column, "sweep", "sweep", message, hint)
        return
    names = [arm.name for arm in arms(base.spec)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        message = f"two arms have the name {twice[0]!r}"
        hint = "give the named arm another name, or take the value out of the axis"
        yield Problem(mark.file, mark.line, mark.column, "sweep", "sweep", message, hint)
    bases = list(dict.fromkeys(arm.base for arm in arms(base.spec)))
    named: list[tuple[tuple[str, ...], str]] = []
    with suppress(UnsoundError):
        named += [(("sweep", "control"), sweep.control)] if sweep.control is not None else []
    with suppress(UnsoundError):
        for base_name, own in sweep.controls.items():
            named += [(("sweep", "controls", base_name), name) for name in (base_name, own)]
    unknown = [(place, name) for place, name in named if name not in bases]
    for number, (place, name) in enumerate(unknown):
        mark = base.tree.mark(place)
        near = nearest(name, bases) if number < EXAMPLES else None
        hint = choices(bases) + (f"; nearest: {near}" if near else "")
        message = f"the sweep has no arm {name!r}"
        yield Problem(mark.file, mark.line, mark.column, dotted(place), "sweep", message, hint)
    known = {(problem.path, problem.message) for problem in base.problems}
    missing = tuple(f"{problem.path}." for problem in base.problems if problem.code == "missing-key")
    seen: set[tuple[str, str, str]] = set()  # one axis value is in many arms
    for arm in arms(base.spec):
        changed = examine_changed(base, sets=arm.sets, environ=environ, vocabulary=VOCABULARY, checks=CHECKS)
        for problem in changed.problems:
            place = place_of_change(base.tree, arm, problem) or _place_of_arm(base.tree, arm)
            mark = base.tree.mark(place, of_key=True)
            what = f"{problem.path}: " if problem.path else ""
            message = f"arm {arm.name!r}: {what}{problem.message}"
            key = (dotted(place), problem.path, problem.message)
            if problem.path.startswith(missing):
                continue  # the arm begins a section that the spec lacks
            if key not in seen and (problem.path, problem.message) not in known:
                seen.add(key)
                yield Problem(
                    mark.file, mark.line, mark.column, dotted(place), problem.code, message, problem.hint
                )


def place_of_change(tree: Tree, arm: Arm, problem: Problem) -> tuple[str, ...] | None:
    """Return the key of the sweep that gives an arm the value that a problem is about; None where none does."""
    for change in arm.sets:
        path = change.partition("=")[0]
        if problem.path == path or problem.path.startswith((f"{path}.", f"{path}[")):
            for place in (("sweep", "axes", path), ("sweep", "arms", arm.base, path)):
                if place in tree.keys:
                    return place
    return None


def _place_of_arm(tree: Tree, arm: Arm) -> tuple[str, ...]:
    return place if (place := ("sweep", "arms", arm.base)) in tree.keys else ("sweep",)


def problems_of_each(
    files: Iterable[Path], sets: Sequence[str], environ: Mapping[str, str], trust: Trust = EVERYTHING
) -> dict[Path, tuple[Problem, ...]]:
    """Return the problems of each file."""
    found: dict[Path, tuple[Problem, ...]] = {}
    for file in files:
        try:
            load_spec(file, sets, environ, trust.folder_of(file))
        except SpecError as error:
            found[file] = tuple(error.problems)
        else:
            found[file] = ()
    return found


def _engine(spec: Spec) -> Iterable[Fault]:
    """Yield what the engine of a language model would say: of module groups, tasks and raw keys."""
    if spec.kind == "ecg":
        return
    from converters.harness_names import unknown_tasks
    from converters.modules import group_problems

    for found in (group_problems, unknown_tasks):
        with suppress(UnsoundError):
            yield from (Fault(item.path, item.code, item.message, item.hint) for item in found(spec))
    if spec.axolotl or spec.deepspeed:
        from converters.engine_schema import check_raw  # brings jsonschema

        yield from (Fault(item.path, item.code, item.message, item.hint) for item in check_raw(spec))


CHECKS = (_engine,)
"""What the engines would say."""
