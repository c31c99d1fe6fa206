"""The harness's results, from stored lines: by hand, beside scikit-learn's and sacrebleu's own numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from eval.judges.lm_eval import differences, judged

TASK = {"task": "lm_eval", "tasks": ["mmlu_medical"]}


def line(task: str, number: int, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": f"{task}/{number}",
        "group": f"{task}/{number}",
        "task": task,
        "prompt": "?",
        "prompt_sha256": f"{task}{number}",
        "answer": "A",
        "reference": "B",
        "options": 4,
        "scores": [],
        "cut": False,
        "invented": False,
        "metrics": {},
        "aggregation": {"acc": "mean"},
    }
    return values | changes


def choices(task: str, right: int, count: int) -> list[dict[str, Any]]:
    return [line(task, n, metrics={"acc": float(n < right)}) for n in range(count)]


def values(result: dict[str, Any]) -> dict[str, float]:
    return {name: value["value"] for name, value in result["metrics"].items()}


def test_mean_over_questions_and_over_tasks() -> None:
    """3 of 4 and 2 of 8: 5/12 of all questions; (0.75 + 0.25) / 2 over tasks."""
    result = judged(TASK, [*choices("a", 3, 4), *choices("b", 2, 8)])
    assert values(result) == pytest.approx({"acc": 5 / 12, "acc_macro": 0.5, "a.acc": 0.75, "b.acc": 0.25})
    assert result["headline"] == ["acc", "acc_macro"]
    assert (result["name"], result["split"]) == ("mmlu_medical", "test")
    assert (result["n_records"], result["n_groups"]) == (12, 12)
    assert "2000 draws" in result["method"]


def test_one_task_has_its_metric_without_a_name_before_it() -> None:
    result = judged(TASK, choices("a", 30, 100))
    assert values(result) == {"acc": pytest.approx(0.3)}
    assert result["headline"] == ["acc"]
    (row,) = result["tables"]["tasks"]["rows"]
    # p = 0.3 of 100: sqrt(0.3 * 0.7 / 99) as lm-eval states it; guessing among four
    assert row[:4] == ["a", "acc", 100, 0.3]
    assert row[6:] == [pytest.approx(math.sqrt(0.21 / 99)), 0.25, "yes"]


def test_the_interval_of_a_share_is_that_of_its_binomial() -> None:
    """Drawing 400 questions of which 30 % are right: 0.3 +- 1.96 * sqrt(0.21 / 400) = 0.0449."""
    value = judged(TASK, choices("a", 120, 400))["metrics"]["acc"]
    assert value["low"] == pytest.approx(0.3 - 0.0449, abs=0.006)
    assert value["high"] == pytest.approx(0.3 + 0.0449, abs=0.006)


@pytest.mark.parametrize(
    ("right", "within"), [(273, "is not different from chance"), (330, "is different from")]
)
def test_a_result_within_chance_says_so(right: int, within: str) -> None:
    result = judged(TASK, choices("a", right, 1089))
    assert any(within in note and "guessing gives 25.0%" in note for note in result["notes"])


@pytest.mark.parametrize(("right", "within"), [(273, True), (330, False)])
def test_chance_is_a_field_of_its_own(right: int, within: bool) -> None:
    """For whoever counts what is told apart from guessing; the note is for reading."""
    result = judged(TASK, choices("a", right, 1089))
    (chance,) = result["chance"]
    assert chance.keys() == {"metric", "within", "text"}
    assert (chance["metric"], chance["within"]) == ("acc", within)
    assert f"acc is {chance['text']}." in result["notes"]


def test_chance_of_each_task_and_of_all() -> None:
    """5 of 20 and 20 of 20 among four: one is guessing, the other and both together are not."""
    result = judged(TASK, [*choices("a", 5, 20), *choices("b", 20, 20)])
    found = {chance["metric"]: chance["within"] for chance in result["chance"]}
    assert found == {"acc": False, "a.acc": True, "b.acc": False}
    assert found.keys() <= result["metrics"].keys()


def test_written_answers_have_no_chance() -> None:
    lines = [line("w", n, options=None, metrics={"acc": 1.0}) for n in range(3)]
    assert judged(TASK, lines)["chance"] == []


def test_all_wrong_has_an_interval_with_a_width() -> None:
    """Wilson for 0 of 8: z^2 / (8 + z^2) with z = 1.96 is 0.3244; a bootstrap would say 0 to 0."""
    result = judged(TASK, [*choices("a", 0, 8), *choices("b", 8, 8)])
    assert result["metrics"]["a.acc"]["low"] == 0
    assert result["metrics"]["a.acc"]["high"] == pytest.approx(0.32441, abs=1e-4)
    assert result["metrics"]["b.acc"]["low"] == pytest.approx(1 - 0.32441, abs=1e-4)
    assert "Wilson interval over the groups, which are all alike: a.acc, b.acc" in result["method"]


def test_likelihoods_are_ratios_of_sums() -> None:
    """-(-6 - 2) / (3 + 1) = 2 nats a word: exp(2); the same 8 nats over 16 bytes in bits."""
    rules = {"word_perplexity": "weighted_perplexity", "bits_per_byte": "bits_per_byte", "ppl": "perplexity"}
    lines = [
        line("w", n, options=None, aggregation=rules, metrics=metrics)
        for n, metrics in enumerate(
            [
                {"word_perplexity": [-6.0, 3.0], "bits_per_byte": [-6.0, 10.0], "ppl": -1.0},
                {"word_perplexity": [-2.0, 1.0], "bits_per_byte": [-2.0, 6.0], "ppl": -3.0},
            ]
        )
    ]
    result = judged(TASK, lines)
    assert values(result) == pytest.approx(
        {"word_perplexity": math.exp(2), "bits_per_byte": 0.5 / math.log(2), "ppl": math.exp(2)}
    )
    assert not any("chance" in note for note in result["notes"])


def test_brier_score_by_hand() -> None:
    """(0.5^2 + 0.5^2) and (0.2^2 + 0.2^2): their mean is 0.29."""
    given = [[0, [0.5, 0.5]], [1, [0.2, 0.8]]]
    lines = [
        line("b", n, aggregation={"brier_score": "brier_score"}, metrics={"brier_score": value})
        for n, value in enumerate(given)
    ]
    assert values(judged(TASK, lines)) == pytest.approx({"brier_score": 0.29})


def test_corpus_scores_are_those_of_sacrebleu_without_interval() -> None:
    sacrebleu = pytest.importorskip("sacrebleu", reason="needs the eval extra")
    pairs = [["the heart beats fast now", "the heart beats fast"], ["take rest and water", "take much rest"]]
    rules = {"bleu": "bleu", "chrf": "chrf"}
    lines = [
        line("m", n, options=None, aggregation=rules, metrics={"bleu": pair, "chrf": pair})
        for n, pair in enumerate(pairs)
    ]
    result = judged(TASK, lines)
    references, answers = zip(*pairs, strict=True)
    assert values(result) == {
        "bleu": sacrebleu.corpus_bleu(list(answers), [list(references)]).score,
        "chrf": sacrebleu.corpus_chrf(list(answers), [list(references)]).score,
    }
    assert result["metrics"]["chrf"]["low"] is None
    assert any("without an interval" in note for note in result["notes"])
    change = differences(TASK, lines, lines)
    assert change["chrf"] == {"value": 0.0, "low": None, "high": None}


def test_metrics_that_only_some_tasks_have_are_not_averaged() -> None:
    rules = {"acc": "mean", "acc_norm": "mean"}
    other = [
        line("b", n, metrics={"acc": 1.0, "acc_norm": float(n % 2)}, aggregation=rules) for n in range(4)
    ]
    found = values(judged(TASK, [*choices("a", 1, 4), *other]))
    assert set(found) == {"acc", "acc_macro", "a.acc", "b.acc", "b.acc_norm"}


def test_filters_stay_apart() -> None:
    metrics = {"exact_match,strict": 1.0, "exact_match,flexible": 0.0}
    lines = [
        line("g", n, options=None, aggregation={"exact_match": "mean"}, metrics=metrics) for n in range(3)
    ]
    assert values(judged(TASK, lines)) == {"exact_match,strict": 1.0, "exact_match,flexible": 0.0}


def test_a_rule_that_only_the_harness_has_is_named_and_not_guessed() -> None:
    lines = [line("x", n, metrics={"f1": [1, 0]}, aggregation={"f1": "f1_score"}) for n in range(3)]
    result = judged(TASK, lines)
    assert result["metrics"] == {}
    assert any("f1 (f1_score)" in note for note in result["notes"])


def test_cut_prompts_and_tasks_left_out_are_said() -> None:
    lines = [
        *(line("a", n, metrics={"acc": float(n % 2)}, cut=n == 0, invented=True) for n in range(6)),
        {"id": "b/0", "group": "b", "task": "b", "skipped": "no hub"},
    ]
    result = judged(TASK, lines)
    assert (result["n_records"], result["n_cut"]) == (6, 1)
    assert "b was left out: no hub." in result["notes"]
    assert any(note.startswith("The questions are invented") for note in result["notes"])
    assert any("1 of 6 prompts" in note for note in result["notes"])


def test_only_tasks_left_out_give_no_numbers() -> None:
    lines = [{"id": "b/0", "group": "b", "task": "b", "skipped": "no hub"}]
    result = judged(TASK, lines)
    assert (result["metrics"], result["n_records"]) == ({}, 0)
    assert differences(TASK, lines, lines) == {}


def test_no_line_is_an_error() -> None:
    with pytest.raises(ValueError, match="no question was asked"):
        judged(TASK, [])


# -------------------------------------------------------------------------------------- differences


def test_differences_are_paired_by_question() -> None:
    """One more of 100 is right, and none else changes: McNemar-like, the change is 0.01 with 0 below."""
    before, after = choices("a", 40, 100), choices("a", 41, 100)
    change = differences(TASK, before, after)["acc"]
    assert change["value"] == pytest.approx(0.01)
    assert change["low"] == 0
    assert change["high"] == pytest.approx(0.03)


def test_all_metrics_have_their_difference() -> None:
    before = [*choices("a", 3, 4), *choices("b", 2, 8)]
    after = [*choices("a", 2, 4), *choices("b", 6, 8)]
    found = {name: value["value"] for name, value in differences(TASK, before, after).items()}
    assert found == pytest.approx({"acc": 3 / 12, "acc_macro": 0.125, "a.acc": -0.25, "b.acc": 0.5})
    assert set(found) == set(judged(TASK, after)["metrics"])


def test_other_questions_or_prompts_are_an_error() -> None:
    lines = choices("a", 2, 5)
    with pytest.raises(ValueError, match="5 records before and 4 after"):
        differences(TASK, lines, lines[:4])
    other = [*lines[:4], lines[4] | {"prompt_sha256": "x"}]
    with pytest.raises(ValueError, match="'a/4' was put with two different prompts"):
        differences(TASK, lines, other)


def test_the_mean_interval_covers_the_truth() -> None:
    """Of 200 sets of 150 questions with a true share of 0.4, the interval holds it in 90 to 99 %."""
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        drawn = generator.random(150) < 0.4
        lines = [line("a", n, metrics={"acc": float(hit)}) for n, hit in enumerate(drawn)]
        value = judged(TASK, lines)["metrics"]["acc"]
        covered += value["low"] <= 0.4 <= value["high"]
    assert 180 <= covered <= 198
