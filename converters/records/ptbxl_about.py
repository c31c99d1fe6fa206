"""What PTB-XL's tables know of a recording, for records that name it by its ecg_id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from converters.records.ecg.ptbxl import AGE_OVER_89, FOLDS, Ptbxl, RawPtbxl
from converters.records.ecg.record import BAD_METADATA, Faulty, age_of
from converters.records.ecg.tables import whole_number
from converters.records.label_sets import labels_of_scp, statements
from converters.records.record import Record
from converters.records.tabular import age_band


@dataclass(frozen=True)
class About:
    """What is known of one recording, its signal aside."""

    patient: str
    split: str | None
    """By the published use of the folds: 1-8, 9, 10."""
    codes: Mapping[str, float]
    """SCP-ECG code -> likelihood in percent; 0 is unknown."""
    attributes: Mapping[str, str]

    @property
    def group(self) -> str:
        """The patient, named so that no other source's can be meant."""
        return f"ptbxl-patient/{self.patient}"

    @property
    def labels(self) -> dict[str, list[str]]:
        """The labels of all sets that hold: every listed statement counts (Strodthoff et al. 2021)."""
        return labels_of_scp(self.codes)


def about(raw: RawPtbxl, source: Ptbxl) -> About:
    """Return what the row of one recording says.

    Raises:
        Faulty: it has no patient, or statements that cannot be read.
    """
    row = raw.row
    patient = whole_number(row["patient_id"])
    if not patient:
        raise Faulty(BAD_METADATA, raw.id, "it has no patient_id")
    given = source.likelihoods_of(raw)
    fold = whole_number(row["strat_fold"])
    split = next((side for side, folds in FOLDS.items() if fold.isdigit() and int(fold) in folds), None)
    age = age_of(row["age"])
    sex = {"0": "male", "1": "female"}.get(whole_number(row["sex"]))
    attributes = {"sex": sex or "unknown", "age_band": _band(age)}
    return About(patient, split, {code: given[code] for code in statements() if code in given}, attributes)


def _band(age: float | None) -> str:
    return "90 or more" if age == AGE_OVER_89 else age_band(age)


def with_ptbxl(record: Record, known: About) -> Record:
    """Return a record with the patient as its group, and with fold, labels and attributes."""
    joined: Record = {
        **record,
        "group": known.group,
        "labels": known.labels,
        "attributes": dict(known.attributes),
    }
    if known.split is not None:
        joined["split"] = known.split
    return joined
