"""What a reader of a classification must know: chance, floors, what does not exist, cut prompts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.bootstrap import Interval
from eval.classification import classification_differences
from eval.judges.class_tables import CHANCE_AUC
from eval.judges.comparisons import WORDS, Position, in_percent, position
from eval.judges.labelled import Judged, Side, decided, lengths, normalised, other_way, probabilities

_ALWAYS: Mapping[Position, str] = {**WORDS, "within": "not different from"}


@dataclass(frozen=True)
class BesideChance:
    """A metric beside what needs no skill."""

    metric: str
    where: Position
    text: str

    def json(self) -> dict[str, Any]:
        """Return `metric`; `within`, whether nothing tells it apart from chance; `text`."""
        return {"metric": self.metric, "within": self.where in ("within", "unknown"), "text": self.text}


def against_one_label(of: Judged, side: Side) -> BesideChance:
    """Compare an accuracy with always saying the commonest label of the judged records, pair by pair."""
    label = commonest(of.truth)
    change = accuracy_gained(of, side, None)
    where = position(change)
    reached = of.truth.count(label) / len(of.truth)
    numbers = in_percent(side.found.accuracy.value, reached, change, side.found.narrow)
    return BesideChance(side.name, where, f"{side.name}: {_ALWAYS[where]} always saying {label!r}: {numbers}")


def against_a_coin(auc: Interval) -> list[BesideChance]:
    """Compare an area under the curve with 0.5; nothing where it has no interval."""
    if math.isnan(auc.low) or math.isnan(auc.high):
        return []
    where = position(auc, CHANCE_AUC)
    said = {
        "below": "worse than chance, as if the labels were exchanged",
        "within": f"not different from chance, its interval holds {CHANCE_AUC}",
        "above": f"better than chance, which is {CHANCE_AUC}",
    }[where]
    narrow = f", {auc.reason}" if auc.reason else ""
    ends = f"{auc.low:.3f} to {auc.high:.3f}{narrow}"
    return [BesideChance("auc", where, f"auc: {said}: {auc.value:.3f} ({ends})")]


def accuracy_gained(of: Judged, side: Side, floor: str | None) -> Interval:
    """Return the accuracy minus that of a floor, or of always saying the commonest label, on the same records."""
    label = commonest(of.truth)
    other = [label if floor is None else line["floors"][floor]["label"] for line in of.lines]
    return classification_differences(of.truth, other, side.answers, of.labels, of.groups)["accuracy"]


def commonest(truth: Sequence[str]) -> str:
    """Return the commonest label; of equals the first to occur."""
    return Counter(truth).most_common(1)[0][0]


def beside_floors(
    of: Judged,
    sides: Sequence[Side],
    result: Mapping[str, Any],
    gained: Mapping[str, Mapping[str, Interval]],
) -> list[str]:
    """Say which floors an accuracy is worse than, or not told apart from; nothing where it is better.

    A floor that always says the commonest label is told under chance, and not again.
    """
    said = []
    for side in sides:
        for floor, words in result["floors_words"].items():
            change = gained[floor][side.name]
            where = position(change)
            better = where == "above" or (where == "unknown" and change.value > 0)
            if better or {line["floors"][floor]["label"] for line in of.lines} == {commonest(of.truth)}:
                continue
            what = (
                f"one threshold on {words.split(' ')[0]}" if floor == "one_rule" else floor.replace("_", " ")
            )
            reached = result["floors"][floor]["accuracy"]["value"]
            numbers = in_percent(side.found.accuracy.value, reached, change, side.found.narrow)
            said.append(f"{side.name}: {WORDS[where]} {what}: {numbers}; {words}")
    return said


def lacking(sides: Sequence[Side]) -> list[str]:
    """Name the classes without a record, and those never predicted with what that does to precision and F1."""
    said = []
    if names := ", ".join(map(repr, sides[0].found.missing)):
        said.append(f"no judged record has the label {names}: metrics that need one do not exist")
    for side in sides:
        if names := ", ".join(map(repr, side.found.unpredicted)):
            said.append(
                f"{side.prefix}precision: {names} was never predicted, so its precision does not exist, nor do macro and "
                "weighted precision (scikit-learn writes 0); its F1 is 0, for none was found, and the change of an F1 "
                "from or to such answers gets no interval"
            )
    return said


_WAYS = {"none": "undivided", "token": "divided by tokens", "byte": "divided by bytes"}


def otherwise_divided(task: Mapping[str, Any], of: Judged) -> list[str]:
    """Say where labels differ in length how many records likelihoods divided in another way decide otherwise."""
    other = other_way(task, of)
    if other is None:
        return []
    by, name = other
    mine, others = (decided(of, probabilities(task, of, way)) for way in (normalised(task), by))
    count = sum(one != two for one, two in zip(mine, others, strict=True))
    if not count:
        return []
    right = [sum(map(str.__eq__, of.truth, said)) / len(of.truth) for said in (mine, others)]
    unit = "byte" if normalised(task) == "byte" else "token"
    sizes = zip(of.labels, lengths(task, of.lines, unit)[0], strict=True)
    told = ", ".join(f"{label!r} {size:.0f}" for label, size in sizes)
    return [
        f"{name}: the labels differ in length ({unit}s: {told}), and that decides: {count} of {len(of.truth)} records get "
        f"another label where likelihoods are {_WAYS[by]} (accuracy {right[1]:.3f}) and not, as normalise: "
        f"{normalised(task)} says, {_WAYS[normalised(task)]} ({right[0]:.3f})"
    ]


def cut_or_at_limit(result: Mapping[str, Any]) -> list[str]:
    """Say how many prompts were cut, and whether the temperature is no temperature."""
    said = []
    if result["n_prompt_cut"]:
        said.append(
            f"{result['n_prompt_cut']} of {result['n_records']} prompts lost their beginning: the model has too few "
            "positions"
        )
    if result.get("temperature", {}).get("at_limit"):
        said.append("the temperature is at the limit of what was tried: the scores say nothing, or separate")
    return said
