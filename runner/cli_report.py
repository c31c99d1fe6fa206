"""The verb that draws a report again."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from runner.spec.problems import MachineError, how_to_install
from runner.terminal import say, say_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def report(run: Path, as_json: bool) -> int:
    """Draw the report of a run again, from its files alone: page, model card, pictures, numbers.

    Works on a run that failed or was interrupted too; the page then says what is not there.
    """
    from runner.outputs import reading_run, record_again
    from runner.run_dir import find, require_own_files

    found = find(run)
    require_own_files(found.path)
    if find_spec("matplotlib") is None:
        raise MachineError(
            f"pictures need the package matplotlib; nothing was written\n  {how_to_install('eval')}"
        )
    from runner.stages.report import write_report

    with found.lock():
        with reading_run(found.path):
            written = write_report(found.path)
        record_again(found.path, "report", ["report"])
    files = [written.page, written.card, written.results, *written.plots]
    if as_json:
        say_json({"run": str(found.path), "files": [str(f) for f in files]})
    else:
        say(str(run / written.page))
    return 0
