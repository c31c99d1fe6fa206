"""A score for clinical text that needs no judge and no key: the findings that two texts share.

A finding is an entity of `data/clinical_entities.yaml` together with whether the text denies it, so
"no ST elevation" and "ST elevation" share nothing. What counts is what is said, not how: word order,
length and style do not. It sees neither numbers, nor places, nor anything outside its vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from eval.bootstrap import DRAWS, LEVEL, FloatArray, Interval, clustered_intervals
from eval.negation import CUES, FINDING, denied, rules
from eval.phrases import Phrases, words_of


@dataclass(frozen=True, order=True)
class Finding:
    """An entity, and whether the text denies it."""

    entity: str
    negated: bool


@dataclass(frozen=True)
class Vocabulary:
    """The entities, their forms beside the cues of negation, and what each entity also is."""

    version: int
    phrases: Phrases
    parents: Mapping[str, tuple[str, ...]]


@cache
def vocabulary() -> Vocabulary:
    """Return the vocabulary of the data file.

    Raises:
        ValueError: a form stands for two entities, or an entity is said to be one that there is not.
    """
    text = (Path(__file__).parent / "data" / "clinical_entities.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    entities = {name: entry for section in data["entities"].values() for name, entry in section.items()}
    parents = {name: tuple(entry.get("is", ())) for name, entry in entities.items()}
    unknown = {parent for names in parents.values() for parent in names} - entities.keys()
    if unknown:
        raise ValueError(f"no entity {min(unknown)!r}, which another is said to be")
    findings = [(FINDING, name, form) for name, entry in entities.items() for form in entry["forms"]]
    cues = [(kind, kind, form) for kind in CUES for form in rules()[kind]]
    return Vocabulary(data["version"], Phrases([*findings, *cues]), parents)


def vocabulary_sha256() -> str:
    """Return the hash of everything that decides what is found: the entities and the cues."""
    folder = Path(__file__).parent / "data"
    total = hashlib.sha256()
    for name in ("clinical_entities.yaml", "negation.yaml"):
        total.update((folder / name).read_bytes())
    return total.hexdigest()


def findings(text: str) -> frozenset[Finding]:
    """Return what a text affirms and denies.

    An affirmed entity is also what it is said to be (an inferior infarction is an infarction); a denied
    one is not. A text that says both of an entity has both findings.

    >>> sorted((f.entity, f.negated) for f in findings("Sinus rhythm, no ST elevation."))
    [('sinus_rhythm', False), ('st_elevation', True)]
    """
    known = vocabulary()
    words = words_of(text)
    spans = known.phrases.spans(words)
    off = denied(words, spans)
    found = {Finding(span.name, number in off) for number, span in enumerate(spans) if span.kind == FINDING}
    affirmed = {f.entity for f in found if not f.negated}
    return frozenset(found | {Finding(name, False) for name in _ancestors(affirmed, known.parents)})


def _ancestors(names: set[str], parents: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    open_ = list(names)
    while open_:
        for parent in parents[open_.pop()]:
            if parent not in found:
                found.add(parent)
                open_.append(parent)
    return found


@dataclass(frozen=True)
class EntityCounts:
    """What one record adds: findings of the answer, of the reference, and of both."""

    shared: int
    answered: int
    referenced: int
    contradicted: int
    """Entities that one text affirms and the other only denies."""


def counts(answer: str, reference: str) -> EntityCounts:
    """Compare the findings of an answer with those of its reference.

    >>> counts("sinus rhythm st elevation", "sinus rhythm no st elevation")
    EntityCounts(shared=1, answered=2, referenced=2, contradicted=1)
    """
    return compared(findings(answer), findings(reference))


def compared(one: frozenset[Finding], other: frozenset[Finding]) -> EntityCounts:
    """Compare the findings of an answer with those of its reference, already read."""
    turned = {
        finding.entity
        for finding in one - other
        if Finding(finding.entity, not finding.negated) in other - one
    }
    return EntityCounts(len(one & other), len(one), len(other), len(turned))


@dataclass(frozen=True)
class EntityScore:
    """Agreement over records, each number with its interval.

    `entity_*` are means over the records in which either text has a finding; a precision without
    findings of the answer, or a recall without findings of the reference, counts 0 there. `micro_*` are
    ratios of sums over all records.
    """

    entity_f1: Interval
    entity_precision: Interval
    entity_recall: Interval
    entity_contradicted: Interval
    """Share of those records in which the answer affirms what the reference denies, or the other way."""
    entity_micro_f1: Interval
    entity_micro_precision: Interval
    entity_micro_recall: Interval


METRICS = tuple(field.name for field in fields(EntityScore))


def entity_score(
    records: Sequence[EntityCounts],
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> EntityScore:
    """Return the agreement over records; NaN where neither side has a finding in any of them.

    Args:
        records: one a record; at least one.
        groups: the group of each record.
        draws: of the bootstrap over groups.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no records, or not as many groups.
    """
    sums = column_sums(records)
    found = clustered_intervals(sums, groups, ratios, draws=draws, level=level, seed=seed)
    return EntityScore(*found)


def column_sums(records: Sequence[EntityCounts]) -> FloatArray:
    """Return what each record adds, shape (record, 8), for `ratios`."""
    rows = [
        (
            _ratio(2 * r.shared, r.answered + r.referenced),
            _ratio(r.shared, r.answered),
            _ratio(r.shared, r.referenced),
            float(r.contradicted > 0),
            float(r.answered + r.referenced > 0),
            r.shared,
            r.answered,
            r.referenced,
        )
        for r in records
    ]
    return np.array(rows, np.float64).reshape(len(rows), 8)


def ratios(totals: FloatArray) -> FloatArray:
    """Return the metrics, shape (draw, 7) in the order of `METRICS`, of column totals, shape (draw, 8)."""
    f1, precision, recall, contradicted, counted, shared, answered, referenced = totals.T
    pairs = (
        (f1, counted),
        (precision, counted),
        (recall, counted),
        (contradicted, counted),
        (2 * shared, answered + referenced),
        (shared, answered),
        (shared, referenced),
    )
    return np.stack([np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0) for a, b in pairs], axis=1)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
