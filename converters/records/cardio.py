"""Rows of the cardiovascular disease table -> records; both published layouts give the same text.

The raw layout is the one on Kaggle (S. Ulianova): age in days, no derived columns. The derived one adds
age_years, bmi and bp_category by the rules below, and keeps 90 <= ap_hi <= 180 and 60 <= ap_lo <= 120.
What it adds is computed here from the other columns in either case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from converters.records.record import BadRecordError, Dropped, Record
from converters.records.tabular import YES_NO, Patient, Row, age_band, code_in, number_in, plain, record_of
from runner.spec.nearest import nearest
from runner.spec.sources import CardioSource, Plausible

RAW = ("id", "age", "gender", "height", "weight", "ap_hi", "ap_lo", "cholesterol", "gluc", "smoke", "alco", "active", "cardio")  # fmt: skip
ADDED = ("age_years", "bmi", "bp_category")
ENCODED = "bp_category_encoded"
"""Holds the same text as bp_category; the derived layout may lack it."""

SEXES: Mapping[int, str] = MappingProxyType({1: "female", 2: "male"})
LEVELS: Mapping[int, str] = MappingProxyType({1: "normal", 2: "above normal", 3: "well above normal"})
LABELS: Mapping[int, str] = MappingProxyType({0: "absent", 1: "present"})
AGE_DAYS = (365, 130 * 365)
"""Ages that are taken; those of the published table are 10,798 to 23,713 days."""
DAYS_A_YEAR = 365  # the rule of the derived table, which knows no leap years
LIMITED = (("ap_hi", "mmHg"), ("ap_lo", "mmHg"), ("height", "cm"), ("weight", "kg"))


class HeaderError(ValueError):
    """A header that is that of neither layout; the message names the columns."""


def layout_of(header: Sequence[str]) -> str:
    """Return `raw` or `derived`, by the columns, in whatever order they stand.

    Raises:
        HeaderError: columns are lacking, unknown or there twice.
    """
    known = (*RAW, *ADDED, ENCODED)
    derived = any(name in header for name in (*ADDED, ENCODED))
    lacking = [name for name in (*RAW, *(ADDED if derived else ())) if name not in header]
    unknown = [name for name in header if name not in known]
    twice = sorted({name for name in header if list(header).count(name) > 1})
    faults = []
    if lacking:
        faults.append(f"lacking: {', '.join(lacking)}")
    if unknown:
        faults.append(f"unknown: {', '.join(_with_nearest(name, lacking) for name in unknown)}")
    if twice:
        faults.append(f"there twice: {', '.join(twice)}")
    if faults:
        raise HeaderError("; ".join(faults))
    return "derived" if derived else "raw"


def _with_nearest(name: str, lacking: Sequence[str]) -> str:
    near = nearest(name, lacking)
    return f"{name!r:.60} (nearest: {near})" if near else f"{name!r:.60}"


def to_record(raw: Row[CardioSource]) -> Record:
    """Return the record of one check-up.

    Raises:
        Dropped: a value outside `plausible`, no label, or a missing value where these are dropped.
        BadRecordError: no id, a cell that is no number, a code that there is not.
    """
    return record_of(patient_of(raw.cells, raw.options.plausible), raw.options, "cardio")


def patient_of(cells: Mapping[str, str], plausible: Plausible) -> Patient:
    """Return the row decoded; gender 1 is female and 2 male, levels are 1 to 3.

    Raises:
        Dropped: a value outside `plausible`.
        BadRecordError: no id, a cell that is no number, a code that there is not.
    """
    name = _id_in(cells)
    height, weight = number_in(cells, "height"), number_in(cells, "weight")
    ap_hi, ap_lo = number_in(cells, "ap_hi"), number_in(cells, "ap_lo")
    _refuse_implausible(name, {"ap_hi": ap_hi, "ap_lo": ap_lo, "height": height, "weight": weight}, plausible)
    years, bmi = age_years(number_in(cells, "age")), body_mass_index(height, weight)
    sex = code_in(cells, "gender", SEXES)
    levels = {column: code_in(cells, column, LEVELS) for column in ("cholesterol", "gluc")}
    habits = {column: code_in(cells, column, YES_NO) for column in ("smoke", "alco", "active")}
    label = code_in(cells, "cardio", LABELS)
    measured = {"age_years": years, "gender": sex, "height": height, "weight": weight, "ap_hi": ap_hi, "ap_lo": ap_lo}  # fmt: skip
    words = {
        "age_years": plain(years),
        "sex": None if sex is None else SEXES[sex],
        "height": plain(height),
        "weight": plain(weight),
        "ap_hi": plain(ap_hi),
        "ap_lo": plain(ap_lo),
        **{column: None if code is None else LEVELS[code] for column, code in levels.items()},
        **{column: None if code is None else YES_NO[code] for column, code in habits.items()},
        "bmi": None if bmi is None else f"{bmi:.1f}",
        "bp_category": bp_category(ap_hi, ap_lo),
    }
    features = {**measured, **levels, **habits, "bmi": bmi}
    return Patient(
        id=name,
        words=words,
        features={column: None if value is None else float(value) for column, value in features.items()},
        attributes={"sex": words["sex"] or "unknown", "age_band": age_band(years)},
        present=None if label is None else label == 1,
    )


def _id_in(cells: Mapping[str, str]) -> str:
    name = cells["id"].strip()
    if not name:
        raise BadRecordError("id: the cell is empty")
    return name


def _refuse_implausible(name: str, values: Mapping[str, float | None], plausible: Plausible) -> None:
    for column, unit in LIMITED:
        limits: tuple[float, ...] | None = getattr(plausible, column)
        value = values[column]
        if limits is not None and value is not None and not limits[0] <= value <= limits[1]:
            raise Dropped(f"{column} outside {limits[0]:g} to {limits[1]:g} {unit}", name)
    high, low = values["ap_hi"], values["ap_lo"]
    if plausible.inverted == "drop" and high is not None and low is not None and low > high:
        raise Dropped("ap_lo (diastolic) above ap_hi (systolic)", name)


def age_years(days: float | None) -> int | None:
    """Return whole years, by the rule of the derived table: floor(days / 365).

    Raises:
        BadRecordError: no age of a person in days; some copies of the table have years.

    >>> age_years(18393), age_years(None)
    (50, None)
    """
    if days is not None and not AGE_DAYS[0] <= days <= AGE_DAYS[1]:
        years = f"; taken as years it is {days * DAYS_A_YEAR:g} days" if 1 <= days <= 130 else ""
        raise BadRecordError(f"age: expected days, {AGE_DAYS[0]} to {AGE_DAYS[1]:,}, got {days:g}{years}")
    return None if days is None else int(days // DAYS_A_YEAR)


def body_mass_index(height_cm: float | None, weight_kg: float | None) -> float | None:
    """Return kg/m2, not rounded; None where a value is missing or the height is 0.

    >>> body_mass_index(168, 62.0)
    21.9671201814059
    """
    if height_cm is None or weight_kg is None or height_cm == 0:
        return None
    return float(weight_kg / (height_cm / 100) ** 2)


def bp_category(ap_hi: float | None, ap_lo: float | None) -> str | None:
    """Return the first category that fits, by the rules of the derived table.

    These are not those of a guideline: 170/80 counts as Stage 1.

    >>> bp_category(110, 80), bp_category(170, 80), bp_category(150, 100)
    ('Hypertension Stage 1', 'Hypertension Stage 1', 'Hypertension Stage 2')
    """
    if ap_hi is None or ap_lo is None:
        return None
    if ap_hi < 120 and ap_lo < 80:
        return "Normal"
    if 120 <= ap_hi < 130 and ap_lo < 80:
        return "Elevated"
    if 130 <= ap_hi < 140 or 80 <= ap_lo < 90:
        return "Hypertension Stage 1"
    return "Hypertension Stage 2"


def recomputed(cells: Mapping[str, str]) -> tuple[str, ...]:
    """Return the derived columns of a row that are not what the rules give.

    The bmi may differ by rounding, up to 0.01. A row that cannot be read has none.
    """
    try:
        years, given_years = age_years(number_in(cells, "age")), number_in(cells, "age_years")
        bmi = body_mass_index(number_in(cells, "height"), number_in(cells, "weight"))
        given_bmi = number_in(cells, "bmi")
        category = bp_category(number_in(cells, "ap_hi"), number_in(cells, "ap_lo"))
    except BadRecordError:
        return ()
    differ = {
        "age_years": given_years is not None and given_years != years,
        "bmi": given_bmi is not None and (bmi is None or abs(given_bmi - bmi) > 0.01),
        "bp_category": bool(cells["bp_category"]) and cells["bp_category"] != category,
    }
    return tuple(column for column, other in differ.items() if other)
