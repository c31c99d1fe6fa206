"""Several runs set side by side: refused where they were not judged alike, paired where they were."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.judges import judge
from eval.lock import lock_differences
from runner.judging.lines import read_lines
from runner.outputs import reading_run
from runner.reporting.compare import Changes, Key, labels
from runner.reporting.record import RunRecord, read_run
from runner.spec.problems import UsageError

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """The runs, the paired differences of each from the first, and why the rest could not be paired."""

    runs: tuple[RunRecord, ...]
    changes: Changes
    warnings: tuple[str, ...]


def compare(paths: Sequence[Path], *, different_locks: bool = False) -> Comparison:
    """Return the runs side by side; differences are from the first.

    Args:
        paths: run directories, at least two.
        different_locks: compare results that were not judged alike, without pairing them.

    Raises:
        UsageError: a run is given twice, a run has no results, no task is in all of them, or two results
            have different evaluation locks and `different_locks` is not set; names every difference.
        MachineError: a file is damaged.
    """
    if len(paths) < 2:
        raise UsageError("give at least two runs to compare")
    with reading_run(*paths):
        return _compared(paths, different_locks=different_locks)


def _compared(paths: Sequence[Path], *, different_locks: bool) -> Comparison:
    runs = tuple(read_run(path) for path in paths)
    _refuse_twice(paths, runs)
    for path, run in zip(paths, runs, strict=True):
        if not run.tuned:
            raise UsageError(f"{path} has no results to compare: eval/tuned.json is not there")
        if any("lock" not in result or "name" not in result for result in run.tuned):
            raise UsageError(f"the results of {path} have no evaluation lock: an earlier version made them")
    names = labels(runs)
    unequal = [
        text
        for name, run in zip(names[1:], runs[1:], strict=True)
        for text in _unequal(runs[0], run, f"{names[0]} and {name}")
    ]
    if unequal and not different_locks:
        listed = "\n  ".join(unequal)
        raise UsageError(
            f"these results were not made alike, so their difference would say nothing:\n  {listed}\n"
            "  judge the runs alike, or compare them all the same with --different-locks"
        )
    changes = [
        dict(_changes(paths[0], runs[0], path, run)) for path, run in zip(paths[1:], runs[1:], strict=True)
    ]
    if not any(changes) and not unequal:
        raise UsageError("no task was judged in all of these runs: there is nothing to compare")
    return Comparison(runs, changes, tuple(unequal))


def _refuse_twice(paths: Sequence[Path], runs: Sequence[RunRecord]) -> None:
    """Refuse one run given twice: the same folder, or a copy that was started at the same millisecond."""
    for (one, first), (other, second) in itertools.combinations(zip(paths, runs, strict=True), 2):
        copied = first.started is not None and (first.run, first.started) == (second.run, second.started)
        if copied or one.resolve() == other.resolve():
            more = "" if one.resolve() == other.resolve() else f", and {other} is a copy of it"
            raise UsageError(f"{one} is given twice{more}: a run does not differ from itself")


def _tasks(run: RunRecord) -> dict[tuple[str, str], Json]:
    return {(result["name"], result["split"]): result for result in run.tuned}


def _both(one: RunRecord, other: RunRecord) -> Iterator[tuple[Json, Json]]:
    found = _tasks(other)
    for key, result in _tasks(one).items():
        if key in found:
            yield result, found[key]


def _unequal(one: RunRecord, other: RunRecord, names: str) -> Iterator[str]:
    """Yield a line for every place where the locks of a common task differ."""
    for first, second in _both(one, other):
        for difference in lock_differences(first["lock"], second["lock"]):
            yield f"{first['name']} ({first['split']}), {names}: {difference}"


def _changes(
    first_path: Path, first: RunRecord, path: Path, run: RunRecord
) -> Iterator[tuple[Key, Mapping[str, float | None]]]:
    """Yield the paired difference of every metric of the tasks that were judged alike."""
    for before, after in _both(first, run):
        if lock_differences(before["lock"], after["lock"]):
            continue
        lines = [read_lines(first_path / before["predictions"]), read_lines(path / after["predictions"])]
        try:
            found = judge(after["task"]).differences(after["lock"]["task"], *lines)
        except ValueError as error:
            raise UsageError(f"{after['name']} cannot be paired: {error}") from error
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"{after['name']} cannot be paired: a stored prediction lacks {error}\n"
                f"  runner verify {first_path}\n  runner verify {path}"
            ) from error
        for metric, change in found.items():
            yield (metric, after["split"], after["name"]), change
