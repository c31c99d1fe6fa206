"""Does a model look at the image? The same records judged with other images, pair by pair.

`blank` images hold nothing; `shuffled` ones are those of other records. What a model reaches with them it did not
read from its image. The verdict is that of the interval of the paired difference, real minus other: only where all of
it is on the better side does the model use the image for this metric.

Decisions of the ablated lines are made at the thresholds of the real images: the question is what this model, as it
is used, does without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from eval.judges import Judge, Line, judge
from eval.report.metrics import metric_name

ABLATIONS: Mapping[str, str] = MappingProxyType(
    {"blank": "a blank image", "shuffled": "the image of another record"}
)
"""Word in the spec -> what stands in the image's place."""
OF_FORM = "parse_rate"
"""What such a metric counts is whether an answer can be read, which needs no image."""
Verdict = Literal[
    "uses the image",
    "does not use the image",
    "is better without the image",
    "not known",
    "too few groups for a verdict",
]


def judged_with_images(
    task: Mapping[str, Any], lines: Sequence[Line], ablated: Mapping[str, Sequence[Line]]
) -> dict[str, Any]:
    """Return the result of one model, with what the image gives where the task asks for it.

    Args:
        task: its options.
        lines: with the real images.
        ablated: word of `ABLATIONS` -> lines with other images; empty where the task asks for none.

    Raises:
        ValueError: as the task's judge raises it, or the ablated lines are of other records.
    """
    of = judge(task["task"])
    result = of.judged(task, lines)
    if not ablated or "not_judged" in result:
        return result
    found = image_reliance(of, task, lines, ablated)
    return {**result, "image": found["image"], "notes": [*found["image_notes"], *result.get("notes", ())]}


def image_reliance(
    of: Judge, task: Mapping[str, Any], lines: Sequence[Line], ablated: Mapping[str, Sequence[Line]]
) -> dict[str, Any]:
    """Return what the image gives, as parts of a result: `image` and `image_notes`.

    Args:
        of: the judge of the task.
        task: its options.
        lines: with the real images; those of other splits choose thresholds for every ablation too.
        ablated: word of `ABLATIONS` -> lines of the judged split.

    Raises:
        ValueError: the ablated lines are of other records.
    """
    held = [line for line in lines if line.get("split", task["split"]) != task["split"]]
    image: dict[str, Any] = {}
    for word, others in ablated.items():
        without = [*others, *held] if held else list(others)
        found = of.judged(task, without)
        changes = of.differences(task, without, [*_of_split(task, lines), *held])
        headline = [name for name in found["headline"] if name in changes and not name.endswith(OF_FORM)]
        image[word] = {
            "what": ABLATIONS[word],
            "metrics": found["metrics"],
            "differences": changes,
            "verdicts": {name: verdict(name, changes[name], narrow=found["narrow"]) for name in headline},
        }
    return {
        "image": image,
        "image_notes": [note for word, one in image.items() for note in _notes(word, one)],
    }


def _of_split(task: Mapping[str, Any], lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.get("split", task["split"]) == task["split"]]


def verdict(name: str, change: Mapping[str, float | None], *, narrow: str | None = None) -> Verdict:
    """Say what a paired difference, real minus other image, tells of a metric.

    Args:
        name: of the metric.
        change: value and ends of its interval.
        narrow: why the intervals are too narrow to judge by, or None.

    >>> verdict("hamming_loss", {"value": -0.2, "low": -0.3, "high": -0.1})
    'uses the image'
    >>> verdict("macro_auc", {"value": 0.02, "low": -0.01, "high": 0.05})
    'does not use the image'
    """
    low, high, better = change["low"], change["high"], metric_name(name).better
    if narrow:
        return "too few groups for a verdict"
    if change["value"] == 0 and low is None:
        return "does not use the image"  # no record is judged otherwise
    if low is None or high is None or better is None:
        return "not known"
    if low <= 0 <= high:
        return "does not use the image"
    return "uses the image" if (low > 0) == (better == "higher") else "is better without the image"


def _notes(word: str, one: Mapping[str, Any]) -> list[str]:
    """Return one sentence a verdict: which metrics it is of, and how far they move."""
    said: dict[str, list[str]] = {}
    for name, verdict_ in one["verdicts"].items():
        said.setdefault(verdict_, []).append(f"{name} {_moved(one['differences'][name])}")
    return [
        f"against {one['what']} ({word}): {verdict_}: {', '.join(moved)}" for verdict_, moved in said.items()
    ]


def _moved(change: Mapping[str, float | None]) -> str:
    value, low, high = change["value"], change["low"], change["high"]
    if value is None:
        return "has no value"
    ends = "no interval" if low is None or high is None else f"{low:+.3g} to {high:+.3g}"
    return f"{value:+.3g} ({ends})"
