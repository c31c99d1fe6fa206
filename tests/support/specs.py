"""The specs that are shipped, by kind."""

from __future__ import annotations

from pathlib import Path

from runner.spec_files import find_specs
from runner.validate import load_spec

FOLDER = Path(__file__).parent.parent.parent / "specs"


def specs_of_kind(*kinds: str) -> list[Path]:
    """Return the shipped specs of these kinds, of all kinds where none is named; parts for `extends` are none.

    Raises:
        ValueError: there is none; a loop over nothing would pass.
    """
    found = [path for path in find_specs([FOLDER]) if not kinds or load_spec(path, (), {}).spec.kind in kinds]
    if not found:
        raise ValueError(f"no spec of {kinds or 'any kind'} in {FOLDER}")
    return found
