"""Which stages of several plans give the same result: known from the plans alone, before anything runs. Pure.

A stage's lineage is a hash of what it is told and of the lineages of the stages whose files it reads. Two stages of
one lineage do the same work on the same input, as long as what lies outside of the run (a set of recordings, weights)
stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from runner.files import canonical_sha256
from runner.plan import Plan
from runner.stage import Stage


def lineages(plan: Plan) -> dict[str, str]:
    """Return name of a stage -> its lineage, in the order of the plan."""
    texts = {file.path: file.text for file in plan.files}
    found: dict[str, str] = {}
    earlier: list[Stage] = []
    for stage in plan.stages:
        reads = {path: texts.get(path) or _made_by(path, earlier, found) for path in stage.reads}
        found[stage.name] = canonical_sha256(
            {
                "name": stage.name,
                "module": stage.module,
                "settings": stage.settings,
                "environment": stage.environment,
                "reads": reads,
            }
        )
        earlier.append(stage)
    return found


def _made_by(path: str, earlier: Iterable[Stage], found: Mapping[str, str]) -> list[str]:
    """Return the lineages of the stages that write `path`, something in it, or a folder that it lies in."""
    return [
        found[stage.name] for stage in earlier if any(_touches(path, written) for written in stage.writes)
    ]


def _touches(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def in_common(plans: Iterable[Plan]) -> frozenset[str]:
    """Return the lineages that more than one of the plans has."""
    count = Counter(lineage for plan in plans for lineage in lineages(plan).values())
    return frozenset(lineage for lineage, times in count.items() if times > 1)
