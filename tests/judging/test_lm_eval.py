"""lm-eval in our process: prompts as published, the harness's own numbers, offline, no code of others."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from converters.harness_names import OWN
from eval.judges import judge as judging_module
from eval.lock import lock_differences
from runner.spec.problems import DataError, MachineError, StageError, UsageError
from tests.support.sourced_records import of_source, write_test_records

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lm_eval", reason="needs the eval extra")

from runner.judging import harness  # noqa: E402  # after the skips above
from runner.judging import lm_eval as predictor  # noqa: E402
from runner.judging.walls import raise_walls  # noqa: E402

pytestmark = [
    # The engines warn about their own parts; a warning of ours stays an error.
    pytest.mark.filterwarnings(
        "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub|datasets|lm_eval|sacrebleu|multiprocess)"
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MakeModel = Callable[..., Any]
Judge = Callable[..., dict[str, Any]]

SUBJECT = "anatomy"
ROWS = [
    [f"Which bone number {n},\nof all, is it?", f"bone {n}", "None", "NA", "3", "ABCD"[n % 4]]
    for n in range(7)
]
EXAMPLES = [[f" Example {n}? ", "one", "two", "three", "four", "DCBAA"[n]] for n in range(5)]


def task(**changes: Any) -> dict[str, Any]:
    return {
        "task": "lm_eval",
        "tasks": ["mmlu_anatomy"],
        "few_shot": None,
        "limit": None,
        "batch": 4,
        "chat_template": False,
        "seed": 1234,
        "data": None,
        "include": None,
        "questions": "real",
    } | changes


@pytest.fixture
def mmlu(tmp_path: Path) -> Path:
    """A folder in the published layout, with one subject."""
    folder = tmp_path / "mmlu"
    for split, rows in (("dev", EXAMPLES), ("test", ROWS)):
        (folder / split).mkdir(parents=True)
        with (folder / split / f"{SUBJECT}_{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


def prompt_of(row: list[str], examples: list[list[str]], subject: str) -> str:
    """The published prompt (Hendrycks et al. 2021, evaluate.py), written here by hand."""
    parts = [f"The following are multiple choice questions (with answers) about {subject}.\n\n"]
    for question, a, b, c, d, answer in examples:
        parts.append(f"{question.strip()}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer: {answer}\n\n")
    question, a, b, c, d, _ = row
    parts.append(f"{question.strip()}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer:")
    return "".join(parts)


# ----------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("few_shot", [0, 2, 5])
def test_the_prompt_is_the_published_one(
    make_model: MakeModel, judge: Judge, lines: Callable[[], list[dict[str, Any]]], mmlu: Path, few_shot: int
) -> None:
    make_model(positions=512)
    result = judge(task(data=str(mmlu), few_shot=few_shot))
    found = lines()
    assert [line["prompt"] for line in found] == [
        prompt_of(row, EXAMPLES[:few_shot], SUBJECT) for row in ROWS
    ]
    assert [line["reference"] for line in found] == [row[5] for row in ROWS]
    assert [line["id"] for line in found] == [f"mmlu_anatomy/{n}" for n in range(7)]
    assert result["lock"]["few_shot"] == {"mmlu_anatomy": few_shot}
    assert result["name"] == "mmlu_anatomy"


def test_the_plain_csv_tasks_ask_the_same(real_data: Path) -> None:
    """Prompts of our file over the CSV and of lm-eval's own task over the same rows are the same text."""
    wanted = task(data=str(real_data / "mmlu"), few_shot=5)
    own = harness.load_leaves(wanted | {"tasks": ["mmlu_medical"]})
    plain = harness.load_leaves(wanted | {"tasks": ["mmlu_csv_medical"], "data": str(real_data)})
    assert [leaf.count for leaf in own] == [135, 265, 144, 173, 100, 272]
    for one, other in zip(own, plain, strict=True):
        assert one.name.removeprefix("mmlu_") == other.name.removeprefix("mmlu_csv_")
        for number in range(0, one.count, 8):
            first, second = (leaf.task.eval_docs[number] for leaf in (one, other))
            assert one.task.fewshot_context(first, 5) == other.task.fewshot_context(second, 5)
            assert one.task.doc_to_target(first) == other.task.doc_to_target(second)


def test_real_prompts_are_the_published_ones(real_data: Path) -> None:
    for leaf in harness.load_leaves(task(tasks=["mmlu_medical"], data=str(real_data / "mmlu"), few_shot=5)):
        subject = leaf.name.removeprefix("mmlu_")
        rows, examples = (
            list(
                csv.reader(
                    (real_data / "mmlu" / part / f"{subject}_{part}.csv").open(encoding="utf-8", newline="")
                )
            )
            for part in ("test", "dev")
        )
        assert len(rows) == leaf.count
        for row, doc in list(zip(rows, leaf.task.eval_docs, strict=True))[::4]:
            assert leaf.task.fewshot_context(doc, 5) == prompt_of(row, examples, subject.replace("_", " "))


def test_the_chat_template_is_that_of_the_run(
    make_model: MakeModel, judge: Judge, lines: Callable[[], list[dict[str, Any]]], mmlu: Path
) -> None:
    make_model(positions=512, template="chatml")
    judge(task(data=str(mmlu), few_shot=1, chat_template=True), template="chatml")
    prompt = lines()[0]["prompt"]
    assert prompt.count("<|im_start|>user") == 2
    assert prompt.endswith("<|im_start|>assistant\n")


# ----------------------------------------------------------------------------- the harness's numbers


def test_the_numbers_are_those_of_the_harness(
    make_model: MakeModel, judge: Judge, mmlu: Path, run_dir: Path
) -> None:
    """`simple_evaluate` on the weights in the folder, with our csv task, gives the same accuracy and answers."""
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    make_model(positions=512)
    result = judge(task(data=str(mmlu), few_shot=3))
    theirs = evaluator.simple_evaluate(
        model="hf",
        model_args={"pretrained": "model", "dtype": "float32"},
        tasks=["mmlu_csv_anatomy"],
        num_fewshot=3,
        batch_size=4,
        device="cpu",
        task_manager=TaskManager(include_path=str(OWN), include_defaults=False),
        bootstrap_iters=0,
    )
    stored = [json.loads(text) for text in (run_dir / "eval/tuned/1_lm_eval.jsonl").read_text().splitlines()]
    assert result["metrics"]["acc"]["value"] == theirs["results"]["mmlu_csv_anatomy"]["acc,none"]
    for line, sample in zip(stored, theirs["samples"]["mmlu_csv_anatomy"], strict=True):
        assert line["prompt_sha256"] == sample["prompt_hash"]
        assert line["metrics"]["acc"] == sample["acc"]
        assert line["scores"] == pytest.approx([answer[0] for answer in sample["filtered_resps"]], rel=1e-5)


def test_the_batch_size_does_not_matter(
    make_model: MakeModel, judge: Judge, lines: Callable[[], list[dict[str, Any]]], mmlu: Path
) -> None:
    make_model(positions=512)
    found = []
    for batch in (1, 5):
        judge(task(data=str(mmlu), batch=batch))
        found.append([score for line in lines() for score in line["scores"]])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_result_is_made_again_from_its_lines(
    make_model: MakeModel, judge: Judge, lines: Callable[[], list[dict[str, Any]]], mmlu: Path
) -> None:
    make_model(positions=512)
    wanted = task(data=str(mmlu))
    result = judge(wanted)
    again = judging_module("lm_eval").judged(result["lock"]["task"], lines())  # as `runner verify` does
    assert {key: result[key] for key in again} == again
    assert (
        again["metrics"]["acc"]["value"] == sum(line["answer"] == line["reference"] for line in lines()) / 7
    )


def test_a_prompt_beyond_the_context_is_counted(make_model: MakeModel, judge: Judge, mmlu: Path) -> None:
    make_model(positions=64)
    result = judge(task(data=str(mmlu), few_shot=5))
    assert result["n_cut"] == 7
    assert result["lock"]["context"] == 64


def test_no_seed_of_the_process_is_changed(make_model: MakeModel, judge: Judge, mmlu: Path) -> None:
    make_model(positions=512)
    torch.random.manual_seed(5)
    expected = torch.rand(3)
    torch.random.manual_seed(5)
    judge(task(data=str(mmlu)))
    assert torch.equal(torch.rand(3), expected)


def test_a_killed_stage_goes_on_with_the_next_task(
    make_model: MakeModel, judge: Judge, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(positions=512)
    wanted = task(tasks=["mmlu_anatomy", "mmlu_virology"], questions="invented", limit=4)
    whole = judge(wanted)
    real, asked = predictor._asked, list[str]()

    def counting(model: Any, leaf: Any, given: Any) -> Iterator[dict[str, Any]]:
        asked.append(leaf.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        yield from real(model, leaf, given)

    monkeypatch.setattr(predictor, "_asked", counting)
    with pytest.raises(KeyboardInterrupt):
        judge(wanted)
    assert judge(wanted) == whole
    assert asked == ["mmlu_anatomy", "mmlu_virology", "mmlu_virology"]


# --------------------------------------------------------------------------------------------- lock


def test_the_lock_says_what_must_be_equal(make_model: MakeModel, judge: Judge, mmlu: Path) -> None:
    make_model(positions=512)
    first = judge(task(data=str(mmlu)))["lock"]
    assert first["task_version"] == {"mmlu_anatomy": 1.0}
    assert first["harness"].keys() == {"datasets", "lm_eval"}
    assert first["model"]["sha256"]
    moved = mmlu.rename(mmlu.with_name("elsewhere"))
    assert lock_differences(first, judge(task(data=str(moved)))["lock"]) == ()
    changes = {"few_shot": 2, "batch": 1, "seed": 1, "limit": 3}
    for name, value in changes.items():
        other = judge(task(data=str(moved), **{name: value}))["lock"]
        assert f"task.{name}" in {difference.path for difference in lock_differences(first, other)}
    with (moved / "test" / "anatomy_test.csv").open("a", encoding="utf-8") as file:
        file.write("One more?,a,b,c,d,A\n")
    other = judge(task(data=str(moved)))["lock"]
    assert [d.path for d in lock_differences(first, other)] == ["records.mmlu_anatomy"]


# ------------------------------------------------------------------------------ other kinds of task


def test_our_tasks_read_the_records_of_the_run(make_model: MakeModel, judge: Judge, run_dir: Path) -> None:
    """Each takes those of its own source, also out of a mixture."""
    write_test_records(run_dir, [*of_source("cardio"), *of_source("medquad-2", ("Rest.", "Water."))])
    make_model(positions=256)
    result = judge(task(tasks=["cardio_yes_no"]))
    assert result["n_records"] == 6
    assert [example["reference"] for example in result["examples"]][:2] == ["no", "yes"]
    assert {example["answer"] for example in result["examples"]} <= {"no", "yes"}
    assert any("guessing gives 50.0%" in note for note in result["notes"])
    written = judge(task(tasks=["medquad"], limit=4))
    assert set(written["metrics"]) == {"chrf", "bleu"}
    assert written["examples"][1]["reference"] == "Water."


def test_a_run_without_a_tasks_records_is_not_judged(
    make_model: MakeModel, judge: Judge, run_dir: Path
) -> None:
    write_test_records(run_dir, of_source("cardio"))
    make_model(positions=256)
    with pytest.raises(MachineError, match=r"'medquad'.*no records of 'medquad': .*has 6 of 'cardio'"):
        judge(task(tasks=["medquad"]))


def test_the_chat_form_asks_as_the_run_was_trained(
    make_model: MakeModel, judge: Judge, lines: Callable[[], list[dict[str, Any]]], run_dir: Path
) -> None:
    write_test_records(run_dir, of_source("cardio"))
    make_model(positions=256, template="chatml")
    judge(task(tasks=["cardio_yes_no_chat"], chat_template=True), template="chatml")
    prompt = lines()[0]["prompt"]
    assert prompt.endswith("<|im_start|>user\nAbout cardio 0?<|im_end|>\n<|im_start|>assistant\n")
    assert "Question" not in prompt


@pytest.mark.parametrize(
    ("name", "chat", "says"),
    [
        ("cardio_yes_no", True, "'cardio_yes_no' are whole .*: take cardio_yes_no_chat"),
        ("medquad_chat", False, "'medquad_chat' are bare questions: write chat_template: true"),
    ],
)
def test_a_prompt_is_never_in_two_templates_or_in_none(
    make_model: MakeModel, judge: Judge, name: str, chat: bool, says: str
) -> None:
    make_model()
    with pytest.raises(UsageError, match=says):
        judge(task(tasks=[name], chat_template=chat))


def test_all_of_multimedqa_can_be_rehearsed(make_model: MakeModel, judge: Judge) -> None:
    """The harness renders the invented rows with its own templates and code, so the columns are the right ones."""
    make_model(positions=512)
    result = judge(task(tasks=["multimedqa"], questions="invented", limit=3))
    assert result["n_records"] == 27
    assert not any("left out" in note for note in result["notes"])
    assert {"pubmedqa.acc", "medmcqa.acc_norm", "medqa_4options.acc", "mmlu_anatomy.acc"} <= set(
        result["metrics"]
    )
    assert any("invented" in note for note in result["notes"])


def test_what_cannot_be_invented_is_left_out_and_said(make_model: MakeModel, judge: Judge) -> None:
    make_model(positions=256)
    result = judge(task(tasks=["arc_easy", "mmlu_anatomy"], questions="invented", limit=3))
    assert result["n_records"] == 3
    assert any(note.startswith("arc_easy was left out: no hub in a rehearsal") for note in result["notes"])


def test_a_clone_of_the_hub_is_taken_under_its_id(
    make_model: MakeModel, judge: Judge, tmp_path: Path
) -> None:
    place = tmp_path / "hub" / "GBaker" / "MedQA-USMLE-4-options-hf"
    place.mkdir(parents=True)
    rows = [
        {
            "id": str(n),
            "sent1": f"Case {n}?",
            "sent2": "",
            **{f"ending{k}": f"choice {k}" for k in range(4)},
            "label": n % 4,
        }
        for n in range(6)
    ]
    for split in ("train", "validation", "test"):
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    make_model(positions=256)
    result = judge(task(tasks=["medqa_4options"], data=str(tmp_path / "hub")))
    assert result["n_records"] == 6
    assert "Case 0?" in result["examples"][0]["prompt"]


def test_an_adapter_is_judged_and_differs(
    make_model: MakeModel, judge: Judge, mmlu: Path, run_dir: Path
) -> None:
    peft = pytest.importorskip("peft", reason="needs the train extra")
    model = make_model(positions=512)
    base = judge(task(data=str(mmlu)))
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator))
    adapted.save_pretrained(run_dir / "adapter")
    before = (run_dir / "eval/tuned/1_lm_eval.jsonl").read_text()
    tuned = judge(task(data=str(mmlu)), adapter="adapter")
    assert tuned["lock"]["adapter"]["largest_logit_change"] > 0
    assert lock_differences(base["lock"], tuned["lock"]) == ()
    assert (run_dir / "eval/tuned/1_lm_eval.jsonl").read_text() != before


# -------------------------------------------------------------------------------------- wrong input


def own_tasks(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return folder


OWN_TASK = """\
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: mine.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_choice: ["no", "yes"]
doc_to_target: "{{a}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def test_a_folder_of_ones_own(make_model: MakeModel, judge: Judge, tmp_path: Path) -> None:
    folder = own_tasks(tmp_path / "mine", OWN_TASK)
    (folder / "mine.jsonl").write_text(
        "".join(json.dumps({"q": f"Is {n}?", "a": n % 2}) + "\n" for n in range(5))
    )
    make_model()
    assert judge(task(tasks=["mine"], include=str(folder), data=str(folder)))["n_records"] == 5
    with pytest.raises(UsageError, match=r"no task 'mime'\n  nearest: mine"):
        judge(task(tasks=["mime"], include=str(folder)))


def test_a_task_file_that_runs_code_is_refused(make_model: MakeModel, judge: Judge, tmp_path: Path) -> None:
    folder = own_tasks(tmp_path / "mine", OWN_TASK.replace('"{{q}}"', "!function evil.f"))
    (folder / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\nf = str\n"
    )
    make_model()
    with pytest.raises(
        UsageError, match=r"mine\.yaml:6:14: this task file would run code: !function evil\.f"
    ):
        judge(task(tasks=["mine"], include=str(folder)))
    assert not (tmp_path / "ran").exists()


def test_code_behind_an_include_is_refused(make_model: MakeModel, judge: Judge, tmp_path: Path) -> None:
    folder = own_tasks(tmp_path / "mine", "include: base.txt\n" + OWN_TASK)
    (folder / "base.txt").write_text("process_docs: !function evil.f\n")
    make_model()
    with pytest.raises(UsageError, match=r"base\.txt:1:15: this task file would run code"):
        judge(task(tasks=["mine"], include=str(folder)))


def hidden_call(place: Path) -> str:
    """A template that makes a file by `os.system`; its names are spelt in a way that no search for letters finds."""
    dunder = r"\x5f\x5f"
    return (
        f"{{% set g = cycler['{dunder}init{dunder}']['{dunder}globals{dunder}'] %}}"
        f"{{{{ g['os']['system']('touch {place}') }}}}"
    )


def test_the_attack_of_the_next_test_is_one(tmp_path: Path) -> None:
    """In Jinja without a sandbox, as lm-eval makes it, the template runs a program."""
    from jinja2 import Environment

    Environment().from_string(hidden_call(tmp_path / "ran")).render()
    assert (tmp_path / "ran").exists()


def one_question(folder: Path, tasks: dict[str, str]) -> dict[str, Any]:
    """Write task files, each like `OWN_TASK` but for one line, and return the task of a spec that asks for all."""
    folder.mkdir()
    (folder / "mine.jsonl").write_text(json.dumps({"q": "Is it?", "a": 1}) + "\n")
    for name, line in tasks.items():
        kept = [text for text in OWN_TASK.splitlines() if not text.startswith(line.partition(":")[0])]
        text = "\n".join([*kept, line]).replace("task: mine", f"task: {name}")
        (folder / f"{name}.yaml").write_text(text + "\n", encoding="utf-8")
    return task(tasks=list(tasks), include=str(folder), data=str(folder))


KEYS = ("doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix")
BROKEN = {
    "typed": ("process_docs: some text", "lm-eval cannot make a task of 'typed': TypeError"),
    "undefined": (
        "doc_to_text: '{{ gone }}'",
        "template of 'undefined' cannot be rendered: 'gone' is undefined",
    ),
    "unended": ("doc_to_text: '{{ q'", "template of 'unended' cannot be rendered: unexpected end"),
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tasks that attack and tasks that do not work in one folder: the harness takes seconds to read its own again."""
    folder = tmp_path_factory.mktemp("foreign")
    hidden = json.dumps(hidden_call(folder / "ran"))
    attacks = {f"with_{key}": f"{key}: {hidden}" for key in KEYS}
    return one_question(folder / "tasks", attacks | {name: line for name, (line, _) in BROKEN.items()})


def test_a_template_reaches_nothing_whatever_it_is_spelt_like(
    make_model: MakeModel, judge: Judge, foreign: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check before the run looks at templates too, and is taken away here: the sandbox alone holds."""
    with pytest.raises(UsageError, match=r"\.yaml:\d+:\d+: this task file would run code: a template"):
        harness.load_leaves(foreign)
    monkeypatch.setattr(harness, "refuse_code", lambda folder: None)
    for key in KEYS[:3]:  # rendered for a first question while the task is made
        with pytest.raises(
            UsageError, match=f"a template of 'with_{key}' reaches for what no template may have"
        ):
            harness.load_leaves(foreign | {"tasks": [f"with_{key}"]})
    make_model()
    for key in KEYS[3:]:
        with pytest.raises(
            UsageError, match=f"a template of 'with_{key}' reaches for what no template may have"
        ):
            judge(foreign | {"tasks": [f"with_{key}"]})
    assert not Path(foreign["include"]).with_name("ran").exists()


@pytest.mark.parametrize("name", BROKEN)
def test_a_task_that_does_not_work_is_one_line(
    foreign: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "refuse_code", lambda folder: None)  # it finds what the other test is about
    with pytest.raises(UsageError, match=BROKEN[name][1]):
        harness.load_leaves(foreign | {"tasks": [name]})


def test_a_template_calls_no_method_that_writes(tmp_path: Path) -> None:
    """A question may hold a picture or an array; `save` and `tofile` write anywhere."""
    import numpy as np
    from jinja2.exceptions import SecurityError
    from lm_eval import utils
    from PIL import Image

    raise_walls()
    question = {"image": Image.new("L", (1, 1)), "numbers": np.zeros(3), "number": np.float64(1)}
    for call in ("image.save", "numbers.tofile", "number.tofile"):
        with pytest.raises(SecurityError, match=r"attribute '(save|tofile)'"):
            utils.apply_template(f"{{{{ {call}('{tmp_path / 'ran.png'}') }}}}", question)
    assert not list(tmp_path.iterdir())
    text = "{% for w in words %}{{ loop.index }}{{ w.upper() | regex_replace('A', 'b') }} {% endfor %}"
    assert utils.apply_template(text, {"words": ["a", "c"]}) == "1b 2C "


def test_a_tag_that_the_check_did_not_see_makes_no_object(tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    tag = f"x: !!python/object/apply:os.system ['touch {tmp_path}/ran']"
    wanted = one_question(tmp_path / "mine", {"tagged": tag})
    raise_walls()
    with pytest.raises(yaml.constructor.ConstructorError, match="could not determine a constructor"):
        TaskManager(include_path=wanted["include"], include_defaults=False)
    assert not (tmp_path / "ran").exists()


def test_all_templates_of_lm_eval_are_read_by_the_sandbox() -> None:
    """None of them changes a list, which the sandbox would not let it."""
    import lm_eval

    changing = re.compile(r"\.(append|pop|insert|update|extend|remove|sort|clear|setdefault|reverse|add)\(")
    files = sorted(Path(lm_eval.__file__).parent.joinpath("tasks").rglob("*.yaml"))
    assert len(files) > 1000
    for file in files[::7]:
        text = file.read_text(encoding="utf-8")
        assert not ("{{" in text and changing.search(text)), file


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"few_shot": 6}, UsageError, "few_shot 6, but 'mmlu_anatomy' has 5 examples"),
        (
            {"tasks": ["mmlu_virology"]},
            MachineError,
            r"no questions for 'mmlu_virology': looked for .*virology_test.csv",
        ),
        ({"tasks": ["arc_easy"]}, MachineError, "no questions for 'arc_easy': looked for .*allenai/ai2_arc"),
        ({"include": "nowhere"}, MachineError, "no folder of task files at nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(
    make_model: MakeModel, judge: Judge, mmlu: Path, changes: dict[str, Any], kind: type[Exception], says: str
) -> None:
    make_model()
    with pytest.raises(kind, match=says):
        judge(task(data=str(mmlu)) | changes)


def test_a_damaged_file_of_questions_is_said_with_its_line(
    make_model: MakeModel, judge: Judge, mmlu: Path
) -> None:
    (mmlu / "test" / "anatomy_test.csv").write_text("q,1,2,3,4,A\nq,1,2\n")
    make_model()
    with pytest.raises(DataError, match=r"anatomy_test\.csv:2: expected a question"):
        judge(task(data=str(mmlu)))


def test_no_hub_and_no_folder_is_one_clear_error(
    make_model: MakeModel, judge: Judge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    make_model()
    with pytest.raises(
        MachineError,
        match=r"the questions of 'mmlu_anatomy' \(cais/mmlu\) cannot be loaded(?s:.*)give `data`",
    ):
        judge(task())


def test_weights_that_are_no_number_are_an_error(
    make_model: MakeModel, judge: Judge, mmlu: Path, run_dir: Path
) -> None:
    model = make_model(positions=512)
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    model.save_pretrained(run_dir / "model")
    with pytest.raises(StageError, match="mmlu_anatomy/0: the log likelihoods of the answers are"):
        judge(task(data=str(mmlu)))


def test_no_room_for_the_question_is_an_error(make_model: MakeModel, judge: Judge, run_dir: Path) -> None:
    write_test_records(run_dir, of_source("medquad"))
    make_model(positions=64)
    with pytest.raises(
        StageError, match="'medquad' lets the model write 128 tokens, and the model holds 64 in all"
    ):
        judge(task(tasks=["medquad"]))
