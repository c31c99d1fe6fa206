"""The real engine on rows with images: what carries loss, what is trained, what is counted, and going on after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train import image_runs
from tests.train.conftest import Run
from tests.train.image_runs import ACCUMULATION, COUNTS, LORA, MICRO, PARTIAL, STEPS

pytestmark = pytest.mark.axolotl

ARCHITECTURES = ("gemma3", "mllama")
MakeSpec = Callable[..., Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Architecture -> a run directory with records, pages and a small model, to be copied; filled on demand."""
    pytest.importorskip("axolotl", reason="needs the `train` extra")
    return {}


@pytest.fixture
def make_image_run(
    models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, make_spec: MakeSpec
) -> Callable[..., Run]:
    """Return a function that makes a run directory: `make_image_run("gemma3", method={...})`."""

    def make(architecture: str, method: dict[str, Any] | None = None) -> Run:
        folder = tmp_path_factory.mktemp(architecture)
        image_runs.write_run(folder, architecture, make_spec, method)
        run = Run(folder)
        if architecture in models:  # the tokenizer is trained on equal texts
            shutil.copytree(models[architecture] / "model", folder / "model")
        else:
            assert run.start("-m", "runner.stages.tiny_model").wait(timeout=240) == 0, run.log()
            models[architecture] = folder
        return run

    return make


@pytest.fixture(scope="module")
def finished(models: dict[str, Path]) -> dict[str, Run]:
    """Architecture -> a run that was left alone; filled on demand."""
    return {}


@pytest.fixture
def left_alone(finished: dict[str, Run], make_image_run: Callable[..., Run]) -> Callable[[str], Run]:
    """Return a function that gives the run of an architecture that nothing disturbed."""

    def run_of(architecture: str) -> Run:
        if architecture not in finished:
            run = make_image_run(architecture)
            assert run.train() == 0, run.log()
            finished[architecture] = run
        return finished[architecture]

    return run_of


MARKED = {
    "gemma3": "<bos><start_of_turn>user\n\n\n<start_of_image><image_soft_token> x 4<end_of_image>\n\n"
    "What is the heart rate?<end_of_turn>\n<start_of_turn>model\n⟦The rate is {pace}.<end_of_turn>⟧\n",
    "mllama": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n<|image|>What is the heart rate?"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦The rate is {pace}.<|eot_id|>⟧",
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_answer_alone_carries_loss(architecture: str, left_alone: Callable[[str], Run]) -> None:
    """The first page is one of three paces; its image, its question and all marks of turns carry none."""
    event = left_alone(architecture).events("dataset")[0]
    assert event["first"] in {MARKED[architecture].format(pace=pace) for pace in image_runs.PACES}
    assert (event["rows"], event["inspected"]) == (COUNTS.train, 8)
    first = left_alone(architecture).proof()["first_row"]
    carried = [label for label in first["labels"] if label != -100]
    assert len(first["input_ids"]) == len(first["labels"]) > len(carried) > 4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_trained_and_counted_is_as_planned(
    architecture: str, left_alone: Callable[[str], Run]
) -> None:
    run = left_alone(architecture)
    proof = run.proof()
    assert (proof["steps"], proof["rows_seen"]) == (STEPS, STEPS * MICRO * ACCUMULATION)
    assert proof["trainable"] == proof["expected_trainable"] > 0
    assert proof["load_back"] == ""
    (modules,) = run.events("modules")
    assert modules["matched"].keys() == set(LORA[architecture]["include"])
    tokens = json.loads((run.path / "data/tokens.json").read_text())["splits"]["train"]
    per_row = proof["label_tokens_seen"] / proof["rows_seen"]
    assert per_row == pytest.approx(tokens["label_tokens"] / COUNTS.train, rel=0.2)
    assert not (run.path / "train/rows").exists(), "the engine's copy of the records stays"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_loss_is_per_token_and_not_times_the_accumulation(
    architecture: str, left_alone: Callable[[str], Run]
) -> None:
    """The engine's own log line averages over micro batches; a product with the accumulation of 2 would be far off."""
    run = left_alone(architecture)
    steps = [event for event in run.events("step") if event["step"] <= STEPS]
    newest = max((run.path / "train/checkpoints").glob("checkpoint-*/trainer_state.json"), key=_step)
    history = json.loads(newest.read_text())["log_history"]
    logged = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    for event in steps:
        assert event["loss"] == pytest.approx(logged[event["step"]], rel=0.1)
        assert 0 <= event["token_accuracy"] <= 1
        assert 0 < event["entropy"] < 7
    assert steps[-1]["loss"] < steps[0]["loss"] * 0.95


def _step(file: Path) -> int:
    return int(file.parent.name.rpartition("-")[2])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_killed_and_resumed_is_the_same_to_the_last_bit(
    architecture: str, left_alone: Callable[[str], Run], make_image_run: Callable[..., Run]
) -> None:
    """Dropout is on, and pages are read again from their files; another folder has other paths."""
    whole, run = left_alone(architecture), make_image_run(architecture)
    stage = run.start()
    run.wait_for("checkpoint", 4, stage)
    run.wait_for("step", 5, stage)
    run.kill_engine()
    assert stage.wait(timeout=60) == 1
    assert run.train() == 0, run.log()
    assert 0 < run.proof()["resumed_from"] < STEPS
    assert run.metrics() == whole.metrics()
    name = "train/final/adapter_model.safetensors"
    assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_partial_tuning_trains_the_whole_layers_that_look_at_the_image(
    make_image_run: Callable[..., Run],
) -> None:
    """Layer 3 of the five: what is saved is a whole model, and loads as one."""
    run = make_image_run("mllama", PARTIAL)
    assert run.train() == 0, run.log()
    proof = run.proof()
    assert proof["trainable"] == proof["expected_trainable"] < proof["total"]
    assert proof["load_back"] == ""
    (modules,) = run.events("modules")
    layers = {name.split(".")[3] for name in modules["names"] if ".layers." in name}
    assert layers == {"3"}


# ------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": []}, "train-2: it has no image"),
        ({"images": ["/gone/page.png"]}, "train-2: the image /gone/page.png is not there"),
        ({"images": ["page.png"]}, "train-2: the image 'page.png' is no absolute path"),
        (
            {
                "messages": [
                    {"role": "user", "content": "<image>\nWhat?"},
                    {"role": "assistant", "content": "A"},
                ]
            },
            "train-2: its text holds '<image>', which stands for an image",
        ),
    ],
)
def test_a_record_that_would_stop_the_training_is_named_before_it(
    change: dict[str, Any], said: str, tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.image_rows import write_rows
    from runner.spec.problems import DataError

    image_runs.write_run(tmp_path, "gemma3", make_spec)
    monkeypatch.chdir(tmp_path)
    file = Path("data/train.jsonl")
    lines = file.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="cannot be trained on: 1 fault") as caught:
        write_rows(file, Path("train/rows/train.jsonl"))
    assert said in str(caught.value)
    assert not Path("train/rows/train.jsonl").exists()
