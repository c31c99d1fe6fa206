"""Every task that reads texts: an answer that is right, as the question asks for it, scores 1 and is parsed; a wrong one does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import pytest

from converters.records.ecg_questions import naming
from eval.ecgbench import SETS
from eval.judges import judge
from eval.label_sets import LABEL_SETS, label_set
from runner.spec.tasks import (
    ClassificationTask,
    EcgBenchTask,
    EntitiesTask,
    MultilabelTask,
    RougeTask,
)

Line = dict[str, Any]
WORDS = ("Atrial fibrillation", "A. fib", "Sinus rhythm", "A-V block", "Not B. flutter", "T wave (TAb)", "rSR'", "None of these")  # fmt: skip
"""Words of options; some begin or go on with what looks like the letter of another."""
NOISE = "Noise? Options: {}. Only answer based on the given Options without any explanation."
LISTED = (
    "none",
    "ST elevation",
    "elevation in lead V1",
    "0.5 mV",
    "10.5 mV",
    "5 mV",
    "lead II",
    "lead I",
    "\u00e9lev\u00e9",
)
DRESSES: Sequence[Callable[[str], str]] = (
    str,
    "{}.".format,
    " {}\n".format,
    "**{}**".format,
    "({})".format,
    "\u201c{}\u201d".format,
    "[{}]".format,
    "Answer: {}".format,
    "The lead is clear.\nAnswer: {}.".format,
)
"""What models put around the answer that was asked for."""


def line(number: int, question: str, answer: str, reference: str, **more: Any) -> Line:
    return {
        "id": f"r{number}", "group": f"r{number}", "split": "test", "question": question, "prompt": question,
        "answer": answer, "reference": reference, "labels": None, "attributes": {}, "floors": {}, "n_tokens": 3,
        "ended": True, "prompt_cut": 0, **more,
    }  # fmt: skip


def numbers(task: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, float]:
    metrics = judge(task["task"]).judged(task, lines)["metrics"]
    return {name: value["value"] for name, value in metrics.items()}


def dressed(answers: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield number of the answer and the answer in every dress."""
    for number, answer in enumerate(answers):
        for dress in DRESSES:
            yield number, dress(answer)


# ----------------------------------------------------------------------------------- ECGBench, labels


def references_of(name: str) -> list[str]:
    """Return references as the published files have them: one label, two, and what stands for none."""
    labels = SETS[name].pulse_labels
    pairs = [", ".join(pair) for pair in combinations(labels, 2) if "NORM" not in pair]
    return [*labels, *pairs, *(("NORM", "ABNORMAL") if name == "code15" else ())]


@pytest.mark.parametrize("name", [name for name, of in SETS.items() if of.kind == "labels"])
def test_labels_of_ecgbench(name: str) -> None:
    task = EcgBenchTask(task="ecgbench", set=name).model_dump(mode="json")
    references = references_of(name)
    right = [
        line(number, "?", answer, references[of]) for number, (of, answer) in enumerate(dressed(references))
    ]
    found = numbers(task, right)
    assert [
        found[key]
        for key in ("exact_match", "parse_rate", "auc_hard", "macro_f1", "pulse_auc_hard", "pulse_macro_f1")
    ] == [1] * 6
    assert found["hamming_loss"] == found["pulse_hamming_loss"] == 0
    labels = SETS[name].pulse_labels
    turned = [line(n, "?", labels[n - 1], label) for n, label in enumerate(labels)]
    wrong = numbers(task, turned)
    assert (wrong["exact_match"], wrong["parse_rate"], wrong["macro_f1"], wrong["pulse_macro_f1"]) == (
        0,
        1,
        0,
        0,
    )


@pytest.mark.parametrize("compat", [(), ("pulse",)])
@pytest.mark.parametrize(
    "answer",
    [
        "none",
        "None.",
        "None of these",
        "Sinus rhythm.",
        "Left ventricular hypertrophy",
        "NORM",
        "T axis to the left",
    ],
)
def test_that_a_recording_has_none_of_the_six_is_an_answer(answer: str, compat: tuple[str, ...]) -> None:
    """Nine in ten recordings of CODE-15 have none of its labels; with none of those, nothing is published of them."""
    task = EcgBenchTask(task="ecgbench", set="code15", compat=compat).model_dump(mode="json")
    lines = [line(n, "?", answer, "T axis to the left", labels=[]) for n in range(3)]
    found = numbers(task, lines)
    assert (found["exact_match"], found["parse_rate"]) == (1, 1)
    silent = numbers(
        task,
        [{**one, "answer": said} for one, said in zip(lines, ("", "I cannot tell.", "ECG"), strict=True)],
    )
    assert (silent["exact_match"], silent["parse_rate"]) == (1, 0)


# ---------------------------------------------------------------------------------- ECGBench, options


@pytest.mark.parametrize("listed", ["{}. {}", "({}) {}", "{}) {}"])
@pytest.mark.parametrize("name", [name for name, of in SETS.items() if of.kind == "one_of"])
def test_options_of_ecgbench(name: str, listed: str) -> None:
    """References of CSN and G12EC are a letter with its words or alone, those of MMMU-ECG a letter."""
    of = SETS[name]
    letters = "ABCDEFGH"[: of.options]
    options = list(zip(letters, WORDS, strict=False))
    question = (
        "Which?\n" + "\n".join(listed.format(*option) for option in options) + "\nAnswer with the letter."
    )
    task = EcgBenchTask(task="ecgbench", set=name).model_dump(mode="json")
    forms = ("{0}", "{0}. {1}") if of.pulse_first_letter else ("{0}",)
    references = [form.format(*option) for form in forms for option in options]
    said = ["{0}", "{0}. {1}", "({0}) {1}", "{0}: {1}", "{1}", "The correct option is {0}. {1}"]
    right = [
        line(0, question, answer, reference)
        for place, reference in enumerate(references)
        for form in said
        for _, answer in dressed([form.format(*options[place % len(options)])])
    ]
    right = [{**one, "id": f"r{n}", "group": f"r{n}"} for n, one in enumerate(right)]
    found = numbers(task, right)
    assert (found["accuracy"], found["parse_rate"], found["accuracy_parsed"]) == (1, 1, 1)
    letters_alone = [line(n, question, one[0], one) for n, one in enumerate(references)]
    assert numbers(task, letters_alone)["pulse_accuracy"] == 1
    turned = [line(n, question, references[n - 1][0], one) for n, one in enumerate(references)]
    assert numbers(task, turned) == {
        "accuracy": 0,
        "parse_rate": 1,
        "accuracy_parsed": 0,
        "pulse_accuracy": 0,
    }


@pytest.mark.parametrize(("name", "published"), [("csn", 1), ("g12", 1), ("mmmu", 0)])
def test_the_published_program_compares_a_letter_with_the_first_one_or_with_all(
    name: str, published: float
) -> None:
    """Of MMMU-ECG it compares with the whole reference, which there is a letter."""
    question = "Which? A. Sinus rhythm B. Atrial flutter C. Normal ECG D. Infarction"
    task = EcgBenchTask(task="ecgbench", set=name).model_dump(mode="json")
    lines = [line(n, question, "B", "B. Atrial flutter") for n in range(2)]
    found = numbers(task, lines)
    assert (found["accuracy"], found["pulse_accuracy"]) == (1, published)
    missed = numbers(task, [line(n, question, "A", "B. Atrial flutter") for n in range(2)])
    assert (missed["accuracy"], missed["pulse_accuracy"]) == (0, 0)


def test_options_that_apply_of_ecgbench() -> None:
    task = EcgBenchTask(task="ecgbench", set="ecg_qa").model_dump(mode="json")
    question = NOISE.format(", ".join(LISTED))
    references = [*LISTED, *(", ".join(pair) for pair in combinations(LISTED[1:], 2))]
    references += [f"{reference}." for reference in references]
    right = [
        line(number, question, answer, references[of])
        for number, (of, answer) in enumerate(dressed(references))
    ]
    found = numbers(task, right)
    assert (found["accuracy"], found["parse_rate"]) == (1, 1)
    other_case = [line(n, question, one.upper(), one) for n, one in enumerate(references)]
    decomposed = [line(n, question, "e\u0301leve\u0301", "\u00e9lev\u00e9") for n in range(2)]
    assert numbers(task, other_case)["accuracy"] == numbers(task, decomposed)["accuracy"] == 1
    turned = [line(n, question, LISTED[n - 1], one) for n, one in enumerate(LISTED)]
    assert (numbers(task, turned)["accuracy"], numbers(task, turned)["parse_rate"]) == (0, 1)


# ------------------------------------------------------------------------------------------- reports

REPORTS = (
    "Sinus rhythm. Left ventricular hypertrophy.",
    "Atrial fibrillation, no ST elevation.",
    "Normal ECG.",
)
OTHER = ("Pacing rhythm.", "Sinus bradycardia with ST depression.", "Left bundle branch block.")


@pytest.mark.parametrize("name", [name for name, of in SETS.items() if of.kind == "report"])
def test_reports_of_ecgbench_and_of_ones_own(name: str) -> None:
    for task in (EcgBenchTask(task="ecgbench", set=name), EntitiesTask(task="entities")):
        given = task.model_dump(mode="json")
        right = numbers(given, [line(n, "?", text, text) for n, text in enumerate(REPORTS)])
        assert (right["entity_f1"], right["entity_micro_f1"], right["entity_contradicted"]) == (1, 1, 0)
        pairs = zip(REPORTS, OTHER, strict=True)
        wrong = numbers(given, [line(n, "?", answer, text) for n, (text, answer) in enumerate(pairs)])
        assert wrong["entity_f1"] == 0


def test_rouge_and_a_script_that_it_does_not_see() -> None:
    task = RougeTask(task="rouge", stemmer=False, floors=()).model_dump(mode="json")
    right = numbers(task, [line(n, "?", text, text) for n, text in enumerate(REPORTS)])
    assert [right[name] for name in ("rouge1", "rouge2", "rougeL")] == [1, 1, 1]
    assert numbers(task, [line(0, "?", "take rest", "Sinus rhythm")])["rouge1"] == 0
    other_script = judge("rouge").judged(
        task, [line(0, "?", "\u7aa6\u6027", "\u7aa6\u6027"), line(1, "?", "rest", "rest")]
    )
    assert other_script["metrics"]["rouge1"]["value"] == 0.5
    assert any(note.startswith("1 of 2 references hold no letter a to z") for note in other_script["notes"])


# -------------------------------------------------------------------------------------- one of a few


@pytest.mark.parametrize(
    "labels",
    [
        {"no": ("no",), "yes": ("yes",)},
        {"absent": ("not present", "no"), "there": ("present", "yes")},
        {"AF": ("AF",), "RVR": ("AF with RVR",), "flutter": ("atrial flutter",)},
        {"normal": ("normal",), "abnormal": ("abnormal",), "near": ("near-normal",)},
        {"low": ("0.5",), "mid": ("5",), "high": ("10.5",)},
        {"un": ("\u00e9lev\u00e9",), "deux": ("pas \u00e9lev\u00e9",)},
        {"first": ("first-degree",), "second": ("second\u2011degree",)},
        {"+": ("Rh+ (positive)",), "-": ("Rh- (negative)",)},
    ],
    ids=lambda labels: "-".join(labels),
)
def test_classification(labels: dict[str, tuple[str, ...]]) -> None:
    task = ClassificationTask(
        task="classification", labels=labels, positive=next(iter(labels)), scoring=("generation",), floors=()
    ).model_dump(mode="json")
    names = list(labels)
    words = [(of, word) for of, name in enumerate(names) for word in labels[name]]
    right = [
        line(number, "?", form(dress(word)), "", label=names[of])
        for number, (of, word, dress, form) in enumerate(
            (of, word, dress, form)
            for of, word in words
            for dress in DRESSES
            for form in (str, str.upper, str.lower)
        )
    ]
    found = numbers(task, right)
    assert (found["generated_accuracy"], found["generated_parse_rate"], found["generated_macro_f1"]) == (
        1,
        1,
        1,
    )
    turned = [line(n, "?", labels[names[n - 1]][0], "", label=name) for n, name in enumerate(names)]
    wrong = numbers(task, turned)
    assert (wrong["generated_accuracy"], wrong["generated_parse_rate"]) == (0, 1)


# --------------------------------------------------------------------------------- any number of labels


@pytest.mark.parametrize(
    ("name", "question"),
    [
        *((name, name) for name in LABEL_SETS),
        ("code15", "rhythm"),
        ("superclasses", None),
        ("cpsc2018", None),
    ],
)
def test_labels_named_as_records_name_them(name: str, question: str | None) -> None:
    """None of the labels, each, and each with the next; the words are those of the records' own answers."""
    ids = label_set(name).ids
    true: list[tuple[str, ...]] = [(), *((one,) for one in ids), *zip(ids, ids[1:] + ids[:1], strict=True)]
    task = MultilabelTask(task="multilabel", label_set=name).model_dump(mode="json")
    said = [naming(question, name, labels) for labels in true]
    every = 1 if len(ids) < 10 else 10  # of nine dresses: each answer once, in another one each time
    right = [
        line(number, "?", answer, said[of], labels=list(true[of]))
        for number, (of, answer) in enumerate(list(dressed(said))[::every])
    ]
    found = numbers(task, right)
    assert (found["generated_exact_match"], found["generated_parse_rate"], found["generated_macro_f1"]) == (
        1,
        1,
        1,
    )
    turned = [line(n, "?", said[n - 1], said[n], labels=list(true[n])) for n in range(1, len(ids) + 1)]
    wrong = numbers(task, turned)
    assert (wrong["generated_exact_match"], wrong["generated_parse_rate"]) == (0, 1)
