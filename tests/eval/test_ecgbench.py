"""ECGBench: answers read rightly, and as the published program reads them, whose faults are each shown to be there."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, hamming_loss, roc_auc_score
from sklearn.preprocessing import MultiLabelBinarizer

from eval.ecgbench import SETS, pulse
from eval.ecgbench.invented import question_and_answer
from eval.ecgbench.options import chosen_letter, chosen_options, lettered_options, listed_options
from eval.judge.rubrics import RUBRICS
from eval.judges import judge
from runner.spec.tasks import EcgBenchTask

JUDGE = judge("ecgbench")
EIGHT = "Which? " + " ".join(f"{letter}. word{letter.lower()}" for letter in "ABCDEFGH")
LISTED = "Noise? Options: yes, no, not sure. Only answer based on the given Options without any explanation."


def task(name: str, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"task": "ecgbench", "set": name, **changes}
    return EcgBenchTask(**given).model_dump(mode="json")


def line(number: int, reference: str, answer: str, question: str = "?") -> dict[str, Any]:
    return {
        "id": f"r{number}", "group": f"r{number}", "question": question, "labels": None, "prompt": question,
        "answer": answer, "n_tokens": 3, "ended": True, "reference": reference, "prompt_cut": 0,
    }  # fmt: skip


def lines(pairs: Sequence[tuple[str, str]], question: str = "?") -> list[dict[str, Any]]:
    return [line(number, reference, answer, question) for number, (reference, answer) in enumerate(pairs)]


def values(result: dict[str, Any]) -> dict[str, float | None]:
    return {name: value["value"] for name, value in result["metrics"].items()}


# -------------------------------------------------------------------------------------------- labels

SUPER = [
    ("NORM", "NORM"),
    ("MI", "no MI, but LVH"),
    ("MI, CD", "inferior infarction with LBBB"),
    ("STTC", "ABNORMAL: STTC"),
    ("HYP", "HYP"),
]


def test_both_readings_of_the_same_answers_by_hand() -> None:
    """Rightly: wrong are MI and HYP of r1. As published: NORM of r3 is in ABNORMAL, MI of r1 counts, r2 has no code."""
    found = values(JUDGE.judged(task("ptbxl_super"), lines(SUPER)))
    assert found["hamming_loss"] == pytest.approx(2 / 25)
    assert found["parse_rate"] == 1
    # Published: r1 MI (right), r2 nothing (2 wrong), r3 NORM and STTC (1 wrong).
    assert found["pulse_hamming_loss"] == pytest.approx(3 / 25)
    assert found["pulse_auc_hard"] == pytest.approx(np.mean([1 - 0.25 / 2, 0.75, 1, 0.5, 1]))


def published(gold: list[list[str]], said: list[list[str]]) -> tuple[float, float, float]:
    """What the published way of counting gives, from the library that it uses."""
    binarizer = MultiLabelBinarizer().fit(gold)
    truth = binarizer.transform(gold)
    known = [[label for label in labels if label in binarizer.classes_] for labels in said]
    decisions = binarizer.transform(known)
    areas = [roc_auc_score(truth[:, n], decisions[:, n]) for n in range(truth.shape[1])]
    scores = f1_score(truth, decisions, average=None, zero_division=0)
    return float(np.mean(areas)), float(np.mean(scores)), float(hamming_loss(truth, decisions))


@pytest.mark.parametrize("name", ["ptbxl_super", "code15", "cpsc"])
def test_published_numbers_are_those_of_the_library(name: str) -> None:
    of, generator = SETS[name], random.Random(3)
    words = [*of.pulse_labels, "ABNORMAL", "NORM", "no", "STEMI", "AFL", "Answer:", "rhythm"]
    pairs = [
        (
            " ".join(generator.sample(of.pulse_labels, generator.randint(1, 3))),
            " ".join(generator.choices(words, k=generator.randint(0, 5))),
        )
        for _ in range(80)
    ]
    found = values(JUDGE.judged(task(name), lines(pairs)))
    gold = [pulse.labels_meant(of, reference) for reference, _ in pairs]
    said = [pulse.labels_said(of, answer) for _, answer in pairs]
    made = (found["pulse_auc_hard"], found["pulse_macro_f1"], found["pulse_hamming_loss"])
    assert made == pytest.approx(published(gold, said))


@pytest.mark.parametrize(
    ("name", "text", "as_published", "rightly"),
    [
        ("ptbxl_super", "no MI", ["MI"], set()),
        ("ptbxl_super", "ABNORMAL", ["NORM"], set()),
        ("ptbxl_super", "Myocardial infarction", [], {"MI"}),
        ("code15", "ST elevation", ["ST"], set()),
        ("code15", "AFL", ["AF"], set()),
        ("code15", "RBBB or LBBB? Answer: LBBB", ["LBBB"], {"LBBB"}),
        ("code15", "ABNORMAL, ST", ["ABNORMAL", "ST"], {"ST"}),
        ("cpsc", "STEMI", ["STE"], set()),
    ],
)
def test_each_fault_is_in_the_published_reading_alone(
    name: str, text: str, as_published: list[str], rightly: set[str]
) -> None:
    assert pulse.labels_said(SETS[name], text) == as_published
    one = {**line(0, "", text), "labels": sorted(rightly)}
    other = {**line(1, "", "normal ECG"), "labels": ["NORM"] if name != "code15" else []}
    result = JUDGE.judged(task(name, compat=()), [one, other])
    assert values(result)["exact_match"] == 1


def test_a_reference_of_another_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"record 'r0': the reference 'C' names no label of PTB-XL Super"):
        JUDGE.judged(task("ptbxl_super"), lines([("C", "C")]))


# ------------------------------------------------------------------------------------------- choices


@pytest.mark.parametrize(
    ("answer", "rightly", "as_published"),
    [
        ("C", "C", "C"),
        ("C. wordc", "C", "C"),
        ("(C)", "C", None),
        ("The correct option is C", "C", "C"),
        ("Not A. wordA but the answer is C", "C", "A"),
        ("B. or C.", None, "B"),
        ("A normal ECG with wordd", "D", None),
        ("wordd", "D", None),
        ("AF", None, None),
        ("Answer: AF", None, "A"),
        ("I cannot tell.", None, None),
        ("", None, None),
        ("The correct option is ", None, None),
    ],
)
def test_letters_are_read_where_they_are_set(
    answer: str, rightly: str | None, as_published: str | None
) -> None:
    assert chosen_letter(answer, lettered_options(EIGHT)) == rightly
    found = pulse.letters_said(SETS["csn"], [answer])
    drawn = random.Random(42).choice("ABCDEFGH")
    assert found == [as_published or drawn]


FOUR = "Which? A. Atrial flutter B. Sinus rhythm C. Normal ECG D. Inferior infarction"


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("The answer is a normal ECG.", "C"),
        ("Answer: a normal ECG", "C"),
        ("Answer: A normal ECG", "C"),
        ("Answer: A", "A"),
        ("The answer is A because the waves are sawtooth-like.", "A"),
        ("ANSWER: **B**", "B"),
        ("Answer: (c)", "C"),
        ("Answer: c.", "C"),
        ("the answer is c", "C"),
        ("The correct answer is:\n\n**C**", "C"),
        ("The answer is option B", "B"),
        ("Option B", "B"),
        ("The answer is C. Option A does not fit because the P waves are there.", "C"),
        ("The answer is C, because option A would show no P waves", "C"),
        ("Option A does not fit, option C does.", "C"),
        ("Option A is wrong. Option C is right.", "C"),
        ("Option A isn't it; option C is.", "C"),
        ("Not option A, so B.", "B"),
        ("I would exclude option D", None),
        ("I would exclude option D. Inferior infarction", None),
        ("The answer is not C.", None),
        ("The answer isn't option C.", None),
        ("I don't think that the answer is C.", None),
        ("The answer is B or C.", None),
        ("Options A and C", None),
        ("Either option A or option C.", None),
        ("The answer is A. The answer is B.", None),
        ("The answer is E.", None),
        ("Option C, not option A.", "C"),
        ("The answer is C not A", "C"),
        ("C. Not seen", "C"),
        ("(C) Cannot be told", "C"),
        ("Answer: C. Not seen", "C"),
        ("Answer: C) Cannot be told", "C"),
    ],
)
def test_a_told_letter_is_neither_an_article_nor_a_letter_that_is_ruled_out(
    answer: str, letter: str | None
) -> None:
    assert chosen_letter(answer, lettered_options(FOUR)) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("Answer: C", "C"),
        ("A normal ECG", None),
        ("The answer is a normal ECG", None),
        ("not option C", None),
    ],
)
def test_without_known_options_only_a_set_letter_counts(answer: str, letter: str | None) -> None:
    assert chosen_letter(answer, {}) == letter


def test_an_answer_that_never_stops_is_read_at_once() -> None:
    """A model that repeats itself to its last token: the time may grow with the length, not with its square."""
    started = time.process_time()
    assert chosen_letter("The answer is" + " \n" * 20_000, lettered_options(FOUR)) is None
    assert chosen_letter("option" + "*" * 40_000, lettered_options(FOUR)) is None
    assert time.process_time() - started < 2


def test_an_answer_without_a_letter_is_drawn_as_published_and_wrong_here() -> None:
    drawn = [random.Random(42)]
    letters = [drawn[0].choice(list("ABCDEFGH")) for _ in range(3)]
    result = JUDGE.judged(task("g12"), lines([(letter, "What?") for letter in letters], EIGHT))
    assert values(result) == {"accuracy": 0, "parse_rate": 0, "accuracy_parsed": None, "pulse_accuracy": 1}
    assert any("3 of its 3 answers were drawn at random" in note for note in result["notes"])
    assert any("not different from chance" in note and "12.5%" in note for note in result["notes"])


def test_four_options_draw_among_four() -> None:
    assert set(pulse.letters_said(SETS["mmmu"], [""] * 200)) == set("ABCD")


def test_options_that_apply_are_compared_as_a_set() -> None:
    pairs = [("yes", "Yes."), ("no", "not sure"), ("no", "No noise"), ("yes, no", "no and yes")]
    found = values(JUDGE.judged(task("ecg_qa"), lines(pairs, LISTED)))
    assert found["accuracy"] == 3 / 4
    # Published: "no" is a part of "not sure", of "No noise" too, and "not sure." has kept its full stop.
    assert found["pulse_accuracy"] == 4 / 4
    assert listed_options(LISTED) == ("yes", "no", "not sure")
    assert chosen_options("Not sure", listed_options(LISTED)) == {"not sure"}


def test_differences_are_paired_and_named_apart() -> None:
    before, after = (lines([("A", said), ("B", "B."), ("C", "C.")], EIGHT) for said in ("H.", "A."))
    found = JUDGE.differences(task("csn"), before, after)
    assert found["accuracy"]["value"] == pytest.approx(1 / 3)
    assert found.keys() == {"accuracy", "parse_rate", "accuracy_parsed", "pulse_accuracy"}


# ------------------------------------------------------------------------------------------- reports


def test_a_report_is_scored_by_findings_under_no_name_of_a_judge() -> None:
    """The deterministic score and the grades of two rubrics never share a metric's name."""
    result = JUDGE.judged(task("ptbxl_report"), lines([("Sinus rhythm. LVH.", "Sinus rhythm.")]))
    assert values(result)["entity_recall"] == pytest.approx(1 / 3)  # LVH is also a hypertrophy
    assert not {name for name in result["metrics"] if name.startswith(tuple(RUBRICS))}
    assert any("judge's grade" in note for note in result["notes"])


# ------------------------------------------------------------------------------------------- all sets


@pytest.mark.parametrize("name", SETS)
def test_every_set_judges_what_is_invented_for_it(name: str) -> None:
    items = [
        line(n, answer, answer, question)
        for n in range(9)
        for question, answer in [question_and_answer(SETS[name], n)]
    ]
    result = JUDGE.judged(task(name), items)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert any(f"published set has {SETS[name].published}" in note for note in result["notes"])
    right = values(result)
    assert right.get("exact_match", right.get("accuracy", right.get("entity_f1"))) == 1


def test_the_published_reading_can_be_left_out() -> None:
    result = JUDGE.judged(task("csn", compat=()), lines([("A", "A.")], EIGHT))
    assert not [name for name in result["metrics"] if name.startswith("pulse_")]


def test_the_sets_are_those_of_the_spec() -> None:
    assert set(EcgBenchTask.model_fields["set"].annotation.__args__) == set(SETS)  # type: ignore[union-attr]
    assert (
        sum(of.published for of in SETS.values()) == 2082 + 500 + 1400 + 1317 + 2061 + 1611 + 2026 + 200 + 50
    )


def test_published_reading_is_quick() -> None:
    """Pure text work: ten times slower than on an idle core is still far above this."""
    answers = ["The ECG shows MI and CD."] * 20_000
    started = time.process_time()
    for answer in answers:
        pulse.labels_said(SETS["ptbxl_super"], answer)
    assert len(answers) / (time.process_time() - started) > 1e5


def test_grades_of_a_set_are_compared_before_and_after() -> None:
    """Grades 6, 3, 0 before and 9, 6, 3 after, of 10: 30 and 60 points. What is no grade lowers the share judged."""
    who = {"endpoint": "http://127.0.0.1:9/v1", "model": "m"}
    given = task("ptbxl_report", file="/a.json", judge=who)

    def graded(outcome: str, *grades: int) -> dict[str, Any]:
        said = dict(zip(("Diagnosis", "Waveform", "Rhythm"), grades, strict=True)) if grades else None
        return {"outcome": outcome, "reply": json.dumps(said) if said else None, "judge_model": "m-2026"}

    texts = lines([("Sinus rhythm.", "Sinus rhythm.")] * 2)
    before = [{**one, **graded("judged", 6, 3, 0)} for one in texts]
    after = [{**texts[0], **graded("judged", 9, 6, 3)}, {**texts[1], **graded("refused")}]
    result = JUDGE.judged(given, after)
    assert values(result)["pulse_report_10"] == 60
    assert values(result)["pulse_report_10_judged"] == 0.5
    assert [example["score"] for example in result["examples"]] == [60, None]
    assert (result["n_judged"], result["judge"]["models_reported"]) == (1, ["m-2026"])
    changes = JUDGE.differences(given, before, after)
    assert (changes["pulse_report_10"]["value"], changes["pulse_report_10_judged"]["value"]) == (30, -0.5)
