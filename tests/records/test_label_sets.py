"""Label sets: their sizes, PTB-XL's own table, and codes worked out by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from converters.records.ecg import code15
from converters.records.label_sets import (
    CODE15,
    LABEL_SETS,
    RHYTHMS,
    label_set,
    labels_of_scp,
    labels_of_snomed,
    snomed_words,
    statements,
)
from eval.label_sets import label_set as judged


@pytest.mark.parametrize(
    ("name", "size"), [("superclasses", 5), ("subclasses", 23), ("statements", 71), ("code15", 6)]
)
def test_sizes(name: str, size: int) -> None:
    assert len(label_set(name)) == size
    assert all(words.strip() for words in label_set(name).values())


def test_code15_is_ordered_as_its_reader_orders_it() -> None:
    assert tuple(label_set("code15")) == code15.LABELS


def test_every_code_that_is_named_exists() -> None:
    assert {code for scp, _ in CODE15.values() for code in scp} <= set(statements())
    assert {code for _, snomed in CODE15.values() for code in snomed} <= set(snomed_words())
    assert set(RHYTHMS) <= set(snomed_words())


@pytest.mark.realdata
def test_statements_are_those_of_ptbxl(real_data: Path) -> None:
    """The table here has other words, and nothing else that is not in the published one."""
    with (real_data / "ecg_ptbxl_subset" / "scp_statements.csv").open(encoding="utf-8", newline="") as file:
        published = {row[""]: row for row in csv.DictReader(file)}
    assert list(published) == list(statements())
    for code, one in statements().items():
        row = published[code]
        assert (one.superclass or "") == row["diagnostic_class"], code
        assert (one.subclass or "") == row["diagnostic_subclass"], code
        assert one.rhythm == (row["rhythm"] == "1.0"), code
    assert {row["diagnostic_subclass"] for row in published.values()} - {""} == set(label_set("subclasses"))


def test_codes_worked_out_by_hand() -> None:
    labels = labels_of_scp(["AFIB", "CLBBB", "IMI", "ASMI", "QWAVE"])
    assert labels == {
        "superclasses": ["MI", "CD"],
        "subclasses": ["AMI", "IMI", "CLBBB"],
        "statements": ["IMI", "ASMI", "CLBBB", "QWAVE", "AFIB"],
        "code15": ["LBBB", "AF"],
    }


def test_nothing_listed_is_nothing_true_in_every_set() -> None:
    assert labels_of_scp([]) == {name: [] for name in LABEL_SETS}


def test_either_code_of_a_pair_makes_the_label_true() -> None:
    assert labels_of_snomed(["164909002"]) == labels_of_snomed(["733534002"]) == {"code15": ["LBBB"]}
    assert labels_of_snomed(["713426002"]) == {"code15": []}  # incomplete: none of the six


@pytest.mark.parametrize("name", LABEL_SETS)
def test_labels_are_taught_by_the_names_that_are_scored(name: str) -> None:
    assert {label.id: label.name for label in judged(name).labels} == dict(label_set(name))
