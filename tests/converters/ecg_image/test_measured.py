"""What was drawn is measured back from the pixels of clean pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ecg_pages import BARE, edges_of, ink, read_back, tip_of

from converters.ecg_image import Page, render
from converters.ecg_image.colours import SCHEMES
from converters.ecg_image.layout import LAYOUTS, place
from converters.records.ecg.record import LEADS
from converters.records.ecg.wfdb_reader import read_recording
from runner.spec.ecg_image import Render

RESOLUTIONS = ({"dpi": 200}, {"dpi": 100}, {"px_per_mm": 4.2}, {"dpi": 300})


def ink_over_grid(page: Page, blank: Page) -> np.ndarray:
    """Return the share of ink of each pixel of a page, by how much darker it is than the blank one."""
    ground, red = (picture.image[:, :, 0].astype(float) for picture in (blank, page))
    return (ground - red) / np.maximum(ground - SCHEMES["red"].ink[0], 1.0)  # 0 where there is lettering


@pytest.mark.parametrize("resolution", RESOLUTIONS, ids=str)
def test_amplitude_within_half_a_pixel_and_r_peak_within_one(
    signal: np.ndarray, resolution: dict[str, float]
) -> None:
    """The R peaks of the rhythm strip, on a page with grid, lettering and all other leads."""
    options = Render(**resolution)
    page = render(signal, 500, LEADS, options, record="r")
    (panel,) = (panel for panel in place(options).panels if panel.row == 3)
    scale, pen = options.scale, options.line * options.scale
    blank = render(np.full((1, 1), np.nan), 500, ["I"], options, record="r")
    shown = ink_over_grid(page, blank)
    for beat in range(12):
        peak = 180 + 400 * beat  # samples: 0.36 s into each 0.8 s
        assert signal[1, peak] == signal[1, peak - 50 : peak + 50].max()
        x, y = (panel.x_mm + 25 * peak / 500) * scale, (panel.y_mm - 10 * signal[1, peak]) * scale
        top = int((panel.y_mm - 12) * scale)
        left, right = int(x - 2 * scale), int(x + 2 * scale)
        found_x, found_y = tip_of(shown[top : int(panel.y_mm * scale), left:right], pen)
        assert abs(left + found_x - x) <= 1
        assert abs(top + found_y - y) <= 0.5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read_back_from_its_pixels(signal: np.ndarray, layout: str) -> None:
    """Every lead alone on its page, so that all ink is its own.

    Half of the samples within a quarter of a pixel; on flanks of 40 pixels a pixel nine of ten within three quarters.
    """
    options = Render(layout=layout, **BARE)  # type: ignore[arg-type]
    panels = place(options).panels
    for panel in (panels[0], panels[-1]):
        number = LEADS.index(panel.lead)
        page = render(signal[number : number + 1], 500, [panel.lead], options, record="r")
        which = [lead.label for lead in page.leads].index(panel.label)
        if len(page.leads) > 1:  # it stands in the rhythm strip too, and the strip is what is last
            continue
        sample, millivolts = read_back(page, options, which, panel.y_mm)
        wrong_px = np.abs(millivolts - panel.sign * signal[number, sample]) * options.gain * options.scale
        assert np.median(wrong_px) <= 0.25
        assert np.quantile(wrong_px, 0.9) <= 0.75


@pytest.mark.parametrize("resolution", RESOLUTIONS, ids=str)
@pytest.mark.parametrize("gain", [5.0, 10.0])
def test_the_calibration_pulse_is_one_millivolt_high_and_a_fifth_of_a_second_wide(
    resolution: dict[str, float], gain: float
) -> None:
    options = Render(**resolution, gain=gain, grid="none", lead_names=False, separators=False, footer=False)
    page = render(np.full((1, 100), np.nan), 500, ["I"], options, record="r")
    covered = ink(page)
    pen = options.line * options.scale
    pulses = place(options).pulses
    assert len(pulses) == 4
    for x, y in pulses:
        top, bottom = (int((y + mm) * options.scale) for mm in (-12, 2))
        left, right = (int((x + mm) * options.scale) for mm in (-1, 8))
        part = covered[top:bottom, left:right]
        _, upper, lower = edges_of(part, 0, part.shape[1], pen)
        assert lower.max() - upper.min() - pen == pytest.approx(gain * options.scale, abs=0.5)
        middle = part[(bottom - top) // 2 if gain == 10 else int(10 * options.scale)]
        edge = np.flatnonzero(middle > 0.02)
        wide = edge[-1] + middle[edge[-1]] - (edge[0] + 1 - middle[edge[0]]) - pen
        assert wide == pytest.approx(0.2 * 25 * options.scale, abs=1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ink_is_darker_than_the_grid_in_every_scheme(signal: np.ndarray, scheme: str) -> None:
    page = render(signal, 500, LEADS, Render(scheme=scheme, dpi=100, mask=True), record="r")  # type: ignore[arg-type]
    assert page.mask is not None
    light = page.image.sum(axis=2)
    lead = (page.mask > 0) & (page.mask <= len(page.leads))
    assert np.median(light[lead]) < light[page.mask == 0].min()


def test_without_smoothing_a_pixel_is_ink_or_it_is_not(signal: np.ndarray) -> None:
    page = render(signal, 500, LEADS, Render(antialias=False, grid="none", px_per_mm=3), record="r")
    assert len(np.unique(page.image.reshape(-1, 3), axis=0)) == 2
    columns = (page.image[:, :, 0] < 128).any(axis=0)
    first, last = (int(page.leads[-1].pixels[at, 1]) for at in (0, -1))
    assert columns[first:last].all()  # no holes in the rhythm strip


def test_thin_and_thick_pens_cover_what_they_should() -> None:
    """A flat line of 250 mm: length times width, and the round ends."""
    for line in (0.1, 0.25, 1.0):
        options = Render(layout="II", line=line, **BARE)
        covered = ink(render(np.zeros((1, 5000)), 500, ["II"], options, record="r"))
        pen = line * options.scale
        expected = pen * (249.95 * options.scale) + np.pi / 4 * pen**2
        assert covered.sum() == pytest.approx(expected, rel=0.02)


@pytest.mark.realdata
@pytest.mark.parametrize("rate", ["100", "500"])
def test_round_trip_of_real_recordings(real_data: Path, rate: str) -> None:
    """Signal over error of PTB-XL, all leads together: 27 dB and more on the mean, as the kit's paper gives it."""
    options = Render(layout="12x1", **BARE)
    folder = real_data / "ecg_ptbxl_subset" / f"records{rate}" / "00000"
    ratios = []
    for file in sorted(folder.glob("*.hea"))[1:4]:
        recording = read_recording(file)
        power = error = 0.0
        for number, panel in enumerate(place(options).panels):
            truth = recording.signal_mv[number].astype(float)
            page = render(truth[None], recording.header.fs_hz, [panel.lead], options, record=file.stem)
            sample, millivolts = read_back(page, options, 0, panel.y_mm)
            power += ((truth[sample] - truth[sample].mean()) ** 2).sum()
            error += ((truth[sample] - millivolts) ** 2).sum()
        ratios.append(10 * np.log10(power / error))
    assert len(ratios) == 3
    assert np.mean(ratios) >= 27
    assert min(ratios) >= 24


@pytest.mark.realdata
def test_recordings_of_every_source_of_the_challenge(real_data: Path) -> None:
    """Other lead spellings, other rates, longer than a page: the manifest's places are the signal's."""
    root = real_data / "ecg_cinc2021_subset" / "training"
    files = [sorted(source.rglob("*.hea"))[0] for source in sorted(root.iterdir()) if source.is_dir()]
    assert len(files) == 7
    options = Render(dpi=100)
    for file in files:
        recording = read_recording(file)
        fs_hz = recording.header.fs_hz
        page = render(recording.signal_mv, fs_hz, LEADS, options, record=file.stem)
        assert len(page.leads) == 13
        strip = page.leads[-1]
        (panel,) = (panel for panel in place(options).panels if panel.row == 3)
        expected = (panel.y_mm - 10 * recording.signal_mv[1, : strip.end_sample]) * options.scale
        np.testing.assert_allclose(strip.pixels[:, 0], expected, atol=1e-3)
        assert strip.end_sample == min(round(10 * fs_hz), recording.signal_mv.shape[1])
