"""Rows of the UCI heart disease files (processed, 14 columns, no header) -> records.

Codes and units are those of `heart-disease.names`, the description by the donors.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from converters.records.record import BadRecordError, Record
from converters.records.tabular import YES_NO, Patient, Row, age_band, code_in, number_in, plain, record_of
from runner.spec.sources import UciHeartSource

COLUMNS = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal", "num")  # fmt: skip
CODES: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "sex": {0: "female", 1: "male"},
        "cp": {1: "typical angina", 2: "atypical angina", 3: "non-anginal pain", 4: "asymptomatic"},
        "fbs": {0: "at most 120 mg/dl", 1: "above 120 mg/dl"},
        "restecg": {0: "normal", 1: "ST-T wave abnormality", 2: "left ventricular hypertrophy"},
        "exang": YES_NO,
        "slope": {1: "upsloping", 2: "flat", 3: "downsloping"},
        "ca": {0: "0", 1: "1", 2: "2", 3: "3"},
        "thal": {3: "normal", 6: "fixed defect", 7: "reversible defect"},
    }
)
NEVER_ZERO = ("trestbps", "chol")
"""A resting pressure or a cholesterol of 0 is no measurement: Switzerland's file writes 0 for missing."""
NOT_MEASURED = -9
"""Stands for a missing value in the raw and reprocessed files, where the processed ones write `?`."""
DISEASE: Mapping[int, str] = MappingProxyType(
    {0: "below 50 % narrowing", **dict.fromkeys(range(1, 5), "above")}
)


def to_record(raw: Row[UciHeartSource]) -> Record:
    """Return the record of one patient; the id is `site/line`, for the files have none.

    Raises:
        Dropped: no label, or a missing value where these are dropped.
        BadRecordError: a cell that is no number, a code that there is not.
    """
    return record_of(patient_of(raw.cells, raw.part, f"{raw.part}/{raw.line}"), raw.options, "uci_heart")


def patient_of(cells: Mapping[str, str], site: str, name: str) -> Patient:
    """Return the row decoded. Disease is present where `num` is above 0.

    Raises:
        BadRecordError: a cell that is no number, a code that there is not.
    """
    cells = {column: "" if number_in(cells, column) == NOT_MEASURED else cells[column] for column in COLUMNS}
    values: dict[str, float | None] = {}
    words: dict[str, str | None] = {}
    for column in COLUMNS[:-1]:
        if codes := CODES.get(column):
            code = code_in(cells, column, codes)
            values[column], words[column] = code, None if code is None else codes[code]
        else:
            value = _measured(cells, column)
            values[column], words[column] = value, plain(value)
    label = code_in(cells, "num", DISEASE)
    return Patient(
        id=name,
        words=words,
        features={column: None if value is None else float(value) for column, value in values.items()},
        attributes={"sex": words["sex"] or "unknown", "age_band": age_band(values["age"]), "site": site},
        present=None if label is None else label > 0,
    )


def _measured(cells: Mapping[str, str], column: str) -> float | None:
    value = number_in(cells, column)
    if column in NEVER_ZERO and value == 0:
        return None
    if (
        value is not None and value < 0 and column != "oldpeak"
    ):  # VA measured ST elevations, which are below 0
        raise BadRecordError(f"{column}: expected a number of at least 0, got {value:g}")
    return value
