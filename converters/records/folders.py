"""Which folder of a set is meant. Imports nothing that a core install lacks: it is asked before anything starts."""

from __future__ import annotations

from pathlib import Path


def right_folder(path: Path, named: Path | None = None) -> str:
    """Return which folder to give: often the one given lies a level above or below the set's own.

    Args:
        path: the table, where it is not.
        named: its folder as messages name it, where that is not its own name.
    """
    named = named or path.parent
    if _is_there(path.parent.parent / path.name):
        return f"it lies in {named.parent if named.name[:2] != '${' else f'{named}/..'}: give that folder"
    found = next((place for place in sorted(path.parent.glob(f"*/{path.name}")) if _is_there(place)), None)
    return (
        f"it lies in {named / found.parent.name}: give that folder"
        if found
        else f"give the folder that holds {path.name}"
    )


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
