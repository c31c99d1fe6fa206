"""A stored plan, believed only where it is what this release plans for its spec.

A plan follows from spec, machine, counts and whether it is a rehearsal. A run directory may come from somebody else: what its
`plan.json` says beside these (modules to start, variables, places, files to write) is made again and compared, not taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.files import read_json
from runner.outputs import NO_SUCH_FORM
from runner.plan import FORMAT, Plan, make_plan, plan_from_json, plan_to_json, spec_from_json
from runner.previewing.alone import STAGE as PREVIEW
from runner.previewing.alone import data_alone
from runner.spec.problems import RunnerError, UsageError

MOST_NAMED = 5
NOTHING = "nothing was started"


def stored_plan(file: Path) -> Plan:
    """Return the plan of a run that was begun earlier.

    Raises:
        UsageError: it is of another release, or is not what this release plans for its spec; names what differs.
        MachineError: the file cannot be read, or is no JSON.
    """
    value = read_json(file)
    found = value.get("format") if isinstance(value, dict) else None
    if found != FORMAT or isinstance(found, bool):
        raise UsageError(
            f"{file} has format {found!r}; this release of runner goes on with {FORMAT}; {NOTHING}"
        )
    try:
        plan = plan_from_json(value)
    except NO_SUCH_FORM as error:
        raise _unreadable(file, error) from error
    require_planned(plan, file)
    return plan


def require_planned(plan: Plan, file: Path) -> None:
    """Require that a plan is what this release plans for its spec; `file` is where it stands.

    Raises:
        UsageError: it is not; names what differs.
    """
    try:
        wanted = _made_again(plan)
        unequal = list(_differences("", _plain(plan_to_json(plan)), _plain(plan_to_json(wanted))))
    except NO_SUCH_FORM as error:
        raise _unreadable(file, error) from error
    except RunnerError as error:
        first = str(error).splitlines()[0]
        raise UsageError(
            f"{file}: this release makes no plan of its spec: {first}; {NOTHING}\n  {REMEDY}"
        ) from error
    if unequal:
        rest = len(unequal) - MOST_NAMED
        listed = "\n  ".join([*unequal[:MOST_NAMED], *([f"and {rest} more"] if rest > 0 else [])])
        raise UsageError(
            f"{file} is not what this release of runner plans for its spec: it was changed, or made by another release; "
            f"{NOTHING}\n  {listed}\n  {REMEDY}"
        )


def _unreadable(file: Path, error: Exception) -> UsageError:
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return UsageError(
        f"{file} is damaged, or was written by another release of runner ({said}); {NOTHING}\n  {REMEDY}"
    )


REMEDY = "launch its spec again: runner launch SPEC; or go on with the release that made it"


def _made_again(plan: Plan) -> Plan:
    """Return what this release plans for the spec of a plan, of as many stages."""
    made = make_plan(spec_from_json(plan.spec), plan.machine, rehearse=plan.rehearsal, counts=plan.counts)
    names = [stage.name for stage in plan.stages]
    if names == [stage.name for stage in made.stages]:
        return made
    settings = next((stage.settings for stage in plan.stages if stage.name == PREVIEW), None)
    return data_alone(made, None if settings is None else settings["records"])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _differences(place: str, stored: Any, made: Any) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(made, dict):
        for key in dict.fromkeys([*made, *stored]):
            inner = f"{place}.{key}" if place else key
            if key not in made or key not in stored:
                yield f"{inner}: {'not planned' if key not in made else 'is missing'}"
            else:
                yield from _differences(inner, stored[key], made[key])
    elif isinstance(stored, list) and isinstance(made, list) and len(stored) == len(made):
        for number, (one, other) in enumerate(zip(stored, made, strict=True)):
            yield from _differences(f"{place}[{number}]", one, other)
    elif stored != made or type(stored) is not type(made):
        yield f"{place}: written {_short(stored)}, planned {_short(made)}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
