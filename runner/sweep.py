"""A sweep -> its arms: named sets of changes, each a run of its own. Pure."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

from runner.spec.kinds import Spec
from runner.spec.shared import Sweep

MAX_ARMS = 200


@dataclass(frozen=True)
class Arm:
    """One variant of a spec."""

    name: str
    sets: tuple[str, ...]
    """Changes in the form of `--set`."""


def arms(spec: Spec) -> tuple[Arm, ...]:
    """Return the arms of a spec: every combination of its axes, its named arms, each once per seed.

    A spec without a sweep has none. The name of an arm of axes is made of the last word of each path
    and its value: `rank=16,learning_rate=0.0002`.
    """
    sweep = spec.sweep
    if sweep is None:
        return ()
    plain = [*_combinations(sweep), *(Arm(name, _sets(values)) for name, values in sweep.arms.items())]
    if not sweep.seeds:
        return tuple(plain)
    bases = plain or [Arm("", ())]
    return tuple(
        Arm(f"{arm.name},seed={seed}".lstrip(","), (*arm.sets, f"train.seed={seed}"))
        for arm in bases
        for seed in sweep.seeds
    )


def size(sweep: Sweep) -> int:
    """Return how many arms a sweep has, without making them."""
    combinations = 1
    for values in sweep.axes.values():
        combinations *= len(values)
    plain = (combinations if sweep.axes else 0) + len(sweep.arms)
    return (plain or 1) * len(sweep.seeds) if sweep.seeds else plain


def _combinations(sweep: Sweep) -> list[Arm]:
    if not sweep.axes:
        return []
    paths = list(sweep.axes)
    result = []
    for values in itertools.product(*sweep.axes.values()):
        chosen = dict(zip(paths, values, strict=True))
        name = ",".join(f"{path.rpartition('.')[2]}={value}" for path, value in chosen.items())
        result.append(Arm(name, _sets(chosen)))
    return result


def _sets(values: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{path}={json.dumps(value)}" for path, value in values.items())
