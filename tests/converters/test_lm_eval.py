"""Tasks of lm-eval: its arguments, its data sets' columns, its names, and code in task files."""

from __future__ import annotations

import inspect
from pathlib import Path, PurePath

import pytest

from converters.harness_names import OWN, harness_names, installed_names
from converters.lm_eval import (
    BY_RULE,
    FIELDS,
    METRICS,
    MMLU,
    NOT_OURS,
    QuestionsError,
    below,
    code_in,
    included,
    invented,
    mmlu_rows,
    names_in,
    to_lm_eval,
)
from runner.spec.tasks import LmEvalTask


def test_no_key_of_the_task_is_forgotten() -> None:
    assert set(LmEvalTask.model_fields) == {name for name, _ in FIELDS} | BY_RULE | NOT_OURS.keys()


def test_the_arguments_by_hand() -> None:
    task = LmEvalTask(task="lm_eval", tasks=("mmlu_anatomy", "pubmedqa"), few_shot=5, seed=7)
    assert to_lm_eval(task) == {
        "tasks": ["mmlu_anatomy", "pubmedqa"],
        "num_fewshot": 5,
        "batch_size": 8,
        "apply_chat_template": False,
        "random_seed": 7,
        "numpy_random_seed": 7,
        "torch_random_seed": 7,
        "fewshot_random_seed": 7,
    }


@pytest.mark.filterwarnings("ignore::Warning")
def test_the_harness_has_these_arguments() -> None:
    evaluator = pytest.importorskip("lm_eval.evaluator", reason="needs the eval extra")
    known = inspect.signature(evaluator.simple_evaluate).parameters
    task = LmEvalTask(task="lm_eval", tasks=("a",), few_shot=1, limit=2)
    assert set(to_lm_eval(task)) <= set(known)


# ---------------------------------------------------------------------------------------- questions


def test_a_csv_row_becomes_a_row_of_the_hub() -> None:
    lines = ['"Is it ""this"",\n', 'or →?",None,NA,1,"a, b",B\n']
    assert mmlu_rows(lines, "anatomy", "x.csv") == [
        {
            "question": 'Is it "this",\nor →?',
            "subject": "anatomy",
            "choices": ["None", "NA", "1", "a, b"],
            "answer": 1,
        }
    ]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "x.csv: no question"),
        (["q,1,2,3,4,A\n", "q,1,2,3,A\n"], "x.csv:2: expected a question, four choices .* got 5 fields"),
        (["question,A,B,C,D,answer\n"], "x.csv:1: .* the last 'answer'"),
        (["q,1,2,3,4,\n"], "x.csv:1: .* the last ''"),
        (["q,1,2,3,4,E\n"], "the last 'E'"),
        (['"q,1,2,3,4,A\n'], "x.csv:1: unexpected end of data"),
    ],
)
def test_a_damaged_csv_is_said_with_its_line(lines: list[str], says: str) -> None:
    with pytest.raises(QuestionsError, match=says):
        mmlu_rows(lines, "anatomy", "x.csv")


def test_every_real_question_is_read(real_data: Path) -> None:
    """The counts are those published (SOURCE.md of the data)."""
    counts = {}
    for file in sorted((real_data / "mmlu" / "test").glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as lines:
            counts[file.name.removesuffix("_test.csv")] = len(mmlu_rows(list(lines), "x", str(file)))
    assert counts == {
        "abstract_algebra": 100,
        "anatomy": 135,
        "clinical_knowledge": 265,
        "college_biology": 144,
        "college_medicine": 173,
        "medical_genetics": 100,
        "philosophy": 311,
        "professional_medicine": 272,
    }


def test_relative_files_are_below_the_folder() -> None:
    files = {"train": ["a.json", "/b.json"], "test": "hf://datasets/x/c.json"}
    assert below(PurePath("/data"), files) == {
        "train": ["/data/a.json", "/b.json"],
        "test": "hf://datasets/x/c.json",
    }


@pytest.mark.parametrize("dataset", [MMLU, "medmcqa", "GBaker/MedQA-USMLE-4-options-hf", "bigbio/pubmed_qa"])
def test_invented_questions_are_the_same_for_the_same_seed(dataset: str) -> None:
    rows = invented(dataset, "anatomy", 20, 1)
    assert rows is not None
    assert len(rows) == 20
    assert rows == invented(dataset, "anatomy", 20, 1)
    assert rows != invented(dataset, "anatomy", 20, 2)
    assert len({str(row) for row in rows}) == 20


def test_an_invented_question_has_its_answer() -> None:
    for row in invented(MMLU, "anatomy", 50, 0) or []:
        assert f"'{row['choices'][row['answer']]}'" in row["question"]
        assert len(set(row["choices"])) == 4


def test_nothing_is_invented_for_a_data_set_that_is_not_known() -> None:
    assert invented("allenai/ai2_arc", None, 5, 0) is None


# ------------------------------------------------------------------------------------------- names


@pytest.mark.filterwarnings("ignore::Warning")
def test_the_names_are_those_of_the_installed_harness() -> None:
    pytest.importorskip("lm_eval", reason="needs the eval extra")
    now = set(installed_names())
    stored = set(harness_names())
    advice = "write them with `python -m converters.harness_names`"
    assert now == stored, f"{advice}; new: {sorted(now - stored)[:5]}, gone: {sorted(stored - now)[:5]}"


def test_the_medical_tasks_are_known() -> None:
    assert {
        "multimedqa",
        "mmlu",
        "mmlu_anatomy",
        "medquad",
        "medquad_chat",
        "cardio_yes_no",
        "cardio_yes_no_chat",
        "mmlu_medical",
    } <= harness_names()


# ------------------------------------------------------------------------------------ code in files


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("task: a\ndoc_to_text: !function utils.f\n", 2, 14, "!function utils.f"),
        ("task: a\nx: [1, {y: !function u.f}]\n", 2, 12, "!function u.f"),
        ("task: !!python/object/apply:os.system [ls]\n", 1, 7, "!!python/object/apply:os.system"),
        ("? !function u.f\n: 1\n", 1, 3, "!function u.f"),
        ("doc_to_text: '{{x.__class__}}'\n", 1, 14, "a template that reaches into Python"),
        ("doc_to_text: '{{x | attr (\"y\")}}'\n", 1, 14, "a template that reaches into Python"),
        (
            r"""doc_to_text: "{{ cycler['\\x5f\\x5finit\\x5f\\x5f'] }}" """,
            1,
            14,
            "a template that reaches into Python",
        ),
        ("a: &x !other y\nb: *x\n", 1, 4, "!other y"),
        ("class: x.Y\n", 1, 8, "class, a Python class"),
        ("metric_list: [{metric: /tmp/evil.py}]\n", 1, 24, "metric '/tmp/evil.py', a program"),
        ("metric_list: [{metric: someone/metric}]\n", 1, 24, "metric 'someone/metric', a program"),
        ("metric_list: [{metric: acc, hf_evaluate: true}]\n", 1, 42, "hf_evaluate: true"),
        ("dataset_path: pandas\n", 1, 15, "dataset_path 'pandas'; allowed: arrow, csv"),
        ("dataset_path: ./data/evil.py\n", 1, 15, "dataset_path './data/evil.py'"),
        ("dataset_kwargs: {trust_remote_code: true}\n", 1, 37, "trust_remote_code: true"),
        ("generation_kwargs: {custom_generate: /tmp/evil}\n", 1, 20, "generation_kwargs.custom_generate"),
        ("x: &x {custom_generate: e}\ngeneration_kwargs: {<<: *x}\n", 2, 20, "generation_kwargs.<<"),
        ("group: g\ntask: [{task: a, include: b.yaml}]\n", 2, 27, "include, which stands at the top"),
        ("<<: {include: b.yaml}\n", 1, 15, "include, which stands at the top"),
    ],
)
def test_code_is_found_with_its_place(text: str, line: int, column: int, what: str) -> None:
    (found,) = code_in(text)
    assert (found.line, found.column) == (line, column)
    assert found.what.startswith(what)


def test_our_own_task_files_run_nothing_but_what_finds_records() -> None:
    files = sorted(OWN.glob("*.yaml"))
    assert len(files) > 5
    for file in files:
        found = {code.what for code in code_in(file.read_text(encoding="utf-8"))}
        assert found <= {"!function records.found", "!function records.records"}, file


def test_a_task_file_without_code_has_none() -> None:
    text = """\
task: a
include: [b.yaml]
dataset_path: owner/name
dataset_kwargs: {trust_remote_code: false}
generation_kwargs: {until: ["\\n"], max_gen_toks: 4, do_sample: false}
doc_to_text: "Fill in: ____ {{ q | trim }} {% if x['y'] %}{{ 'a_b'.split('_') }}{% endif %}"
filter_list: [{name: f, filter: [{function: regex, regex_pattern: '(\\d{2,3}){%'}]}]
metric_list: [{metric: exact_match, aggregation: mean, ignore_case: true}]
"""
    assert list(code_in(text)) == []


def test_the_metrics_are_all_that_the_harness_has() -> None:
    pytest.importorskip("lm_eval", reason="needs the eval extra")
    import lm_eval.api.metrics
    from lm_eval.api.registry import metric_registry

    assert lm_eval.api.metrics
    assert sorted(metric_registry) == sorted(METRICS)


def test_code_in_a_cycle_of_aliases_is_found_and_ends() -> None:
    assert [code.what for code in code_in("a: &a [*a, !function f.g]")] == ["!function f.g"]


def test_what_a_file_includes_and_names() -> None:
    assert included("include: base.yaml\ntask: a\n") == ("base.yaml",)
    assert included("include: [a.yaml, b.yaml]\n") == ("a.yaml", "b.yaml")
    assert names_in("group: g\ntask:\n  - a\n  - {task: b, task_alias: c}\n") == ("g",)
    assert names_in("") == ()
