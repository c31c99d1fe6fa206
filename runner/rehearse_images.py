"""The rehearsal of data with images: a few recordings of each source, spread over it. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

from runner.spec.sources import Split
from runner.spec.vlm_sources import FromSignalsSource, ImageMixtureData, ImageSource, VlmDataCommon

AnyData = TypeVar("AnyData", bound=VlmDataCommon)
RECORDINGS = 96
"""Recordings of each source at most: each is asked about several times, and rehearsed are 320 records."""
PIXELS_PER_MM = 4.0
"""Resolution of a page at most, 102 dpi: a small model sees less, and a page is drawn in milliseconds."""
LEAST_SHARE = 0.1
"""Share of validation and test at least, where the spec has ratios: a hundredth of 96 patients is one."""
WORKERS = 2
"""Processes that draw at most."""


def with_few(data: AnyData) -> AnyData:
    """Return the data section with fewer recordings, coarser pages and no more than two processes.

    What is asked about them, what keeps them together and what becomes of damaged files stays.
    """
    changes: dict[str, Any] = {
        "split": _split(data.split),
        "workers": min(data.workers or WORKERS, WORKERS),
        "render": _coarser(data.render),
        "looks": tuple(_coarser(look) for look in data.looks),
    }
    if isinstance(data, ImageMixtureData):
        changes["components"] = {name: _part(part) for name, part in data.components.items()}
    elif isinstance(data, FromSignalsSource):
        changes["records"] = _few(data.records)
    return data.model_copy(update=changes)


def _split(split: Split) -> Split:
    """Return the split with no side too small to be seen; counts, and a side that the spec leaves empty, stay."""
    shares = (split.train, split.validation, split.test)
    if not any(isinstance(share, float) for share in shares) or None in shares:
        return split
    validation, test = (
        max(share, LEAST_SHARE) if share else share for share in (split.validation, split.test)
    )
    return split.model_copy(
        update={"train": 1.0 - (validation or 0) - (test or 0), "validation": validation, "test": test}
    )


def _part(part: Any) -> Any:
    return _source(part).model_copy(update={"stand_ins": tuple(_source(one) for one in part.stand_ins)})


def _source(source: ImageSource) -> Any:
    if isinstance(source, FromSignalsSource):
        return source.model_copy(update={"records": _few(source.records)})
    return source


def _few(records: int | None) -> int:
    return RECORDINGS if records is None else min(records, RECORDINGS)


def _coarser(render: Any) -> Any:
    if render.scale <= PIXELS_PER_MM:
        return render
    return render.model_copy(update={"dpi": None, "px_per_mm": PIXELS_PER_MM})
