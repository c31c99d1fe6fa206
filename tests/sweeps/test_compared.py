"""Arms side by side, by numbers that are known: hand-made runs whose answers cost a chosen number of nats more."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judged_run import write_judged_run

from runner.sweeps.compared import ArmComparison, Member, compare_arms
from runner.sweeps.text import compared_arms_text

LOSS = ("loss", "test", "perplexity")
Arms = Callable[..., ArmComparison]


@pytest.fixture
def arms(tmp_path: Path) -> Arms:
    """Return a function that compares arms: base -> nats more a token, or one such number a seed."""

    def made(
        shifts: dict[str, Any], controls: dict[str, str], *, groups: int = 40, locks: Any = None, **asked: Any
    ) -> ArmComparison:
        members = []
        for base, given in shifts.items():
            seeds = given if isinstance(given, list) else [given]
            for number, shift in enumerate(seeds):
                seed = number if isinstance(given, list) else None
                name = base if seed is None else f"{base},seed={seed}"
                lock = (locks or {}).get(base, {})
                path = tmp_path / name
                if not path.exists():
                    write_judged_run(path, title=name, shift=shift, groups=groups, **lock)
                members.append(Member(name, base, seed, path))
        return compare_arms(members, controls, **asked)

    return made


def test_arms_that_differ_are_told_from_those_that_do_not(arms: Arms) -> None:
    """One arm costs 0.5 nats a token more, another nothing: its difference is 0 in every draw."""
    found = arms({"control": 0.0, "same": 0.0, "worse": 0.5}, {"same": "control", "worse": "control"})
    worse, same = found.change("worse", LOSS), found.change("same", LOSS)
    assert worse is not None
    assert same is not None
    assert worse.value == pytest.approx(0.5, abs=0.02)  # 0.4 and 0.6 by turns, weighed by tokens
    assert (worse.word, worse.real) == ("worse", True)
    assert same.value == 0
    assert not same.real
    assert found.change("control", LOSS) is None
    first, second = found.findings()
    assert (
        first == "same against control: undecided."
    )  # every draw gives 0: no interval, and nothing is claimed
    assert second.startswith("worse against control: worse in Loss")


def test_many_comparisons_are_counted_and_said(arms: Arms) -> None:
    found = arms({"control": 0.0, "a": 0.5, "b": 0.6}, {"a": "control", "b": "control"})
    judged = [change for change in found.changes if change.low is not None]
    assert len(judged) > 2
    real = sum(change.real for change in judged)
    assert found.caution().startswith(f"{real} of {len(judged)} paired 95% interval")
    assert f"about {len(judged) * 0.05:.1f} of so many" in found.caution()
    assert found.caution() in compared_arms_text(found)


def test_few_groups_earn_no_verdict(arms: Arms) -> None:
    found = arms({"control": 0.0, "a": 0.5}, {"a": "control"}, groups=9)
    change = found.change("a", LOSS)
    assert change is not None
    assert (change.narrow, change.word, change.real) == (True, "", False)
    assert found.caution() == ""
    assert "too few groups to say" in compared_arms_text(found)


def test_each_arm_has_its_own_control(arms: Arms) -> None:
    shifts = {"a": 0.25, "b": 0.5, "control_a": 0.0, "control_b": 0.5}
    found = arms(shifts, {"a": "control_a", "b": "control_b"})
    assert {(change.arm, change.minus) for change in found.changes} == {
        ("a", "control_a"),
        ("b", "control_b"),
    }
    assert "not different" not in (found.change("a", LOSS) or pytest.fail("not compared")).word
    every = arms(shifts, {"a": "control_a", "b": "control_b"}, all_pairs=True)
    pairs = {frozenset((change.arm, change.minus)) for change in every.changes}
    assert len(pairs) == 4 * 3 / 2
    text = compared_arms_text(every)
    assert "minus its control" in text
    assert "control_b - control_a" in text


def test_what_an_arm_changes_about_the_judging_is_said_and_paired_all_the_same(arms: Arms) -> None:
    found = arms(
        {"control": 0.0, "half": 0.5, "long": 0.5},
        {"half": "control", "long": "control"},
        locks={"half": {"precision": "bf16"}, "long": {"context": 128}},
    )
    assert found.change("half", LOSS) is not None
    assert found.change("long", LOSS) is None
    assert any("half was judged otherwise than control: precision" in note for note in found.notes)
    assert any("long and control cannot be paired: context: 64 and 128" in note for note in found.notes)


def test_arms_with_other_test_records_are_paired_over_those_that_both_have(
    arms: Arms, tmp_path: Path
) -> None:
    """One arm leaves a source out, 15 of 40 test records from the midst of them, and has the rest in another order."""
    arms({"all": 0.0, "fewer": 0.5}, {})
    path = tmp_path / "fewer" / "eval" / "tuned" / "1_perplexity.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in reversed(lines[:10] + lines[25:])))
    for name in ("all", "fewer"):
        _relock(tmp_path / name, records=name)
    found = arms({"all": 0.0, "fewer": 0.5}, {"fewer": "all"})
    change = found.change("fewer", LOSS)
    assert change is not None
    assert change.value == pytest.approx(0.5, abs=0.02)
    assert change.word == "worse"
    assert any("have other test records: paired over the 25 that both have" in note for note in found.notes)


def _relock(run: Path, **parts: Any) -> None:
    """Change parts of the locks of a run's tuned results."""
    file = run / "eval" / "tuned.json"
    stored = json.loads(file.read_text())
    for result in stored["results"]:
        result["lock"] |= parts
    file.write_text(json.dumps(stored))


def _judge_by(run: Path, tasks: int) -> None:
    """Store a run's tuned result as that of so many tasks."""
    file = run / "eval" / "tuned.json"
    stored = json.loads(file.read_text())
    stored["results"] = [{**stored["results"][0], "name": f"task{number}"} for number in range(tasks)]
    file.write_text(json.dumps(stored))


def _rehearse(run: Path) -> None:
    plan = json.loads((run / "plan.json").read_text())
    next(stage for stage in plan["stages"] if stage["name"] == "report")["settings"]["rehearsal"] = True
    (run / "plan.json").write_text(json.dumps(plan))


@pytest.mark.parametrize("rehearsed", [True, False])
def test_what_stands_in_the_way_of_many_tasks_is_one_line_an_arm(
    arms: Arms, tmp_path: Path, rehearsed: bool
) -> None:
    """Three arms of seven tasks, each with a tokenizer of its own: 14 obstacles, two lines."""
    shifts, controls = {"all": 0.0, "few": 0.5, "fewer": 0.5}, {"few": "all", "fewer": "all"}
    arms(shifts, {})
    for number, name in enumerate(shifts):
        _judge_by(tmp_path / name, 7)
        _relock(tmp_path / name, tokenizer=f"{number}" * 64)
        if rehearsed:
            _rehearse(tmp_path / name)
    found = arms(shifts, controls)
    tasks = "task0, task1, task2, task3, task4, task5, task6"
    assert found.notes[:2] == (
        f"few and all cannot be paired in 7 tasks: tokenizer: '00000000' and '11111111' (test: {tasks})",
        f"fewer and all cannot be paired in 7 tasks: tokenizer: '00000000' and '22222222' (test: {tasks})",
    )
    assert found.changes == ()
    said = "In a rehearsal each arm trains a tokenizer on its own records"
    assert [note.startswith(said) for note in found.notes[2:]] == ([True] if rehearsed else [])


def test_a_control_that_is_not_done_is_named(arms: Arms) -> None:
    found = arms({"a": 0.0}, {"a": "control"})
    assert found.changes == ()
    assert any("control control is not done" in note for note in found.notes)
    assert "a" in compared_arms_text(found)


def test_seeds_give_a_mean_and_a_spread(arms: Arms) -> None:
    """The control's losses differ by 0.1 from seed to seed, those of the arm by 0.2 more at each."""
    found = arms({"control": [0.0, 0.1, 0.2], "a": [0.2, 0.3, 0.4]}, {"a": "control"})
    losses = [found.rows[f"control,seed={n}"][LOSS]["tuned"] for n in range(3)]
    spread = {item.base: item for item in found.spreads if item.key == LOSS}
    mean = sum(losses) / 3
    assert spread["control"].mean == pytest.approx(mean)
    assert spread["control"].deviation == pytest.approx(
        math.sqrt(sum((loss - mean) ** 2 for loss in losses) / 2)
    )
    step = losses[1] - losses[0]
    assert spread["a"].differences == pytest.approx([2 * step] * 3)
    assert spread["control"].differences == ()
    pairs = {(change.arm, change.minus) for change in found.changes}
    assert pairs == {(f"a,seed={n}", f"control,seed={n}") for n in range(3)}, "each beside the same seed"
    text = compared_arms_text(found)
    assert "over seeds" in text
    assert "Neither holds the other" in text
