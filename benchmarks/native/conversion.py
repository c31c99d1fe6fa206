"""WFDB records to HDF5, and batches back: ours beside a plain loop of wfdb and scipy, and beside np.memmap.

The loop reads each record with `wfdb.rdsamp`, filters it with `scipy.signal.sosfiltfilt`, standardises, pads and writes it to
one h5py data set. Ours does the same work and besides judges every record, finds copies, writes checksums and a manifest.
Both work on the same records and take turns. Reading: batches of random and of neighbouring records from our store,
and from a `.npy` of the same signals opened with `np.load(mmap_mode="r")`. Goals: 5 times the loop on two cores, and
no slower than the memory-mapped array.

On a machine that others work on, the ratio of times says as much about them: two processes of ours and one of the loop
get what is left of the cores. The ratio of processor times does not change with that; times the number of processes
it is what the ratio of times comes to where each has a core of its own.

    python -m benchmarks.native.conversion [--data ../shared/data] [--times 6] [--repeats 5] [--processes 2] [--json]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core a process; before numpy is loaded

import h5py
import numpy as np
import scipy
import wfdb

from converters.records.ecg.ptbxl import DATABASE, STATEMENTS, Ptbxl
from runner.native.conversion import convert
from runner.native.one_pass import Asked
from runner.native.store import open_store

GOAL_WRITE, GOAL_READ = 5.0, 1.0
SAMPLES, FS_HZ = 6144, 500
BATCH, BATCHES = 128, 20


def copied(original: Path, folder: Path, times: int) -> Ptbxl:
    """Return PTB-XL in `folder` with each recording `times` times, turned in time by as many samples.

    A turned signal has the checksum that its header says, and is no copy that a conversion would look at twice.
    """
    shutil.copy(original / STATEMENTS, folder)
    with (original / DATABASE).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    place, patient, signal = (header.index(name) for name in ("ecg_id", "patient_id", "filename_hr"))
    with (folder / DATABASE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number in range(times):
            for row in rows:
                name = f"{number}{row[place].zfill(5)}"
                source = original / row[signal]
                waves = np.fromfile(source.with_suffix(".dat"), "<i2").reshape(-1, 12)
                np.roll(waves, number, axis=0).tofile(folder / f"{name}.dat")
                text = source.with_suffix(".hea").read_text(encoding="utf-8").replace(source.name, name)
                (folder / f"{name}.hea").write_text(text, encoding="utf-8")
                changed = {place: name, patient: f"{row[patient]}-{number}", signal: name}
                writer.writerow([changed.get(column, cell) for column, cell in enumerate(row)])
    return Ptbxl(folder, unlabelled="keep")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--times", type=int, default=6, help="how many times over the 335 records are taken")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as made:
        folder = Path(made)
        source = copied(arguments.data / "ecg_ptbxl_subset", folder, arguments.times)
        rows = [*writing(source, folder, arguments), *reading(source, folder, arguments)]
    if not arguments.json:
        print(f"{'':<44}{'ours':>10}{'other':>10}{'ratio':>7}{'CPU ratio':>11}  goal")
        for row in rows:
            verdict = "met" if row["ratio"] >= row["goal"] else "MISSED"
            print(
                f"{row['what']:<44}{row['ours']:>10,}{row['other']:>10,}{row['ratio']:>7}"
                f"{row['cpu_ratio']:>11}  {row['goal']:g} {verdict}"
            )
    versions = {
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "wfdb": wfdb.__version__,
        "h5py": h5py.__version__,
    }
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    chosen = {"times": arguments.times, "repeats": arguments.repeats, "processes": arguments.processes}
    print(json.dumps({**chosen, **machine, "versions": versions, "rows": rows}))


def writing(source: Ptbxl, folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return records a second from WFDB to HDF5, with all processes and with one."""
    raws = source.raws()
    headers = [raw.header.with_suffix("") for raw in raws]
    rows = []
    for processes in dict.fromkeys((arguments.processes, 1)):

        def ours(processes: int = processes) -> None:
            (folder / "ours.h5").unlink(missing_ok=True)
            convert(Asked(source, FS_HZ), folder / "ours.h5", processes)

        took = taking_turns(ours, lambda: plain_loop(headers, folder / "loop.h5"), arguments.repeats)
        what = f"records/s to HDF5, {processes} process{'es' if processes > 1 else ''}"
        rows.append(row_of(what, len(raws), took, GOAL_WRITE if processes > 1 else 1.0))
    with h5py.File(folder / "loop.h5") as loop, h5py.File(folder / "ours.h5") as own:
        worst = max(
            float(np.abs(loop["signals"][place] - own["signals"][place]).max())
            for place in range(0, len(raws), 37)
        )
    if worst > 1e-4:
        raise SystemExit(f"the two stores differ by {worst:g}: nothing was compared")
    return rows


def plain_loop(headers: Sequence[Path], path: Path) -> None:
    """The work as one would write it down first."""
    sections = scipy.signal.butter(3, [1, 47], "bandpass", fs=FS_HZ, output="sos")
    with h5py.File(path, "w") as file:
        signals = file.create_dataset("signals", (len(headers), 12, SAMPLES), "f4")
        for place, header in enumerate(headers):
            wave, _ = wfdb.rdsamp(str(header))
            wave = scipy.signal.sosfiltfilt(sections, wave, axis=0).T
            wave = (wave - wave.mean(axis=1, keepdims=True)) / wave.std(axis=1, keepdims=True)
            out = np.zeros((12, SAMPLES), dtype=np.float32)
            out[:, : wave.shape[1]] = wave[:, :SAMPLES]
            signals[place] = out


def reading(source: Ptbxl, folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return records a second in random and in sequential batches, from our store and from a memory-mapped array."""
    store = convert(Asked(source, FS_HZ), folder / "ours.h5", arguments.processes)
    np.save(folder / "plain.npy", store.signals)
    rng = np.random.default_rng(0)
    out = np.empty((BATCH, *store.shape[1:]), dtype=np.float32)
    first = range(0, len(store) - BATCH + 1, BATCH)
    orders = {
        "random": [rng.permutation(len(store))[:BATCH] for _ in range(BATCHES)],
        "sequential": [np.arange(at, at + BATCH) for at in first],
    }
    rows = []
    for word, batches in orders.items():

        def ours(batches: list[Any] = batches) -> None:
            opened = open_store(store.path)
            for places in batches:
                opened.batch(places, out)

        def other(batches: list[Any] = batches) -> None:
            mapped = np.load(folder / "plain.npy", mmap_mode="r")
            for places in batches:
                np.take(mapped, places, axis=0, out=out, mode="clip")

        took = taking_turns(ours, other, 3 * arguments.repeats)
        rows.append(row_of(f"records/s in {word} batches of {BATCH}", BATCH * len(batches), took, GOAL_READ))
    return rows


def row_of(what: str, records: int, took: dict[str, float], goal: float) -> dict[str, Any]:
    """Return a line of the table."""
    speeds = {"ours": round(records / took["ours_s"]), "other": round(records / took["other_s"])}
    return {"what": what, **speeds, "ratio": took["ratio"], "cpu_ratio": took["cpu_ratio"], "goal": goal}


def taking_turns(ours: Callable[[], None], other: Callable[[], None], repeats: int) -> dict[str, float]:
    """Return median seconds of both, and medians of the ratios of neighbours; one turn is not counted.

    `cpu_ratio` is that of processor time, all processes together: it tells the work saved from the cores used, and
    stays the same on a machine that has other things to do.
    """
    turns = []
    for turn in range(repeats + 1):
        first, second = (ours, other) if turn % 2 else (other, ours)
        pair = [timed(first), timed(second)]
        turns.append(pair if turn % 2 else pair[::-1])
    counted = turns[1:]
    return {
        "ours_s": statistics.median(mine[0] for mine, _ in counted),
        "other_s": statistics.median(theirs[0] for _, theirs in counted),
        "ratio": round(statistics.median(theirs[0] / mine[0] for mine, theirs in counted), 2),
        "cpu_ratio": round(statistics.median(theirs[1] / mine[1] for mine, theirs in counted), 2),
    }


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return seconds by the clock and of the processor."""
    os.sync()  # what the one before has left to be written is not this one's
    start, used = time.perf_counter(), processor_s()
    work()
    return time.perf_counter() - start, processor_s() - used


def processor_s() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


if __name__ == "__main__":
    main()
