"""The report stage: what was measured beside what was published, as JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.events import EventWriter, read_events
from runner.results import results_of
from runner.show import learned_from, results_text
from runner.stages.common import read_json, stage_main, write_json, write_text


def main() -> None:
    """Write `report/results.json` and `report/README.md` from what the other stages wrote."""
    stage_main("report", _report)


def _report(settings: Mapping[str, Any], events: EventWriter) -> None:
    manifest = read_json(Path("data/manifest.json"))
    proof = read_json(Path("train/proof.json"))
    metrics = [json.loads(line) for line in Path("train/metrics.jsonl").read_text("utf-8").splitlines()]
    results = results_of(
        settings["reference"],
        baseline=_evaluation("baseline"),
        tuned=_evaluation("tuned"),
        metrics=metrics,
        rehearsal=settings["rehearsal"],
        best_step=proof["best_step"],
    )
    write_json(Path("report/results.json"), results)
    write_text(Path("report/README.md"), _page(settings, results, manifest, proof))
    events.write("note", text="report/README.md")


def _evaluation(name: str) -> list[dict[str, Any]]:
    path = Path("eval") / f"{name}.json"
    results: list[dict[str, Any]] = read_json(path)["results"] if path.exists() else []
    return results


def _page(
    settings: Mapping[str, Any],
    results: Mapping[str, Any],
    manifest: Mapping[str, Any],
    proof: Mapping[str, Any],
) -> str:
    plan = read_json(Path("plan.json"))
    parts = [f"# {settings['title']}"]
    if settings["rehearsal"]:
        parts.append(
            "**A rehearsal**: a tiny model with random weights and a part of the data. The numbers prove the "
            "way from spec to report; they say nothing about the real model."
        )
    parts += [text for text in (settings["summary"], settings["notes"]) if text]
    parts.append("## Result\n\n```text\n" + results_text(results) + "\n```")
    if settings["reference"]:
        notes = [f"- {note}" for note in settings["reference"]["notes"]]
        notes += [f"- {m['metric']}: {m['note']}" for m in settings["reference"]["metrics"] if m["note"]]
        parts.append(f"Published: {settings['reference']['source']}\n\n" + "\n".join(notes))
    parts.append("## Data\n\n" + _data_lines(manifest))
    parts.append("## Training\n\n" + _training_lines(plan, proof))
    parts.append("## What is learned from\n\n" + learned_from(list(read_events(Path("events.jsonl")))))
    parts.append("Not for clinical use.")
    return "\n\n".join(parts) + "\n"


def _data_lines(manifest: Mapping[str, Any]) -> str:
    split = manifest["split"]
    lines = [
        f"- {name}: {part['records']:,} records in {part['groups']:,} groups"
        for name, part in manifest["splits"].items()
    ]
    lines.append(
        f"- split by {split['by']}: {split['crossing']} groups on two sides, "
        f"{sum(split['shared_questions'].values())} questions on two sides"
    )
    dropped: Mapping[str, Any] = manifest["dropped"]
    lines += [f"- dropped, {reason}: {item['count']:,}" for reason, item in sorted(dropped.items())]
    tokens = Path("data/tokens.json")
    audit: dict[str, Any] = (
        read_json(tokens) if tokens.exists() else {"available": False, "reason": "no tokenizer was there"}
    )
    if audit.get("available", True):
        for name, part in audit["splits"].items():
            cut = part["longer_than_context"]
            lines.append(
                f"- {name}: {cut['records']:,} records ({cut['share']:.1%}) are longer than "
                f"{audit['context']} tokens and were cut; {part['label_share']:.1%} of the tokens carry loss"
            )
    else:
        lines.append(f"- share of cut records: not known ({audit['reason']})")
    return "\n".join(lines)


def _training_lines(plan: Mapping[str, Any], proof: Mapping[str, Any]) -> str:
    planned = plan["numbers"]
    return "\n".join(
        [
            "| | planned | proven |",
            "| --- | --- | --- |",
            f"| steps | {planned['steps']} | {proof['steps']} |",
            f"| rows seen | {planned['rows']} | {proof['rows_seen']} |",
            f"| processes | {planned['world_size']} | {proof['processes']} |",
            f"| trainable parameters | | {proof['trainable']:,} of {proof['total']:,} |",
        ]
    )


if __name__ == "__main__":
    main()
