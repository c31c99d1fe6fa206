"""The verbs that look at results again: `verify` and `compare`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.spec.problems import UsageError
from runner.terminal import say, say_json

if TYPE_CHECKING:
    from runner.comparing import Comparison
    from runner.unequal import Unequal
    from runner.verify import Part, Verification
    from runner.verify_files import Files

MOST_SHOWN = 8
"""Unequal values of a file that are named one by one; the others are counted."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(run: Path, as_json: bool) -> int:
    """Make every number of a run's report again from its stored predictions, and say equal or not.

    All other files are held against the hashes that were written down when their stages ended; what could not be
    looked at is said at the end. Needs no model and no network. Exit code 1 where something is not equal.
    """
    from runner.run_dir import find
    from runner.verify import verify as verified

    found = verified(find(run).path)
    say_json(_as_json(found)) if as_json else say(_as_text(found))
    return 0 if found.equal else 1


def _as_json(found: Verification) -> dict[str, Any]:
    return {
        "run": found.run,
        "equal": found.equal,
        "numbers": found.numbers,
        "parts": [
            {
                "file": part.file,
                "numbers": part.numbers,
                "unequal": [vars(item) for item in part.unequal],
                "rests_on": list(part.rests_on),
            }
            for part in found.parts
        ],
        "files": {
            "equal": list(found.files.equal),
            "bytes": found.files.bytes,
            "unequal": [vars(item) for item in found.files.unequal],
        },
        "not_looked_at": {why: list(names) for why, names in found.files.not_looked_at.items()},
    }


def _as_text(found: Verification) -> str:
    lines = []
    for part in found.parts:
        what = f"{part.numbers:,} numbers" if part.numbers else "its text"
        if part.rests_on and not part.unequal:
            what = (
                f"rests on {' and '.join(part.rests_on)}, which come{'' if part.rests_on[1:] else 's'} first"
            )
        word = "not equal" if part.unequal else "unproven" if part.rests_on else "equal"
        lines.append(f"{word:10}{part.file:24}{what}")
        lines += _places(part)
    files = found.files
    if files.equal:
        lines.append(
            f"{'equal':10}{_files(len(files.equal)):24}as they were left, {files.bytes:,} bytes hashed"
        )
    if files.unequal:
        lines.append(f"{'not equal':10}{_files(len(files.unequal))}")
        lines += [f"  {item}" for item in files.unequal[:MOST_SHOWN]]
        rest = len(files.unequal) - MOST_SHOWN
        lines += [f"  and {rest} more"] if rest > 0 else []
    if found.equal:
        lines.append(f"{found.numbers:,} numbers made again from the stored predictions: all equal")
    else:
        count = len(found.unequal)
        lines.append(
            f"{count} {'place is' if count == 1 else 'places are'} not what the run left, or its predictions give"
        )
    return "\n".join([*lines, *_not_looked_at(files)])


def _not_looked_at(files: Files) -> list[str]:
    """Return what nothing was held against: a line for each reason, always at the end."""
    return [
        f"not looked at: {_files(len(names))} ({why}): {', '.join(names[:MOST_SHOWN])}"
        + (f", and {len(names) - MOST_SHOWN} more, which --json names" if len(names) > MOST_SHOWN else "")
        for why, names in files.not_looked_at.items()
    ]


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _places(part: Part) -> list[str]:
    """Return a line for each unequal value; a value and the ends of its interval are one line."""
    together = [
        list(items)
        for _, items in itertools.groupby(part.unequal, lambda item: item.place.rpartition(": ")[0])
    ]
    shown = [
        f"  {items[0]}" + (f", and its {_names(items[1:])}" if items[1:] else "")
        for items in together[:MOST_SHOWN]
    ]
    rest = sum(len(items) for items in together[MOST_SHOWN:])
    return [*shown, f"  and {rest} more"] if rest else shown


def _names(items: Sequence[Unequal]) -> str:
    return " and ".join(item.place.rpartition(": ")[2] for item in items[:2]) + (
        f" and {len(items) - 2} more" if items[2:] else ""
    )


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--different-locks", is_flag=True, help="Compare results that were not judged alike, unpaired.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the page goes; comparison.html, or the page in the sweep's folder, without it.",
)
@click.option("--control", metavar="ARM", help="Of a sweep: compare all arms with this one.")
@click.option("--all-pairs", is_flag=True, help="Of a sweep: every arm with every other, which takes longer.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def compare(
    runs: tuple[Path, ...],
    different_locks: bool,
    out: Path | None,
    control: str | None,
    all_pairs: bool,
    as_json: bool,
) -> int:
    """Set runs side by side on one page; differences are from the first run, paired by record.

    The folder of a sweep stands for all of its arms that are done. Results of runs that were judged in different ways
    (other records, precision, batch, versions) are refused; between the arms of a sweep the difference is named.
    """
    from runner.sweeps.folder import is_sweep

    if len(runs) == 1 and is_sweep(runs[0]):
        return _compare_sweep(runs[0], out, control, all_pairs=all_pairs, as_json=as_json)
    if control is not None or all_pairs:
        raise UsageError(
            "--control and --all-pairs are for the folder of a sweep; give one, and nothing else"
        )
    return _compare_runs(
        runs, out or Path("comparison.html"), different_locks=different_locks, as_json=as_json
    )


def _compare_runs(runs: Sequence[Path], out: Path, *, different_locks: bool, as_json: bool) -> int:
    from eval.report.page import render
    from runner.comparing import compare as compared
    from runner.files import write_text
    from runner.outputs import reading_run
    from runner.reporting.compare import compare_page
    from runner.run_dir import find

    paths = [find(run).path for run in runs]
    with reading_run(*paths):
        found = compared(paths, different_locks=different_locks)
        page = render(compare_page(found.runs, found.changes, found.warnings))
        text = None if as_json else _table(found)
    write_text(out, page)
    say_json(_comparison(found, out)) if text is None else say(text)
    if not as_json:
        say(str(out))
    return 0


def _compare_sweep(
    path: Path, out: Path | None, control: str | None, *, all_pairs: bool, as_json: bool
) -> int:
    from runner.launching import shown
    from runner.outputs import reading_run
    from runner.sweeps.finish import as_json as compared_json
    from runner.sweeps.finish import compared_sweep, write_page
    from runner.sweeps.folder import sweep_at
    from runner.sweeps.text import compared_arms_text

    folder = sweep_at(path)
    with reading_run(folder.path):
        found = compared_sweep(folder, control=control, all_pairs=all_pairs)
        if found is None:
            raise UsageError(
                f"no arm of {path} is done: there is nothing to compare; see runner status {path}"
            )
        page = write_page(folder, found, out)
    if as_json:
        value = {**compared_json(found), "page": str(page)}
        say_json(value)
    else:
        say(f"{compared_arms_text(found)}\n\n{shown(page)}")
    return 0


def _comparison(found: Comparison, out: Path) -> dict[str, Any]:
    from runner.reporting.compare import labels
    from runner.reporting.method_part import tuned_rows

    names = labels(found.runs)
    rows = tuned_rows(found.runs)
    return {
        "runs": [
            {"label": name, "run": run.run, "table": run.results()["table"]}
            for name, run in zip(names, found.runs, strict=True)
        ],
        **(
            {"methods": [{"label": n, **row.json()} for n, row in zip(names, rows, strict=True)]}
            if rows
            else {}
        ),
        "differences": [
            {
                "label": name,
                "minus": names[0],
                "metrics": [
                    {"metric": metric, "split": split, "task": task, **change}
                    for (metric, split, task), change in changes.items()
                ],
            }
            for name, changes in zip(names[1:], found.changes, strict=True)
        ],
        "warnings": list(found.warnings),
        "page": str(out),
    }


def _table(found: Comparison) -> str:
    from runner.progress import terminal_width
    from runner.reporting.compare import labels
    from runner.reporting.method_part import method_text, tuned_rows
    from runner.show import compared_text, table

    tables = [run.results()["table"] for run in found.runs]
    names, rows = labels(found.runs), tuned_rows(found.runs)
    width = terminal_width()
    text = compared_text(names, tables, found.changes, width)
    return f"{text}\n\n{table(*method_text(rows, names), width)}" if rows else text
