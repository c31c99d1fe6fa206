"""The record of a run -> its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.report.card import Card, markdown
from eval.report.metrics import in_words, same_decision
from eval.report.top import row_name, top_table
from eval.report.view import Checks
from runner.reporting.base import base_of
from runner.reporting.data_part import split_checks
from runner.reporting.page import REHEARSAL
from runner.reporting.record import RunRecord
from runner.reporting.run_part import KEY_PACKAGES, plan_against_actual, settings_pairs
from runner.show import learned_from
from runner.spec.model import TINY_RANDOM

Json = Mapping[str, Any]

USES = {
    "llm": "Research on fine-tuning of language models with medical text, and repetition of the result above.",
    "vlm": "Research on fine-tuning of vision-language models with medical images, and repetition of the result above.",
    "ecg": "Research on fine-tuning of models of ECG signals, and repetition of the result above.",
}
HARM = {
    "llm": "Answers can be wrong and sound sure. Nothing here measures harm.",
    "vlm": "Answers can be wrong, sound sure, and ignore the image. Nothing here measures harm.",
    "ecg": "A diagnosis can be missed or made up, however sure the score. Nothing here measures harm.",
}
PIPELINES = {"llm": "text-generation", "vlm": "image-text-to-text", "ecg": None}
"""Kind of spec -> what a hub calls its models."""
NO_USE = "None. The weights are random but for a few steps; use the report to see that the way works."
NO_BASE = "It was not made from {base}: the weights are random, in a tiny model of that architecture."
ADAPTERS = ("lora", "qlora", "dora")


def card_of(record: RunRecord) -> Card:
    """Return the model card of a run."""
    settings, results = record.settings, record.results()
    reference: Json = settings["reference"] or {}
    return Card(
        title=settings["title"],
        front_matter=front_matter(record, results),
        warnings=_warnings(record),
        intro=tuple(markdown(text) for text in (settings["summary"], settings["notes"]) if text),
        results=top_table(results),
        reference=_reference(reference),
        use=NO_USE if settings["rehearsal"] else USES[record.plan["kind"]],
        limits=_limits(record, results),
        data=data_lines(record),
        training=plan_against_actual(record),
        settings=tuple(f"`{path}`: {markdown(value)}" for path, value in settings_pairs(record)),
        learned="\n".join(_line(line) for line in learned_from(record.events).splitlines()),
        environment=_environment(record),
    )


def _line(text: str) -> str:
    """Return a line as Markdown; one of a list stays one."""
    item = text.startswith("- ")
    return f"- {markdown(text[2:])}" if item else markdown(text)


def _warnings(record: RunRecord) -> tuple[str, ...]:
    if not record.settings["rehearsal"]:
        return ()
    base = markdown(base_of(record.plan, record.proof))
    return (f"**A rehearsal, with random weights.** {NO_BASE.format(base=base)} {REHEARSAL}",)


def front_matter(record: RunRecord, results: Json) -> dict[str, Any]:
    """Return what a hub reads of a card. The licence is `unknown`: no spec states one.

    A rehearsal has no base model: nothing of the one that the spec names was trained.
    """
    spec = record.spec
    base, of_ecg = base_of(record.plan, record.proof), record.plan["kind"] == "ecg"
    method = spec["method"]["name"]
    adapter = method in ADAPTERS and not of_ecg  # those of an ECG model are merged
    local = of_ecg or base == TINY_RANDOM or base.startswith(("/", "./", "../", "~")) or "${" in base
    local = local or record.settings["rehearsal"]
    metrics = dict.fromkeys(
        same_decision(row["metric"])
        for row in results["table"]
        if row["tuned"] is not None and row["headline"] and row["task"]
    )
    found = {
        "base_model": None if local else base,
        "base_model_relation": None if local else "adapter" if adapter else "finetune",
        "library_name": None if of_ecg else "peft" if adapter else "transformers",
        "pipeline_tag": PIPELINES[record.plan["kind"]],
        "license": "unknown",
        "tags": [
            "medical",
            f"method:{method}",
            f"data:{spec['data']['source']}",
            "not-for-clinical-use",
            *(["rehearsal"] if record.settings["rehearsal"] else []),
        ],
        "metrics": list(metrics),
    }
    return {key: value for key, value in found.items() if value is not None}


def _reference(reference: Json) -> tuple[str, ...]:
    if not reference:
        return ("The spec names no published result.",)
    return (
        f"Reference: {markdown(reference['source'])}.",
        "",
        *(f"- {markdown(n)}" for n in reference["notes"]),
    )


def _limits(record: RunRecord, results: Json) -> tuple[str, ...]:
    """Return what is known to be weak about this model and its numbers."""
    limits = [HARM[record.plan["kind"]]]
    table = results["table"]
    missing = [
        row_name(row, table).title for row in table if row["published"] is not None and row["tuned"] is None
    ]
    if missing:
        limits.append(f"Published but not measured here: {', '.join(markdown(name) for name in missing)}.")
    apart = {row["comparable"] for row in results["table"] if row["comparable"] not in (None, "yes")}
    if apart:
        limits.append(
            "Some numbers cannot, or only partly, be compared with the published ones; the table says which."
        )
    for split, part in record.tokens.get("splits", {}).items():
        cut = part["longer_than_context"]
        if cut["records"]:
            limits.append(
                f"{cut['share']:.1%} of the {split} records are longer than the context and were cut."
            )
    tables = [name for result in record.tuned for name in result.get("tables", {})]
    if "subgroups" not in tables:
        limits.append("Not examined by sex, age or site: no sub-group table was made.")
    limits += [
        markdown(in_words(note, result["metrics"]))
        for result in record.tuned
        for note in result.get("notes", ())
    ]
    return tuple(dict.fromkeys(limits))


def data_lines(record: RunRecord) -> tuple[str, ...]:
    """Return source, splits, proof and dropped records, a line each."""
    manifest = record.manifest
    if not manifest:
        return ("The data stage did not finish.",)
    names = ", ".join(source["name"] for source in manifest["sources"])
    lines = [f"source: {markdown(names)}; inputs' SHA-256 {manifest['inputs']['sha256']}"]
    lines += [
        f"{name}: {part['records']:,} records in {part['groups']:,} groups"
        for name, part in manifest["splits"].items()
    ]
    lines += [_checked(check.passed, check.text) for check in Checks(split_checks(manifest)).items]
    lines += [
        f"dropped, {markdown(reason)}: {item['count']:,}"
        for reason, item in sorted(manifest["dropped"].items())
    ]
    if not record.tokens.get("available", True):
        lines.append(f"share of cut records: not known ({markdown(record.tokens['reason'])})")
    return tuple(lines)


def _checked(passed: bool | None, text: str) -> str:
    word = "not checked" if passed is None else "proven" if passed else "**FAILED**"
    return f"{word}: {markdown(text)}"


def _environment(record: RunRecord) -> tuple[str, ...]:
    found = record.environment
    packages: Json = found.get("packages", {})
    versions = ", ".join(f"{name} {packages[name]}" for name in KEY_PACKAGES if name in packages)
    return (
        markdown(
            f"run {record.run}, device {record.plan['device']}, "
            f"Python {str(found.get('python', '?')).partition(' (')[0]}"
        ),
        markdown(versions or "packages not recorded"),
    )
