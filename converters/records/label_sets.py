"""Named sets of ECG labels, and which of them the codes of a recording make true.

PTB-XL's 71 statements are SCP-ECG codes, put together under 23 subclasses and 5 superclasses; recordings of the
CinC challenges have SNOMED CT codes. CODE-15's six labels can be told from either. A code that is listed counts:
what a likelihood of 0 means is decided where the codes are read (`converters.records.ecg.ptbxl`). What a label says
stands in the table by which it is judged too, `eval/label_sets/*.yaml`: what is taught is what is scored.

Source:
    Wagner et al., PTB-XL, Scientific Data 7:154, 2020, `scp_statements.csv` (codes and classes; CC BY 4.0);
    Ribeiro et al., Nature Communications 11:1760, 2020 (the six labels); PhysioNet/CinC Challenge 2021.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from converters.records.ecg import cinc2021
from eval.label_sets import label_set as judged_set

TABLE = Path(__file__).parent / "ecg" / "scp_statements.csv"

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
"""In the order in which ECGBench names them."""

SUBCLASSES = (
    "NORM", "AMI", "IMI", "LMI", "PMI", "ISCA", "ISCI", "ISC_", "STTC", "NST_", "LAFB/LPFB", "IRBBB", "ILBBB", "CLBBB",
    "CRBBB", "_AVB", "IVCD", "WPW", "LVH", "RVH", "LAO/LAE", "RAO/RAE", "SEHYP",
)  # fmt: skip
"""In the order in which a question names them."""

CODE15: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "1dAVb": (("1AVB",), ("270492004",)),
        "RBBB": (("CRBBB",), ("59118001", "713427006")),
        "LBBB": (("CLBBB",), ("164909002", "733534002")),
        "SB": (("SBRAD",), ("426177001",)),
        "ST": (("STACH",), ("427084000",)),
        "AF": (("AFIB",), ("164889003",)),
    }
)
"""Label, in the order of `converters.records.ecg.code15` -> its SCP-ECG codes, its SNOMED CT codes."""

RHYTHMS: Mapping[str, str] = MappingProxyType(
    {
        "426783006": "sinus rhythm",
        "426177001": "sinus bradycardia",
        "427084000": "sinus tachycardia",
        "427393009": "sinus arrhythmia",
        "164889003": "atrial fibrillation",
        "164890007": "atrial flutter",
        "426761007": "supraventricular tachycardia",
        "713422000": "atrial tachycardia",
        "10370003": "pacing rhythm",
        "251180001": "ventricular trigeminy",
        "11157007": "ventricular bigeminy",
    }
)
"""SNOMED CT codes that name a rhythm. PTB-XL's table says so of its own."""


@dataclass(frozen=True)
class Statement:
    """One SCP-ECG statement of PTB-XL."""

    code: str
    words: str
    superclass: str | None
    """None: no diagnosis, but a form or a rhythm."""
    subclass: str | None
    rhythm: bool


@cache
def statements() -> Mapping[str, Statement]:
    """Return the 71 statements by code, in the order of PTB-XL's table."""
    words = _words("statements")
    with TABLE.open(encoding="utf-8", newline="") as file:
        return MappingProxyType(
            {
                row["code"]: Statement(
                    row["code"],
                    words[row["code"]],
                    row["superclass"] or None,
                    row["subclass"] or None,
                    row["rhythm"] == "1",
                )
                for row in csv.DictReader(file)
            }
        )


@cache
def label_set(name: str) -> Mapping[str, str]:
    """Return the labels of a set in their order, each with what it says.

    Args:
        name: `superclasses` (5), `subclasses` (23), `statements` (71) or `code15` (6).

    >>> list(label_set("superclasses"))
    ['NORM', 'MI', 'STTC', 'CD', 'HYP']
    """
    orders = {
        "superclasses": SUPERCLASSES,
        "subclasses": SUBCLASSES,
        "statements": statements(),
        "code15": CODE15,
    }
    words = _words(name)
    return MappingProxyType({label: words[label] for label in orders[name]})


def _words(name: str) -> Mapping[str, str]:
    """Return what each label of a set says, by the table that judging reads too."""
    return {label.id: label.name for label in judged_set(name).labels}


LABEL_SETS = ("superclasses", "subclasses", "statements", "code15")


def labels_of_scp(codes: Iterable[str]) -> dict[str, list[str]]:
    """Return, for each of the four sets, the labels that PTB-XL's statements make true, in the set's order.

    >>> labels_of_scp(["SR", "LAFB", "1AVB"])["superclasses"]
    ['CD']
    >>> labels_of_scp(["SR", "LAFB", "1AVB"])["code15"]
    ['1dAVb']
    """
    given = set(codes)
    listed = [one for code, one in statements().items() if code in given]
    true: dict[str, set[str | None]] = {
        "superclasses": {one.superclass for one in listed},
        "subclasses": {one.subclass for one in listed},
        "statements": {one.code for one in listed},
        "code15": {label for label, (scp, _) in CODE15.items() if given & set(scp)},
    }
    return {name: [label for label in label_set(name) if label in true[name]] for name in LABEL_SETS}


def labels_of_snomed(codes: Iterable[str]) -> dict[str, list[str]]:
    """Return the labels that SNOMED CT codes make true: of `code15` alone, for they say too little of the others.

    >>> labels_of_snomed(["713427006", "426177001"])
    {'code15': ['RBBB', 'SB']}
    """
    given = set(codes)
    return {"code15": [label for label, (_, snomed) in CODE15.items() if given & set(snomed)]}


@cache
def snomed_words() -> Mapping[str, str]:
    """Return what each SNOMED CT code of the challenge's tables says."""
    words = {one.code: one.name for one in cinc2021.scored()}
    with cinc2021.UNSCORED.open(encoding="utf-8", newline="") as file:
        words |= {row["SNOMEDCTCode"]: row["Dx"] for row in csv.DictReader(file)}
    return MappingProxyType(words)
