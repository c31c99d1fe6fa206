"""A run directory with what a preview needs: records, the engine's config and a tiny model, made by the real stages."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vlm_changes

from runner.events import EventWriter
from runner.machine import Machine
from runner.plan import make_plan
from runner.previewing.alone import data_alone
from runner.spec.kinds import KINDS, Spec
from runner.spec.problems import RunnerError

CPU = Machine("Linux", 2, 8.0, 0, None, None, mps=False, bf16=False)
Record = dict[str, Any]


def record(name: str, question: str, answer: str, **more: Any) -> Record:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": name, "source": "made", "question": question, "messages": messages, "group": name, **more}


@dataclass
class PreviewRun:
    """A run directory on its way to a preview."""

    folder: Path
    settings: dict[str, Any]

    @property
    def config(self) -> Path:
        return self.folder / "config" / "axolotl.yaml"

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Put other training records in."""
        lines = "".join(json.dumps(one) + "\n" for one in records)
        (self.folder / "data" / "train.jsonl").write_text(lines, encoding="utf-8")

    def preview(self, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Run the stage and return its exit code and what it wrote."""
        from runner.stages.preview import preview

        with inside(self.folder):
            try:
                code = preview({**self.settings, **changes}, EventWriter(Path("events.jsonl"), "preview"))
            except RunnerError as error:
                return error.exit_code, {"error": str(error)}
        return code, json.loads((self.folder / "preview" / "preview.json").read_text(encoding="utf-8"))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def prepared(folder: Path, spec: Spec, records: Sequence[Mapping[str, Any]]) -> PreviewRun:
    """Return a rehearsal's run directory with these training records and a tiny model of its own."""
    from runner.stages.tiny_model import build_model

    plan = data_alone(make_plan(spec, CPU, rehearse=True), len(records))
    for file in plan.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_text(file.text, encoding="utf-8")
    (folder / "data").mkdir()
    lines = "".join(json.dumps(one) + "\n" for one in records)
    for split in ("train", "validation", "test"):
        (folder / "data" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    stages = {stage.name: stage for stage in plan.stages}
    with inside(folder):
        build_model(stages["tiny_model"].settings, EventWriter(Path("events.jsonl"), "tiny_model"))
    return PreviewRun(folder, dict(stages["preview"].settings))


def vlm_spec(architecture: str) -> Spec:
    """Return a small spec of an architecture with images."""
    small: dict[str, Any] = {
        "spec": 1,
        "name": "seen",
        "model": {"base": "tiny-random", "context": 512},
        "method": {"name": "lora", "rank": 4, "alpha": 8},
        "train": {
            "epochs": 1,
            "learning_rate": 1e-3,
            "batch": {"micro": 2, "effective": 4},
            "precision": "fp32",
        },
        "compute": {"device": "cpu"},
    }
    for path, value in VLM[architecture].items():
        *parents, last = path.split(".")
        place = small
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = value
    return KINDS["vlm"].model_validate(small)


VLM = {"gemma3": vlm_changes.GEMMA3, "mllama": vlm_changes.MLLAMA}
"""Architecture -> what makes a spec of it."""
