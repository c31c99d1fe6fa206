"""Judging an ECG run: lines that hold everything, results that are made again from them, sides that can be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from ecg_run import Run, spec_of  # noqa: E402 - after the skip

from eval.judges import judge  # noqa: E402
from eval.lock import lock_differences  # noqa: E402
from runner.files import canonical_sha256, write_json  # noqa: E402
from runner.judging.lines import read_lines  # noqa: E402
from runner.native.assembly import network  # noqa: E402
from runner.native.checkpoints import load, save  # noqa: E402
from runner.native.dataset import SomeLeads, open_records  # noqa: E402
from runner.native.watch import logits_of  # noqa: E402
from runner.reporting.record import paired  # noqa: E402
from runner.spec.problems import DataError, StageError  # noqa: E402

LINES = "eval/tuned/1_signal_multilabel.jsonl"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of which all stages but the report are done."""
    run = Run(
        tmp_path_factory.mktemp("run"),
        spec_of(train__steps=60, train__learning_rate=5e-3, train__cutmix=None),
    )
    run.all()
    return run


@pytest.fixture
def copy(done: Run, tmp_path: Path) -> Run:
    """Return a copy of that run, to be spoilt."""
    shutil.copytree(done.path, tmp_path / "copy")
    return Run(tmp_path / "copy", done.spec)


def test_a_line_holds_what_the_model_says_of_a_record(done: Run) -> None:
    records = open_records(done.path / "data")
    lines = read_lines(done.path / LINES)
    sides = {side: [line["id"] for line in lines if line["split"] == side] for side in ("test", "validation")}
    assert sides == {side: list(records.sides[side].ids) for side in sides}
    model = network({"backbone": "tinylight", "leads": records.store.leads}, 7, aux=False, seed=99)
    load(model, done.path / "train/final/model.safetensors")
    rows = records.sides["test"]
    logits = logits_of(model, rows, np.arange(len(rows)), 64, torch.device("cpu"), "fp32")
    for line, values, place in zip(lines, logits, rows.places, strict=False):
        assert list(line["logits"].values()) == pytest.approx(values.tolist(), abs=1e-5)
        truth = records.store.labels[place]
        names = [name for name, yes in zip(records.store.class_names, truth, strict=True) if yes]
        assert line["labels"] == names
        assert {"sex", "age_band"} <= line["attributes"].keys()


def test_every_number_is_made_again_from_the_lines(done: Run) -> None:
    for name in ("baseline", "tuned"):
        (result,) = done.read(f"eval/{name}.json")["results"]
        again = judge("signal_multilabel").judged(
            result["lock"]["task"], read_lines(done.path / result["predictions"])
        )
        for key, value in again.items():
            assert result[key] == value, key


def test_training_made_it_better_and_the_two_are_paired(done: Run) -> None:
    before, after = (done.read(f"eval/{name}.json")["results"] for name in ("baseline", "tuned"))
    assert lock_differences(before[0]["lock"], after[0]["lock"]) == ()
    assert before[0]["lock"]["model"] != after[0]["lock"]["model"]
    (tuned,) = paired(done.path, before, after)
    change = tuned["differences"]["macro_auc"]
    assert change["value"] > 0.1
    assert change["low"] > 0


def test_the_thresholds_beside_the_weights_are_those_that_were_judged_by(done: Run, tmp_path: Path) -> None:
    """One set for each beta of the tasks: who prefers few false labels (0.5) must not get the one for F2."""
    shutil.copytree(done.path, tmp_path / "copy")
    tasks = [{"task": "signal_multilabel", "split": "test", "beta": 0.5},
             {"task": "signal_multilabel", "split": "validation", "thresholds": "half", "beta": 2.0}]  # fmt: skip
    run = Run(tmp_path / "copy", spec_of(train__steps=60, train__cutmix=None, evaluate=tasks))
    assert run.call("train") == 0
    run.call("evaluate")
    left = run.read("train/final/thresholds.json")
    assert [one["beta"] for one in left["sets"]] == [0.5, 2.0]
    judged_by = {
        row[0]: row[1] for row in run.read("eval/tuned.json")["results"][0]["tables"]["thresholds"]["rows"]
    }
    sets = [{one["name"]: one["logit"] for one in found["classes"]} for found in left["sets"]]
    assert sets[0] == pytest.approx(judged_by, abs=1e-5)
    assert sets[1] != pytest.approx(judged_by, abs=1e-5)


def test_what_an_ended_process_left_is_gone_on_with(copy: Run) -> None:
    expected = (copy.path / LINES).read_bytes()
    lines = expected.decode().splitlines()
    (result,) = copy.read("eval/tuned.json")["results"]
    key = canonical_sha256(result["lock"])
    kept = "".join(f"{line}\n" for line in [f'{{"key": "{key}"}}', *lines[:9]])
    (copy.path / LINES).unlink()
    (copy.path / LINES).with_suffix(".partial").write_text(kept + lines[9][:20], encoding="utf-8")
    copy.call("evaluate")
    again = read_lines(copy.path / LINES)
    assert (copy.path / LINES).read_text(encoding="utf-8").splitlines()[:9] == lines[:9]
    assert [line["id"] for line in again] == [json.loads(line)["id"] for line in lines]
    assert not (copy.path / LINES).with_suffix(".partial").exists()


def test_a_training_that_did_not_finish_is_not_judged(copy: Run) -> None:
    proof = copy.read("train/proof.json")
    write_json(copy.path / "train/proof.json", proof | {"state": "interrupted"})
    with pytest.raises(StageError, match="the training is interrupted, not finished"):
        copy.call("evaluate")


def test_weights_of_other_classes_are_refused(copy: Run) -> None:
    other = network({"backbone": "tinylight", "leads": ["I"] * 12}, 4, aux=False, seed=1)
    save(other, copy.path / "train/final/model.safetensors", {})
    with pytest.raises(StageError, match="4 classes, this model 7") as refused:
        copy.call("evaluate")
    assert "model.checkpoint" in str(refused.value)


def test_an_attribute_that_no_record_has_is_an_error(copy: Run) -> None:
    tasks = [{**copy.settings("evaluate")["tasks"][0], "subgroups": ["hospital"]}]
    with pytest.raises(DataError, match="no record has the attribute hospital"):
        copy.call("evaluate", tasks=tasks)


def test_a_student_is_given_its_leads_alone(copy: Run) -> None:
    copy.call("evaluate", leads_seen=[0])
    records = open_records(copy.path / "data")
    rows = SomeLeads(records.sides["test"], (0,))
    assert not rows.signals(np.arange(2))[:, 1:].any()
    model = network({"backbone": "tinylight", "leads": records.store.leads}, 7, aux=False, seed=99)
    load(model, copy.path / "train/final/model.safetensors")
    logits = logits_of(model, rows, np.arange(len(rows)), 64, torch.device("cpu"), "fp32")
    first = read_lines(copy.path / LINES)[0]
    assert list(first["logits"].values()) == pytest.approx(logits[0].tolist(), abs=1e-5)
    (lock,) = (result["lock"] for result in copy.read("eval/tuned.json")["results"])
    assert lock["signal"]["leads_seen"] == [0]
