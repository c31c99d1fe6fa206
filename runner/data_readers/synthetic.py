"""Invented questions: made, not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from converters.records import synthetic
from runner.data_readers.common import Asked, Input, Progress
from runner.spec.problems import DataError
from runner.spec.sources import SyntheticSource


@dataclass
class SyntheticReader:
    """Questions that are made, not read."""

    options: SyntheticSource
    inputs: Sequence[Input] = ()

    def raws(self, progress: Progress) -> Iterator[synthetic.Question]:
        """Yield the numbered questions of the seed's world."""
        world = synthetic.make_world(self.options.records, self.options.seed)
        for number in range(self.options.records):
            progress(number, self.options.records, "records")
            yield synthetic.Question(number, world)
        progress(self.options.records, self.options.records, "records")

    def report(self) -> dict[str, Any]:
        """Return the seed of the invented world."""
        return {"seed": self.options.seed}


def open_synthetic(asked: Asked, progress: Progress) -> SyntheticReader:
    """Check that there are that many questions.

    Raises:
        DataError: more records than there are distinct questions.
    """
    options = asked.options
    assert isinstance(options, SyntheticSource)
    if options.records > synthetic.CAPACITY:
        raise DataError(
            f"{asked.key}.records: {options.records} questions; there are only {synthetic.CAPACITY} distinct ones"
        )
    return SyntheticReader(options)
