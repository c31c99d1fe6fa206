"""Modules that import the engine at their top are no place to look for doctests: the imports warn."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ENGINE_SIDE = {"axolotl_plugin.py", "axolotl_trainer.py"}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave the engine's side of `runner` out, also where a file is named on the command line."""
    runner = Path(__file__).parent / "runner"
    if collection_path == runner / "native" and find_spec("torch") is None:
        return True
    inside = collection_path.parent == runner
    return True if inside and collection_path.name in ENGINE_SIDE else None


def pytest_configure() -> None:
    """Give each of several workers one thread, and keep absl's log handler off pytest's files.

    Workers that each start a thread for every core wait for one another: five times the time in tests of models.

    absl, which rouge-score brings, takes the standard error of the moment in which it is imported, a file of
    pytest's, and closes it when Axolotl sets up its own logging; every later test is then an error.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if find_spec("absl") is not None:
        from absl import logging

        logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(autouse=True)
def the_environment_is_one_object() -> Iterator[None]:
    """Put `os.environ` back where a test left a copy in its place.

    `datasets` does so when it maps with several processes; whoever kept the object from before, as rich's
    consoles do, then no longer sees what a later test sets.
    """
    before = os.environ
    yield
    if os.environ is not before:
        os.environ = before  # noqa: B003 the object of before, not a copy
