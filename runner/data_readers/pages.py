"""Pages of recordings, drawn by several processes into a cache that all runs share.

A page is kept under the hash of everything that it follows from: signal, options, window, seed and the code that
draws. It is written whole or not at all, so that a run that was killed goes on where it was; one that a
machine's sudden end left short is seen by its end, and drawn again.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from converters.records.ecg.record import EcgRecord, EcgSource, Faulty
from converters.records.record import Dropped, order
from runner.data_readers.common import Progress
from runner.data_readers.images import PNG_END, ImageFault, ImageSetup, ReadyImage
from runner.files import canonical_sha256, sha256_of, write_bytes
from runner.native.parallel import processes_for, spread
from runner.spec.ecg_image import Render


@dataclass(frozen=True)
class PageOf:
    """One page that is wanted: which recording of which source, which part of it."""

    recording: str
    """Name over all sources, such as `ptbxl/7190`; with the window and the seed it settles the artefacts."""
    raw: Any
    """What the source reads it by."""
    window: int = 0


def look_of(recording: str, setup: ImageSetup) -> Render:
    """Return how a recording is drawn: by `render`, or by one of `looks`."""
    looks = (setup.render, *setup.looks)
    return looks[int.from_bytes(order(f"look {setup.render.seed}", recording)[:8]) % len(looks)]


def draw(
    pages: Mapping[str, PageOf], source: EcgSource, setup: ImageSetup, progress: Progress
) -> dict[str, ReadyImage | ImageFault]:
    """Return the wanted pages, by the same names.

    A recording that cannot be read or drawn is a fault. Processes are forked: a page's signal is read where it is
    drawn, and never sent.
    """
    names = list(pages)
    work = partial(_drawn, [pages[name] for name in names], source, setup)
    result: dict[str, ReadyImage | ImageFault] = {}
    for number, one in spread(work, range(len(names)), processes_for(setup.workers, len(names))):
        result[names[number]] = one
        progress(len(result), len(names), "pages")
    return result


def _drawn(
    pages: Sequence[PageOf], source: EcgSource, setup: ImageSetup, number: int
) -> ReadyImage | ImageFault:
    from converters.ecg_image import RenderError, render

    page = pages[number]
    try:
        record = source.read(page.raw)
    except Dropped as drop:
        return ImageFault(False, drop.detail if isinstance(drop, Faulty) else drop.reason)
    options = look_of(page.recording, setup)
    key = _key(record, options, page)
    place = setup.cache / "pages" / key[:2] / f"{key}.png"
    if not _whole(place, options):
        try:
            drawn = render(
                record.signal_mv,
                record.fs_hz,
                record.leads,
                options,
                record=page.recording,
                window=page.window,
            )
        except RenderError as error:
            return ImageFault(False, "; ".join(error.problems))
        facts = json.dumps(drawn.manifest, separators=(",", ":"), allow_nan=False) + "\n"
        write_bytes(place.with_suffix(".json"), facts.encode(), flushed=False)
        if options.mask:
            write_bytes(place.with_suffix(".mask.png"), drawn.mask_png(), flushed=False)
        write_bytes(place, drawn.png(), flushed=False)
    content = place.read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of the header, the first chunk of any PNG
    digest = hashlib.sha256(content).hexdigest()
    return ReadyImage(str(place), digest, len(content), width, height, page.recording)


def _whole(place: Path, options: Render) -> bool:
    """Return whether a page, its manifest and its mask are there to their ends; they are not waited for when written."""
    ends = {place: PNG_END, place.with_suffix(".json"): b"}\n"}
    if options.mask:
        ends[place.with_suffix(".mask.png")] = PNG_END
    return all(_ends_with(file, end) for file, end in ends.items())


def _ends_with(file: Path, end: bytes) -> bool:
    try:
        with file.open("rb") as opened:
            opened.seek(-len(end), os.SEEK_END)
            return opened.read() == end
    except OSError:  # not there, or shorter than that
        return False


def _key(record: EcgRecord, options: Render, page: PageOf) -> str:
    """Return the hash of everything that a page follows from."""
    return canonical_sha256(
        {
            "signal": signal_digest(record),
            "options": options.model_dump(mode="json"),
            "recording": page.recording,
            "window": page.window,
            "code": _code(),
        }
    )


def signal_digest(record: EcgRecord) -> str:
    """Return a hash of a signal, its sampling rate and its leads: equal for the same recording in two sets."""
    digest = hashlib.sha256(f"{record.fs_hz:g} {' '.join(record.leads)}\n".encode())
    digest.update(np.ascontiguousarray(record.signal_mv, dtype="<f4").tobytes())
    return digest.hexdigest()


@cache
def _code() -> str:
    """Return a hash of the code that draws."""
    from converters import ecg_image

    folder = Path(ecg_image.__file__ or "").parent
    return canonical_sha256({file.name: sha256_of(file) for file in sorted(folder.glob("*.py"))})
