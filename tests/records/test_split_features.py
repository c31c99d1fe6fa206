"""A split by the features of a table's rows, and what the proof says of rows that read the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.records.record import Record
from converters.records.split import Parts, SplitError, divide, key_of, prove
from runner.spec.sources import Split


def patient(name: str, label: str, **features: float | None) -> Record:
    question = " ".join(f"{column} {value}" for column, value in features.items()) + f" of {name}?"
    return {
        "id": name,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": label}],
        "group": name,
        "question": question,
        "focus": None,
        "source": "cardio",
        "label": label,
        "features": features,
        "attributes": {},
    }


def split(**sizes: Any) -> Split:
    return Split(**{"by": "features", **sizes})


def test_the_order_of_columns_does_not_matter_and_missing_is_a_value() -> None:
    one, other = patient("1", "no", a=1.0, b=2.0), patient("2", "no", b=2.0, a=1.0)
    assert key_of(one, "features") == key_of(other, "features")
    assert key_of(one, "features") != key_of(patient("3", "no", a=1.0, b=None), "features")


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["no", "yes"])), min_size=30, max_size=60),
    st.integers(0, 5),
)
def test_equal_features_stay_on_one_side_whatever_their_label(rows: list[tuple[int, str]], seed: int) -> None:
    records = [patient(str(n), label, x=float(value)) for n, (value, label) in enumerate(rows)]
    wanted = split(train=0.6, validation=0.2, test=0.2, seed=seed)
    try:
        parts = divide(records, wanted).parts
    except SplitError:
        assert len({value for value, _ in rows}) < 3
        return
    proof = prove(parts, wanted)
    assert proof["crossing"] == 0
    assert set(proof["features"]["shared"].values()) == {0}
    assert sum(len(side) for side in parts.values()) == len(records)


def test_the_proof_counts_by_hand() -> None:
    """a, b and c read the same, c with another label; d and e the same with one label; f alone.

    That is 3 repeated (b, c, e), 1 row of features with two labels, which 3 records have. In this given
    split a and c stand on two sides, and d and e too.
    """
    rows = [
        ("a", "no", 1.0),
        ("b", "no", 1.0),
        ("c", "yes", 1.0),
        ("d", "no", 2.0),
        ("e", "no", 2.0),
        ("f", "no", 3.0),
    ]
    a, b, c, d, e, f = (patient(name, label, x=value) for name, label, value in rows)
    parts: Parts = {"train": [a, b, d], "validation": [f], "test": [c, e]}
    assert prove(parts, Split(by="record", train=3, validation=1, test=2))["features"] == {
        "repeated": 3,
        "with_several_labels": 1,
        "records_with_several_labels": 3,
        "shared": {"train, validation": 0, "train, test": 2, "validation, test": 0},
    }


def test_records_of_no_table_say_nothing_of_features() -> None:
    record = patient("1", "no", x=1.0)
    del record["features"]
    proof = prove(
        {"train": [record], "validation": [], "test": []}, Split(by="record", train=1, validation=0, test=0)
    )
    assert "features" not in proof
    with pytest.raises(SplitError, match="no record has a features"):
        divide([record], split(train=1, validation=0, test=0))
