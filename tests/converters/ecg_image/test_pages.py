"""Leads by name, gaps, windows, the manifest, the mask, and what is refused."""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest

from converters.ecg_image import RenderError, render, windows
from converters.records.ecg.record import LEADS
from runner.spec.ecg_image import Paper, Render

SMALL = Render(px_per_mm=3)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.mark.parametrize(
    ("options", "pixels", "file"),
    [
        (Render(), "4500f44e1aa975ff", "3ccd349323a85a94"),
        (Render(dpi=100, layout="12x1", scheme="green"), "8944b47c9ee454b6", "b5259e9483249a3d"),
        (Render(px_per_mm=3, layout="6x2", antialias=False), "d3203abf8b4e4b8f", "10a1075d6f67d28c"),
    ],
    ids=["200 dpi", "100 dpi", "3 per mm, not smooth"],
)
def test_the_same_page_everywhere(signal: np.ndarray, options: Render, pixels: str, file: str) -> None:
    """Golden: of the pixels, and of the file, which owes nothing to this machine's zlib, Pillow or fonts."""
    page = render(signal, 500, LEADS, options, record="golden")
    assert digest(page.image.tobytes()) == pixels
    assert digest(page.png()) == file


def test_leads_are_found_by_name_whatever_their_order_and_case(signal: np.ndarray) -> None:
    expected = render(signal, 500, LEADS, SMALL, record="r")
    order = [5, 0, 11, 3, 7, 1, 2, 10, 4, 9, 6, 8]  # MIMIC-IV-ECG has aVF before aVL, PTB-XL writes AVR
    names = [LEADS[number].upper() for number in order]
    assert np.array_equal(render(signal[order], 500, names, SMALL, record="r").image, expected.image)


def test_a_lead_that_lacks_leaves_its_place_empty_and_is_named(signal: np.ndarray) -> None:
    kept = [number for number, lead in enumerate(LEADS) if lead != "V3"]
    page = render(signal[kept], 500, [LEADS[number] for number in kept], SMALL, record="r")
    unknown = signal.copy()
    unknown[LEADS.index("V3")] = np.nan
    empty = render(unknown, 500, LEADS, SMALL, record="r")
    assert page.missing_leads == empty.missing_leads == ("V3",)
    assert "V3" not in [lead.label for lead in page.leads]
    assert np.array_equal(page.image, empty.image)
    assert page.manifest["gaps"] == []
    assert empty.manifest["gaps"] == [{"lead_name": "V3", "start_sample": 5000 // 2, "end_sample": 3750}]


def test_gaps_are_not_drawn_and_listed_by_their_samples(signal: np.ndarray) -> None:
    broken = signal.copy()
    broken[1, 1000:1100] = np.nan
    broken[1, 4990:] = np.inf
    options = Render(layout="II", grid="none", calibration=False, lead_names=False, footer=False)
    page = render(broken, 500, LEADS, options, record="r")
    assert page.manifest["gaps"] == [
        {"lead_name": "II", "start_sample": 1000, "end_sample": 1100},
        {"lead_name": "II", "start_sample": 4990, "end_sample": 5000},
    ]
    places = page.manifest["leads"][0]["plotted_pixels"]
    assert [number for number, place in enumerate(places) if place is None] == [
        *range(1000, 1100),
        *range(4990, 5000),
    ]
    first, last = page.leads[0].pixels[[999, 1100], 1]
    inked = (page.image < 255).any(axis=(0, 2))
    assert not inked[int(first) + 3 : int(last) - 2].any()
    assert inked[int(first)]
    assert inked[int(last)]


def test_a_short_last_window_ends_early_and_says_so(signal: np.ndarray) -> None:
    longer = np.concatenate([signal, signal[:, :1500]], axis=1)
    assert windows(longer.shape[1], 500, SMALL) == 2
    page = render(longer, 500, LEADS, SMALL, record="r", window=1)
    strip = page.leads[-1]
    assert (strip.start_sample, strip.end_sample) == (5000, 6500)
    assert {"lead_name": "II", "start_sample": 6500, "end_sample": 10000} in page.manifest["gaps"]
    assert [lead.label for lead in page.leads] == ["I", "aVR", "II", "aVL", "III", "aVF", "II"]


def test_samples_beyond_the_sheet_are_counted() -> None:
    tall = np.zeros((1, 5000))
    tall[0, 100:110] = 50.0  # half a metre of paper
    page = render(tall, 500, ["II"], Render(layout="II", px_per_mm=2), record="r")
    assert page.manifest["leads"][0]["off_page_samples"] == 10
    assert page.leads[0].box.min() >= 0


def test_median_baseline_puts_each_lead_on_its_line(signal: np.ndarray) -> None:
    options = Render(baseline="median", px_per_mm=3)
    lifted = render(signal + 3.0, 500, LEADS, options, record="r")
    assert np.array_equal(lifted.image, render(signal, 500, LEADS, options, record="r").image)


def test_manifest_has_the_kits_names_and_is_json(signal: np.ndarray) -> None:
    page = render(signal, 500, LEADS, SMALL, record="00001_hr", window=0, seed=7)
    manifest = json.loads(json.dumps(page.manifest))
    assert (manifest["width"], manifest["height"]) == (838, 648) == page.image.shape[1::-1]
    assert (manifest["seed"], manifest["px_per_mm"], manifest["sampling_frequency"]) == (7, 3.0, 500.0)
    lead = manifest["leads"][0]
    assert {"lead_name", "lead_bounding_box", "text_bounding_box", "plotted_pixels"} <= lead.keys()
    assert (lead["lead_name"], lead["start_sample"], lead["end_sample"]) == ("I", 0, 1250)
    assert len(lead["plotted_pixels"]) == 1250
    corners = [lead["lead_bounding_box"][str(number)] for number in range(4)]
    (top, left), (bottom, right) = corners[0], corners[2]
    assert corners[1] == [top, right]
    assert corners[3] == [bottom, left]
    assert all(top <= y <= bottom and left <= x <= right for y, x in lead["plotted_pixels"])
    lean = render(signal, 500, LEADS, Render(px_per_mm=3, plotted_pixels=False), record="r")
    assert "plotted_pixels" not in lean.manifest["leads"][0]


def test_mask_names_the_lead_of_each_pixel_of_ink(signal: np.ndarray) -> None:
    page = render(signal, 500, LEADS, Render(mask=True, columns="simultaneous"), record="r")
    assert page.mask is not None
    assert set(np.unique(page.mask)) == {0, *range(1, 14), 254, 255}
    for number, lead in enumerate(page.leads, 1):
        row, column = np.nonzero(page.mask == number)
        (top, left), (bottom, right) = lead.box[0], lead.box[2]
        assert row.min() + 1 >= top
        assert row.max() <= bottom
        assert column.min() + 1 >= left
        assert column.max() <= right
        y, x = lead.pixels.astype(int).T
        assert np.isin(page.mask[y, x], (number, 255)).mean() > 0.9  # lettering may lie on it
        assert page.image[page.mask == number].max() < 200
    with pytest.raises(ValueError, match="has no mask"):
        render(signal, 500, LEADS, SMALL, record="r").mask_png()


def test_pages_do_not_share_what_they_draw_on(signal: np.ndarray) -> None:
    blank = render(signal * np.nan, 500, LEADS, SMALL, record="r").image.copy()
    render(signal, 500, LEADS, SMALL, record="r")
    assert np.array_equal(render(signal * np.nan, 500, LEADS, SMALL, record="r").image, blank)


def test_a_page_goes_to_another_process_and_back(signal: np.ndarray) -> None:
    page = render(signal, 500, LEADS, SMALL, record="r")
    assert pickle.loads(pickle.dumps(page)).png() == page.png()


def test_the_argument_is_left_alone(signal: np.ndarray) -> None:
    before = signal.copy()
    before.setflags(write=False)
    render(before, 500, LEADS, Render(px_per_mm=3, baseline="median"), record="r")
    assert np.array_equal(before, signal)


def test_everything_wrong_is_said_at_once() -> None:
    options = Render(dpi=200, px_per_mm=8, speed=50)
    with pytest.raises(RenderError) as caught:
        render(np.zeros((3, 10)), 0.0, ["I", "i ", "V7"], options, record="A0001")
    assert str(caught.value).splitlines() == [
        "px_per_mm: expected one resolution, got dpi 200 and px_per_mm 8; give one of the two",
        "paper.width: layout '3x4+II' needs 512.5 mm, got 279.4; take larger paper, fewer seconds or a lower speed",
        "leads: I is given twice, in places 0 and 1; leave one out",
        f"leads: unknown lead 'V7'; allowed: {', '.join(LEADS)}; nearest: V1",
        "fs_hz: expected a number above 0, got 0.0",
        "5 problems with the page of record 'A0001'; nothing was drawn",
    ]


@pytest.mark.parametrize(
    ("signal_mv", "leads", "options", "window", "message"),
    [
        (np.zeros(10), ["I"], SMALL, 0, r"expected shape \(lead, time\) with 1 leads, got shape \(10,\)"),
        (np.zeros((2, 10)), ["I"], SMALL, 0, r"with 1 leads, got shape \(2, 10\)"),
        (np.zeros((1, 0)), ["I"], SMALL, 0, "expected at least one sample, got none"),
        (np.zeros((1, 9), np.int16), ["I"], SMALL, 0, "expected floating-point millivolts, got int16"),
        (
            np.zeros((1, 9)),
            ["I"],
            SMALL,
            1,
            r"window: expected 0 to 0 \(9 samples at 500 Hz make 1 of 10 s\), got 1",
        ),
        (np.zeros((1, 9)), ["I"], Render(dpi=1200), 0, "at most 89,478,485: lower dpi or px_per_mm"),
        (
            np.zeros((1, 9)),
            ["I"],
            Render(layout="12x1", paper=Paper(height=100)),
            0,
            "paper.height: .* needs 140 mm",
        ),
    ],
)
def test_bad_input_is_refused(
    signal_mv: np.ndarray, leads: list[str], options: Render, window: int, message: str
) -> None:
    with pytest.raises(RenderError, match=message):
        render(signal_mv, 500, leads, options, record="r", window=window)
