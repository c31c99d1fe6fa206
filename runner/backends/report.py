"""The report stage, which is the same for every kind of run."""

from __future__ import annotations

from runner.spec.kinds import Spec
from runner.spec.shared import Examples
from runner.stage import Stage


def report_stage(spec: Spec, *, rehearsal: bool) -> Stage:
    """Return the stage that writes the page, the model card and the numbers of a run."""
    evaluated = (
        ("eval/baseline.json", "eval/baseline", "eval/tuned.json", "eval/tuned") if spec.evaluate else ()
    )
    return Stage(
        "report",
        "runner.stages.report",
        reads=("data/manifest.json", "train/proof.json", "train/metrics.jsonl", *evaluated),
        writes=("report/report.html", "report/README.md", "report/results.json", "report/plots"),
        settings={
            "title": spec.report.title or spec.name,
            "summary": spec.summary,
            "notes": spec.report.notes,
            "rehearsal": rehearsal,
            "examples": _examples(spec),
            "reference": spec.reference.model_dump(mode="json") if spec.reference else None,
        },
    )


def _examples(spec: Spec) -> Examples:
    """Return how much of single records the page shows."""
    if spec.report.examples != "by_source":
        return spec.report.examples
    return "none" if spec.data.holds_patients() else "full"
