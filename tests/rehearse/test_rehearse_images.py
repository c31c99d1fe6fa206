"""The rehearsal of data with images: few recordings of each part, coarser pages, everything else as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from runner.rehearse_images import PIXELS_PER_MM, RECORDINGS, WORKERS, with_few
from runner.spec.vlm_sources import VlmData

SIGNALS = {"source": "ecg_instruct_from_signals", "format": "ptbxl", "folder": "x"}


def section(**more: Any) -> Any:
    split = {"train": 0.98, "validation": 0.01, "test": 0.01, "by": "group"}
    adapter: TypeAdapter[Any] = TypeAdapter(VlmData)
    return adapter.validate_json(json.dumps({"template": "gemma3", "split": split, **SIGNALS, **more}))


def test_a_large_set_becomes_a_few_recordings() -> None:
    few = with_few(section(records=None, workers=0, looks=[{"px_per_mm": 3}]))
    assert (few.records, few.workers) == (RECORDINGS, WORKERS)
    assert few.render.scale == PIXELS_PER_MM
    assert few.looks[0].scale == 3.0
    assert few.questions == section().questions


def test_a_small_one_stays() -> None:
    small = section(
        records=5,
        workers=1,
        render={"dpi": 50},
        split={"train": 3, "validation": 1, "test": 1, "by": "group"},
    )
    assert with_few(small) == small


def test_parts_and_their_stand_ins_are_cut_by_name() -> None:
    made = {**SIGNALS, "records": 500}
    parts = {"a": {**made, "use": False}, "b": {"source": "ecginstruct", "path": "p", "stand_ins": [made]}}
    few = with_few(mixture(parts))
    assert (few.components["a"].records, few.components["a"].use) == (RECORDINGS, False)
    assert few.components["b"].stand_ins[0].records == RECORDINGS
    assert few.components["b"].path == "p"


def mixture(parts: dict[str, Any]) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(VlmData)
    common = {"template": "gemma3", "split": {"by": "given"}, "source": "mixture", "components": parts}
    return adapter.validate_json(json.dumps(common))


def test_no_side_is_too_small_to_be_seen() -> None:
    few = with_few(section())
    assert (few.split.train, few.split.validation, few.split.test) == pytest.approx((0.8, 0.1, 0.1))
    none = with_few(section(split={"train": 0.9, "validation": 0, "test": 0.1, "by": "group"}))
    assert (none.split.train, none.split.validation, none.split.test) == pytest.approx((0.9, 0, 0.1))


def test_rehearsing_twice_changes_nothing_more() -> None:
    once = with_few(section())
    assert with_few(once).split.model_dump() == pytest.approx(once.split.model_dump())
    assert with_few(once).render == once.render
