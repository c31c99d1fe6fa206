"""Every problem of a file at once: a rule is heard whatever else is wrong, and says nothing of what follows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.spec.kinds import every_rule
from runner.spec.load import examine, examine_changed
from runner.validate import CHECKS, VOCABULARY
from tests.spec.test_broken import CASES

Check = Callable[..., tuple[Any, ...]]
Broken = Callable[[Mapping[str, Any]], tuple[Any, ...]]

RULE_CODES = {rule.code for rule in every_rule()}
LOG = ("  precision: fp32", "  log_every: often\n  precision: fp32")
ELSEWHERE = {  # a fault of a wrong type in a field that no rule reads: where -> the case's edit
    "llm": {
        "log_every": LOG,
        "rank": ("  rank: 8", "  rank: eight"),
        "source": ("  source: A page", "  source: [A page]"),
    },
    "vlm": {
        "log_every": ("  log_every: 1", "  log_every: often"),
        "rank": ("  rank: 8", "  rank: eight"),
        "source": ("  source: A page", "  source: [A page]"),
    },
    "ecg": {
        "log_every": LOG,
        "rank": ("    rank: 16", "    rank: sixteen"),
        "title": ("  title: A heading", "  title: [A heading]"),
    },
}
PAIRS = [
    pytest.param(case, where, id=f"{case['id']}-{where}")
    for case in CASES
    for where, (old, _) in ELSEWHERE[case.get("kind", "llm")].items()
    if case["code"] in RULE_CODES
    and "text" not in case
    and not any(old in one or one in old for one in case.get("edit", {}))
]


def test_nearly_every_rule_is_tried() -> None:
    tried = {pair.values[0]["code"] for pair in PAIRS}  # type: ignore[index]
    assert len(tried) >= len(RULE_CODES) - 2


@pytest.mark.parametrize(("case", "where"), PAIRS)
def test_a_rule_is_heard_beside_a_wrong_type(
    case: dict[str, Any], where: str, problems_of_case: Broken
) -> None:
    """One fault and another in a field of its own: together exactly the two."""
    old, new = ELSEWHERE[case.get("kind", "llm")][where]
    alone = problems_of_case(case)
    both = problems_of_case({**case, "edit": {**case.get("edit", {}), old: new}})
    said = {(p.code, p.path, p.message) for p in both}
    assert {(p.code, p.path, p.message) for p in alone} <= said
    assert [p.code for p in both if p.path.rpartition(".")[2] == where][-1:] == ["wrong-type"]
    assert len(both) == len(alone) + 1


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for part, item in parts for place in leaves(item, (*path, part)))]


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    head, rest = path[0], path[1:]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    changed = {key: replaced(item, rest, new) if key == head else item for key, item in items}
    kept = {key: item for key, item in changed.items() if item is not DROPPED}
    return kept if isinstance(value, dict) else list(kept.values())


DROPPED = object()


@pytest.mark.parametrize("kind", ["llm", "vlm", "ecg"])
@pytest.mark.parametrize("wrong", [{"an": "other type"}, DROPPED, None], ids=["mapping", "missing", "null"])
def test_no_rule_speaks_of_what_follows(
    wrong: Any, kind: str, base_text: str, vlm_text: str, ecg_text: str, problems_of_text: Check
) -> None:
    """In a spec that breaks no rule, each value made wrong in turn: no rule joins what is said of it.

    Where nothing else is said (a default takes a missing key's place), a rule may truly be broken.
    """
    base = yaml.safe_load({"llm": base_text, "vlm": vlm_text, "ecg": ecg_text}[kind])
    silent = []
    for path in leaves(base)[1:]:
        problems = problems_of_text(yaml.safe_dump(replaced(base, path, wrong), sort_keys=False))
        codes = {problem.code for problem in problems}
        if codes - RULE_CODES:
            assert not codes & RULE_CODES, (path, problems)
        else:
            silent.append(path)
    assert wrong in (DROPPED, None) or not silent, silent


def test_arms_of_a_sweep_are_heard_beside_a_fault_of_the_base(
    base_text: str, problems_of_text: Check
) -> None:
    sweep = "sweep: {axes: {train.learning_rte: [1e-4], method.rank: [4, x]}}\n"
    problems = problems_of_text(base_text.replace("alpha: 16", "alpha: much") + sweep)
    assert sorted((p.code, p.path.partition(".")[0]) for p in problems) == [
        ("unknown-key", "sweep"),
        ("wrong-type", "method"),
        ("wrong-type", "sweep"),
    ]


def test_what_is_wrong_in_any_variant_is_said_when_nobody_knows_which(
    base_text: str, problems_of_text: Check
) -> None:
    """`source: sheep` is near to no source; the split is a part of all of them, `path` of some."""
    text = (
        base_text.replace("source: messages", "source: sheep")
        .replace("by: record}", "by: redord}")
        .replace("min_answer_words: 2", "min_answer_word: 2")
        .replace("path: ./train.jsonl", "path: 7")
        .replace("effective: 8", "effective: 9")
    )
    assert {(p.code, p.path) for p in problems_of_text(text)} == {
        ("bad-value", "data.source"),
        ("bad-value", "data.split.by"),
        ("unknown-key", "data.filter.min_answer_word"),
        ("R003", "train.batch.effective"),
    }


def test_an_arm_is_examined_as_if_its_file_were_read_again(tmp_path: Path, base_text: str) -> None:
    """The same problems, the same spec, the same places; and the base is left as it was."""
    (tmp_path / "base.yaml").write_text(
        base_text.replace("alpha: 16", "alpha: much\n  rank: 8"), encoding="utf-8"
    )
    file = tmp_path / "spec.yaml"
    file.write_text("extends: base.yaml\ntrain: {epochs: 3}\n", encoding="utf-8")
    given: dict[str, Any] = {"environ": {}, "vocabulary": VOCABULARY, "checks": CHECKS}
    base = examine(file, sets=["train.seed=7"], **given)
    before = copy.deepcopy(base.tree)
    for changes in (["train.epochs=5"], ["model.base=./other", "method.rank=x"], ["data.split={by: record}"]):
        again = examine(file, sets=["train.seed=7", *changes], **given)
        changed = examine_changed(base, sets=changes, **given)
        assert changed.problems == again.problems
        assert changed.tree == again.tree
        assert repr(changed.spec) == repr(again.spec)
    assert base.tree == before
