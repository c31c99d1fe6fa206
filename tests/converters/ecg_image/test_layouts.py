"""Where leads stand, by hand, and that each word of the spec is drawn."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
from ecg_pages import beats

from converters.ecg_image import render
from converters.ecg_image.artefacts import ARTEFACTS
from converters.ecg_image.colours import SCHEMES
from converters.ecg_image.layout import LAYOUTS, place
from converters.records.ecg.record import LEADS
from runner.spec.ecg_image import Artefacts, LayoutName, Render, SchemeName


def test_words_of_the_spec_are_those_of_the_registries() -> None:
    assert get_args(LayoutName) == tuple(LAYOUTS)
    assert get_args(SchemeName) == tuple(SCHEMES)
    assert tuple(Artefacts.model_fields) == tuple(ARTEFACTS)


def test_three_by_four_with_a_rhythm_strip() -> None:
    panels = place(Render()).panels
    assert [panel.label for panel in panels] == (
        [
            "I",
            "aVR",
            "V1",
            "V4",
            "II",
            "aVL",
            "V2",
            "V5",
            "III",
            "aVF",
            "V3",
            "V6",
            "II",
        ]  # as read, row by row
    )
    assert [(panel.start_s, panel.end_s) for panel in panels[:4]] == [(0, 2.5), (2.5, 5), (5, 7.5), (7.5, 10)]
    assert (panels[-1].start_s, panels[-1].end_s) == (0, 10)
    # 279.4 mm less 250 mm of signal and 7.5 mm of pulse leave 21.9; half of it, then the pulse, then down to 5 mm.
    assert [panel.x_mm for panel in panels[:4]] == [15, 77.5, 140, 202.5]
    # Rows of (215.9 - 8 - 12) / 4 = 48.975 mm below 8 mm: middles at 32.5, 81.5, 130.4, 179.4, to whole mm.
    assert [panel.y_mm for panel in panels if panel.column == 0] == [32, 81, 130, 179]


def test_simultaneous_columns_all_start_at_zero() -> None:
    assert {panel.start_s for panel in place(Render(columns="simultaneous")).panels} == {0.0}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_fits_its_sheet_and_shows_each_lead_where_it_says(layout: str) -> None:
    options = Render(layout=layout, dpi=100)  # type: ignore[arg-type]
    panels = place(options).panels
    page = render(beats(), 500, LEADS, options, record="r")
    assert [lead.label for lead in page.leads] == [panel.label for panel in panels]
    for lead, panel in zip(page.leads, panels, strict=True):
        x = lead.pixels[:, 1] / options.scale
        assert -1e-9 <= x[0] - panel.x_mm < 25 / 500
        samples = (panel.end_s - panel.start_s) * 500  # a sixth of 10 s is no whole number of them
        assert abs(lead.end_sample - lead.start_sample - samples) < 1
        assert abs((x[-1] - x[0]) - (samples - 1) * 25 / 500) < 25 / 500
        assert 0 < x[0] < x[-1] < options.paper.width
    rows = sorted({panel.y_mm for panel in panels})
    assert all(low - high >= 10 for high, low in itertools.pairwise(rows))


def test_columns_go_on_in_time_where_the_left_one_ends() -> None:
    page = render(beats(), 500, LEADS, Render(dpi=100), record="r")
    spans = {lead.label: (lead.start_sample, lead.end_sample) for lead in page.leads if not lead.rhythm}
    assert [spans[name] for name in ("I", "aVR", "V1", "V4")] == [
        (0, 1250),
        (1250, 2500),
        (2500, 3750),
        (3750, 5000),
    ]


def test_cabrera_draws_avr_upside_down() -> None:
    signal = beats()
    page = render(signal, 500, LEADS, Render(layout="3x4 Cabrera+II"), record="r")
    (lead,) = (lead for lead in page.leads if lead.label == "-aVR")
    (panel,) = (panel for panel in place(Render(layout="3x4 Cabrera+II")).panels if panel.label == "-aVR")
    sample = int(np.argmax(np.abs(signal[3, : lead.end_sample])))
    up_mm = panel.y_mm - lead.pixels[sample, 0] / Render().scale
    assert up_mm == pytest.approx(-10 * signal[3, sample])


def test_a_window_at_another_speed_and_gain() -> None:
    options = Render(layout="12x1", seconds=5, speed=50, gain=5)
    page = render(beats(), 500, LEADS, options, record="r", window=1)
    assert {(lead.start_sample, lead.end_sample) for lead in page.leads} == {(2500, 5000)}
    lead = page.leads[1]
    assert lead.pixels[500, 1] - lead.pixels[0, 1] == pytest.approx(50 * options.scale)
    (panel,) = (panel for panel in place(options).panels if panel.label == "II")
    assert panel.y_mm * options.scale - lead.pixels[100, 0] == pytest.approx(
        beats()[1, 2600] * 5 * options.scale
    )
