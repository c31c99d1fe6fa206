"""The plain `lm_eval` command with our task files: a process of its own, offline, without `runner`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters.harness_names import OWN
from converters.templates import jinja_of
from eval.tasks.records import found, records
from tests.support.sourced_records import of_source, write_test_records

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lm_eval", reason="needs the eval extra")

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub|datasets|lm_eval)"
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MakeModel = Callable[..., Any]
PATIENT = {"role": "user", "content": "About cardio 0?"}
FILES = {"test": "data/test.jsonl"}


def command(cwd: Path, tasks: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as someone types it, with the hub shut off and an empty cache."""
    program = Path(sys.executable).with_name("lm_eval")
    if not program.exists():
        pytest.skip(f"no {program}")
    return subprocess.run(
        [
            *(str(program), "--model", "hf", "--device", "cpu", "--include_path", str(OWN), "--tasks", tasks),
            *("--limit", "3", "--output_path", "out", "--log_samples", *words),
        ],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "hf"), "OMP_NUM_THREADS": "1"},
        check=False,
    )


def judged(cwd: Path, tasks: str, *words: str) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the command's results, and what it asked of each task."""
    done = command(cwd, tasks, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (cwd / "out").rglob("results_*.json")
    samples = {
        name: [
            json.loads(line)
            for path in file.parent.glob(f"samples_{name}_2*.jsonl")
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        for name in tasks.split(",")
    }
    return json.loads(file.read_text())["results"], samples


def asked(sample: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return what the model was given: prompt and answer, or prompt and how to write on."""
    return [(given["arg_0"], given["arg_1"]) for given in sample["arguments"].values()]


def give_template(folder: Path, text: str | None) -> Any:
    """Put a chat template beside weights, as training does, and return the tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = text
    tokenizer.save_pretrained(folder)
    return tokenizer


def trained(run_dir: Path, source: str) -> Path:
    """Make the run of the model in `run_dir`, tuned with `template: question_answer`; return its weights."""
    give_template(run_dir / "model", jinja_of("question_answer"))
    (run_dir / "plan.json").write_text("{}")
    (run_dir / "train").mkdir()
    (run_dir / "model").rename(run_dir / "train" / "final")
    write_test_records(run_dir, of_source(source))
    return run_dir / "train" / "final"


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has nothing to do with the run."""
    return tmp_path_factory.mktemp("elsewhere")


def test_the_records_of_the_run_are_found_from_anywhere(
    make_model: MakeModel, run_dir: Path, elsewhere: Path
) -> None:
    """Each task takes its own records; those of the other lie in another run."""
    make_model(positions=256)
    weights = trained(run_dir, "medquad")
    write_test_records(elsewhere / "other", of_source("cardio"))
    results, samples = judged(
        elsewhere,
        "medquad,cardio_yes_no",
        *("--model_args", f"pretrained={weights}"),
        *("--metadata", json.dumps({"cardio": "other"})),
    )
    assert "chrf,none" in results["medquad"]
    assert 0 <= results["cardio_yes_no"]["acc,none"] <= 1
    assert {sample["doc"]["id"][:-1] for sample in samples["medquad"]} == {"medquad"}
    assert {sample["doc"]["id"][:-1] for sample in samples["cardio_yes_no"]} == {"cardio"}
    ((written, _),) = asked(samples["medquad"][0])
    assert written == "<|begin_of_text|>Question: About medquad 0?\nAnswer:"
    chosen = "<|begin_of_text|>Question: About cardio 0?\nAnswer:"
    assert asked(samples["cardio_yes_no"][0]) == [(chosen, " no"), (chosen, " yes")]


def test_a_run_without_a_tasks_records_is_said(make_model: MakeModel, run_dir: Path, elsewhere: Path) -> None:
    """Nothing is judged in their place, and the last words say what was found and what to type."""
    make_model(positions=256)
    weights = trained(run_dir, "cardio")
    done = command(elsewhere, "medquad,cardio_yes_no", "--model_args", f"pretrained={weights}")
    assert done.returncode != 0
    first, advice = done.stderr.strip().splitlines()[-2:]
    assert first == (
        f"FileNotFoundError: no records of 'medquad': {run_dir}/data/test.jsonl has 6 of 'cardio'; "
        f"no {elsewhere}/data/test.jsonl"
    )
    assert """--metadata '{"medquad": "/its/directory"}'""" in advice
    assert not (elsewhere / "out").exists()


def test_an_adapter_is_asked_in_the_template_of_its_training(make_model: MakeModel, run_dir: Path) -> None:
    """The base was tuned on nothing with a template; the adapter's folder has that of its training."""
    peft = pytest.importorskip("peft", reason="needs the extra `train`")
    from transformers import AutoTokenizer

    model = make_model(positions=128, template="chatml")
    tokenizer = AutoTokenizer.from_pretrained(run_dir / "model")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model, config).save_pretrained(run_dir / "adapter")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(run_dir / "adapter")
    write_test_records(run_dir, of_source("cardio"))
    results, samples = judged(run_dir, "cardio_yes_no", "--model_args", "pretrained=model,peft=adapter")
    assert 0 <= results["cardio_yes_no"]["acc,none"] <= 1
    prompt = "<|im_start|>user\nAbout cardio 0?<|im_end|>\n<|im_start|>assistant\n"
    assert prompt == tokenizer.apply_chat_template([PATIENT], tokenize=False, add_generation_prompt=True)
    assert asked(samples["cardio_yes_no"][0]) == [(prompt, "no"), (prompt, "yes")]


def test_the_chat_form_is_a_chat_of_the_bare_question(make_model: MakeModel, run_dir: Path) -> None:
    make_model(positions=128, template="chatml")
    tokenizer = give_template(run_dir / "model", CHATML)
    write_test_records(run_dir, of_source("cardio"))
    words = ("--model_args", "pretrained=model", "--apply_chat_template")
    _, samples = judged(run_dir, "cardio_yes_no_chat", *words)
    prompt = tokenizer.apply_chat_template([PATIENT], tokenize=False, add_generation_prompt=True)
    assert asked(samples["cardio_yes_no_chat"][0]) == [(prompt, "no"), (prompt, "yes")]


def test_mmlu_as_published_lies_below_a_folder(make_model: MakeModel, run_dir: Path) -> None:
    make_model(positions=512)
    for split in ("dev", "test"):
        (run_dir / "mmlu" / split).mkdir(parents=True)
        rows = "".join(f"Which is {n}?,a,None,NA,d,B\n" for n in range(5))
        (run_dir / "mmlu" / split / f"anatomy_{split}.csv").write_text(rows)
    results, _ = judged(
        run_dir,
        "mmlu_csv_anatomy",
        *("--model_args", "pretrained=model", "--metadata", json.dumps({"folder": str(run_dir)})),
    )
    assert 0 <= results["mmlu_csv_anatomy"]["acc,none"] <= 1


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


# ------------------------------------------------------------------------------ where and what, alone


def test_files_that_are_nowhere_name_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"no data/test\.jsonl: looked below /no/folder, \.\n.*metadata"
    ):
        found(FILES, folder="/no/folder", pretrained="some/hub-id")


def test_a_file_of_another_source_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_test_records(tmp_path / "given", of_source("cardio"))
    write_test_records(tmp_path, of_source("medquad", count=2))
    rows = records(FILES, sources=["medquad"], folder="given")["test"]
    assert rows["id"][:] == ["medquad0", "medquad1"]


def test_a_named_place_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever says where the records are does not get others."""
    monkeypatch.chdir(tmp_path)
    write_test_records(tmp_path, of_source("medquad"))
    write_test_records(tmp_path / "named", [*of_source("cardio"), *of_source("uci_heart", count=1)])
    with pytest.raises(
        FileNotFoundError, match=r"named/data/test.jsonl has 6 of 'cardio', 1 of 'uci_heart'\n"
    ):
        records(FILES, sources=["medquad"], medquad="named")
    named = records(FILES, sources=["medquad"], medquad="data/test.jsonl")["test"]
    assert len(named) == 6


def test_without_sources_every_record_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_test_records(tmp_path, [*of_source("mine"), *of_source("")])
    assert len(records(FILES)["test"]) == 12


def test_a_prompt_without_a_template_is_question_and_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (record,) = of_source("cardio", count=1)
    record["messages"].insert(0, {"role": "system", "content": "Be brief. "})
    write_test_records(tmp_path, [record])
    (row,) = records(FILES, answers=["no", "yes"])["test"]
    assert row["prompt"] == "Be brief.\n\nQuestion: About cardio 0?\nAnswer:"
    assert (row["choices"], row["reference"]) == ([" no", " yes"], "no")
    with pytest.raises(ValueError, match=r"test.jsonl:1: 2 turns before the answer"):
        records(FILES, bare=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", r"test.jsonl:2: not JSON"),
        ("[]", r"test.jsonl:2: expected an object, got '\[\]'"),
        ('{"messages": []}', "test.jsonl:2: expected `messages`"),
        ('{"messages": [{"role": "user"}, 1]}', "test.jsonl:2: expected a message with role and content"),
        (
            '{"messages": [{"role": "user", "content": "?"}, {"role": "user", "content": "!"}]}',
            "test.jsonl:2: the last message is no answer",
        ),
        (
            '{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "maybe"}]}',
            "test.jsonl:2: the answer 'maybe' is none of no, yes",
        ),
    ],
)
def test_a_damaged_record_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_test_records(tmp_path, of_source("cardio", count=1))
    with (tmp_path / "data/test.jsonl").open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    with pytest.raises(ValueError, match=says):
        records(FILES, answers=["no", "yes"])
