"""Questions made from recordings: what is known of each, asked about its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from converters.records.ecg_questions import Asking, Known, LeftOut, questions_about
from runner.data_readers.common import Asked, Input, Progress, hashed
from runner.data_readers.images import Prepared
from runner.data_readers.pages import PageOf, draw
from runner.data_readers.recordings import Lost, RawRecording, Recordings, look_at, open_recordings
from runner.spec.vlm_sources import FromSignalsSource

MEASURED = ("report", "intervals")
"""Questions whose answers have intervals in them."""


@dataclass
class FromSignalsReader:
    """Recordings that are looked at, asked about, and drawn."""

    asked: Asked
    options: FromSignalsSource
    recordings: Recordings
    inputs: Sequence[Input]
    lost: list[dict[str, str]] = field(default_factory=list)
    """Recordings that are left out, with reason and detail."""
    asks: Counter[str] = field(default_factory=Counter)

    def raws(self, progress: Progress) -> Iterator[Asking | LeftOut]:
        """Yield the questions about each recording."""
        measured = any(question in MEASURED for question in self.options.questions)
        known: list[Known] = []
        for raw, one in look_at(self.recordings, self.asked, measured, progress):
            if isinstance(one, Lost):
                yield self._left_out(raw, one)
            else:
                known.append(one)
        pool = sorted(finding.words for one in known for finding in one.findings if not finding.possible)
        for one in known:
            for asking in questions_about(one, self.options.questions, self.options.seed, pool):
                self.asks[asking.question] += 1
                yield asking

    def _left_out(self, raw: RawRecording, one: Lost) -> LeftOut:
        name = self.recordings.name_of(raw)
        self.lost.append({"recording": name, "reason": one.reason, "detail": one.detail})
        return LeftOut(name, getattr(raw, "database", "."), one.reason)

    def report(self) -> dict[str, Any]:
        """Return how many recordings there were, which were left out, and what was asked."""
        return {
            "recordings": len(self.recordings.raws),
            "recordings_left_out": self.lost,
            "questions": dict(sorted(self.asks.items())),
        }

    def image_places(self) -> list[list[str | int]]:
        """Return nothing: pages are drawn, and not looked for."""
        return []

    def prepare(self, names: Sequence[str], progress: Progress) -> Prepared:
        """Return the pages of the named recordings."""
        assert self.asked.images is not None
        by_name = {self.recordings.name_of(raw): raw for raw in self.recordings.raws}
        pages = {name: PageOf(name, by_name[name]) for name in names}
        return draw(pages, self.recordings.source, self.asked.images, progress)


def open_from_signals(asked: Asked, progress: Progress) -> FromSignalsReader:
    """Find and hash the recordings.

    Raises:
        DataError: see `open_recordings`.
    """
    options = asked.options
    assert isinstance(options, FromSignalsSource)
    recordings = open_recordings(asked)
    inputs = hashed(recordings.root, recordings.files, progress) if recordings.root else ()
    return FromSignalsReader(asked, options, recordings, inputs)
