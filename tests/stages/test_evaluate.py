"""Held-out loss of a small model: against plain torch, any batch size, adapters proven, NaN refused."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.lock import LOCK, lock_differences
from eval.perplexity import METRICS
from runner.events import EventWriter, read_events
from runner.spec.problems import DataError, MachineError, StageError
from runner.tokens import load_tokenizer, rows_of, template_of

torch = pytest.importorskip("torch", reason="needs the train extra")
transformers = pytest.importorskip("transformers", reason="needs the train extra")
peft = pytest.importorskip("peft", reason="needs the train extra")

from runner.judging import perplexity  # noqa: E402
from runner.stages import evaluate as stage  # noqa: E402  # after the skips above
from runner.tiny import architectures, tokenizer  # noqa: E402

# The engines warn about their own parts; a warning of ours stays an error.
pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub)"
)


def record(number: int) -> dict[str, Any]:
    answer = f"Fever of {36 + number % 6} °C, pain and naïve cells. " * (1 + number % 5)
    return {
        "id": f"r{number}",
        "messages": [
            {"role": "user", "content": f"What are the symptoms of disease {number} ?"},
            {"role": "assistant", "content": answer.strip()},
        ],
        "group": f"g{number % 6}",
        "question": "",
        "focus": None,
        "source": "test",
    }


RECORDS = [record(number) for number in range(19)]


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    text = "".join(json.dumps(record) + "\n" for record in RECORDS)
    for split in ("validation", "test"):
        (tmp_path / "data" / f"{split}.jsonl").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make_model(run_dir: Path) -> Callable[[str], Any]:
    """Return a function that writes a small model of an architecture to `model/` and returns it."""

    def make(architecture: str = "llama") -> Any:
        texts = [message["content"] for record in RECORDS for message in record["messages"]]
        words, _ = tokenizer.train(texts, architecture, "question_answer")
        model = architectures.build(architecture, words, 128, seed=1)
        model.save_pretrained(run_dir / "model")
        words.save_pretrained(run_dir / "model")
        return model

    return make


@pytest.fixture
def judge(run_dir: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that runs the stage with changed settings and returns its first result."""

    def run(*, batch: int = 8, records: int | None = None, **changes: Any) -> dict[str, Any]:
        settings = default_settings() | changes
        settings["tasks"] = [{"task": "perplexity", "split": "test", "records": records, "batch": batch}]
        stage.evaluate(settings, EventWriter(run_dir / "events.jsonl", "evaluate"))
        result: dict[str, Any] = json.loads((run_dir / "eval" / "tuned.json").read_text(encoding="utf-8"))
        return {**result["results"][0], "adapter": result["adapter"]}

    return run


def default_settings() -> dict[str, Any]:
    return {
        "model": "model",
        "revision": None,
        "adapter": None,
        "tokenizer": None,
        "template": "question_answer",
        "context": 64,
        "end_tokens": [],
        "tasks": [],
        "device": "cpu",
        "precision": "fp32",
        "attention": "sdpa",
        "out": "eval/tuned.json",
        "trust_remote_code": False,
        "images": False,
        "trained_on": None,
    }


def lines(run_dir: Path) -> list[dict[str, Any]]:
    text = (run_dir / "eval" / "tuned" / "1_perplexity.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_one_record_against_plain_torch(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path
) -> None:
    """Ids, labels and sums made here, token by token, without any of our own code."""
    model = make_model()
    result = judge(records=1)
    words = load_tokenizer("model")
    question, answer = (message["content"] for message in RECORDS[0]["messages"])
    prompt = words.encode(f"{words.bos_token}Question: {question}\nAnswer:", add_special_tokens=False)
    ids = words.encode(f"{words.bos_token}Question: {question}\nAnswer: {answer}", add_special_tokens=False)
    ids = [*ids, words.eos_token_id]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    nll, correct, entropy = 0.0, 0, 0.0
    for place in range(len(prompt), len(ids)):
        p = torch.softmax(logits[place - 1], dim=0)
        nll -= math.log(p[ids[place]].item())
        correct += int(p.argmax().item() == ids[place])
        entropy -= sum(float(q * q.log()) for q in p)
    count = len(ids) - len(prompt)
    (line,) = lines(run_dir)
    assert line["id"] == "r0"
    assert line["label_tokens"] == count
    assert line["answer_bytes"] == len(answer.encode())
    assert line["correct"] == correct
    assert line["nll"] == pytest.approx(nll, rel=1e-5)
    assert line["entropy"] == pytest.approx(entropy, rel=1e-5)
    metrics = {name: value["value"] for name, value in result["metrics"].items()}
    assert metrics["loss"] == pytest.approx(nll / count, rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(nll / count), rel=1e-5)
    assert metrics["bits_per_byte"] == pytest.approx(nll / math.log(2) / len(answer.encode()), rel=1e-5)
    assert (result["n_records"], result["n_groups"]) == (1, 1)
    assert result["metrics"]["loss"]["low"] is None


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3_text", "qwen3"])
def test_the_batch_size_does_not_matter(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path, architecture: str
) -> None:
    make_model(architecture)
    one = judge(batch=1)
    alone = lines(run_dir)
    eight = judge(batch=8)
    together = lines(run_dir)
    assert [line["id"] for line in together] == [record["id"] for record in RECORDS]
    assert [line["nll"] for line in together] == pytest.approx([line["nll"] for line in alone], rel=1e-5)
    for name in METRICS:
        assert eight["metrics"][name]["value"] == pytest.approx(
            one["metrics"][name]["value"], abs=1e-5, rel=1e-5
        )


def test_every_number_can_be_computed_from_the_records(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path
) -> None:
    make_model()
    result = judge()
    found = lines(run_dir)
    nll, tokens = (sum(line[key] for line in found) for key in ("nll", "label_tokens"))
    loss = result["metrics"]["loss"]
    assert loss["value"] == pytest.approx(nll / tokens)
    assert loss["low"] < loss["value"] < loss["high"]
    assert result["label_tokens"] == tokens
    assert result["answer_bytes"] == sum(line["answer_bytes"] for line in found)
    assert (result["task"], result["split"]) == ("perplexity", "test")
    assert (result["n_records"], result["n_groups"], result["n_without_answer"]) == (19, 6, 0)
    assert result["n_cut"] > 0
    assert "bootstrap over 6 whole groups of 19 records, 2000 draws, seed 0" in result["method"]
    assert "only 6 groups" in result["narrow"]
    assert set(result["lock"]["versions"]) >= {"torch", "transformers", "numpy"}
    (event,) = [event for event in read_events(run_dir / "events.jsonl") if event["event"] == "result"]
    assert event["metrics"] == {name: result["metrics"][name]["value"] for name in METRICS}


def test_a_random_model_knows_nothing(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]]
) -> None:
    """Its loss is near the logarithm of its vocabulary."""
    vocabulary = make_model().config.vocab_size
    assert judge()["metrics"]["loss"]["value"] == pytest.approx(math.log(vocabulary), rel=0.02)


def test_twice_gives_the_same_bytes(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path
) -> None:
    make_model()
    judge()
    first = {path: path.read_bytes() for path in (run_dir / "eval").rglob("*.*")}
    judge()
    assert {path: path.read_bytes() for path in (run_dir / "eval").rglob("*.*")} == first
    assert [path.name for path in first] == ["tuned.json", "1_perplexity.jsonl"]


def test_a_killed_stage_goes_on_where_it_ended(
    make_model: Callable[..., Any],
    judge: Callable[..., dict[str, Any]],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nine records are judged twice over: none a second time, and the result is that of one go."""
    make_model()
    whole = judge(batch=3)
    asked: list[int] = []
    real = perplexity.score_rows

    def counting(model: Any, rows: Any, look: Any) -> Any:
        asked.append(len(rows))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return real(model, rows, look)

    monkeypatch.setattr(perplexity, "score_rows", counting)
    with pytest.raises(KeyboardInterrupt):
        judge(batch=3)
    partial = run_dir / "eval" / "tuned" / "1_perplexity.partial"
    partial.write_text(partial.read_text() + '{"id": "r3", "nl')  # the write that the kill cut off
    assert judge(batch=3) == whole
    assert sum(asked) - 3 == len(RECORDS)
    assert not partial.exists()


def test_lines_of_another_model_are_not_taken(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path
) -> None:
    make_model()
    whole = judge()
    partial = run_dir / "eval" / "tuned" / "1_perplexity.partial"
    partial.write_text('{"key": "of another model"}\n{"id": "r0", "nll": 1e9}\n')
    assert judge() == whole


def test_tokens_that_training_did_not_see_are_an_error(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path
) -> None:
    make_model()
    text = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (run_dir / "data" / "train.jsonl").write_text(text, encoding="utf-8")
    words = load_tokenizer("model")
    (row,) = rows_of(words, RECORDS[2:3], template_of(words, "question_answer"), 64)
    proof = run_dir / "proof.json"
    first = {"input_ids": list(row.input_ids), "labels": list(row.labels)}
    proof.write_text(json.dumps({"first_row": first}))
    assert judge(trained_on="proof.json")["n_records"] == len(RECORDS)
    first["labels"] = [row.input_ids[0], *row.labels[1:]]  # the prompt carried loss
    proof.write_text(json.dumps({"first_row": first}))
    with pytest.raises(StageError, match="their labels differ from position 0 on"):
        judge(trained_on="proof.json")
    first["input_ids"] = [*row.input_ids[:5], 3, *row.input_ids[5:]]
    proof.write_text(json.dumps({"first_row": first}))
    with pytest.raises(StageError, match=r"has 65 tokens, .* and their tokens differ from position 5 on"):
        judge(trained_on="proof.json")


def test_weights_of_the_base_are_not_taken_for_trained_ones(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path
) -> None:
    model = make_model()
    (run_dir / "proof.json").write_text("{}")
    judge()
    (run_dir / "eval" / "tuned.json").rename(run_dir / "eval" / "baseline.json")
    with pytest.raises(StageError, match="are those of the base model: nothing was trained"):
        judge(trained_on="proof.json")
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
    model.save_pretrained(run_dir / "model")
    assert judge(trained_on="proof.json")["n_records"] == len(RECORDS)


# --------------------------------------------------------------------------------------------- lock

COMMON = {
    "task", "records", "validation_records", "template", "tokenizer", "context", "images", "precision", "attention",
    "device", "versions", "model", "adapter",
}  # fmt: skip


def test_the_lock_has_every_part_that_is_not_one_tasks_own(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]]
) -> None:
    make_model()
    lock = judge()["lock"]
    assert lock.keys() == COMMON
    assert lock.keys() <= LOCK.keys()
    assert {"torch", "transformers", "numpy", "scikit-learn", "rouge-score", "runner"} <= lock[
        "versions"
    ].keys()
    assert lock["device"] == "cpu"
    assert len(lock["template"]["sha256"]) == len(lock["tokenizer"]) == len(lock["records"]) == 64


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"precision": "bf16"}, "precision"),
        ({"context": 48}, "context"),
        ({"attention": "eager"}, "attention"),
        ({"template": "chatml"}, "template"),
        ({"batch": 4}, "task"),
        ({"records": 12}, "task"),
    ],
)
def test_what_is_judged_otherwise_has_another_lock(
    changes: dict[str, Any], part: str, make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]]
) -> None:
    make_model()
    one, other = judge()["lock"], judge(**changes)["lock"]
    assert {difference.path.partition(".")[0] for difference in lock_differences(one, other)} == {part}


def test_other_records_another_tokenizer_and_other_weights_are_in_the_lock(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path
) -> None:
    model = make_model()
    one = judge()["lock"]
    records = run_dir / "data" / "test.jsonl"
    records.write_text("\n".join(records.read_text().splitlines()[:-1]) + "\n")
    words = load_tokenizer("model")
    words.add_tokens(["angina"])
    words.save_pretrained(run_dir / "model")
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
    model.save_pretrained(run_dir / "model")
    other = judge()["lock"]
    assert {item.path for item in lock_differences(one, other)} == {"records", "tokenizer"}
    assert one["model"]["sha256"] != other["model"]["sha256"]


# ----------------------------------------------------------------------------------------- adapters


@pytest.fixture
def save_adapter(run_dir: Path) -> Callable[..., Path]:
    """Return a function that saves a LoRA adapter of a model; trained: its B matrices are not 0."""

    def save(model: Any, *, trained: bool) -> Path:
        config = peft.LoraConfig(
            r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
        )
        adapted = peft.get_peft_model(model, config)
        if trained:
            generator = torch.Generator().manual_seed(0)
            for name, weight in adapted.named_parameters():
                if "lora_B" in name:
                    weight.data = torch.randn(weight.shape, generator=generator) * 0.5
        adapted.save_pretrained(run_dir / "adapter")
        return run_dir / "adapter"

    return save


def test_an_adapter_is_loaded_and_acts(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], save_adapter: Callable[..., Path]
) -> None:
    model = make_model()
    base = judge()
    save_adapter(model, trained=True)
    tuned = judge(adapter="adapter")
    assert base["adapter"] is None
    assert tuned["adapter"]["name"] == "adapter"
    assert tuned["adapter"]["largest_logit_change"] > 1e-3
    assert tuned["metrics"]["loss"]["value"] != base["metrics"]["loss"]["value"]


def test_an_adapter_that_changes_nothing_fails(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], save_adapter: Callable[..., Path]
) -> None:
    save_adapter(make_model(), trained=False)
    with pytest.raises(StageError, match="changes no prediction of the base model"):
        judge(adapter="adapter")


def test_an_adapter_that_lacks_weights_fails(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], save_adapter: Callable[..., Path]
) -> None:
    from safetensors.torch import load_file, save_file

    path = save_adapter(make_model(), trained=True) / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({name: weight for name, weight in weights.items() if "layers.1." not in name}, path)
    with pytest.raises(StageError, match="lacks 4 weights that the adapter should have"):
        judge(adapter="adapter")


# ------------------------------------------------------------------------------------- what is wrong


def test_a_loss_that_is_no_number_fails(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path
) -> None:
    model = make_model()
    model.lm_head.weight.data[7] = math.nan
    model.save_pretrained(run_dir / "model")
    with pytest.raises(StageError, match=r"the loss of record 'r\d+' is nan"):
        judge()
    assert not list((run_dir / "eval").rglob("*.json*"))


def test_no_record_with_an_answer_is_said(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]]
) -> None:
    make_model()
    with pytest.raises(DataError, match="has no record with an answer token within 8 tokens"):
        judge(context=8)


def test_a_model_that_is_not_there_is_named(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]], run_dir: Path
) -> None:
    make_model()
    (run_dir / "model" / "model.safetensors").unlink()
    with pytest.raises(MachineError, match="the model 'model' cannot be loaded"):
        judge()


def test_a_device_that_is_not_there_is_named(
    make_model: Callable[..., Any], judge: Callable[..., dict[str, Any]]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    make_model()
    with pytest.raises(MachineError, match=r"this machine has no cuda device; it has: .*cpu"):
        judge(device="cuda")


def test_a_model_that_a_variable_names_is_found_but_not_written(
    make_model: Callable[..., Any],
    judge: Callable[..., dict[str, Any]],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Relative to the user's folder, not to the run directory."""
    make_model()
    (run_dir / "user").mkdir()
    (run_dir / "model").rename(run_dir / "user" / "private")
    monkeypatch.setenv("RUNNER_CWD", str(run_dir / "user"))
    monkeypatch.setenv("MYB", "./private")
    monkeypatch.setenv("REV", "private-revision")
    judge(model="${env:MYB}", tokenizer="${env:MYB}", revision="${env:REV}")
    assert "private" not in (run_dir / "eval" / "tuned.json").read_text(encoding="utf-8")
    written = json.loads((run_dir / "eval" / "tuned.json").read_text(encoding="utf-8"))
    assert (written["model"]["name"], written["model"]["revision"]) == ("${env:MYB}", "${env:REV}")


def test_the_stage_as_a_process(make_model: Callable[..., Any], run_dir: Path) -> None:
    """Both names run it; a data error ends with 2 and one text, without a traceback."""
    make_model()
    task = {"task": "perplexity", "split": "validation", "records": 4, "batch": 2}
    good = default_settings() | {"tasks": [task], "out": "eval/baseline.json"}
    (run_dir / "config").mkdir()
    (run_dir / "config" / "baseline.json").write_text(json.dumps(good), encoding="utf-8")
    (run_dir / "config" / "evaluate.json").write_text(json.dumps(good | {"context": 8}), encoding="utf-8")
    codes = {}
    for name in ("baseline", "evaluate"):
        done = subprocess.run(
            [sys.executable, "-m", "runner.stages.evaluate", name],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        codes[name] = done.returncode
        assert "Traceback" not in done.stderr
    assert codes == {"baseline": 0, "evaluate": 2}
    assert (
        json.loads((run_dir / "eval" / "baseline.json").read_text(encoding="utf-8"))["results"][0][
            "n_records"
        ]
        == 4
    )
    stages = {event["stage"] for event in read_events(run_dir / "events.jsonl")}
    assert stages == {"baseline"}
