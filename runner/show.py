"""Plans and results as text for a terminal. Pure: values in, text out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from eval.judges import JUDGES
from eval.report.metrics import metric_name
from runner.plan import Plan


def table(rows: Sequence[Sequence[str]], header: Sequence[str], width: int | None = None) -> str:
    """Return rows under a header in aligned columns; where that is wider than `width`, a block of lines a row.

    >>> print(table([["loss", "2.04"]], ["metric", "value"]))
    metric  value
    ------  -----
    loss    2.04
    >>> print(table([["loss", "2.04"]], ["metric", "value"], width=10))
    loss
      value  2.04
    """
    everything = [list(header), ["-" * 0 for _ in header], *[list(row) for row in rows]]
    widths = [max(len(row[n]) for row in everything) for n in range(len(header))]
    everything[1] = ["-" * width for width in widths]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in everything
    )
    text = "\n".join(line.rstrip() for line in lines)
    if width is None or max(map(len, text.splitlines())) <= width:
        return text
    name = max(map(len, header[1:]))
    blocks = (
        [
            row[0],
            *(f"  {column.ljust(name)}  {cell}" for column, cell in zip(header[1:], row[1:], strict=True)),
        ]
        for row in rows
    )
    return "\n".join(line for block in blocks for line in block)


def plan_text(plan: Plan) -> str:
    """Return a plan as a page of text."""
    numbers = plan.numbers
    what = "rehearsal of " if plan.rehearsal else ""
    parts = [f"plan: {what}{plan.name} ({plan.kind}) on {plan.device}"]
    parts.append(_section("stages", [f"{n}. {s.name:<11} {s.module}" for n, s in enumerate(plan.stages, 1)]))
    written = [file.path for file in plan.files] + [path for stage in plan.stages for path in stage.writes]
    parts.append(_section("files", written))
    parts.append(
        _section(
            "training",
            [
                f"effective batch  {numbers.effective} = micro {numbers.micro} x accumulation "
                f"{numbers.accumulation} x {numbers.world_size} device{'' if numbers.world_size == 1 else 's'}",
                f"records          {_known(numbers.train_records)} train, "
                f"{_known(numbers.validation_records)} validation, {_known(numbers.test_records)} test",
                f"steps            {_known(numbers.steps)} ({_known(numbers.steps_per_epoch)} an epoch)",
                f"warm-up          {_known(numbers.warmup_steps)} steps",
                f"evaluations      {_evaluations(plan)}",
                f"checkpoints      every {_known(numbers.save_every)} steps",
                *([f"tokens           {_tokens(plan)}"] if plan.kind == "llm" else []),
            ],
        )
    )
    if plan.changes:
        rows = [[item.key, _short(item.real), _short(item.rehearsal), item.why] for item in plan.changes]
        body = table(rows, ["key", "real run", "rehearsal", "why"])
        parts.append("what the rehearsal's engine config changes\n" + _indent(body))
    if plan.notes:
        parts.append(_section("notes", plan.notes))
    if plan.lacks:
        parts.append(_section("this machine lacks (launch would refuse)", plan.lacks))
    return "\n\n".join(parts)


def _evaluations(plan: Plan) -> str:
    if plan.numbers.validation_records == 0:
        return "none: no validation records"
    return f"{_known(plan.numbers.evaluations)} (every {_known(plan.numbers.evaluate_every)} steps)"


def _tokens(plan: Plan) -> str:
    most = plan.numbers.tokens_at_most
    return "known after the data stage" if most is None else f"at most {most:,} (rows x context)"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _known(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _short(value: Any, width: int = 38) -> str:
    text = (
        "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."


def results_text(results: Mapping[str, Any], width: int | None = None) -> str:
    """Return the results table: published, baseline, tuned with its interval, difference, comparable.

    A unit stands behind the metric's name, and its task before it where several tasks give that metric.
    What was published and the best floor have columns only where a row has such a number. A terminal of `width`
    columns, if that is given, shows all of it.
    What is no headline of its task stands on the page of the report alone.
    """
    found = [row for row in results["table"] if row.get("headline", True)]
    several = Counter((row["metric"], row["split"]) for row in found)
    columns = {
        "metric": [_metric(row, several[row["metric"], row["split"]] > 1) for row in found],
        "published before": [_value(row["published_baseline"]) for row in found],
        "published": [_value(row["published"]) for row in found],
        "best floor": [_floor(row.get("floor")) for row in found],
        "baseline": [_value(row["baseline"]) for row in found],
        "tuned (95 % interval)": [_with_interval(row) for row in found],
        "tuned - baseline": [_difference(row) for row in found],
        "comparable": [row["comparable"] or "" for row in found],
    }
    if all(row["published_baseline"] is None for row in found):
        del columns["published before"]
        if all(row["published"] is None for row in found):
            del columns["published"], columns["comparable"]
    if not any(row.get("floor") for row in found):
        del columns["best floor"]
    return table(list(zip(*columns.values(), strict=True)), list(columns), width)


def compared_text(
    names: Sequence[str],
    tables: Sequence[Sequence[Mapping[str, Any]]],
    changes: Sequence[Mapping[tuple[str, str, str | None], Mapping[str, float | None]]],
    width: int | None = None,
) -> str:
    """Return the headline metrics of several runs, and each one's paired difference from the first.

    Args:
        names: of the runs.
        tables: the rows of each run's results.
        changes: (metric, split, task) -> difference from the first run, one mapping a run but the first.
        width: of the terminal, where it is one.
    """
    rows = [{(r["metric"], r["split"], r["task"]): r for r in found if r["headline"]} for found in tables]
    keys = list(dict.fromkeys(key for found in rows for key in found))
    named = {key: _full(found[key]) for found in rows for key in found}
    columns = {"metric": [f"{named[key]} ({key[1]})" for key in keys]}
    for name, found in zip(names, rows, strict=True):
        columns[name] = [_with_interval(found[key]) if key in found else "-" for key in keys]
    for name, change in zip(names[1:], changes, strict=True):
        columns[f"{name} - first"] = [_change(change.get(key)) for key in keys]
    return table(list(zip(*columns.values(), strict=True)), list(columns), width)


def _change(change: Mapping[str, float | None] | None) -> str:
    if change is None or change["value"] is None:
        return "-"
    low, high = change["low"], change["high"]
    interval = "" if low is None or high is None else f" ({low:+.4g} to {high:+.4g})"
    return f"{change['value']:+.4g}{interval}"


def _metric(row: Mapping[str, Any], several: bool) -> str:
    name = f"{_full(row, several=several)} ({row['split']})"
    unit = row.get("unit") or metric_name(row["metric"]).unit
    return f"{name}, {unit}" if unit else name


def _full(row: Mapping[str, Any], *, several: bool = False) -> str:
    """Return a metric's name, behind that of its result where that says more: `mmlu_medical: acc`.

    `several`: whether another result has a metric of the same name.
    """
    metric, task = row["metric"], row.get("task")
    said = task is None or "." in metric or metric in task or (task in JUDGES and not several)
    return metric if said else f"{task}: {metric}"


def _value(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.4g}" if sign else f"{value:.4g}"


def _floor(floor: Mapping[str, Any] | None) -> str:
    return f"{_value(floor['value'])} ({floor['name']})" if floor else "-"


def _difference(row: Mapping[str, Any]) -> str:
    interval = row.get("difference_interval")
    ends = f" ({interval[0]:+.4g} to {interval[1]:+.4g})" if interval else ""
    return _value(row["difference"], sign=True) + ends


def _with_interval(row: Mapping[str, Any]) -> str:
    if row["tuned"] is None:
        return row.get("why_missing") or "-"
    interval = row.get("interval")
    return _value(row["tuned"]) + (f" ({_value(interval[0])} to {_value(interval[1])})" if interval else "")


def learned_from(events: Sequence[Mapping[str, Any]]) -> str:
    """Return which modules train and, of text, the share of tokens that carry loss; no record, for cards are published."""
    last = {(event["event"], event.get("split")): event for event in events}
    modules, data = last.get(("modules", None)), last.get(("dataset", "train"))
    if modules is None:
        return "The engine did not say."
    share = (
        f"{modules['trainable']:,} of {modules['total']:,} parameters ({modules['share']:.2%}) are trained"
    )
    matched = [f"- {group}: {count} modules" for group, count in modules["matched"].items()]
    names = ", ".join(modules["names"][:6]) + (", ..." if len(modules["names"]) > 6 else "")
    if data is None:  # no text that a loss could be shown in: a signal
        return "\n".join([share + (f", such as {names}." if names else "."), *matched])
    part = data.get("inspected", data["rows"])
    looked_at = f" in the {part} rows that were looked at" if part < data["rows"] else ""
    return "\n".join(
        [
            share + (f", such as {names}." if names else "."),
            *matched,
            "",
            f"{data['label_tokens']:,} of {data['tokens']:,} tokens ({data['label_share']:.1%}) carry loss{looked_at}.",
        ]
    )
