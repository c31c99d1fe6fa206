"""The task `classification` as the stage runs it: likelihoods against plain torch, controls, floors, wrong input."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from eval.judges import judge as judge_of
from runner.spec.problems import DataError, StageError
from runner.spec.tasks import ClassificationTask

torch = pytest.importorskip("torch", reason="needs the train extra")

from runner.judging import classification, generation  # noqa: E402 - after the skip above
from runner.judging.classification import label_tokens, predictions  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:(torch|transformers|peft|accelerate|huggingface_hub)"
)

Make = Callable[..., Any]
LABELS = {"no": ("no", "does not have"), "yes": ("yes",)}


def task(**changes: Any) -> dict[str, Any]:
    made = {"labels": LABELS, "positive": "yes", "floors": (), "batch": 4, **changes}
    return ClassificationTask(task="classification", **made).model_dump(mode="json")


def patient(number: int, *, answer: str | None = None, **more: Any) -> dict[str, Any]:
    """A patient whose pressure tells the label: high is yes."""
    high = number % 3 == 0
    answer = answer or ("yes" if high else "no")
    pressure = 150 + number % 7 if high else 110 + number % 9
    return {
        "id": f"p{number}",
        "messages": [
            {
                "role": "user",
                "content": f"Pressure {'high' if high else 'low'}{', calm' * (number % 4)}. Disease?",
            },
            {"role": "assistant", "content": answer},
        ],
        "group": f"p{number}",
        "question": "",
        "focus": None,
        "source": "test",
        "label": answer,
        "features": {"ap_hi": float(pressure), "age": float(40 + number % 5)},
        "attributes": {"sex": ("female", "male")[number % 2]},
        **more,
    }


PATIENTS = [patient(number) for number in range(24)]
TRAINED = [patient(number) for number in range(100, 160)]


@pytest.fixture
def patients(run_dir: Path) -> Callable[..., None]:
    """Return a function that writes splits of patients."""

    def write(**splits: Sequence[dict[str, Any]]) -> None:
        made = {
            "train": TRAINED,
            "validation": [patient(n) for n in range(200, 212)],
            "test": PATIENTS,
        } | splits
        for name, records in made.items():
            text = "".join(json.dumps(record) + "\n" for record in records)
            (run_dir / "data" / f"{name}.jsonl").write_text(text)

    write()
    return write


@pytest.fixture
def make_patient_model(make_model: Make, patients: Make) -> Make:
    """Return a function that makes a small model whose tokenizer knows the words of the patients."""

    def make(architecture: str = "llama", **more: Any) -> Any:
        texts = [message["content"] for record in TRAINED for message in record["messages"]]
        return make_model(architecture, texts=[*texts, "no yes not present does have " * 5], **more)

    return make


# ---------------------------------------------------------------------------------------- likelihoods


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("words", [("no", "yes"), ("not present at all", "yes")])
def test_likelihoods_against_plain_torch(
    make_patient_model: Make, judging: Make, architecture: str, words: tuple[str, str]
) -> None:
    """One sequence at a time, without padding, token by token."""
    model = make_patient_model(architecture).eval()
    run = judging()
    labels = dict(zip(("no", "yes"), ((word,) for word in words), strict=True))
    found = {r["id"]: part for r, part in predictions(run, task(labels=labels), PATIENTS, written=False)}
    tokens = label_tokens(run, PATIENTS, labels)
    assert (len(tokens["no"]) > 2) == (words[0] != "no")
    for record in PATIENTS[:6]:
        question = record["messages"][0]["content"]
        prompt = run.tokenizer.encode(
            f"{run.tokenizer.bos_token or ''}Question: {question}\nAnswer:", add_special_tokens=False
        )
        for label, word in zip(labels, words, strict=True):
            more = run.tokenizer.encode(f" {word}", add_special_tokens=False)
            with torch.no_grad():
                logs = torch.log_softmax(model(torch.tensor([[*prompt, *more]])).logits[0].double(), dim=-1)
            wanted = sum(logs[len(prompt) - 1 + step, token].item() for step, token in enumerate(more))
            assert found[record["id"]]["log_likelihoods"][label] == pytest.approx(wanted, abs=1e-5)
            assert found[record["id"]]["label_tokens"][label] == len(more)


def test_in_bf16_the_output_layer_keeps_near_likelihoods_apart(
    make_patient_model: Make, judging: Make
) -> None:
    """Against a product in float64; plain bf16 logits, scaled to the size of real ones, are far off."""
    model = make_patient_model().eval()
    model.lm_head.weight.data *= 100
    model = model.to(torch.bfloat16)
    run = judging()
    tokens = label_tokens(run, PATIENTS, LABELS)
    (no,), (yes,) = tokens.values()
    off = []
    for prompt in generation.prompts_of(run, PATIENTS[:4], 1000):
        ((of_no, of_yes),) = classification.score_labels(model, [prompt], tokens)
        ids = torch.tensor([prompt.ids])
        with torch.no_grad():
            said = model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
            exact = model.lm_head.weight.double() @ said.hidden_states[-1][0, -1].double()
        wanted = float(exact[yes] - exact[no])
        assert of_yes - of_no == pytest.approx(wanted, abs=1e-4)
        off.append(abs(float(said.logits[0, -1, yes] - said.logits[0, -1, no]) - wanted))
    assert max(off) > 0.02
    assert not model.lm_head._forward_hooks


def test_an_adapter_on_the_output_layer_makes_another_lock(make_patient_model: Make, judging: Make) -> None:
    """The base is compared in float32 and the tuned model in bf16: such results are not to be paired."""
    peft = pytest.importorskip("peft", reason="needs the extra `train`")
    run = judging()
    make_patient_model()
    run.__dict__["model"] = base = run.model.to(torch.bfloat16)
    assert classification.lock(run, task()) == {"likelihoods": "float32"}
    for target, kind in (("q_proj", "float32"), ("lm_head", "bfloat16")):
        config = peft.LoraConfig(r=2, target_modules=[target], task_type="CAUSAL_LM")
        run.__dict__["model"] = peft.get_peft_model(base, config)
        assert classification.lock(run, task()) == {"likelihoods": kind}
        base = run.model.unload()
    assert classification.lock(run, task(scoring=("generation",))) == {}


def test_what_stands_behind_the_answers_place_changes_nothing(
    make_patient_model: Make, judging: Make
) -> None:
    """Neither the record's own answer, nor what is said after it, nor the batch it is scored in."""
    make_patient_model()
    run = judging()

    def scores(records: list[dict[str, Any]], batch: int = 4) -> dict[str, list[float]]:
        said = predictions(run, task(batch=batch), records, written=False)
        return {record["id"]: list(part["log_likelihoods"].values()) for record, part in said}

    plain = scores(PATIENTS)
    for other in ("yes", "no, and never was, as far as anybody knows or has written", "?"):
        changed = [
            {**record, "messages": [record["messages"][0], {"role": "assistant", "content": other}]}
            for record in PATIENTS
        ]
        assert scores(changed) == plain
    for name, values in scores(PATIENTS, batch=1).items():
        assert values == pytest.approx(plain[name], abs=1e-5)


def test_scores_follow_the_features_and_fall_to_chance_without_them(
    make_patient_model: Make, judging: Make, run_dir: Path
) -> None:
    """A model that learned the rule has an AUC of 1, and one near 0.5 on the features of other patients."""
    model = make_patient_model()
    run = judging()
    rows = run.rows(TRAINED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    from runner.judging.model import padded

    ids, mask = padded(rows, "cpu")
    labels = torch.full(ids.shape, -100)
    for place, row in enumerate(rows):
        labels[place, : len(row.labels)] = torch.tensor(row.labels)
    model.train()
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(run_dir / "model")
    run = judging()
    tested = [patient(number) for number in range(300, 420)]

    def auc(records: list[dict[str, Any]]) -> float:
        lines = [
            classification._line(task(), record, "test", said, {})
            for record, said in predictions(run, task(batch=40), records, written=False)
        ]
        return float(judge_of("classification").judged(task(), lines)["metrics"]["auc"]["value"])

    assert auc(tested) > 0.99
    questions = [record["messages"][0] for record in tested]
    random.Random(1).shuffle(questions)
    shuffled = [
        {**record, "messages": [question, record["messages"][1]]}
        for record, question in zip(tested, questions, strict=True)
    ]
    assert 0.35 < auc(shuffled) < 0.65


# ------------------------------------------------------------------------------------------ the stage


def test_the_whole_task(make_patient_model: Make, judge: Make, lines: Make) -> None:
    make_patient_model()
    asked = task(
        scoring=("likelihood", "generation"),
        max_new_tokens=3,
        floors=("majority", "one_rule", "logistic_regression", "gradient_boosting"),
        subgroups=("sex",),
        temperature_scaling=True,
    )
    result = judge(asked)
    stored = lines()
    assert [line["split"] for line in stored] == ["test"] * 24 + ["validation"] * 12
    assert [line["id"] for line in stored[:24]] == [record["id"] for record in PATIENTS]
    assert [line["label"] for line in stored[:3]] == ["yes", "no", "no"]
    assert "answer" in stored[0]
    assert "answer" not in stored[-1]  # validation records only set the temperature
    assert stored[0]["floors"]["one_rule"] == {
        "label": "yes",
        "scores": {"no": 0.0, "yes": 1.0},
        "words": "ap_hi >= 150: yes, else no",
    }
    assert result["floors"]["one_rule"]["accuracy"]["value"] == 1.0
    assert result["floors"]["majority"]["accuracy"]["value"] == pytest.approx(16 / 24)
    assert any(note.startswith("accuracy: worse than one threshold on ap_hi") for note in result["notes"])
    assert result["n_records"] == 24
    again = json.loads(json.dumps(judge_of("classification").judged(asked, stored)))
    assert {key: result[key] for key in again} == again


def test_a_killed_stage_goes_on_where_it_ended(
    make_patient_model: Make, judge: Make, lines: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_patient_model()
    asked = task(scoring=("likelihood", "generation"), max_new_tokens=3, temperature_scaling=True)
    whole, stored = judge(asked), lines()
    seen: list[int] = []
    real = classification.score_labels

    def counting(model: Any, prompts: Any, tokens: Any) -> Any:
        seen.append(len(prompts))
        if len(seen) == 8:  # the second batch of the validation records
            raise KeyboardInterrupt
        return real(model, prompts, tokens)

    monkeypatch.setattr(classification, "score_labels", counting)
    with pytest.raises(KeyboardInterrupt):
        judge(asked)
    assert judge(asked) == whole
    assert lines() == stored
    assert sum(seen) - 4 == 36


def test_labels_are_read_off_the_answer_where_the_source_names_none(
    make_patient_model: Make, patients: Make, judge: Make, lines: Make
) -> None:
    """The label is called `absent`, and the records answer `no`; the majority needs no features."""
    make_patient_model()
    kept = [{k: v for k, v in r.items() if k not in ("label", "features", "attributes")} for r in PATIENTS]
    patients(test=kept, train=kept, validation=[])
    labels = {"absent": ("no",), "present": ("yes",)}
    result = judge(task(labels=labels, positive="present", floors=("majority",)))
    assert {line["label"] for line in lines()} == {"absent", "present"}
    assert result["floors_words"]["majority"] == "absent always"


# ---------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("splits", "changes", "says"),
    [
        ({"test": [patient(1, answer="maybe")]}, {}, r"data/test.jsonl: 1 of 1 records .*: 'maybe'; the task has 'no', 'yes'"),
        ({"train": [patient(1, answer="present"), patient(2)]}, {}, r"data/train.jsonl: 1 of 2 records .* 'present'"),
        ({}, {"labels": {**LABELS, "unknown": ("unknown",)}}, r"no record has the label 'unknown' of the task; .* 'no', 'yes'"),
        ({"test": []}, {}, "holds no record: there is nothing to judge"),
        ({"validation": []}, {"temperature_scaling": True}, r"validation.jsonl holds no record"),
        ({}, {"subgroups": ("site",)}, "no record has the attribute 'site' of the task's subgroups; they have: sex"),
        ({"train": [patient(1, features=None)]}, {"floors": ("one_rule",)}, "the task's floors: the record 'p1' has no features"),
        ({}, {"labels": {"no": ("nein", "no"), "yes": ("yes",)}},
         r"data/train.jsonl: the label 'no' begins with 'nein', but \d+ of \d+ records with it answer 'no'"),
        ({}, {"labels": {"no": ("yes",), "yes": ("no",)}}, "the label 'no' begins with 'yes', .* answer 'no'"),
    ],
)  # fmt: skip
def test_wrong_records_are_refused_before_the_model_is_asked(
    make_patient_model: Make, patients: Make, judge: Make, splits: Any, changes: dict[str, Any], says: str
) -> None:
    make_patient_model()
    patients(**splits)
    with pytest.raises(DataError, match=says):
        judge(task(**changes))


def test_labels_of_which_one_begins_with_the_other_are_refused(
    make_patient_model: Make, patients: Make, judge: Make
) -> None:
    """Both are what the records answer, and yet the one's likelihood holds the other's."""
    make_patient_model()
    patients(
        **{
            split: [patient(n, answer="no yes" if n % 3 == 0 else "no") for n in range(start, start + 12)]
            for split, start in (("train", 100), ("validation", 200), ("test", 0))
        }
    )
    with pytest.raises(DataError, match="'no' and 'no yes' begin with the same tokens"):
        judge(task(labels={"no": ("no",), "no yes": ("no yes",)}, positive="no yes"))


def test_a_likelihood_that_is_no_number_is_named(
    make_patient_model: Make, judge: Make, run_dir: Path
) -> None:
    model = make_patient_model()
    model.lm_head.weight.data[7] = math.nan
    model.save_pretrained(run_dir / "model")
    with pytest.raises(StageError, match=r"the likelihood of 'no' for record 'p\d+' is nan"):
        judge(task())
