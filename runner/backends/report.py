"""The report stage, which is the same for every kind of run."""

from __future__ import annotations

from runner.spec.kinds import Spec
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
            "examples": spec.report.examples or ("none" if spec.data.holds_patients() else "full"),
            "reference": spec.reference.model_dump(mode="json") if spec.reference else None,
        },
    )
