"""Plan of a launch -> plan of the data stage alone, with a preview where one is asked for. Pure."""

from __future__ import annotations

import dataclasses
from typing import cast

from converters.axolotl import CONFIG
from converters.templates import end_of_turn
from runner.backends import backend
from runner.plan import Plan, spec_from_json
from runner.previewing.choose import TRAIN
from runner.spec.model import AxolotlSpec
from runner.spec.problems import UsageError
from runner.stage import Stage

STAGE = "preview"
VALUE = "preview/preview.json"
PAGE = "preview/preview.html"
MODEL_FOLDER = "model"
BEFORE = ("data", "tiny_model")
"""Stages that a preview needs, of those that a run has."""
MOST_RECORDS = 50
"""Records that a preview shows at most: one page holds them all, with about a megabyte for each image."""


def data_alone(plan: Plan, preview: int | None) -> Plan:
    """Return the same plan with all stages cut but the data stage, and with `preview` records to be shown.

    A device that the plan lacks is no matter here, for nothing is trained: it becomes a note.

    Raises:
        UsageError: records are to be shown that no language model reads, or too few or too many of them.
    """
    wanted = ("data",) if preview is None else BEFORE
    stages = tuple(stage for stage in plan.stages if stage.name in wanted)
    if preview is not None:
        stages += (_preview(plan, preview, stages),)
    lacks = tuple(f"it could not be trained on this machine: {item}" for item in plan.lacks)
    return dataclasses.replace(plan, stages=stages, notes=(*plan.notes, *lacks), lacks=())


def _preview(plan: Plan, records: int, earlier: tuple[Stage, ...]) -> Stage:
    spec = spec_from_json(plan.spec)
    if spec.kind == "ecg":
        raise UsageError(
            "--preview shows what a language model is taught, in text and images; a spec of kind ecg has signals\n"
            "  leave it out: data/manifest.json says what became of every recording"
        )
    if not 1 <= records <= MOST_RECORDS:
        raise UsageError(f"--preview: expected 1 to {MOST_RECORDS} records, got {records}")
    # A rehearsal is of the same kind.
    actual = cast(AxolotlSpec, backend(spec.BACKEND).rehearsed(spec)) if plan.rehearsal else spec
    tiny = any(stage.name == "tiny_model" for stage in earlier)
    return Stage(
        STAGE,
        "runner.stages.preview",
        reads=(CONFIG, TRAIN, *((MODEL_FOLDER,) if tiny else ())),
        writes=(VALUE, PAGE),
        settings={
            "records": records,
            "config": CONFIG,
            "name": spec.name,
            "kind": spec.kind,
            "architecture": spec.model.architecture,
            "template": spec.data.template,
            "context": actual.model.context,
            "end_tokens": list(end_of_turn(spec)),
            "rehearsal": plan.rehearsal,
            "small": tiny,
        },
        environment={
            **earlier[0].environment,
            "CUDA_VISIBLE_DEVICES": "",
            "HF_DATASETS_CACHE": "preview/datasets",
        },
    )
