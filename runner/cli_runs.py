"""The verbs about folders of runs: `runs prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.terminal import say, say_json

if TYPE_CHECKING:
    from runner.pruning import Pruning


@click.group()
def runs() -> None:
    """Look after a folder of runs."""


@runs.command()
@click.option(
    "--runs", "folder", default="runs", type=click.Path(path_type=Path), help="Folder of run directories."
)
@click.option(
    "--all", "used_too", is_flag=True, help="Also what runs use; their images are then made ready again."
)
@click.option("--dry-run", is_flag=True, help="Remove nothing, and say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def prune(folder: Path, used_too: bool, dry_run: bool, as_json: bool) -> int:
    """Remove records, recordings and images that runs share and no run uses any more.

    A run's folder can be deleted by hand at any time; what it shared with others lies on in RUNS/.cache, texts of
    records included, until this is called. No run is deleted, and nothing is removed while a run is being executed.
    """
    from runner.pruning import prune as pruned

    found = pruned(folder, used_too=used_too, dry_run=dry_run)
    if as_json:
        value = {
            "dry_run": dry_run,
            "freed_bytes": found.freed,
            "removed": [str(entry.path) for entry in found.removed],
            "kept": [str(entry.path) for entry in found.kept],
            "left_alone": [str(path) for path in found.left],
        }
        say_json(value)
    else:
        say(_as_text(found, dry_run=dry_run))
    return 0


def _as_text(found: Pruning, *, dry_run: bool) -> str:
    lines = [f"{entry.bytes:>15,} bytes  {entry.path}" for entry in found.removed]
    lines += [f"left alone, for it is nothing that runner wrote: {path}" for path in found.left]
    done = "would be removed" if dry_run else "removed"
    kept = f"; {len(found.kept):,} kept, which runs use" if found.kept else ""
    return "\n".join([*lines, f"{len(found.removed):,} {done}, {found.freed:,} bytes{kept}"])
