"""Classifiers of table rows without a language model: what any tuned model has to beat.

All are fitted on the training records alone, from `features` (column -> number, None where it is
missing) and `label`. A model that is not better than one threshold on one column has learned nothing
that a doctor would ask it for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CATEGORIES_AT_MOST = 8
"""A column of whole numbers with 3 to this many values in the training records is taken for categories."""
SEED = 0
"""Of gradient boosting, which draws the records it stops early by where there are no validation records."""

METHOD = (
    "fitted on the training records' features; majority: the commonest label; one_rule: one threshold on "
    "one column, chosen for accuracy on the training records; logistic_regression: numbers standardised, "
    "categories one-hot, missing values set to the median with a column that says so, L2 with C = 1 "
    "(scikit-learn); gradient_boosting: histogram trees of scikit-learn with its defaults, stopped early"
)


class FloorError(ValueError):
    """The records cannot be classified by their features; the message says why."""


@dataclass(frozen=True)
class Floor:
    """What one classifier says of the judged records."""

    name: str
    words: str
    """What it does, for people: `ap_hi >= 130: yes, else no`."""
    y_pred: IntArray
    """Shape (record,): places in `classes`."""
    y_score: FloatArray
    """Shape (record, class): chances, each row adds up to 1; of `majority` and `one_rule`, shares of the
    training records."""


@dataclass(frozen=True)
class Table:
    """Training records, and those to judge."""

    columns: tuple[str, ...]
    classes: tuple[str, ...]
    known: FloatArray
    """Shape (training record, column); NaN where missing."""
    labels: IntArray
    """Shape (training record,)."""
    asked: FloatArray
    """Shape (record, column)."""
    held: FloatArray
    """Shape (validation record, column); gradient boosting stops by these, no rows where there are none."""
    held_labels: IntArray


Record = Mapping[str, Any]


def tabular_floors(
    train: Sequence[Record],
    asked: Sequence[Record],
    *,
    classes: Sequence[str],
    names: Sequence[str],
    validation: Sequence[Record] = (),
) -> dict[str, Floor]:
    """Return the floors of these names for the records `asked`.

    Args:
        train: records with `features` and `label`.
        asked: records with `features`.
        classes: all labels, in the order of the scores.
        names: of `FLOORS`.
        validation: records with `features` and `label`.

    Raises:
        FloorError: no training records, one without features, other columns in one of them, a label
            that is no class, only one label, or an unknown name.
    """
    unknown = [name for name in names if name not in FLOORS]
    if unknown:
        raise FloorError(f"no floor {unknown[0]!r}; there are {', '.join(FLOORS)}")
    table = _table(train, asked, validation, classes)
    return {name: FLOORS[name](table) for name in names}


def _table(
    train: Sequence[Record], asked: Sequence[Record], validation: Sequence[Record], classes: Sequence[str]
) -> Table:
    if not train:
        raise FloorError("there are no training records to fit a classifier on")
    columns = tuple(sorted(_features(train[0])))
    labels = _labels(train, classes)
    if len(set(labels.tolist())) < 2:
        raise FloorError(f"all {len(train)} training records have the label {train[0]['label']!r}")
    return Table(
        columns=columns,
        classes=tuple(classes),
        known=_matrix(train, columns),
        labels=labels,
        asked=_matrix(asked, columns),
        held=_matrix(validation, columns),
        held_labels=_labels(validation, classes),
    )


def _features(record: Record) -> Mapping[str, float | None]:
    features: Mapping[str, float | None] | None = record.get("features")
    if not features:
        raise FloorError(f"the record {record.get('id')!r} has no features")
    return features


def _matrix(records: Sequence[Record], columns: tuple[str, ...]) -> FloatArray:
    matrix = np.full((len(records), len(columns)), np.nan)
    for number, record in enumerate(records):
        features = _features(record)
        if len(features) != len(columns) or any(column not in features for column in columns):
            raise FloorError(
                f"the record {record.get('id')!r} has the features {', '.join(sorted(features))}; "
                f"the first training record has {', '.join(columns)}"
            )
        matrix[number] = [math.nan if features[column] is None else features[column] for column in columns]
    if np.isinf(matrix).any():
        raise FloorError("a feature is infinite")
    return matrix


def _labels(records: Sequence[Record], classes: Sequence[str]) -> IntArray:
    places = {label: place for place, label in enumerate(classes)}
    for record in records:
        if record.get("label") not in places:
            raise FloorError(
                f"the record {record.get('id')!r} has the label {record.get('label')!r}; "
                f"the classes are {', '.join(classes)}"
            )
    return np.array([places[record["label"]] for record in records], dtype=np.int64)


# ------------------------------------------------------------------------------------------- majority


def majority(table: Table) -> Floor:
    """Return the commonest training label for every record; of equals the first class."""
    shares = _shares(table.labels, len(table.classes))
    place = int(np.argmax(shares))
    return Floor(
        "majority",
        f"{table.classes[place]} always",
        np.full(len(table.asked), place, dtype=np.int64),
        np.tile(shares, (len(table.asked), 1)),
    )


def _shares(labels: IntArray, classes: int) -> FloatArray:
    """Return the share of each class, shape (class,); equal shares where there are no labels."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    return counts / counts.sum() if counts.sum() else np.full(classes, 1 / classes)


# ------------------------------------------------------------------------------------------- one rule


@dataclass(frozen=True)
class Rule:
    """One threshold on one column."""

    column: int
    threshold: float
    right: int
    """Training records that it gets right."""


def one_rule(table: Table) -> Floor:
    """Return what the one threshold that is right most often in training says.

    Each side of the threshold gets its commonest training label, and a missing value the commonest of
    all. Thresholds are values that occur; of equals the first column by name and the lowest value wins.
    """
    rules = [best_rule(table, column) for column in _varying(table)]
    rule = max(rules, key=lambda rule: rule.right)  # the first of equals
    sides = _sides(table.known[:, rule.column], rule.threshold)
    shares = np.stack([_shares(table.labels[sides == side], len(table.classes)) for side in (0, 1)])
    shares = np.vstack([shares, _shares(table.labels, len(table.classes))])
    scores = shares[_sides(table.asked[:, rule.column], rule.threshold)]
    below, above = (table.classes[int(np.argmax(shares[side]))] for side in (0, 1))
    column = table.columns[rule.column]
    return Floor(
        "one_rule",
        f"{column} >= {rule.threshold:g}: {above}, else {below}",
        np.argmax(scores, axis=1).astype(np.int64),
        scores,
    )


def best_rule(table: Table, column: int) -> Rule:
    """Return the best threshold of a column that has two values or more."""
    values = table.known[:, column]
    present = ~np.isnan(values)
    distinct, places = np.unique(values[present], return_inverse=True)
    counts = np.zeros((len(distinct), len(table.classes)), dtype=np.int64)
    np.add.at(counts, (places, table.labels[present]), 1)
    below = np.cumsum(counts, axis=0)[:-1]  # of the records under each threshold but the lowest value
    right = below.max(axis=1) + (counts.sum(axis=0) - below).max(axis=1)
    commonest = int(np.argmax(np.bincount(table.labels, minlength=len(table.classes))))
    unknown = int(np.count_nonzero(table.labels[~present] == commonest))
    best = int(np.argmax(right))
    return Rule(column, float(distinct[best + 1]), int(right[best]) + unknown)


def _sides(values: FloatArray, threshold: float) -> IntArray:
    """Return 0 below the threshold, 1 at it or above, 2 where the value is missing; shape (record,)."""
    sides = (values >= threshold).astype(np.int64)
    sides[np.isnan(values)] = 2
    return sides


# --------------------------------------------------------------------------------- fitted by scikit-learn


def logistic_regression(table: Table) -> Floor:
    """Return logistic regression on standardised numbers and one-hot categories."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    used = _varying(table)
    known = table.known[:, used]
    codes = [place for place in range(len(used)) if is_category(known[:, place])]
    numbers = [place for place in range(len(used)) if place not in codes]
    filled = SimpleImputer(strategy="median", add_indicator=True)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(filled, StandardScaler()), numbers),
            ("codes", OneHotEncoder(handle_unknown="ignore"), codes),
        ]
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000))
    model.fit(known, table.labels)
    parts = f"{len(numbers)} numbers and {len(codes)} categories"
    return _fitted("logistic_regression", f"logistic regression on {parts}", model, table, used)


def gradient_boosting(table: Table) -> Floor:
    """Return histogram gradient boosting; it stops by the validation records where there are any."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    used = _varying(table)
    known, labels = table.known[:, used], table.labels
    if len(table.held):
        model = HistGradientBoostingClassifier(early_stopping=True, random_state=SEED)
        model.fit(known, labels, X_val=table.held[:, used], y_val=table.held_labels)
    else:
        stops = min(Counter(labels.tolist()).values()) >= 20  # a tenth must hold each class twice
        model = HistGradientBoostingClassifier(early_stopping=stops, random_state=SEED)
        model.fit(known, labels)
    words = f"gradient boosting, {model.n_iter_} rounds of trees"
    return _fitted("gradient_boosting", words, model, table, used)


def _fitted(name: str, words: str, model: Any, table: Table, used: Sequence[int]) -> Floor:
    scores = np.zeros((len(table.asked), len(table.classes)))
    if len(table.asked):
        scores[:, model.classes_] = model.predict_proba(table.asked[:, used])
    return Floor(name, words, np.argmax(scores, axis=1).astype(np.int64), scores)


def _varying(table: Table) -> list[int]:
    """Return the columns that have two values or more in training; from the others nothing can be learned."""
    found = [
        column
        for column in range(len(table.columns))
        if len(np.unique(table.known[~np.isnan(table.known[:, column]), column])) > 1
    ]
    if not found:
        raise FloorError("no column has two values, so nothing tells the labels apart")
    return found


def is_category(values: FloatArray) -> bool:
    """Return whether a column holds codes: 3 to `CATEGORIES_AT_MOST` whole numbers.

    Two values need no columns of their own, they are a number as they stand.
    """
    distinct = np.unique(values[~np.isnan(values)])
    return 3 <= len(distinct) <= CATEGORIES_AT_MOST and bool((distinct == np.round(distinct)).all())


FLOORS: Mapping[str, Callable[[Table], Floor]] = MappingProxyType(
    {
        "majority": majority,
        "one_rule": one_rule,
        "logistic_regression": logistic_regression,
        "gradient_boosting": gradient_boosting,
    }
)
"""Name -> what makes it; the names under `floors` of a classification task."""
