"""Filter, standardise, resample, pad or crop: by scipy, by hand, and as FUSION's acceptance test 30 wants them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.native.signals import (
    PUBLISHED,
    STEPS,
    Filter,
    PadOrCrop,
    Resample,
    SignalError,
    Standardise,
    Step,
    applied,
    as_json,
    filtered,
    from_json,
    padded_or_cropped,
    ratio,
    resampled,
    standardised,
    traced,
)


def by_scipy(wave: np.ndarray, fs_hz: float, low: float = 1.0, high: float = 47.0) -> np.ndarray:
    sections = scipy.signal.butter(3, [low, high], "bandpass", fs=fs_hz, output="sos")
    return scipy.signal.sosfiltfilt(sections, wave.astype(float), axis=-1)


@pytest.mark.parametrize(
    ("fs_hz", "samples"), [(500, 5000), (100, 1000), (1000, 38400), (400, 2934), (500, 22), (500, 278)]
)
@pytest.mark.parametrize(("kind", "tolerance"), [("f8", 1e-11), ("f4", 2e-6)])
def test_the_filter_is_scipys(fs_hz: int, samples: int, kind: str, tolerance: float) -> None:
    """Wandering walks with an offset of 5 mV; 278 and twice the edge of 21 are ten whole blocks, 22 is the fewest."""
    wave = 0.05 * np.random.default_rng(0).normal(size=(3, 12, samples)).cumsum(-1) + 5
    ours = filtered(wave.astype(kind), fs_hz)
    assert ours.dtype == np.dtype(kind)
    theirs = by_scipy(wave.astype(kind), fs_hz)
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(wave).max()


@pytest.mark.parametrize("samples", [64, 150, 200, 260, 300, 406, 450, 600])
def test_the_filter_of_one_lead_alone_is_scipys(samples: int) -> None:
    """One row of four to seven blocks was filtered wrongly: its states were read after they had been written over."""
    wave = np.random.default_rng(0).normal(size=(1, samples))
    assert np.abs(filtered(wave, 250, 1, 40) - by_scipy(wave, 250, 1, 40)).max() < 1e-11


@settings(max_examples=25, deadline=None)
@given(
    low=st.floats(0.2, 5),
    width=st.floats(5, 100),
    fs_hz=st.sampled_from([250.0, 400.0, 500.0, 1000.0]),
    samples=st.integers(200, 1500),
    seed=st.integers(0, 99),
)
def test_the_filter_is_scipys_for_any_band(
    low: float, width: float, fs_hz: float, samples: int, seed: int
) -> None:
    wave = np.random.default_rng(seed).normal(size=(2, samples))
    assert filtered(wave, fs_hz, low, low + width) == pytest.approx(
        by_scipy(wave, fs_hz, low, low + width), abs=1e-9
    )


@pytest.mark.parametrize("fs_hz", [500, 1000])
def test_the_band_passes_10_hz_and_stops_0_3_and_60(fs_hz: int) -> None:
    """Forward and backward, order 3: |H|^2 is 0.0007 at 0.3 Hz, 0.18 at 60 Hz, 1 at 10 Hz (within 1 %)."""
    time = np.arange(20 * fs_hz) / fs_hz
    middle = slice(5 * fs_hz, 15 * fs_hz)

    def kept(hz: float) -> float:
        wave = np.sin(2 * np.pi * hz * time)
        return float(np.abs(filtered(wave[None], fs_hz)[0, middle]).max())

    assert kept(10) == pytest.approx(1, abs=0.01)
    assert kept(0.3) < 0.01
    assert kept(60) < 0.25
    assert kept(100) < 0.02


def test_no_wave_is_shifted_in_time() -> None:
    bell = np.exp(-0.5 * ((np.arange(3000) - 1500) / 8) ** 2)[None]
    assert filtered(bell, 500)[0].argmax() == 1500


def test_standardised_has_mean_0_and_deviation_1_and_a_flat_lead_is_0() -> None:
    wave = np.random.default_rng(0).normal(3, 7, size=(4, 12, 5000)).astype(np.float32)
    wave[1, 5] = 2.5
    done = standardised(wave).astype(float)
    assert (done[1, 5] == 0).all()
    others = np.delete(done.reshape(48, -1), 17, axis=0)
    assert np.abs(others.mean(-1)).max() < 1e-5
    assert np.abs(others.std(-1) - 1).max() < 1e-5


def test_rounding_of_a_flat_lead_is_not_blown_up() -> None:
    wave = np.full((1, 1000), 0.1, dtype=np.float32)
    wave[0, ::2] = np.nextafter(np.float32(0.1), np.float32(1))
    assert (standardised(wave) == 0).all()


def test_padding_is_exactly_0_and_comes_after_scaling() -> None:
    """FUSION 1.1: 5000 samples of 10 s and 1144 zeros."""
    done = applied(PUBLISHED, np.random.default_rng(0).normal(size=(2, 12, 5000)), 500)
    assert done.shape == (2, 12, 6144)
    assert done.dtype == np.float32
    assert (done[..., 5000:] == 0).all()
    assert np.abs(done[..., :5000].mean(-1)).max() < 1e-5
    assert np.abs(done[..., :5000].std(-1) - 1).max() < 1e-5


@pytest.mark.parametrize(("keep", "first"), [("start", 0), ("middle", 3), ("end", 7)])
def test_crop(keep: str, first: int) -> None:
    step = PadOrCrop(3, keep)  # type: ignore[arg-type]
    assert applied([step], np.arange(10.0)[None], 100)[0].tolist() == [first, first + 1, first + 2]


def test_resampling_keeps_a_slow_sine_and_its_length() -> None:
    """400 -> 500 Hz is 5/4: 4000 samples become 5000, and a 5 Hz sine stays one (edges aside)."""
    slow = np.sin(2 * np.pi * 5 * np.arange(4000) / 400)
    done = resampled(slow[None], 400, 500)[0]
    wanted = np.sin(2 * np.pi * 5 * np.arange(5000) / 500)
    assert len(done) == 5000
    assert np.abs(done - wanted)[50:-50].max() < 2e-3
    assert traced([Resample(500)], 4001, 400) == (5002, 500)
    assert resampled(np.zeros((1, 4001)), 400, 500).shape == (1, 5002)


def test_a_step_leaves_its_input_alone() -> None:
    wave = np.random.default_rng(0).normal(size=(12, 1000)).astype(np.float32)
    before = wave.copy()
    applied([Filter(), Standardise(), Resample(400), PadOrCrop(900)], wave, 500)
    applied([Standardise()], wave, 500)
    assert (wave == before).all()


def test_order_matters_and_is_kept() -> None:
    wave = np.random.default_rng(0).normal(size=(12, 1000)) + 3
    padded_first = applied([PadOrCrop(1500), Standardise()], wave, 500)
    assert not (padded_first[:, 1000:] == 0).any()


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.just(Standardise()),
            st.builds(Resample, st.sampled_from([100.0, 250.0, 500.0])),
            st.builds(PadOrCrop, st.integers(200, 900), st.sampled_from(["start", "middle", "end"])),
            st.builds(Filter, st.just(1.0), st.just(40.0)),
        ),
        max_size=4,
    ),
    samples=st.integers(200, 1200),
)
def test_traced_says_what_comes_out(steps: list[Step], samples: int) -> None:
    wave = np.random.default_rng(0).normal(size=(2, samples))
    after, _ = traced(steps, samples, 400.0)
    assert applied(steps, wave, 400.0).shape == (2, after)
    assert from_json(as_json(steps)) == tuple(steps)


def test_one_record_alone_is_the_same_as_in_a_batch() -> None:
    waves = np.random.default_rng(0).normal(size=(5, 12, 1000)).astype(np.float32)
    together = applied(PUBLISHED, waves, 500)
    alone = np.stack([applied(PUBLISHED, wave, 500) for wave in waves])
    # A product of several columns adds in another order than that of one, and so with another number of threads.
    assert np.abs(together - alone).max() < 5e-6


@pytest.mark.parametrize(
    ("steps", "samples", "fs_hz", "message"),
    [
        ([Filter()], 21, 500, r"step 1 \(filter\): 21 samples are too few: more than 21 are needed"),
        (
            [Filter()],
            500,
            90,
            r"step 1 \(filter\): 1 to 47 Hz, order 3, does not fit 90 Hz: 0 < low < high < 45",
        ),
        ([Resample(0)], 500, 90, "both must be above 0"),
        ([Resample(257.31)], 500, 500, "no ratio of numbers up to 1000"),
        ([Standardise(), PadOrCrop(0)], 500, 500, r"step 2 \(pad_or_crop\): samples is 0"),
    ],
)
def test_what_a_step_cannot_take(steps: list[Step], samples: int, fs_hz: float, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        traced(steps, samples, fs_hz)


def test_unknown_words_are_named() -> None:
    with pytest.raises(SignalError, match=r"steps\[1\]: unknown step 'notch'; allowed: filter, standardise"):
        from_json([{"step": "filter"}, {"step": "notch"}])
    with pytest.raises(SignalError, match=r"steps\[0\] \(filter\).*low"):
        from_json([{"step": "filter", "low": 1}])
    assert set(STEPS) == {"filter", "standardise", "resample", "pad_or_crop"}


def test_ratio_of_published_rates() -> None:
    assert [ratio(500, hz) for hz in (400, 1000, 257, 500)] == [(5, 4), (1, 2), (500, 257), (1, 1)]


def test_padding_keeps_what_is_there() -> None:
    assert padded_or_cropped(np.array([[1.0, 2.0]]), 4).tolist() == [[1, 2, 0, 0]]


# ------------------------------------------------------------------------------------------------ chains

ONE_OF_EACH: tuple[Step, ...] = (Filter(1, 40, 3), Standardise(), Resample(250), PadOrCrop(700))
CHAINS: list[tuple[Step, ...]] = [
    *(chain for length in (1, 2, 3, 4) for chain in permutations(ONE_OF_EACH, length)),
    (Standardise(), Filter(0.05, 150, 2), Standardise(), Filter(1, 40, 3), Standardise()),
    (PadOrCrop(300), Filter(0.5, 40, 3), Standardise(), PadOrCrop(900)),
    (Filter(0.05, 45, 2), PadOrCrop(300, "end"), Standardise()),
]


def of_a_chain(steps: Sequence[Step]) -> str:
    return "-".join(step.word for step in steps)


@pytest.mark.parametrize("steps", CHAINS, ids=of_a_chain)
def test_a_flat_lead_is_0_after_any_chain_whatever_its_level(steps: tuple[Step, ...]) -> None:
    """Beside a lead with a wave, which it must not change."""
    beats = np.random.default_rng(0).normal(size=600)
    levels = (0.0, 1e-3, 0.1, 3.3, -0.337, -250.0, 999.0)
    wave = np.stack([beats, *(np.full(600, level) for level in levels)])
    for kind in ("f4", "f8"):
        done = applied(steps, wave.astype(kind), 500)
        assert (done[1:] == 0).all()
        assert np.isfinite(done).all()
        assert done[0].std() > 0.1
        # products of other sizes are added in another order
        assert np.abs(done[0] - applied(steps, wave[:1].astype(kind), 500)[0]).max() < 1e-5


@pytest.mark.parametrize("steps", [chain for chain in CHAINS if Standardise() in chain], ids=of_a_chain)
def test_what_is_left_of_a_lead_is_not_blown_up(steps: tuple[Step, ...]) -> None:
    """Rounding of a level of 100 mV, and a pulse that a first crop cuts away, are no noise of size 1."""
    random = np.random.default_rng(1)
    jitter = np.full(4000, 100, dtype=np.float32)
    jitter[random.integers(0, 4000, 400)] = np.nextafter(np.float32(100), np.float32(200))
    pulse = np.full(4000, 2.5, dtype=np.float32)
    pulse[2000] = 50
    done = applied(steps, np.stack([jitter, pulse]), 500)
    assert np.isfinite(done).all()
    assert np.abs(done[0]).max() < 1e-3
    if isinstance(steps[0], PadOrCrop):
        assert (done[1] == 0).all()


@pytest.mark.parametrize("steps", CHAINS, ids=of_a_chain)
def test_a_chain_knows_no_unit(steps: tuple[Step, ...]) -> None:
    """A thousand times the signal gives a thousand times the answer; standardised, the same."""
    wave = np.random.default_rng(2).normal(0.2, 1, size=(3, 600))
    done = applied(steps, wave, 500)
    for scale in (1e-6, 1e-3, 1e3, 1e6):
        wanted = done if Standardise() in steps else done * scale
        assert np.abs(applied(steps, wave * scale, 500) - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_signal_that_is_no_number_is_refused_and_not_spread(value: float) -> None:
    wave = np.zeros((2, 600), dtype=np.float32)
    wave[1, 17] = value
    for step in ONE_OF_EACH:
        with pytest.raises(SignalError, match="not finite or is above 1e\\+15"):
            applied([step], wave, 500)


@pytest.mark.parametrize(("low", "high", "order"), [(0.001, 45, 20), (0.5, 0.505, 8)])
def test_a_band_that_cannot_be_computed_is_said(low: float, high: float, order: int) -> None:
    with pytest.raises(SignalError, match="cannot be computed at 500 Hz; take a wider band or a lower order"):
        traced([Filter(low, high, order)], 5000, 500)
