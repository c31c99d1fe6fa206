"""How long an ECG page takes, file included: ours beside a matplotlib page of the same content, on one core.

The two take turns; medians over `--repeats`, by the processor's time, which others on the machine distort least, and by
the clock. Goals: 25 ms at 100 dpi and 150 ms at 200 dpi, smooth, with PNG, on a quiet machine. Below, pages a second in
one and in two processes, and the cost of each artefact.

    python -m benchmarks.ecg_image [--repeats 9] [--pages 60] [--json] [--out FILE]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core; before numpy is loaded

import numpy as np

from converters.ecg_image import render
from converters.ecg_image.colours import SCHEMES
from converters.ecg_image.layout import place
from converters.records.ecg.record import LEADS
from converters.records.ecg.synthetic import twelve_leads
from runner.spec.ecg_image import Artefacts, Render

FS_HZ = 500.0
GOALS_MS = {100.0: 25.0, 200.0: 150.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--pages", type=int, default=60, help="pages of the run in one and in two processes")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--out", type=Path, help="write the JSON to this file too")
    arguments = parser.parse_args()
    signal = recording(0)
    rows = [row for dpi in GOALS_MS for row in in_turns(dpi, signal, arguments.repeats)]
    scaling = [in_processes(count, arguments.pages) for count in (1, 2)]
    artefacts = [artefact(name, signal, arguments.repeats) for name in Artefacts.model_fields]
    if not arguments.json:
        print(
            f"a page of 3 x 4 leads and a rhythm strip, smooth, with its file; medians of {arguments.repeats}"
        )
        print(f"{'':<34}{'dpi':>5}{'cpu ms':>9}{'clock ms':>10}{'KB':>7}{'ratio':>8}  goal")
        for row in rows:
            verdict = "" if row["goal_ms"] is None else "met" if row["cpu_ms"] <= row["goal_ms"] else "MISSED"
            print(
                f"{row['what']:<34}{row['dpi']:>5g}{row['cpu_ms']:>9}{row['clock_ms']:>10}{row['kb']:>7}"
                f"{row['ratio']:>8}  {verdict}"
            )
        for row in scaling:
            print(
                f"{row['processes']} process(es), 200 dpi: {row['pages_per_s']} pages/s by the clock, "
                f"{row['cpu_ms_per_page']} cpu ms a page"
            )
        print("with one artefact, 200 dpi:  cpu ms to draw, cpu ms of the file, KB")
        for row in artefacts:
            print(f"  {row['artefact']:<24}{row['draw_ms']:>9}{row['file_ms']:>9}{row['kb']:>9}")
    text = json.dumps(
        {"repeats": arguments.repeats, "pages": rows, "scaling": scaling, "artefacts": artefacts}
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def recording(number: int) -> np.ndarray:
    """Return an invented recording, shape (12, 5000), mV."""
    return twelve_leads(("NSR",), FS_HZ, 10.0, 0.02, np.random.default_rng(number))


def ours(signal: np.ndarray, options: Render, record: str = "r") -> bytes:
    return render(signal, FS_HZ, LEADS, options, record=record).png()


def by_matplotlib(signal: np.ndarray, options: Render) -> bytes:
    """Draw the same content: grid, pulses, names, thirteen traces, smooth; a line collection for each kind of line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    from converters.ecg_image.layout import pulse_points

    width, height, scheme = options.paper.width, options.paper.height, SCHEMES[options.scheme]
    figure = Figure(figsize=(width / 25.4, height / 25.4), dpi=options.scale * 25.4)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    for step, colour, line_mm in ((1, scheme.minor, 0.1), (5, scheme.major, 0.2)):
        lines = [[(x, 0), (x, height)] for x in np.arange(0, width, step)]
        lines += [[(0, y), (width, y)] for y in np.arange(0, height, step)]
        shade = tuple(part / 255 for part in colour)
        axes.add_collection(LineCollection(lines, colors=[shade], linewidths=line_mm / 25.4 * 72))
    pen = {"color": "black", "linewidth": options.line / 25.4 * 72}
    placement = place(options)
    for x, y in placement.pulses:
        axes.plot(*zip(*pulse_points(x, y, options), strict=True), **pen)
    for panel in placement.panels:
        first, last = round(panel.start_s * FS_HZ), round(panel.end_s * FS_HZ)
        x = panel.x_mm + np.arange(last - first) / FS_HZ * options.speed
        axes.plot(x, panel.y_mm - options.gain * signal[LEADS.index(panel.lead), first:last], **pen)
        axes.text(panel.x_mm + 1.5, panel.y_mm - 8, panel.label, fontsize=9)
    target = io.BytesIO()
    FigureCanvasAgg(figure).print_png(target)
    return target.getvalue()


def in_turns(dpi: float, signal: np.ndarray, repeats: int) -> list[dict[str, Any]]:
    """Return the times of one resolution, ours and matplotlib's by turns, after one of each to warm up."""
    options = Render(dpi=dpi)
    works: dict[str, Callable[[], bytes]] = {
        "ours": partial(ours, signal, options),
        "ours, not smooth": partial(ours, signal, Render(dpi=dpi, antialias=False)),
        "matplotlib": partial(by_matplotlib, signal, options),
    }
    size = {what: len(work()) for what, work in works.items()}
    cpu: dict[str, list[float]] = {what: [] for what in works}
    clock: dict[str, list[float]] = {what: [] for what in works}
    for _ in range(repeats):
        for what, work in works.items():
            start, processor = time.perf_counter(), time.process_time()
            work()
            cpu[what].append(time.process_time() - processor)
            clock[what].append(time.perf_counter() - start)
    base = statistics.median(cpu["ours"])
    return [
        {
            "what": what,
            "dpi": dpi,
            "cpu_ms": round(1e3 * statistics.median(cpu[what]), 1),
            "clock_ms": round(1e3 * statistics.median(clock[what]), 1),
            "kb": round(size[what] / 1e3),
            "ratio": round(statistics.median(cpu[what]) / base, 2),
            "goal_ms": GOALS_MS[dpi] if what == "ours" else None,
        }
        for what in works
    ]


def in_processes(count: int, pages: int) -> dict[str, Any]:
    """Return the pages a second of so many processes, each warm before the clock starts."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        list(pool.map(one_page, range(8 * count)))
        start = time.perf_counter()
        seconds = list(pool.map(one_page, range(pages), chunksize=5))
        took = time.perf_counter() - start
    cpu_ms = round(1e3 * statistics.median(seconds), 1)
    return {"processes": count, "pages_per_s": round(pages / took, 1), "cpu_ms_per_page": cpu_ms}


def one_page(number: int) -> float:
    """Return the processor's seconds of one page."""
    start = time.process_time()
    ours(recording(0), Render(), f"record{number}")
    return time.process_time() - start


def artefact(name: str, signal: np.ndarray, repeats: int) -> dict[str, Any]:
    """Return the time of a page with one artefact of its default strength."""
    options = Render(artefacts=Artefacts.model_validate_json(json.dumps({name: {}})))
    draw, file, size = [], [], 0
    for _ in range(max(3, repeats // 3)):
        start = time.process_time()
        page = render(signal, FS_HZ, LEADS, options, record="r")
        middle = time.process_time()
        size = len(page.png())
        draw.append(middle - start)
        file.append(time.process_time() - middle)
    times = {"draw_ms": round(1e3 * statistics.median(draw)), "file_ms": round(1e3 * statistics.median(file))}
    return {"artefact": name, **times, "kb": round(size / 1e3)}


if __name__ == "__main__":
    main()
