"""A sweep -> its arms: named sets of changes, each a run of its own. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.spec.kinds import Spec
from runner.spec.section import UnsoundError
from runner.spec.shared import Sweep

MAX_ARMS = 200


@dataclass(frozen=True)
class Arm:
    """One variant of a spec."""

    name: str
    sets: tuple[str, ...]
    """Changes in the form of `--set`."""
    base: str
    """The name without the seed: arms of one base differ in nothing else."""
    seed: int | None
    """Value of `train.seed` that the sweep gives; None where it gives none."""
    title: str
    """Heading of its report."""

    @property
    def alone(self) -> tuple[str, ...]:
        """The changes that make this arm a spec of its own, which knows of no other arm."""
        return (*self.sets, "sweep=null", f"report.title={json.dumps(self.title, ensure_ascii=False)}")


def arms(spec: Spec) -> tuple[Arm, ...]:
    """Return the arms of a spec: every combination of its axes, its named arms, each once per seed.

    A spec without a sweep has none. The name of an arm of axes is made of the last word of each path
    and its value: `rank=16,learning_rate=0.0002`.
    """
    sweep = spec.sweep
    if sweep is None:
        return ()
    heading = _heading(spec)
    plain = [*_combinations(sweep), *((name, _sets(values)) for name, values in sweep.arms.items())]
    if not sweep.seeds:
        return tuple(Arm(name, sets, name, None, f"{heading}: {name}") for name, sets in plain)
    found = []
    for base, sets in plain or [("", ())]:
        for seed in sweep.seeds:
            name = f"{base},seed={seed}".lstrip(",")
            found.append(Arm(name, (*sets, f"train.seed={seed}"), base, seed, f"{heading}: {name}"))
    return tuple(found)


def _heading(spec: Spec) -> str:
    """Return the heading of the spec's report; nothing where it is wrong, which is reported as such."""
    try:
        return spec.report.title or spec.name
    except UnsoundError:
        return ""


def size(sweep: Sweep) -> int:
    """Return how many arms a sweep has, without making them."""
    combinations = 1
    for values in sweep.axes.values():
        combinations *= len(values)
    plain = (combinations if sweep.axes else 0) + len(sweep.arms)
    return (plain or 1) * len(sweep.seeds) if sweep.seeds else plain


def controls_of(sweep: Sweep, among: Iterable[Arm]) -> dict[str, str]:
    """Return base of an arm -> base of the arms that it is compared with; an arm that is its own control is left out.

    Without a control the first arm is that of all others; where only some have one of their own, the rest has none.
    """
    bases = list(dict.fromkeys(arm.base for arm in among))
    common = sweep.control if sweep.control is not None or sweep.controls else bases[0]
    found = ((base, sweep.controls.get(base, common)) for base in bases)
    return {base: control for base, control in found if control is not None and control != base}


def _combinations(sweep: Sweep) -> list[tuple[str, tuple[str, ...]]]:
    if not sweep.axes:
        return []
    paths = list(sweep.axes)
    result = []
    for values in itertools.product(*sweep.axes.values()):
        chosen = dict(zip(paths, values, strict=True))
        name = ",".join(f"{path.rpartition('.')[2]}={_named(value)}" for path, value in chosen.items())
        result.append((name, _sets(chosen)))
    return result


def _named(value: Any) -> str:
    """Return a value as part of an arm's name: a list by its entries, a section by the word that chooses it.

    >>> _named(0.001), _named(None), _named(("a", "b")), _named({"name": "lora", "rank": 4})
    ('0.001', 'none', 'a+b', 'lora')
    """
    if isinstance(value, Mapping):
        word = next((value[key] for key in ("name", "source", "task") if key in value), None)
        return str(word) if word is not None else json.dumps(value, ensure_ascii=False, default=list)
    if isinstance(value, (list, tuple)):
        return "+".join(map(_named, value)) or "nothing"
    return "none" if value is None else str(value)


def _sets(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in values.items())
