"""Measured intervals: of beats whose waves are known, of other rates, and of PTB-XL's own diagnoses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.records.ecg.intervals import Intervals, measure
from converters.records.ecg.ptbxl import Ptbxl
from converters.records.ecg.synthetic import SyntheticEcg


def drawn(
    fs_hz: float, rate: float = 72.0, pr_ms: float = 160.0, qrs_ms: float = 96.0, p_mv: float = 0.15
) -> NDArray[np.float64]:
    """Return 10 s of three leads: a half-sine P of 100 ms, a triangle as QRS, a half-sine T of 160 ms at 300 ms."""
    time = np.arange(round(10 * fs_hz)) / fs_hz
    signal = np.zeros_like(time)
    for start in np.arange(0.4, 9.5, 60.0 / rate):  # each QRS onset
        since = time - start
        in_p = (since > -pr_ms / 1000) & (since < -pr_ms / 1000 + 0.1)
        signal[in_p] += p_mv * np.sin(np.pi * (since[in_p] + pr_ms / 1000) / 0.1)
        width = qrs_ms / 1000
        in_qrs = (since > 0) & (since < width)
        signal[in_qrs] += 1.2 * np.minimum(since[in_qrs], width - since[in_qrs]) / (width / 2)
        in_t = (since > 0.22) & (since < 0.38)
        signal[in_t] += 0.35 * np.sin(np.pi * (since[in_t] - 0.22) / 0.16)
    return np.stack([signal, 0.7 * signal, -0.5 * signal])


@pytest.mark.parametrize("fs_hz", [250.0, 500.0, 1000.0])
@pytest.mark.parametrize("rate", [50.0, 72.0, 100.0])
def test_known_waves_are_measured(fs_hz: float, rate: float) -> None:
    """QRS 96 ms, PR 160 ms, and QT 380 ms by the end of the half-sine: within 20 ms of what was drawn."""
    found = measure(drawn(fs_hz, rate), fs_hz)
    assert found.heart_rate_bpm == pytest.approx(rate, abs=0.5)
    assert found.qrs_ms == pytest.approx(96, abs=20)
    assert found.pr_ms == pytest.approx(160, abs=20)
    assert found.qt_ms == pytest.approx(380, abs=25)


def test_a_longer_interval_is_longer_by_as_much() -> None:
    short, long = measure(drawn(500, pr_ms=150), 500), measure(drawn(500, pr_ms=230), 500)
    assert short.pr_ms is not None
    assert long.pr_ms is not None
    assert long.pr_ms - short.pr_ms == pytest.approx(80, abs=6)
    narrow, broad = measure(drawn(500, qrs_ms=90), 500), measure(drawn(500, qrs_ms=150), 500)
    assert narrow.qrs_ms is not None
    assert broad.qrs_ms is not None
    assert broad.qrs_ms - narrow.qrs_ms == pytest.approx(60, abs=12)


def test_without_a_p_wave_there_is_no_pr() -> None:
    found = measure(drawn(500, p_mv=0.0), 500)
    assert found.pr_ms is None
    assert found.qrs_ms is not None


@pytest.mark.parametrize("signal", [np.zeros((3, 5000)), np.full((3, 5000), np.nan), np.ones((1, 50))])
def test_what_has_no_beat_has_no_interval(signal: NDArray[np.float64]) -> None:
    assert measure(signal, 500) == Intervals()


def test_a_lead_with_a_gap_is_passed_over() -> None:
    signal = drawn(500)
    signal[1, 100:200] = np.nan
    assert measure(signal, 500).heart_rate_bpm == pytest.approx(72, abs=0.5)


def test_the_rate_is_the_one_that_neurokit_finds() -> None:
    nk = pytest.importorskip("neurokit2", reason="needs the ecg extra")
    source = SyntheticEcg(records=8, fs_hz=250.0)
    regular = [
        one for raw in source.raws() if "PVC" not in (one := source.read(raw)).labels
    ]  # counted differently
    assert len(regular) >= 4
    for record in regular:
        cleaned = nk.ecg_clean(record.signal_mv[1].astype(float), sampling_rate=250)
        peaks = nk.ecg_peaks(cleaned, sampling_rate=250)[1]["ECG_R_Peaks"]
        theirs = 60 * 250 * (len(peaks) - 1) / (peaks[-1] - peaks[0])
        assert measure(record.signal_mv, 250).heart_rate_bpm == pytest.approx(theirs, rel=0.06)


@pytest.mark.realdata
def test_ptbxl_s_diagnoses_are_seen_in_the_numbers(real_data: Path) -> None:
    """Nine in ten normal QRS are below 110 ms and normal PR below 200; complete bundle branch blocks are above 120."""
    source = Ptbxl(real_data / "ecg_ptbxl_subset", task="all", fs_hz=500, unlabelled="keep")
    raws = source.raws()
    blocks = [raw for raw in raws if {"CLBBB", "CRBBB"} & set(source.codes_of(raw))]
    normal = [raw for raw in raws if {"NORM", "SR"} <= set(source.codes_of(raw))][:60]
    slow = [raw for raw in raws if "SBRAD" in source.codes_of(raw)]
    of_normal = [measure((one := source.read(raw)).signal_mv, one.fs_hz) for raw in normal]
    qrs = [found.qrs_ms for found in of_normal if found.qrs_ms is not None]
    pr = [found.pr_ms for found in of_normal if found.pr_ms is not None]
    assert len(qrs) >= 57
    assert len(pr) >= 54
    assert np.mean(np.array(qrs) < 110) > 0.9
    assert np.mean(np.array(pr) < 200) > 0.9
    broad = [measure((one := source.read(raw)).signal_mv, one.fs_hz).qrs_ms for raw in blocks]
    known = [value for value in broad if value is not None]
    assert len(known) >= 5
    assert min(known) > 120
    for raw in slow:
        rate = measure((one := source.read(raw)).signal_mv, one.fs_hz).heart_rate_bpm
        assert rate is not None
        assert rate < 60
