"""A 12-lead signal -> an ECG on paper. Pure: the same arguments give the same page, on any machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from converters.ecg_image.artefacts import chosen, happened
from converters.ecg_image.chance import Draws
from converters.ecg_image.colours import Bytes
from converters.ecg_image.frame import Frame, add_ink, frame_of
from converters.ecg_image.layout import Panel
from converters.ecg_image.page import DrawnLead, Gap, Numbered, Page
from converters.ecg_image.sheet import Sheet
from converters.ecg_image.signal import Window, window_of
from converters.ecg_image.trace import Floats, draw_trace
from converters.records.ecg.record import FloatArray
from runner.spec.ecg_image import Artefact, Render


def render(
    signal_mv: FloatArray,
    fs_hz: float,
    leads: Sequence[str],
    options: Render,
    *,
    record: str,
    window: int = 0,
    seed: int | None = None,
) -> Page:
    """Return the page of one window of a recording.

    Args:
        signal_mv: the whole recording, shape (lead, time), in mV; what is not finite is a gap.
        fs_hz: sampling rate.
        leads: the name of each row, in any order and any case; leads of the layout that lack are listed.
        options: `render` of the spec.
        record: name of the recording; with `window` and the seed it settles all that is drawn by chance.
        window: which stretch of `options.seconds` is shown, from 0.
        seed: instead of `options.seed`.

    Raises:
        RenderError: names everything that is wrong with the signal, the leads or the options.
    """
    shown = window_of(signal_mv, fs_hz, leads, options, record, window)
    seed = options.seed if seed is None else seed
    frame = frame_of(options)
    canvas = frame.canvas.copy()
    mask = frame.mask.copy() if options.mask else None
    drawn: list[DrawnLead] = []
    gaps: list[Gap] = []
    for number, panel in enumerate(frame.placement.panels):
        lead, lost = _draw(panel, frame.text_boxes[number], shown, options, canvas, mask, len(drawn) + 1)
        gaps += lost
        drawn += [lead] if lead else []
    key = (seed, record, window)
    facts = {
        "record": record,
        "window": window,
        "seed": seed,
        "layout": options.layout,
        "sampling_frequency": shown.fs_hz,
        "speed_mm_per_s": options.speed,
        "gain_mm_per_mv": options.gain,
    }
    page = Page(
        picture=Numbered(canvas, frame.colours),
        mask=mask,
        leads=tuple(drawn),
        gaps=tuple(dict.fromkeys(gaps)),
        missing_leads=_missing(frame, shown),
        facts={**facts, "artefacts": []},
        px_per_mm=options.scale,
        plotted_pixels=options.plotted_pixels,
    )
    happening = chosen(options.artefacts, key)
    return _after(page, happening, key) if happening else page


def _after(page: Page, happening: Mapping[str, tuple[Artefact, Draws]], key: tuple[int, str, int]) -> Page:
    """Return a page after its artefacts: pixels, mask and every place of the manifest."""
    parts = [
        part for lead in page.leads for part in (lead.box, lead.text_box, lead.pixels) if part is not None
    ]
    points = np.concatenate(parts) if parts else np.zeros((0, 2))
    sheet, drawn = happened(Sheet(page.image, page.mask, points, page.px_per_mm), happening, key)
    places = iter(np.split(sheet.points, np.cumsum([len(part) for part in parts])[:-1]) if parts else [])
    leads = []
    for lead in page.leads:
        box = next(places)
        text_box = next(places) if lead.text_box is not None else None
        pixels = next(places)
        off_page = _off_page(pixels, sheet.size)
        leads.append(replace(lead, box=box, text_box=text_box, pixels=pixels, off_page=off_page))
    facts = {**page.facts, "artefacts": drawn}
    return replace(page, picture=sheet.pixels, mask=sheet.mask, leads=tuple(leads), facts=facts)


def _draw(
    panel: Panel,
    text_box: Floats | None,
    shown: Window,
    options: Render,
    canvas: Bytes,
    mask: Bytes | None,
    label: int,
) -> tuple[DrawnLead | None, list[Gap]]:
    """Draw one lead in its place. Returns what was drawn, if anything, and the samples that were not there."""
    first, after = (
        shown.start + int(np.ceil(second * shown.fs_hz - 1e-9)) for second in (panel.start_s, panel.end_s)
    )
    row, last = shown.row.get(panel.lead), min(after, shown.end)
    if row is None:
        return None, []
    if first >= last:
        return None, [Gap(panel.lead, first, after)]
    scale = options.scale
    millivolts = shown.signal_mv[row, first:last].astype(np.float64)
    there = np.isfinite(millivolts)
    ends = np.flatnonzero(np.diff(there, prepend=False, append=False)).reshape(-1, 2)
    gaps = _gaps(panel.lead, ends, first, last, after)
    if not len(ends):
        return None, gaps
    if options.baseline == "median":
        whole = shown.signal_mv[row, shown.start : shown.end].astype(np.float64)
        millivolts = millivolts - np.median(whole[np.isfinite(whole)])
    y = (panel.y_mm - panel.sign * options.gain * np.where(there, millivolts, np.nan)) * scale
    step = options.speed / shown.fs_hz * scale
    offset_s = (first - shown.start) / shown.fs_hz - panel.start_s
    x = (panel.x_mm + offset_s * options.speed) * scale
    pen = options.line * scale
    for start, end in ends:
        ink = draw_trace(x + start * step, step, y[start:end], pen, canvas.shape, antialias=options.antialias)
        add_ink(canvas, ink, pen, mask, label)
    pixels = np.stack([y, x + step * np.arange(len(y))], axis=1)
    box = _box(pixels[there], pen, options.antialias, canvas.shape)
    rhythm = panel.end_s - panel.start_s >= options.seconds
    return DrawnLead(
        panel.label, rhythm, box, text_box, pixels, first, last, _off_page(pixels, canvas.shape)
    ), gaps


def _gaps(lead: str, ends: np.ndarray, first: int, last: int, after: int) -> list[Gap]:
    """Return what lies between the runs of samples that are there, before, after and beyond the recording's end."""
    edges = [first, *(first + int(edge) for edge in ends.reshape(-1)), after if after > last else last]
    return [Gap(lead, a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]


def _box(pixels: Floats, pen: float, antialias: bool, size: tuple[int, ...]) -> Floats:
    """Return the corners of a lead's ink on the flat sheet, cut at its edges."""
    reach = pen / 2 if antialias else pen / 2 + 1.0
    low = np.maximum(pixels.min(axis=0) - reach, 0.0)
    high = np.minimum(pixels.max(axis=0) + reach, np.array(size, np.float64))
    low, high = np.minimum(low, high), np.maximum(low, high)
    return np.array([[low[0], low[1]], [low[0], high[1]], [high[0], high[1]], [high[0], low[1]]])


def _off_page(pixels: Floats, size: tuple[int, ...]) -> int:
    """Return how many samples lie beyond the edges; gaps do not count."""
    return int(np.count_nonzero(((pixels < 0) | (pixels >= np.array(size))).any(axis=1)))


def _missing(frame: Frame, shown: Window) -> tuple[str, ...]:
    """Return the leads of the layout that have no sample in the window, in reading order."""
    names = dict.fromkeys(panel.lead for panel in frame.placement.panels)
    return tuple(
        name
        for name in names
        if name not in shown.row
        or not np.isfinite(shown.signal_mv[shown.row[name], shown.start : shown.end]).any()
    )
