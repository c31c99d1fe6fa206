"""The record of a run -> the values of its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.report.cells import NO_VERDICT, TOO_NARROW, heading, narrow_sentence
from eval.report.format import counted, duration
from eval.report.judged import task_sections
from eval.report.metrics import in_words, name_among
from eval.report.top import top_table
from eval.report.view import Block, Notice, Page, Section, Text
from runner.reporting.base import base_of, rank_of
from runner.reporting.data_part import data_section
from runner.reporting.method_part import method_section
from runner.reporting.record import RunRecord
from runner.reporting.run_part import curves_section, environment_section, plan_section
from runner.results import seconds_of_steps

REHEARSAL = (
    "A tiny model with random weights and a part of the data. The numbers prove the way from spec to "
    "report; they say nothing about the real model."
)
NOT_CLINICAL = "For research. Not for clinical use."


def page_of(record: RunRecord) -> Page:
    """Return the whole report of a run."""
    settings = record.settings
    summary = " ".join(text.strip() for text in (settings["summary"], settings["notes"]) if text)
    return Page(
        title=settings["title"],
        kicker=f"Report of run {record.run}",
        summary=summary,
        notices=_notices(record),
        facts=facts_of(record),
        sections=(
            _results(record),
            *filter(None, (method_section(record),)),
            curves_section(record),
            *task_sections(
                record.baseline,
                record.tuned,
                rehearsal=record.settings["rehearsal"],
                examples=record.examples,
            ),
            data_section(record),
            plan_section(record),
            environment_section(record),
        ),
        footer=f"{NOT_CLINICAL} Made by runner {record.environment.get('runner', '')} from the files of the run alone; "
        "`runner verify` makes every number again from the stored predictions.",
    )


def _notices(record: RunRecord) -> tuple[Notice, ...]:
    found = []
    if record.settings["rehearsal"]:
        found.append(Notice("This is a rehearsal.", REHEARSAL))
    state = record.status.get("state")
    if state in ("failed", "interrupted"):
        text = f"{record.status.get('reason') or 'It did not finish.'} What follows is what was there."
        found.append(
            Notice(f"This run was {state}." if state == "interrupted" else "This run failed.", text, "bad")
        )
    chance = [text for result in record.tuned for text in _within_chance(result)]
    if chance:
        found.append(Notice("Not told apart from chance.", f"{'; '.join(dict.fromkeys(chance))}."))
    narrow = {
        heading(result.get("name", result["task"])): result["narrow"]
        for result in record.tuned
        if result.get("narrow")
    }
    if narrow:
        said = " ".join(f"{name}: {narrow_sentence(reason)}" for name, reason in narrow.items())
        found.append(Notice(TOO_NARROW, f"{said} {NO_VERDICT}"))
    return tuple(found)


def _within_chance(result: Mapping[str, Any]) -> list[str]:
    """Return what a result's own `chance` says of each headline that guessing would reach as well.

    What is no headline, such as one subject of many, is counted; its own table tells the rest.
    """
    task, said = heading(result.get("name", result["task"])), []
    within = [item for item in result.get("chance") or () if item["within"] is True]
    headline = result.get("headline") or [item["metric"] for item in within]
    for item in within:
        if item["metric"] not in headline:
            continue
        names = {*result["metrics"], item["metric"]}
        title = name_among(item["metric"], names).title
        told = in_words(item["text"].strip().rstrip("."), names)
        rest = told.removeprefix(title) if told.startswith(title) else f": {told}"
        said.append(f"{title} ({task}){rest}")
    others = sum(item["metric"] not in headline for item in within)
    return [*said, f"{others} more of {task}"] if others else said


def facts_of(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Return what a reader asks first: which model, how tuned, on how much, how long."""
    spec, splits = record.spec, record.manifest.get("splits", {})
    steps = [event for event in record.metrics if event["event"] == "step"]
    seconds = seconds_of_steps(steps)
    counts = " / ".join(f"{part['records']:,}" for part in splits.values())
    names = " / ".join(splits)
    method = spec["method"]
    rank = f", rank {found}" if (found := rank_of(method)) else ""
    trained = f", {record.proof['trainable']:,} parameters" if "trainable" in record.proof else ""
    revision = spec["model"].get("revision")
    base = base_of(record.plan, record.proof) + (f" @ {revision[:12]}" if revision else "")
    if record.settings["rehearsal"]:
        base = f"none: random weights in the place of {base}"
    facts = [
        ("Base model", base),
        ("Method", f"{method['name']}{rank}{trained}"),
        (f"Records: {names}", counts),
        ("Learning rate", f"{spec['train']['learning_rate']:g}, {spec['train']['schedule']}"),
        (
            "Training",
            f"{counted(steps[-1]['step'], 'step')}, {counted(record.plan['numbers']['effective'], 'record')} each"
            if steps
            else "no step",
        ),
        ("Time of the steps", duration(seconds) if seconds is not None else ""),
        ("Device", record.plan["device"]),
        (
            "Started",
            str(record.environment.get("time", "")).replace("T", " ")[:16] + " UTC",
        ),
    ]
    return tuple((name, value) for name, value in facts if value)


def _results(record: RunRecord) -> Section:
    blocks: list[Block] = [top_table(record.results())]
    reference: Mapping[str, Any] | None = record.settings["reference"]
    if reference and reference["notes"]:
        blocks.append(Text(tuple(reference["notes"]), "list"))
    missing = [name for name, found in (("before", record.baseline), ("after", record.tuned)) if not found]
    if missing and record.spec["evaluate"]:
        blocks.append(Text((f"The evaluation {' and '.join(missing)} training did not finish.",)))
    lead = f"Reference: {reference['source']}." if reference else "The spec names no published result."
    return Section("results", "Results", tuple(blocks), lead)
