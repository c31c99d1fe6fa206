"""The report stage: what the other stages left, as one page, a model card, pictures and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.report.card import render_card
from eval.report.page import render
from runner.events import EventWriter
from runner.files import write_bytes
from runner.reporting.card import card_of
from runner.reporting.page import page_of
from runner.reporting.record import read_run
from runner.stages.common import stage_main, write_json, write_text

FOLDER = Path("report")
PAGE = FOLDER / "report.html"
CARD = FOLDER / "README.md"
RESULTS = FOLDER / "results.json"
PLOTS = FOLDER / "plots"


@dataclass(frozen=True)
class Written:
    """The files of a report, relative to the run directory."""

    page: Path
    card: Path
    results: Path
    plots: tuple[Path, ...]


def main() -> None:
    """Write the report of the run directory that the process was started in."""
    stage_main("report", _report)


def _report(_settings: Mapping[str, Any], events: EventWriter) -> None:
    written = write_report(Path())
    events.write("note", text=f"{written.page}, {written.card}, {len(written.plots)} pictures")


def write_report(run: Path) -> Written:
    """Write the report of a run directory, from its files alone; pictures of an earlier report go.

    Raises:
        MachineError: the plan is missing, a file is damaged, or the folder cannot be written to.
    """
    record = read_run(run)
    page = page_of(record)
    write_json(run / RESULTS, record.results())
    plots = tuple(PLOTS / f"{picture.name}.png" for picture in page.pictures())
    (run / PLOTS).mkdir(parents=True, exist_ok=True)
    for place, picture in zip(plots, page.pictures(), strict=True):
        write_bytes(run / place, picture.png)
    for old in set((run / PLOTS).glob("*.png")) - {run / place for place in plots}:
        old.unlink()
    write_text(run / CARD, render_card(card_of(record)))
    write_text(run / PAGE, render(page))
    return Written(PAGE, CARD, RESULTS, plots)


if __name__ == "__main__":
    main()
