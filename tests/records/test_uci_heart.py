from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from converters.records.record import BadRecordError, Dropped, Record
from converters.records.tabular import Row
from converters.records.uci_heart import CODES, COLUMNS, to_record
from runner.spec.sources import Answers, UciHeartSource

EVERYTHING = ", ".join(f"{name} {{{name}}}" for name in UciHeartSource.FIELDS)
FIRST = "63,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,0.0,6.0,0"
"""The first row of Cleveland."""


def row(text: str = FIRST, site: str = "cleveland", line: int = 1, **asked: Any) -> Row[UciHeartSource]:
    given = {"prompt": EVERYTHING, "answers": Answers(absent="no", present="yes"), **asked}
    options = UciHeartSource(source="uci_heart", root="x", **given)
    return Row(site, line, dict(zip(COLUMNS, text.split(","), strict=True)), options)


def changed(**cells: str) -> str:
    return ",".join(cells.get(name, cell) for name, cell in zip(COLUMNS, FIRST.split(","), strict=True))


def test_the_first_row_by_hand() -> None:
    record = to_record(row())
    assert (record["id"], record["group"], record["source"]) == ("cleveland/1", "cleveland/1", "uci_heart")
    assert record["question"] == (
        "age 63, sex male, cp typical angina, trestbps 145, chol 233, fbs above 120 mg/dl, "
        "restecg left ventricular hypertrophy, thalach 150, exang no, oldpeak 2.3, slope downsloping, ca 0, "
        "thal fixed defect"
    )
    assert record["label"] == record["messages"][-1]["content"] == "no"
    assert record["features"] == dict(
        zip(COLUMNS[:-1], (63, 1, 1, 145, 233, 1, 2, 150, 0, 2.3, 3, 0, 6), strict=True)
    )
    assert record["attributes"] == {"sex": "male", "age_band": "60 to 69", "site": "cleveland"}


@pytest.mark.parametrize(("num", "label"), [("0", "no"), ("1", "yes"), ("4", "yes")])
def test_any_narrowing_is_disease(num: str, label: str) -> None:
    assert to_record(row(changed(num=num)))["label"] == label


def test_missing_values_are_unknown_or_drop_the_row() -> None:
    text = changed(ca="?", thal="?", chol="0.0")
    record = to_record(row(text, prompt="{ca}/{thal}/{chol}/{age}"))
    assert record["question"] == "unknown/unknown/unknown/63"
    assert [record["features"][name] for name in ("ca", "thal", "chol")] == [None, None, None]
    with pytest.raises(Dropped, match="no value of ca") as drop:
        to_record(row(text, prompt="{age} {ca}", missing="drop"))
    assert drop.value.record_id == "cleveland/1"
    assert to_record(row(text, prompt="{age}", missing="drop"))["question"] == "63"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"thal": "5"}, "thal: '5' is none of the codes 3 normal, 6 fixed defect, 7 reversible defect"),
        ({"age": "old"}, "age: expected a number, got 'old'"),
        ({"thalach": "-8"}, "thalach: expected a number of at least 0, got -8"),
        ({"num": "5"}, "num: '5' is none of the codes"),
    ],
)
def test_a_cell_that_someone_has_to_mend_is_named(cells: dict[str, str], said: str) -> None:
    with pytest.raises(BadRecordError) as error:
        to_record(row(changed(**cells)))
    assert str(error.value).startswith(said)


def test_every_field_is_a_column_and_every_code_too() -> None:
    assert COLUMNS[:-1] == UciHeartSource.FIELDS
    assert set(CODES) < set(COLUMNS)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("site", "classes", "missing"),
    [("cleveland", {"no": 164, "yes": 139}, 6), ("hungarian", {"no": 188, "yes": 106}, 782)],
)
def test_the_real_files_have_the_published_classes(
    real_data: Path, site: str, classes: dict[str, int], missing: int
) -> None:
    """The missing cells are those that the data's SOURCE.md counts."""
    lines = (real_data / "uci_heart" / f"processed.{site}.data").read_text().splitlines()
    records: list[Record] = [to_record(row(line, site, n)) for n, line in enumerate(lines, start=1)]
    assert Counter(record["label"] for record in records) == classes
    assert sum(value is None for record in records for value in record["features"].values()) == missing
    assert len({record["id"] for record in records}) == len(records)


@pytest.mark.parametrize(
    ("site", "text", "oldpeak", "missing"),
    [
        ("switzerland", "32,1,1,95,0,?,0,127,0,.7,1,?,?,1", 0.7, ["chol", "fbs", "ca", "thal"]),
        ("switzerland", "63,1,4,100,0,?,0,109,0,-.9,2,?,?,1", -0.9, ["chol", "fbs", "ca", "thal"]),
        ("va", "66,1,3,120,0,0,1,120,0,-0.5,1,?,?,0", -0.5, ["chol", "ca", "thal"]),
        ("va", "55,1,3,0,0,0,0,155,0,1.5,2,-9,-9,3", 1.5, ["trestbps", "chol", "ca", "thal"]),
        (
            "va",
            "63,1,3,-9,0,0,2,-9,-9,-9,-9,-9,-9,1",
            None,
            ["trestbps", "chol", "thalach", "exang", "oldpeak", "slope", "ca", "thal"],
        ),
    ],
)
def test_rows_of_the_other_two_sites_as_they_are_published(
    site: str, text: str, oldpeak: float | None, missing: list[str]
) -> None:
    """A number may begin with its point, and -9 stands for what was not measured."""
    features = to_record(row(text, site))["features"]
    assert features["oldpeak"] == oldpeak
    assert [name for name in COLUMNS[:-1] if features[name] is None] == missing
