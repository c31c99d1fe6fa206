"""What is known of recordings: of PTB-XL, the challenge and invented ones; and those that cannot be used."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from converters.records.ecg import cinc2021
from converters.records.ecg.synthetic import SHARES
from converters.records.ecg_questions import Known
from runner.data_readers.common import Asked, Progress
from runner.data_readers.images import ImageSetup
from runner.data_readers.recordings import SCP_OF_INVENTED, Lost, invented, look_at, open_recordings
from runner.spec.problems import DataError
from runner.spec.vlm_sources import Database, FromSignalsSource


def asked(setup: ImageSetup, **options: Any) -> Asked:
    source = FromSignalsSource(source="ecg_instruct_from_signals", **options)
    return Asked(source, "data", options, setup)


def known_of(one: Asked, quiet: Progress, *, measured: bool = False) -> list[Known]:
    found = [told for _, told in look_at(open_recordings(one), one, measured, quiet)]
    return [told for told in found if isinstance(told, Known)]


def test_the_databases_are_those_of_the_reader() -> None:
    assert set(get_args(Database)) == set(cinc2021.COLUMNS)


def test_every_invented_label_has_its_statements() -> None:
    assert SCP_OF_INVENTED.keys() == SHARES.keys()


@pytest.mark.parametrize(
    ("labels", "words", "classes"),
    [
        (["NSR"], ["normal ECG", "sinus rhythm"], ["NORM"]),
        (["NSR", "LAD"], ["sinus rhythm", "left axis deviation"], []),
        (
            ["AF", "TInv"],
            ["non-diagnostic T-wave abnormalities", "inverted T waves", "atrial fibrillation"],
            ["STTC"],
        ),
        (["STach", "PVC"], ["ventricular premature complexes", "sinus tachycardia"], []),
    ],
)
def test_invented_recordings_have_ptbxl_s_labels(
    labels: list[str], words: list[str], classes: list[str]
) -> None:
    findings, sets = invented(labels)
    assert [one.words for one in findings] == words
    assert sets["superclasses"] == classes


def test_what_is_measured_is_what_was_drawn(setup: ImageSetup, quiet: Progress) -> None:
    one = asked(setup, format="synthetic", records=60)
    slow = [known for known in known_of(one, quiet, measured=True) if "SB" in known.labels["code15"]]
    fast = [known for known in known_of(one, quiet, measured=True) if "ST" in known.labels["code15"]]
    assert slow
    assert fast
    assert all((known.intervals.heart_rate_bpm or 0) < 65 for known in slow)
    assert all((known.intervals.heart_rate_bpm or 0) > 95 for known in fast)


def test_a_number_is_needed_of_invented_ones(setup: ImageSetup) -> None:
    with pytest.raises(DataError, match=r"data.records: none is given"):
        open_recordings(asked(setup, format="synthetic"))


@pytest.mark.realdata
def test_recordings_are_spread_over_the_set(setup: ImageSetup, real_data: Path) -> None:
    one = asked(setup, format="ptbxl", folder=str(real_data / "ecg_ptbxl_subset"), records=3)
    numbers = [int(raw.id) for raw in open_recordings(one).raws]
    assert (numbers[0], len(numbers), numbers == sorted(numbers)) == (1, 3, True)
    assert numbers[2] > 480


@pytest.mark.realdata
def test_all_databases_that_are_there(setup: ImageSetup, quiet: Progress, real_data: Path) -> None:
    one = asked(setup, format="cinc2021", folder=str(real_data / "ecg_cinc2021_subset"))
    parts = Counter(known.part for known in known_of(one, quiet))
    assert parts == {"chapman_shaoxing": 13, "ningbo": 44, "georgia": 49, "ptb-xl": 25, "cpsc_2018": 64, "cpsc_2018_extra": 19, "ptb": 2}  # fmt: skip


@pytest.mark.realdata
def test_the_same_recording_twice_is_known_as_such(
    setup: ImageSetup, quiet: Progress, real_data: Path
) -> None:
    """A0101 and Q0048, and E07509 and E07510, are the same recordings, says the source."""
    one = asked(setup, format="cinc2021", folder=str(real_data / "ecg_cinc2021_subset"))
    group = {known.recording.removeprefix("cinc2021/"): known.group for known in known_of(one, quiet)}
    assert group["A0101"] == group["Q0048"]
    assert group["E07509"] == group["E07510"]
    assert len(set(group.values())) == len(group) - 2


@pytest.mark.realdata
def test_a_damaged_signal_is_left_out_or_an_error(
    setup: ImageSetup, quiet: Progress, real_data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "ptbxl"
    shutil.copytree(real_data / "ecg_ptbxl_subset", root, copy_function=shutil.copyfile)
    signal = root / "records100" / "00000" / "00003_lr.dat"
    signal.write_bytes(signal.read_bytes()[:1000])
    options = {"format": "ptbxl", "folder": str(root), "fs_hz": 100}
    one = asked(setup, **options)
    lost = [told for _, told in look_at(open_recordings(one), one, False, quiet) if isinstance(told, Lost)]
    assert [told.reason for told in lost] == ["signal is shorter than its header says"]
    strict = asked(setup, **options, faults_at_most=0.0)
    with pytest.raises(DataError, match=r"1 of 335 recordings are unusable.*\n  ptbxl/3: signal is shorter"):
        list(look_at(open_recordings(strict), strict, False, quiet))
