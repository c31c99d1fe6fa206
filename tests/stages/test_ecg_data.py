"""The data stage of ECG runs: everything that was read is accounted for, and nobody stands on two sides."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("h5py", reason="needs the ecg extra")

from ecg_run import Run, spec_of

from runner.native.dataset import open_records
from runner.spec.problems import DataError

PIPELINE = [{"step": "standardise"}, {"step": "pad_or_crop", "samples": 1024}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run whose data stage is done."""
    run = Run(tmp_path_factory.mktemp("data"), spec_of())
    run.call("data")
    return run


def test_every_record_is_on_one_side_or_left_out(made: Run) -> None:
    manifest = made.read("data/manifest.json")
    counts = [part["records"] for part in manifest["splits"].values()]
    left_out = sum(item["count"] for item in manifest["dropped"].values())
    assert sum(counts) + left_out == manifest["records"]["read"] == 60
    ids = made.read("data/split.json")["ids"]
    assert [len(ids[side]) for side in manifest["splits"]] == counts


def test_no_patient_is_on_two_sides(made: Run) -> None:
    records = open_records(made.path / "data")
    patients = {
        side: {records.store.groups[place] for place in rows.places} for side, rows in records.sides.items()
    }
    assert not patients["train"] & patients["test"]
    assert not patients["train"] & patients["validation"]
    assert not patients["validation"] & patients["test"]
    split = made.read("data/manifest.json")["split"]
    assert (split["crossing"], split["crossing_duplicates"], split["by"]) == (0, 0, "patient")


def test_the_report_reads_the_manifest(made: Run) -> None:
    from runner.reporting.data_part import split_checks

    checks = split_checks(made.read("data/manifest.json"))
    assert [check.passed for check in checks] == [True, True]
    assert not any("question" in check.text for check in checks), "recordings have none"


def test_the_same_settings_give_the_same_bytes(made: Run, tmp_path: Path) -> None:
    again = Run(tmp_path, spec_of())
    again.call("data")
    for name in ("records.h5", "split.json", "manifest.json"):
        assert (made.path / "data" / name).read_bytes() == (tmp_path / "data" / name).read_bytes(), name


def test_the_cache_gives_the_same_store(made: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "runs/small/one", spec_of())
    for _ in range(2):
        run.call("data", cache="../../.cache/data")
        assert (run.path / "data/records.h5").read_bytes() == (made.path / "data/records.h5").read_bytes()
    assert len(list((tmp_path / "runs/.cache/data").glob("*.h5"))) == 1


def test_killed_while_it_converts_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    spec = spec_of(data__records=400)
    whole, killed = Run(tmp_path / "whole", spec), Run(tmp_path / "killed", spec)
    whole.call("data")
    process = killed.start("data")
    journal = tmp_path / "killed/data/.records.h5.making/journal"
    until = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
        assert not process.is_over, "it was over too early to be killed"
        assert time.monotonic() < until
        time.sleep(0.002)
    process.killed()
    assert not (tmp_path / "killed/data/manifest.json").exists()
    killed.call("data")
    for name in ("records.h5", "split.json", "manifest.json"):
        assert (tmp_path / "whole/data" / name).read_bytes() == (tmp_path / "killed/data" / name).read_bytes()


# ------------------------------------------------------------------------------------------ what is chosen


def test_classes_and_leads_come_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    run = Run(tmp_path, spec_of(data__classes=["AF", "NSR"], model__leads=["V1", "I"]))
    run.call("data")
    store = open_records(tmp_path / "data").store
    assert (store.class_names, store.leads) == (("AF", "NSR"), ("V1", "I"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__classes": ["AF", "VF"]}, "data.classes: VF are no classes"),
        (
            {"data__records": 10, "data__seed": 5, "data__classes_without_positives": 0},
            "no positive in training",
        ),
        (
            {"data__pipeline": [{"step": "standardise"}, {"step": "filter", "low_hz": 1.0, "high_hz": 40.0}]},
            "40 Hz",
        ),
    ],
)
def test_what_cannot_be_is_one_error(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Run(tmp_path, spec_of(**changes)).call("data")
    assert not (tmp_path / "data/manifest.json").exists()


def set_of(source: dict[str, Any], **changes: Any) -> Any:
    """Return the small spec on another source."""
    data = {
        "pipeline": PIPELINE,
        "split": {"by": "patient", "train": 0.6, "validation": 0.2, "test": 0.2},
        "classes_without_positives": 1000,
        "workers": 1,
    }
    return spec_of(data={**data, **source}, **changes)


def test_without_a_set_only_a_rehearsal_runs(tmp_path: Path) -> None:
    source = {"source": "cinc2021", "root": "", "databases": ["georgia"]}
    with pytest.raises(DataError, match="only a rehearsal runs without a set"):
        Run(tmp_path / "real", set_of(source)).call("data")
    run = Run(tmp_path / "rehearsal", set_of(source), rehearsal=True)
    run.call("data")
    manifest = run.read("data/manifest.json")
    assert manifest["stand_in"] is True
    notes = (run.path / "events.jsonl").read_text(encoding="utf-8")
    assert "the recordings are invented, and results say nothing" in notes


def test_folds_of_invented_recordings_are_patients(tmp_path: Path) -> None:
    source = {
        "source": "ptbxl",
        "root": "",
        "task": "superdiagnostic",
        "fs_hz": 100,
        "split": {"by": "fold"},
    }
    run = Run(tmp_path, set_of(source), rehearsal=True)
    run.call("data")
    assert run.read("data/manifest.json")["fs_hz"] == 100
    assert all(part["records"] for part in run.read("data/manifest.json")["splits"].values())


def test_ptbxl_by_its_published_folds(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "ecg_ptbxl_subset"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    source = {
        "source": "ptbxl",
        "root": str(root),
        "task": "superdiagnostic",
        "fs_hz": 100,
        "split": {"by": "fold"},
        "records": 120,
    }
    run = Run(tmp_path, set_of(source))
    run.call("data")
    manifest = run.read("data/manifest.json")
    assert manifest["records"]["read"] == 120
    assert manifest["split"]["crossing"] == 0
    store = open_records(tmp_path / "data")
    folds = store.store.attributes["fold"]
    assert {int(folds[place]) for place in store.sides["test"].places} == {10}  # type: ignore[arg-type]


def test_a_challenge_set_with_its_quirks(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "ecg_cinc2021_subset"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    source = {
        "source": "cinc2021",
        "root": str(root),
        "databases": ["georgia"],
        "pipeline": [
            {"step": "filter", "low_hz": 1.0, "high_hz": 47.0, "order": 3},
            {"step": "standardise"},
            {"step": "pad_or_crop", "samples": 6144},
        ],
    }
    run = Run(tmp_path, set_of(source))
    run.call("data")
    manifest = run.read("data/manifest.json")
    left_out = sum(item["count"] for item in manifest["dropped"].values())
    assert manifest["records"]["read"] == manifest["records"]["kept"] + left_out
    assert len(open_records(tmp_path / "data").store.class_names) == 18
    used = sum(part["records"] for part in manifest["splits"].values())
    (warning,) = manifest["split"]["warnings"]
    assert warning.startswith(f"{used} of {used} recordings name no patient and are split each by itself")
    notes = [json.loads(line).get("text") for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert warning in notes
    assert json.dumps(manifest, allow_nan=False)
