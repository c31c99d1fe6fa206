"""The verb `data`: the data stage alone, and a look at some records as the engine will see them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from runner.spec.problems import SpecError, UsageError
from runner.terminal import say, say_json


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--preview", type=int, metavar="N", help="Show N training records as the engine will see them.")
@click.option("--set", "sets", multiple=True, metavar="A.B=VALUE", help="Change a value of the spec.")
@click.option("--rehearse", is_flag=True, help="The data of the rehearsal, and its small tokenizer.")
@click.option("--arm", help="One arm of the spec's sweep.")
@click.option("--runs", default="runs", type=click.Path(path_type=Path), help="Folder of run directories.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def data(
    spec: Path,
    preview: int | None,
    sets: tuple[str, ...],
    rehearse: bool,
    arm: str | None,
    runs: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Prepare the records of a spec and nothing else, and say what became of each.

    Runs the data stage in a run directory of its own, where no GPU is needed. With --preview N the engine's own
    processor and masking then make tokens of N training records: which of them carry loss, the image as the encoder
    gets it, the pixels per mm that are left of it. A record that teaches nothing, or teaches its prompt, is an error
    (exit code 1). The last line is the run directory.
    """
    from runner import launching
    from runner.plan import make_plan
    from runner.previewing.alone import data_alone
    from runner.probe import probe_machine
    from runner.progress import tell
    from runner.spec.resolved import resolved_text
    from runner.sweep import arms
    from runner.validate import load_arm

    loaded = load_arm(spec, arm, sets, os.environ)
    if arm is None and loaded.spec.sweep is not None:
        names = ", ".join(item.name for item in arms(loaded.spec))
        raise UsageError(
            f"{spec} is a sweep; prepare the data of one of its arms with --arm NAME\n  arms: {names}"
        )
    if missing := launching.missing_for(loaded, os.environ, rehearse=rehearse):
        raise SpecError(missing)
    plan = data_alone(make_plan(loaded.spec, probe_machine(), rehearse=rehearse), preview)
    launching.refuse_lacking(launching.lacking_for(loaded.spec, plan))
    run = launching.begun(plan, loaded.text, resolved_text(loaded), runs, datetime.now(UTC))
    prepared = launching.Prepared(plan, run, resumed=False)
    finished = launching.run(prepared, os.environ, quiet=quiet, say=tell)
    if as_json:
        summary = {key: value for key, value in finished.summary.items() if key != "results"}
        say_json(summary | _parts(run.path))
    else:
        _print(run.path)
        say(finished.text)
    return finished.exit_code


def _read(path: Path) -> Any:
    from runner.files import read_json

    return read_json(path) if path.exists() else None


def _parts(run: Path) -> dict[str, Any]:
    return {
        "manifest": _read(run / "data" / "manifest.json"),
        "tokens": _read(run / "data" / "tokens.json"),
        "preview": _read(run / "preview" / "preview.json"),
    }


def _print(run: Path) -> None:
    """Print what there is, also of a run that failed half way."""
    from runner.launching import shown
    from runner.previewing.manifest_text import manifest_text
    from runner.progress import terminal_width

    parts = _parts(run)
    if parts["manifest"] is not None:
        say(manifest_text(parts["manifest"], parts["tokens"], terminal_width()))
        say(f"\nmanifest: {shown(run / 'data' / 'manifest.json')}")
    if parts["preview"] is not None:
        say()
        _show(parts["preview"], run / "preview")
        say(f"\npreview: {shown(run / 'preview' / 'preview.html')}")


def _show(value: Mapping[str, Any], folder: Path) -> None:
    from rich.console import Console

    from runner.previewing.terminal import show

    show(value, folder, Console(highlight=False, soft_wrap=False))
