"""Modules that import the engine at their top are no place to look for doctests: the imports warn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

ENGINE_SIDE = {"axolotl_plugin.py", "axolotl_trainer.py"}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave the engine's side of `runner` out, also where a file is named on the command line."""
    runner = Path(__file__).parent / "runner"
    if collection_path == runner / "native" and find_spec("torch") is None:
        return True
    inside = collection_path.parent == runner
    return True if inside and collection_path.name in ENGINE_SIDE else None
