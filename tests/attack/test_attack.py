"""The suite: every target under attack by a fixed number of cases, or for some time by hand (`make attack`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from .engine import Arena, Target, Worker, kept
from .runs import RUN_TARGETS
from .targets import TARGETS as FORMATS

SEED = int(os.environ.get("ATTACK_SEED") or 1)
SECONDS = float(os.environ.get("ATTACK_SECONDS") or 0)
"""For all targets together; 0: the fixed number of cases of each."""
CASE = os.environ.get("ATTACK_CASE") or ""
"""One case alone: `TARGET:SEED:NUMBER`, or the folder in which one was left."""
TARGETS = [
    target
    for target in (*FORMATS, *RUN_TARGETS)
    if not CASE or CASE.startswith(f"{target.name}:") or (Path(CASE) / target.name).is_dir()
]
assert TARGETS, f"ATTACK_CASE={CASE} names no target, and is no folder with a case"
CORPUS = Path(__file__).parent / "corpus"


@pytest.fixture(scope="module")
def worker_of() -> Iterator[Callable[[Target], Worker]]:
    """Return a function that gives the worker of a target; those that import the same share one."""
    workers: dict[tuple[str, ...], Worker] = {}

    def worker(target: Target) -> Worker:
        if target.imports not in workers:
            workers[target.imports] = Worker(target.imports)
        return workers[target.imports]

    yield worker
    for one in workers.values():
        one.close()


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.name)
def arena(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    worker_of: Callable[[Target], Worker],
) -> Arena:
    target: Target = request.param
    return Arena(target, tmp_path_factory.mktemp(target.name), worker_of(target))


def test_what_is_right_is_read(arena: Arena) -> None:
    assert arena.right.ended


@pytest.mark.skipif(not CASE, reason="ATTACK_CASE names no case")
def test_one_case(arena: Arena) -> None:
    name, _, rest = CASE.partition(":")
    if rest and name == arena.target.name:
        arena.attack(*map(int, rest.split(":")))
    elif (place := Path(CASE) / arena.target.name).is_dir():
        arena.keep(kept(place), CASE)
    report(arena)


@pytest.mark.skipif(bool(CASE), reason="one case alone was asked for")
def test_what_was_found_before(arena: Arena) -> None:
    for place in sorted(CORPUS.glob(f"*/{arena.target.name}")):
        arena.keep(kept(place), str(place.parent))
    report(arena)


@pytest.mark.skipif(bool(CASE), reason="one case alone was asked for")
@pytest.mark.timeout(0 if SECONDS else 600)
def test_nothing_forbidden_happens(arena: Arena) -> None:
    began = time.monotonic()
    for index in range(arena.target.cases):
        arena.attack(SEED, index)
    end = began + SECONDS / len(TARGETS)
    if SECONDS:
        arena.guided(Random(SEED), lambda: time.monotonic() < end)
    report(arena)


def report(arena: Arena) -> None:
    if arena.found:
        pytest.fail(f"{len(arena.found)} faults of {arena.target.name}\n\n{arena.report()}", pytrace=False)
