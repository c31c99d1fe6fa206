"""Arms of which one has test records without a label: its means over all labels do not exist, which is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_run import write_run

from eval.judges import judge
from runner.reporting.sweep_page import sweep_page
from runner.sweeps.compared import ArmComparison, Member, compare_arms
from runner.sweeps.text import compared_arms_text

CLASSES = ("NSR", "AF", "SB")
TASK: dict[str, Any] = {
    "task": "signal_multilabel", "split": "test", "records": None, "batch": 8, "thresholds": "half", "beta": 2.0,
    "challenge_score": False, "subgroups": [], "calibration_bins": 5, "classes": list(CLASSES),
    "codes": {"NSR": ["426783006"], "AF": ["164889003"], "SB": ["426177001"]},
}  # fmt: skip
EVERY, PRESENT = (("macro_auc" + end, "test", "signal_multilabel") for end in ("", "_present"))
LACKS = "not all labels occur in its records"
HAS_ALL = "all labels occur in its records"


def store(run: Path, result: dict[str, Any], records: str) -> None:
    """Store a run's only tuned result, with the lock of these records."""
    result = result | {"lock": {"task": TASK, "records": records}, "predictions": "eval/tuned/1_labels.jsonl"}
    (run / "eval" / "tuned.json").write_text(json.dumps({"format": 1, "results": [result]}))


def write_arm(folder: Path, *, seed: int, without: str | None) -> Path:
    """Write a run of 90 judged patients; all that have the label `without` are left out, as a source would be."""
    rng = np.random.default_rng(7)
    labels = rng.random((90, 3)) < 0.4
    logits = np.random.default_rng(seed).normal(size=(90, 3)) + 2 * (labels - 0.5)
    lines = [
        {
            "id": f"r{row}", "group": f"p{row}", "split": "test", "attributes": {},
            "labels": [name for name, yes in zip(CLASSES, labels[row], strict=True) if yes],
            "logits": dict(zip(CLASSES, logits[row].tolist(), strict=True)),
        }
        for row in range(90)
        if without is None or not labels[row, CLASSES.index(without)]
    ]  # fmt: skip
    run: Path = write_run(folder)
    stored = run / "eval" / "tuned" / "1_labels.jsonl"
    stored.parent.mkdir(parents=True)
    stored.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    store(run, judge("signal_multilabel").judged(TASK, lines), f"without {without}")
    return run


@pytest.fixture
def two(tmp_path: Path) -> list[Member]:
    """An arm with every label, and one whose test records have no SB."""
    found = []
    for seed, (name, without) in enumerate({"every": None, "fewer": "SB"}.items()):
        found.append(Member(name, name, None, write_arm(tmp_path / name, seed=seed, without=without)))
    return found


def test_why_an_arm_lacks_a_mean_over_labels_is_said(two: list[Member]) -> None:
    found = compare_arms(two, {"fewer": "every"})
    assert EVERY in found.rows["every"]
    assert PRESENT in found.rows["fewer"]
    assert found.why_missing("fewer", EVERY) == LACKS
    assert found.why_missing("every", PRESENT) == HAS_ALL
    assert found.why_missing("every", ("rouge_l", "test", "rouge")) == "not measured"
    notes = [note for note in found.notes if "signal_multilabel" in note and "labels" in note]
    assert notes == [
        "signal_multilabel (test): a label is in none of the judged records of fewer, or in all of them: its means over "
        "labels are over the others, and stand in columns of their own. Values of every and of fewer are means over "
        "different labels; only paired differences are over the same ones"
    ]


@pytest.mark.parametrize("control", ["every", "fewer"])
def test_the_difference_is_over_the_labels_that_both_have(two: list[Member], control: str) -> None:
    """Whichever of the two is subtracted, the difference over NSR and AF is there, with the sign turned round."""
    other = {"every": "fewer", "fewer": "every"}[control]
    change = compare_arms(two, {other: control}).change(other, PRESENT)
    back = compare_arms(two, {control: other}).change(control, PRESENT)
    assert change is not None
    assert back is not None
    assert change.value == pytest.approx(-back.value)
    assert change.value != 0


def test_page_and_text_say_it(two: list[Member]) -> None:
    found = compare_arms(two, {"fewer": "every"})
    definition = {
        "name": "sources",
        "rehearsal": False,
        "controls": {"fewer": "every"},
        "arms": [],
        "differs": {},
    }
    table: Any = sweep_page(definition, "done", (), found).sections[0].blocks[0]
    place = {key: number for number, key in enumerate(found.keys, start=1)}
    every, fewer = table.rows
    assert fewer[place[EVERY]].note == LACKS
    assert every[place[PRESENT]].note == HAS_ALL
    text = compared_arms_text(found)
    assert f"- ({LACKS})" in text
    assert f"- ({HAS_ALL})" in text


def test_an_arm_without_a_record_to_judge_is_said_to_be_so(two: list[Member]) -> None:
    """Its result has no metric and says why; nothing is paired with it."""
    why = "no record of the split test has labels"
    silent = {"task": TASK["task"], "name": TASK["task"], "split": "test", "metrics": {}, "not_judged": why}
    store(two[1].path, silent, "none")
    found = compare_arms(two, {"fewer": "every"})
    assert found.why_missing("fewer", EVERY) == "not judged"
    assert found.notes == (f"signal_multilabel (test): fewer was not judged: {why}",)
    assert found.changes == ()


@pytest.mark.parametrize(("without", "key"), [(None, EVERY), ("SB", PRESENT)])
def test_arms_that_lack_the_same_need_no_such_word(tmp_path: Path, without: str | None, key: Any) -> None:
    members = [
        Member(name, name, None, write_arm(tmp_path / name, seed=seed, without=without))
        for seed, name in enumerate(("one", "other"))
    ]
    found: ArmComparison = compare_arms(members, {"other": "one"})
    assert found.notes == ()
    assert found.change("other", key) is not None
