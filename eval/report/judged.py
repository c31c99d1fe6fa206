"""Stored results -> the tables and pictures of a page: the one table at the top, and a part for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from eval.report import class_plots
from eval.report.class_plots import RawTable
from eval.report.format import MISSING, decimals_of, decimals_of_change, number, published, span
from eval.report.metrics import CLASSES, metric_name, same_decision, verdict
from eval.report.view import (
    Block,
    Cell,
    Column,
    Details,
    Example,
    Examples,
    Heading,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    Tone,
    count_cell,
    text_cell,
)

Result = Mapping[str, Any]

TONES: Mapping[str, Tone] = {"better": "good", "worse": "bad", "not different": "unsure"}
COMPARABLE: Mapping[str, Tone] = {"yes": "good", "partly": "unsure", "no": "muted"}
LEVEL = "95 % interval"
ABBREVIATIONS: Mapping[str, str] = {"mmlu": "MMLU", "rouge": "ROUGE", "lm": "LM"}
"""Words of task names that are written in capitals."""
FEW = 6
"""So many metrics that are no headlines stand beside those; more are folded away."""
SHOWN_EXAMPLES = 3
"""Examples that are not folded away."""
SPECIAL = ("reliability", "confusion", "per_class", "subgroups")
"""Tables that are drawn as well."""

# ------------------------------------------------------------------------------------ the top table


def top_table(results: Mapping[str, Any]) -> Table:
    """Return reference, baseline, tuned, difference, interval and comparability, one row a metric.

    What was published before tuning stands below what was published after it. The column of floors is
    left out where there are none.
    """
    rows = [row for row in results["table"] if row.get("headline", True)]
    floors = any(row.get("floor") for row in rows)
    columns = [
        (Column("Metric"), _metric_cell),
        (Column("Reference", number=True, hint="as published, after tuning"), _reference),
        *([(Column("Best floor", number=True, hint="the strongest simple answer"), _floor)] * floors),
        (
            Column("Baseline", number=True, hint="the base model, measured before training", note=LEVEL),
            _baseline,
        ),
        (Column("Tuned", number=True, hint="measured after training", note=LEVEL), _tuned),
        (
            Column("Difference", number=True, hint="tuned minus baseline, on the same records", note=LEVEL),
            _difference,
        ),
        (Column("Comparable?", hint="with the reference"), _comparable),
    ]
    return Table(
        "Difference: tuned minus baseline, its interval paired over the same records.",
        tuple(column for column, _ in columns),
        tuple(tuple(cell(row) for _, cell in columns) for row in rows),
    )


def _metric_cell(row: Mapping[str, Any]) -> Cell:
    shown = metric_name(row["metric"])
    task = row.get("task")
    where = [row["split"], *([task.replace("_", " ")] if task and task != row["metric"] else [])]
    unit = row["unit"] or shown.unit
    return Cell(shown.title, sort=shown.title, note=", ".join([*where, *([unit] if unit else [])]))


def _places(row: Mapping[str, Any]) -> int | None:
    """Return the decimals of a row: those of the tuned value, or else of the baseline."""
    value = row["tuned"] if row["tuned"] is not None else row["baseline"]
    interval = row["interval"] or row.get("baseline_interval") or (None, None)
    return None if value is None else decimals_of(value, *interval)


def _reference(row: Mapping[str, Any]) -> Cell:
    before = row["published_baseline"]
    note = "" if before is None else f"before tuning {published(before)}"
    return Cell(published(row["published"]), sort=row["published"], note=note)


def _floor(row: Mapping[str, Any]) -> Cell:
    floor = row.get("floor")
    if not floor:
        return Cell(MISSING)
    return Cell(number(floor["value"], _places(row)), sort=floor["value"], note=_words(floor["name"]))


def _baseline(row: Mapping[str, Any]) -> Cell:
    return _with_interval(row["baseline"], row.get("baseline_interval"), _places(row))


def _tuned(row: Mapping[str, Any]) -> Cell:
    if row["tuned"] is None:
        return Cell(MISSING, note=row.get("why_missing") or "", tone="muted")
    return _with_interval(row["tuned"], row["interval"], _places(row))


def _difference(row: Mapping[str, Any]) -> Cell:
    interval = row.get("difference_interval")
    if row["difference"] is None:
        return Cell(MISSING)
    low, high = interval or (None, None)
    word = verdict(row["metric"], low, high)
    places = decimals_of_change(row["difference"], low, high)
    notes = [span(low, high, places, sign=True), word] if interval else []
    shown = number(row["difference"], places, sign=True)
    return Cell(shown, sort=row["difference"], note=", ".join(filter(None, notes)), tone=TONES.get(word, ""))


def _comparable(row: Mapping[str, Any]) -> Cell:
    word = row["comparable"]
    if word is None:
        return Cell(MISSING, note="" if row["published"] is not None else "no published number", tone="muted")
    tone = COMPARABLE.get(word.partition(":")[0], "muted")
    return Cell(word, sort=word, note=row["note"] or "", tone=tone, badge=True)


def _with_interval(value: float | None, interval: Sequence[float] | None, places: int | None = None) -> Cell:
    low, high = interval or (None, None)
    if places is None and value is not None:
        places = decimals_of(value, low, high)
    return Cell(number(value, places), sort=value, note=span(low, high, places) if interval else "")


def _words(name: str) -> str:
    return name.replace("_", " ")


# -------------------------------------------------------------------------------------- one task


def task_sections(baseline: Sequence[Result], tuned: Sequence[Result]) -> tuple[Section, ...]:
    """Return a section for each result, the baseline's and the tuned one's in one.

    Args:
        baseline: results before training; may lack some, or all.
        tuned: results after training, `differences` in them where they could be paired.
    """
    sides = _sides(baseline, tuned)
    return tuple(_task_section(number, found) for number, found in enumerate(sides, start=1))


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


def _task_section(number_: int, sides: Mapping[str, Result]) -> Section:
    last = sides.get("tuned") or sides["baseline"]
    name = last.get("name", last["task"])
    key = f"task-{number_}"
    blocks: list[Block] = [*_metrics(sides), *_notes(sides)]
    blocks += _drawn(key, sides)
    blocks += [_raw_table(title, table) for title, table in _other_tables(sides)]
    blocks += _examples(sides)
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
    return Section(key, f"{_title(name)} on the {last['split']} records", tuple(blocks), _lead(last))


def _title(name: str) -> str:
    words = [ABBREVIATIONS.get(word, word) for word in _words(name).split()]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _lead(result: Result) -> str:
    groups, records = result.get("n_groups"), result["n_records"]
    parts = [f"{records:,} records" + (f" in {groups:,} groups" if groups and groups != records else "")]
    if result.get("n_cut"):
        parts.append(f"{result['n_cut']:,} of them cut at the context")
    return f"{', '.join(parts)}."


def _sentences(result: Result) -> tuple[str, ...]:
    """Return how a result was made, and how its floors and bins were."""
    told = [*result["method"].split("; "), result.get("floors_method"), result.get("binning")]
    words = [f"floor {_words(name)}: {said}" for name, said in (result.get("floors_words") or {}).items()]
    scaling = [
        f"temperature: {', '.join(f'{_words(k)} {v}' for k, v in result.get('temperature', {}).items())}"
    ]
    return tuple(filter(None, [*told, *words, *(scaling if result.get("temperature") else [])]))


def _notes(sides: Mapping[str, Result]) -> list[Block]:
    """Return what has to be known of the tuned result; what is so of the baseline is folded away."""
    blocks: list[Block] = []
    for who, result in reversed(list(sides.items())):
        if not result.get("notes"):
            continue
        text = Text(tuple(result["notes"]), "list")
        blocks += [text] if who == "tuned" else [Details("Notes on the baseline", (text,))]
    return blocks


def _metrics(sides: Mapping[str, Result]) -> list[Block]:
    """Return the headline metrics as a table, and the others folded away where they are many."""
    last = sides.get("tuned") or sides["baseline"]
    headline = [name for name in last.get("headline", ()) if name in last["metrics"]]
    others = [name for name in last["metrics"] if name not in headline]
    if not headline or len(others) <= FEW:
        return [_metrics_table(sides, [*headline, *others])]
    more = _metrics_table(sides, others)
    return [_metrics_table(sides, headline), Details(f"{len(others)} more metrics", (more,))]


def _metrics_table(sides: Mapping[str, Result], names: Sequence[str]) -> Table:
    """Return metrics of a task: floors, baseline, tuned and the difference in one table."""
    last = sides.get("tuned") or sides["baseline"]
    floors: Mapping[str, Any] = last.get("floors") or sides.get("baseline", {}).get("floors") or {}
    paired = "tuned" in sides and "baseline" in sides
    columns = [
        Column("Metric"),
        *(
            Column(_title(floor), number=True, hint="a floor: what a simple answer reaches", note=LEVEL)
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
        cells = [_metric_name_cell(name)]
        cells += [_value_cell(numbers.get(same_decision(name))) for numbers in floors.values()]
        cells += [_value_cell(result["metrics"].get(name)) for result in sides.values()]
        if paired:
            cells.append(_difference(_change(name, sides)))
        rows.append(tuple(cells))
    return Table(f"Metrics of this task.{said}", tuple(columns), tuple(rows))


def _metric_name_cell(name: str) -> Cell:
    shown = metric_name(name)
    return Cell(shown.title, sort=shown.title, note=shown.unit)


def _value_cell(value: Mapping[str, float | None] | None) -> Cell:
    if value is None:
        return Cell(MISSING)
    low, high = value.get("low"), value.get("high")
    return _with_interval(value["value"], None if low is None or high is None else (low, high))


def _change(name: str, sides: Mapping[str, Result]) -> dict[str, Any]:
    before = sides["baseline"]["metrics"].get(name, {}).get("value")
    after = sides["tuned"]["metrics"][name]["value"]
    paired = sides["tuned"].get("differences", {}).get(name, {})
    ends = (paired.get("low"), paired.get("high"))
    return {
        "metric": name,
        "difference": None if before is None or after is None else after - before,
        "difference_interval": None if None in ends else ends,
    }


def _drawn(key: str, sides: Mapping[str, Result]) -> list[Block]:
    """Return the pictures of a classification, and their numbers folded away."""
    found: list[Picture] = []
    numbers: list[Block] = []
    for name in dict.fromkeys(name for result in sides.values() for name in result.get("tables", {})):
        tables, special = _tables(name, sides), _special(name)
        if not tables or special is None:
            continue
        more = _words(name.replace(special, "").strip("_"))
        found += _pictures(f"{key}-{name}", special, tables, more)
        numbers += [_raw_table(f"{_title(name)}, {who}", table) for who, table in tables.items()]
    blocks: list[Block] = [Pictures(tuple(found))] if found else []
    return [*blocks, Details("The numbers of these pictures", tuple(numbers))] if numbers else blocks


def _special(name: str) -> str | None:
    """Return which kind of picture a table is drawn as: `generated_confusion` as a confusion."""
    return next((kind for kind in SPECIAL if kind in name), None)


def _pictures(name: str, kind: str, tables: Mapping[str, RawTable], more: str) -> list[Picture]:
    """Return the pictures of one kind of table; `more` says what the table's name adds to the kind."""
    drawn: list[Picture | None] = []
    columns = next(iter(tables.values()))["columns"]
    if kind == "reliability":
        drawn = [class_plots.reliability(name, tables)]
    elif kind == "confusion":
        drawn = [class_plots.confusion(name, tables)]
    elif kind == "per_class":
        # Bars are drawn of what has intervals; f1 alone where nothing has.
        shown = [metric for metric in CLASSES if f"{metric}_low" in columns] or ["f1"]
        drawn = [class_plots.per_class(f"{name}-{m}", tables, m, CLASSES[m]) for m in shown]
    else:
        rows = [row for table in tables.values() for row in class_plots.rows_of(table)]
        metrics = dict.fromkeys(row["metric"] for row in rows if row["value_"] is not None)
        drawn = [class_plots.subgroups(f"{name}-{m}", tables, m, metric_name(m).title) for m in metrics]
    return [
        replace(item, title=f"{item.title}, {more}", caption=f"{more.capitalize()}. {item.caption}")
        if more
        else item
        for item in drawn
        if item is not None
    ]


def _tables(name: str, sides: Mapping[str, Result]) -> dict[str, RawTable]:
    found = {who: result.get("tables", {}).get(name) for who, result in sides.items()}
    return {who: table for who, table in found.items() if table and table["rows"]}


def _other_tables(sides: Mapping[str, Result]) -> list[tuple[str, RawTable]]:
    return [
        (f"{_title(name)}, {who}", table)
        for who, result in sides.items()
        for name, table in result.get("tables", {}).items()
        if _special(name) is None and table["rows"]
    ]


def _raw_table(title: str, table: RawTable) -> Table:
    """Return a stored table as it is: numbers on the right, in a column's own precision."""
    numeric = [
        all(_is_number(row[n]) or row[n] is None for row in table["rows"])
        for n in range(len(table["columns"]))
    ]
    columns = tuple(
        Column(_words(str(name)).rstrip(), number=is_number)
        for name, is_number in zip(table["columns"], numeric, strict=True)
    )
    return Table(title, columns, tuple(tuple(_raw_cell(value) for value in row) for row in table["rows"]))


def _is_number(value: Any) -> bool:
    """Return whether a value is a number to a reader, to whom True is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _raw_cell(value: Any) -> Cell:
    if not _is_number(value):
        return text_cell(value)
    return count_cell(value) if isinstance(value, int) else Cell(number(value), sort=value)


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


def _examples(sides: Mapping[str, Result]) -> list[Block]:
    """Return the records that a result shows, with every model's answer to each."""
    answers: dict[str, list[tuple[str, str]]] = {}
    texts: dict[str, Mapping[str, Any]] = {}
    for who, result in sides.items():
        for item in result.get("examples", ()):
            texts.setdefault(item["id"], item)
            answers.setdefault(item["id"], []).append((who, _said(item["answer"])))
    if not texts:
        return []
    items = tuple(
        Example(key, _said(item["prompt"]), tuple(answers[key]), _said(item["reference"]))
        for key, item in texts.items()
    )
    shown, rest = items[:SHOWN_EXAMPLES], items[SHOWN_EXAMPLES:]
    blocks: list[Block] = [Heading("Examples"), Examples(shown)]
    return [*blocks, Details(f"{len(rest)} more examples", (Examples(rest),))] if rest else blocks


def _said(text: Any) -> str:
    """Return a text to show; an empty one is named, for a gap says nothing."""
    return str(text) if text not in (None, "") else "(empty)"
