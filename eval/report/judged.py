"""Stored results -> a part of the page for each task: numbers, notes, pictures, examples, how it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from eval.report.cells import (
    LEVEL,
    NO_VERDICT,
    TOO_NARROW,
    difference_cell,
    heading,
    narrow_sentence,
    value_cell,
    words,
)
from eval.report.format import MISSING
from eval.report.image_table import image_blocks
from eval.report.metrics import in_words, name_among, same_decision
from eval.report.task_pictures import drawn, other_tables
from eval.report.view import (
    Block,
    Cell,
    Column,
    Details,
    Example,
    Examples,
    Heading,
    Notice,
    Section,
    Table,
    Text,
    text_cell,
)

Result = Mapping[str, Any]

FEW = 6
"""So many metrics that are no headlines stand beside those; more are folded away."""
ALWAYS_SHOWN = ("brier", "calibration_error")
"""Metrics that are never folded away: whether a risk can be believed is what a clinician asks."""
SHOWN_EXAMPLES = 3
"""Examples that are not folded away."""

Shown = Literal["none", "redacted", "full"]
"""How much of single records a page shows: `report.examples` of the spec."""
NO_EXAMPLES = (
    "No record is shown: report.examples is none, as it is by itself where the records may be of patients."
)
REDACTED = "Words are counted and not shown: report.examples is redacted."

# -------------------------------------------------------------------------------------- one task


def task_sections(
    baseline: Sequence[Result],
    tuned: Sequence[Result],
    *,
    rehearsal: bool = False,
    examples: Shown = "none",
) -> tuple[Section, ...]:
    """Return a section for each result, the baseline's and the tuned one's in one.

    Args:
        baseline: results before training; may lack some, or all.
        tuned: results after training, `differences` in them where they could be paired.
        rehearsal: whether the models have random weights; nothing is then good or bad news.
        examples: how much of single records is shown.
    """
    sides = enumerate(_sides(baseline, tuned), start=1)
    return tuple(
        _task_section(number, found, rehearsal=rehearsal, examples=examples) for number, found in sides
    )


def _sides(baseline: Sequence[Result], tuned: Sequence[Result]) -> list[dict[str, Result]]:
    """Return for each task who was judged -> result, baseline first."""
    found: dict[tuple[str, str, int], dict[str, Result]] = {}
    for who, results in (("baseline", baseline), ("tuned", tuned)):
        seen: dict[tuple[str, str], int] = {}
        for result in results:
            key = (result.get("name", result["task"]), result["split"])
            seen[key] = seen.get(key, 0) + 1
            found.setdefault((*key, seen[key]), {})[who] = result
    return list(found.values())


def _task_section(number: int, sides: Mapping[str, Result], *, rehearsal: bool, examples: Shown) -> Section:
    last = sides.get("tuned") or sides["baseline"]
    name = last.get("name", last["task"])
    key = f"task-{number}"
    blocks: list[Block] = [*_too_narrow(sides), *_metrics(sides, rehearsal=rehearsal), *_notes(sides)]
    blocks += image_blocks(sides, rehearsal=rehearsal)
    blocks += drawn(key, sides)
    blocks += other_tables(sides)
    blocks += _examples(sides, examples)
    if last.get("method"):
        blocks.append(Details("How this was measured", (Text(_sentences(last), "list"),)))
    if last.get("lock"):
        lock = last["lock"]
        blocks.append(
            Details(
                "Evaluation lock: what must be equal before two results may be compared",
                (lock_table(lock),),
            )
        )
    return Section(key, f"{heading(name)} on the {last['split']} records", tuple(blocks), _lead(last))


def narrow_of(sides: Mapping[str, Result]) -> object:
    """Return why the intervals of a task are too narrow, for either model; None where they are not."""
    found = [result.get("narrow") for result in reversed(list(sides.values()))]
    return next((reason for reason in found if reason), None)


def _too_narrow(sides: Mapping[str, Result]) -> list[Block]:
    reason = narrow_of(sides)
    return [Notice(TOO_NARROW, f"{narrow_sentence(reason)} {NO_VERDICT}")] if reason else []


def _lead(result: Result) -> str:
    groups, records = result.get("n_groups"), result["n_records"]
    parts = [f"{records:,} records" + (f" in {groups:,} groups" if groups and groups != records else "")]
    if result.get("n_cut"):
        parts.append(f"{result['n_cut']:,} of them cut at the context")
    return f"{', '.join(parts)}."


def _sentences(result: Result) -> tuple[str, ...]:
    """Return how a result was made, and how its floors and bins were."""
    told = [*result["method"].split("; "), result.get("floors_method"), result.get("binning")]
    floors = [f"floor {words(name)}: {said}" for name, said in (result.get("floors_words") or {}).items()]
    scaling = [
        f"temperature: {', '.join(f'{words(k)} {v}' for k, v in result.get('temperature', {}).items())}"
    ]
    return tuple(filter(None, [*told, *floors, *(scaling if result.get("temperature") else [])]))


def _notes(sides: Mapping[str, Result]) -> list[Block]:
    """Return what has to be known of the tuned result; what is so of the baseline is folded away."""
    blocks: list[Block] = []
    for who, result in reversed(list(sides.items())):
        if not result.get("notes"):
            continue
        text = Text(tuple(in_words(note, result["metrics"]) for note in result["notes"]), "list")
        blocks += [text] if who == "tuned" else [Details("Notes on the baseline", (text,))]
    return blocks


def _metrics(sides: Mapping[str, Result], *, rehearsal: bool) -> list[Block]:
    """Return the headline metrics as a table, and the others folded away where they are many."""
    last = sides.get("tuned") or sides["baseline"]
    if not last["metrics"]:
        return []
    headline = [name for name in last.get("headline", ()) if name in last["metrics"]]
    others = [name for name in last["metrics"] if name not in headline]
    if not headline or len(others) <= FEW:
        return [_metrics_table(sides, [*headline, *others], rehearsal=rehearsal)]
    shown = [*headline, *(name for name in others if name in ALWAYS_SHOWN)]
    folded = [name for name in others if name not in ALWAYS_SHOWN]
    more = _metrics_table(sides, folded, rehearsal=rehearsal)
    return [
        _metrics_table(sides, shown, rehearsal=rehearsal),
        Details(f"{len(folded)} more metrics", (more,)),
    ]


def _metrics_table(sides: Mapping[str, Result], names: Sequence[str], *, rehearsal: bool) -> Table:
    """Return metrics of a task: floors, baseline, tuned and the difference in one table."""
    last = sides.get("tuned") or sides["baseline"]
    floors: Mapping[str, Any] = last.get("floors") or sides.get("baseline", {}).get("floors") or {}
    paired = "tuned" in sides and "baseline" in sides
    columns = [
        Column("Metric"),
        *(
            Column(heading(floor), number=True, hint="a floor: what a simple answer reaches", note=LEVEL)
            for floor in floors
        ),
        *(Column(who.capitalize(), number=True, note=LEVEL) for who in sides),
        *(
            [Column("Difference", number=True, hint="tuned minus baseline, paired", note=LEVEL)]
            if paired
            else []
        ),
    ]
    said = " The first columns are floors: what simple answers reach." if floors else ""
    rows = []
    for name in names:
        cells = [_metric_name_cell(name, last["metrics"])]
        cells += [_value_cell(numbers.get(same_decision(name))) for numbers in floors.values()]
        cells += [_value_cell(result["metrics"].get(name)) for result in sides.values()]
        if paired:
            cells.append(_change(name, sides, rehearsal=rehearsal))
        rows.append(tuple(cells))
    return Table(f"Metrics of this task.{said}", tuple(columns), tuple(rows))


def _metric_name_cell(name: str, beside: Mapping[str, Any]) -> Cell:
    shown = name_among(name, beside)
    return Cell(shown.title, sort=shown.title, note=shown.unit)


def _value_cell(value: Mapping[str, float | None] | None) -> Cell:
    if value is None:
        return Cell(MISSING)
    low, high = value.get("low"), value.get("high")
    return value_cell(value["value"], None if low is None or high is None else (low, high))


def _change(name: str, sides: Mapping[str, Result], *, rehearsal: bool) -> Cell:
    before = sides["baseline"]["metrics"].get(name, {}).get("value")
    after = sides["tuned"]["metrics"][name]["value"]
    paired = sides["tuned"].get("differences", {}).get(name, {})
    change = None if before is None or after is None else after - before
    ends = (paired.get("low"), paired.get("high"))
    return difference_cell(name, change, ends, narrow=bool(narrow_of(sides)), rehearsal=rehearsal)


def lock_table(lock: Mapping[str, Any]) -> Table:
    """Return a lock, one row a value, nested names joined by dots."""
    rows = tuple((text_cell(path), text_cell(value)) for path, value in flat(lock))
    return Table("Evaluation lock", (Column("Part"), Column("Value", code=True)), rows)


def flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of nested mappings with their dotted paths.

    >>> flat({"a": {"b": 1}, "c": [1, 2]})
    [('a.b', 1), ('c', '1, 2')]
    """
    if isinstance(value, Mapping):
        return [
            leaf for key, item in value.items() for leaf in flat(item, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, list | tuple):
        return [(path, ", ".join(map(str, value)) or None)]
    return [(path, value)]


# -------------------------------------------------------------------------------------- examples


def _examples(sides: Mapping[str, Result], how: Shown) -> list[Block]:
    """Return the records that a result shows, with every model's answer to each."""
    answers: dict[str, list[tuple[str, str]]] = {}
    texts: dict[str, Mapping[str, Any]] = {}
    for who, result in sides.items():
        for item in result.get("examples", ()):
            texts.setdefault(item["id"], item)
            answers.setdefault(item["id"], []).append((who, _said(item["answer"], how)))
    if not texts:
        return []
    if how == "none":
        return [Heading("Examples"), Text((NO_EXAMPLES,))]
    items = tuple(
        Example(
            key if how == "full" else f"record {number}",
            _said(item["prompt"], how),
            tuple(answers[key]),
            _said(item["reference"], how),
        )
        for number, (key, item) in enumerate(texts.items(), start=1)
    )
    shown, rest = items[:SHOWN_EXAMPLES], items[SHOWN_EXAMPLES:]
    blocks: list[Block] = [Heading("Examples"), *([Text((REDACTED,))] if how == "redacted" else [])]
    blocks.append(Examples(shown))
    return [*blocks, Details(f"{len(rest)} more examples", (Examples(rest),))] if rest else blocks


def _said(text: Any, how: Shown) -> str:
    """Return a text to show; an empty one is named, for a gap says nothing."""
    if text in (None, ""):
        return "(empty)"
    return str(text) if how == "full" else redacted(str(text))


def redacted(text: str) -> str:
    """Return how many words a text has, and nothing that stands in it. A count of letters would tell yes from no.

    >>> redacted("Fever, 39.5 degrees")
    '[3 words]'
    """
    count = len(text.split())
    return "[1 word]" if count == 1 else f"[{count:,} words]"
