"""A run directory with records and a small random model, as the evaluation stage finds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.events import EventWriter

MakeModel = Callable[..., Any]


def record(number: int) -> dict[str, Any]:
    """A question with an answer of one to five sentences; `sex` alternates."""
    return {
        "id": f"r{number}",
        "messages": [
            {"role": "user", "content": f"What are the symptoms of disease {number} ?" * (1 + number % 3)},
            {
                "role": "assistant",
                "content": (
                    f"Fever of {36 + number % 6} °C, pain and naïve cells. " * (1 + number % 5)
                ).strip(),
            },
        ],
        "group": f"g{number % 6}",
        "question": "",
        "focus": None,
        "source": "test",
        "attributes": {"sex": ("female", "male")[number % 2]},
    }


def write_records(folder: Path, split: str, records: Sequence[dict[str, Any]]) -> None:
    """Write the records of a split as the data stage does."""
    (folder / "data").mkdir(exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "data" / f"{split}.jsonl").write_text(text, encoding="utf-8")


def settings_of(**changes: Any) -> dict[str, Any]:
    """Settings of the evaluation stage."""
    return {
        "model": "model",
        "revision": None,
        "adapter": None,
        "tokenizer": None,
        "template": "question_answer",
        "context": 64,
        "end_tokens": [],
        "tasks": [],
        "device": "cpu",
        "precision": "fp32",
        "attention": "sdpa",
        "out": "eval/tuned.json",
        "trust_remote_code": False,
        "images": False,
        "trained_on": None,
    } | changes


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    records = [record(number) for number in range(19)]
    for split in ("validation", "test"):
        write_records(tmp_path, split, records)
    write_records(tmp_path, "train", [record(number) for number in range(100, 120)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make_model(run_dir: Path) -> MakeModel:
    """Return a function that writes a small model of an architecture to `model/` and returns it."""
    from runner.tiny import architectures, tokenizer

    def make(
        architecture: str = "llama",
        *,
        texts: Sequence[str] = (),
        positions: int = 128,
        template: str = "question_answer",
    ) -> Any:
        texts = texts or [
            message["content"] for number in range(40) for message in record(number)["messages"]
        ]
        words, _ = tokenizer.train(list(texts), architecture, template)
        model = architectures.build(architecture, words, positions, seed=1)
        model.save_pretrained(run_dir / "model")
        words.save_pretrained(run_dir / "model")
        return model

    return make


@pytest.fixture
def judging(run_dir: Path) -> Callable[..., Any]:
    """Return a function that makes a `Judging` of the model in `model/`."""
    from runner.judging.run import Judging

    def make(**changes: Any) -> Any:
        settings = settings_of(**changes)
        return Judging(settings, settings, EventWriter(run_dir / "events.jsonl", "evaluate"))

    return make


@pytest.fixture
def judge(run_dir: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that runs the whole stage with one task and returns its result."""

    def run(task: dict[str, Any], **changes: Any) -> dict[str, Any]:
        from runner.stages import evaluate as stage

        settings = settings_of(tasks=[task], **changes)
        stage.evaluate(settings, EventWriter(run_dir / "events.jsonl", "evaluate"))
        result: dict[str, Any] = json.loads((run_dir / "eval" / "tuned.json").read_text(encoding="utf-8"))
        return dict(result["results"][0])

    return run


@pytest.fixture
def lines(run_dir: Path) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that reads the stored lines of the first task."""

    def read() -> list[dict[str, Any]]:
        (path,) = (run_dir / "eval" / "tuned").glob("1_*.jsonl")
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    return read
