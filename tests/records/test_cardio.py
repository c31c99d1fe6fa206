from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from converters.records.cardio import (
    ADDED,
    ENCODED,
    RAW,
    HeaderError,
    body_mass_index,
    bp_category,
    layout_of,
    patient_of,
    recomputed,
    to_record,
)
from converters.records.record import BadRecordError, Dropped
from converters.records.tabular import Row
from runner.spec.prompt import fields_of
from runner.spec.sources import Answers, CardioSource, Plausible

EVERYTHING = ", ".join(f"{name} {{{name}}}" for name in CardioSource.FIELDS)
FIRST = "0;18393;2;168;62.0;110;80;1;1;0;0;1;0"
"""The first row of the published file."""


def options(**changes: Any) -> CardioSource:
    given = {"prompt": EVERYTHING, "answers": Answers(absent="no", present="yes"), **changes}
    return CardioSource(source="cardio", root="x", **given)


def row(text: str = FIRST, changes: dict[str, str] | None = None, **asked: Any) -> Row[CardioSource]:
    cells = dict(zip(RAW, text.split(";"), strict=True)) | (changes or {})
    return Row("cardio_train.csv", 2, cells, options(**asked))


def test_the_first_row_by_hand() -> None:
    """18393 // 365 = 50; 62 / 1.68^2 = 21.967; 110/80 is not below 80, so it is Stage 1."""
    record = to_record(row())
    assert record == {
        "id": "0",
        "messages": [
            {"role": "user", "content": record["question"]},
            {"role": "assistant", "content": "no"},
        ],
        "group": "0",
        "question": "age_years 50, sex male, height 168, weight 62, ap_hi 110, ap_lo 80, cholesterol normal, "
        "gluc normal, smoke no, alco no, active yes, bmi 22.0, bp_category Hypertension Stage 1",
        "focus": None,
        "source": "cardio",
        "label": "no",
        "features": {
            "age_years": 50.0,
            "gender": 2.0,
            "height": 168.0,
            "weight": 62.0,
            "ap_hi": 110.0,
            "ap_lo": 80.0,
            "cholesterol": 1.0,
            "gluc": 1.0,
            "smoke": 0.0,
            "alco": 0.0,
            "active": 1.0,
            "bmi": pytest.approx(21.9671201814059, abs=1e-13),
        },
        "attributes": {"sex": "male", "age_band": "50 to 59"},
    }


def test_every_name_of_the_prompt_has_words() -> None:
    assert set(patient_of(row().cells, Plausible()).words) == set(CardioSource.FIELDS)


def test_codes_are_decoded() -> None:
    changes = {"gender": "1", "cholesterol": "2", "gluc": "3", "smoke": "1", "cardio": "1", "weight": "62.5"}
    record = to_record(row(changes=changes, prompt="{sex}|{cholesterol}|{gluc}|{smoke}|{weight}"))
    assert record["question"] == "female|above normal|well above normal|yes|62.5"
    assert record["label"] == record["messages"][-1]["content"] == "yes"


@pytest.mark.parametrize(
    ("ap_hi", "ap_lo", "category"),
    [
        (119, 79, "Normal"),
        (120, 79, "Elevated"),
        (129, 79, "Elevated"),
        (130, 79, "Hypertension Stage 1"),
        (119, 80, "Hypertension Stage 1"),
        (140, 90, "Hypertension Stage 2"),
        (140, 79, "Hypertension Stage 2"),
        (139, 100, "Hypertension Stage 1"),
        (110, 90, "Hypertension Stage 2"),
    ],
)
def test_the_categories_of_the_derived_table(ap_hi: float, ap_lo: float, category: str) -> None:
    """By the rules as published, the first that fits; not those of a guideline."""
    assert bp_category(ap_hi, ap_lo) == category


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ap_hi": "16020"}, "ap_hi outside 60 to 260 mmHg"),
        ({"ap_hi": "-150"}, "ap_hi outside 60 to 260 mmHg"),
        ({"ap_lo": "11000"}, "ap_lo outside 30 to 160 mmHg"),
        ({"height": "55"}, "height outside 120 to 220 cm"),
        ({"weight": "10"}, "weight outside 30 to 200 kg"),
        ({"ap_hi": "80", "ap_lo": "110"}, "ap_lo (diastolic) above ap_hi (systolic)"),
        ({"cardio": ""}, "no label"),
    ],
)
def test_an_implausible_row_is_named_and_says_why(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(Dropped) as drop:
        to_record(row(changes={"id": "77", **changes}))
    assert (drop.value.record_id, drop.value.reason) == ("77", reason)


@pytest.mark.parametrize("pressure", ["60", "260"])
def test_a_limit_itself_is_kept(pressure: str) -> None:
    assert to_record(row(changes={"ap_hi": pressure, "ap_lo": "50"}))["features"]["ap_hi"] == float(pressure)


def test_without_limits_everything_is_kept() -> None:
    none = Plausible(ap_hi=None, ap_lo=None, height=None, weight=None, inverted="keep")
    record = to_record(row(changes={"ap_hi": "-150", "height": "0"}, plausible=none, prompt="{ap_hi} {bmi}"))
    assert record["question"] == "-150 unknown"
    assert record["features"]["bmi"] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": " "}, "id: the cell is empty"),
        (
            {"height": "9" * 400},
            "height: '" + "9" * 59 + " is above 1,000,000,000, which nothing measured is",
        ),
        ({"height": "tall"}, "height: expected a number, got 'tall'"),
        ({"weight": "nan"}, "weight: expected a number, got 'nan'"),
        ({"weight": "1_0"}, "weight: expected a number, got '1_0'"),
        ({"gender": "3"}, "gender: '3' is none of the codes 1 female, 2 male"),
        ({"smoke": "0.5"}, "smoke: '0.5' is none of the codes 0 no, 1 yes"),
        ({"cardio": "2"}, "cardio: '2' is none of the codes 0 absent, 1 present"),
        ({"age": "-5"}, "age: expected days, 365 to 47,450, got -5"),
    ],
)
def test_a_cell_that_someone_has_to_mend_is_named(changes: dict[str, str], said: str) -> None:
    with pytest.raises(BadRecordError) as error:
        to_record(row(changes=changes))
    assert str(error.value) == said


def test_a_missing_value_is_said_or_drops_the_row_only_where_the_prompt_names_it() -> None:
    empty = {"weight": ""}
    assert to_record(row(changes=empty, prompt="{weight} {bmi} {sex}"))["question"] == "unknown unknown male"
    with pytest.raises(Dropped, match="no value of weight"):
        to_record(row(changes=empty, prompt="{sex} {weight}", missing="drop"))
    kept = to_record(row(changes=empty, prompt="{sex}", missing="drop"))
    assert (kept["question"], kept["features"]["weight"]) == ("male", None)


# -------------------------------------------------------------------------------------------- header


def test_both_layouts_are_known_in_any_order() -> None:
    assert layout_of(RAW) == "raw"
    assert layout_of([*reversed(RAW), *ADDED]) == "derived"
    assert layout_of([*RAW, *ADDED, ENCODED]) == "derived"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            [{"ap_hi": "sbp", "ap_lo": "dbp"}.get(name, name) for name in RAW],
            "lacking: ap_hi, ap_lo; unknown: 'sbp', 'dbp'",
        ),
        ([*RAW[:-1], "cardo"], "lacking: cardio; unknown: 'cardo' (nearest: cardio)"),
        ([*RAW, "bmi"], "lacking: age_years, bp_category"),
        ([*RAW, "id"], "there twice: id"),
        (
            ["ID", *RAW[1:]],
            "lacking: id; unknown: 'ID' (nearest: id)",
        ),
        (["a"], f"lacking: {', '.join(RAW)}; unknown: 'a'"),
    ],
)
def test_another_header_is_refused_column_by_column(header: list[str], said: str) -> None:
    with pytest.raises(HeaderError) as error:
        layout_of(header)
    assert str(error.value) == said


def test_a_derived_cell_that_is_not_what_the_rule_gives_is_found() -> None:
    cells = row().cells | {"age_years": "50", "bmi": "21.97", "bp_category": "Hypertension Stage 1"}
    assert recomputed(cells) == ()
    assert recomputed({**cells, "age_years": "51", "bp_category": "Normal"}) == ("age_years", "bp_category")
    assert recomputed({**cells, "bmi": "23"}) == ("bmi",)


# ------------------------------------------------------------------------------------ all of them


@given(st.integers(60, 260), st.integers(30, 160), st.integers(365, 40_000), st.integers(300, 2000))
def test_every_plausible_row_gets_words_for_all(ap_hi: int, ap_lo: int, days: int, tenths: int) -> None:
    assume(ap_lo <= ap_hi)
    changes = {"ap_hi": str(ap_hi), "ap_lo": str(ap_lo), "age": str(days), "weight": f"{tenths / 10:.1f}"}
    record = to_record(row(changes=changes))
    assert "unknown" not in record["question"]
    assert "{" not in record["question"]
    assert f"bmi {body_mass_index(168, tenths / 10):.1f}," in record["question"]


def test_fields_stand_in_the_order_of_the_prompt() -> None:
    assert fields_of(EVERYTHING) == CardioSource.FIELDS


def table(path: Path, delimiter: str) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file, delimiter=delimiter)


@pytest.mark.realdata
def test_the_real_derived_table_follows_the_rules_row_by_row(real_data: Path) -> None:
    """The bmi is the same to the last digit; no cell differs from what the raw columns give."""
    rows = list(table(real_data / "cardio" / "cardio_data_processed.csv.gz", ","))
    assert len(rows) == 54_575
    assert [cells["id"] for cells in rows if recomputed(cells)] == []
    assert all(
        float(c["bmi"]) == body_mass_index(float(c["height"]), float(c["weight"])) for c in rows[:5000]
    )


@pytest.mark.realdata
def test_the_published_limits_make_the_derived_table_out_of_the_raw_one(real_data: Path) -> None:
    derived = {cells["id"] for cells in table(real_data / "cardio" / "cardio_data_processed.csv.gz", ",")}
    limits = Plausible(ap_hi=(90, 180), ap_lo=(60, 120), height=None, weight=None, inverted="keep")
    kept = set()
    for cells in table(real_data / "cardio" / "cardio_train.csv.gz", ";"):
        try:
            kept.add(patient_of(cells, limits).id)
        except Dropped:
            continue
    assert kept == derived
