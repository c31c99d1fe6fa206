"""Models that see: the same tokens as the processor's own way, images that matter, one reading of an image for many labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.label_sets import label_set
from runner.events import EventWriter
from runner.judging.continuations import Continuation, score_continuations
from runner.judging.generation import Options, prompts_of, write_answers
from runner.judging.labels import names_of
from runner.judging.perplexity import score_rows
from runner.judging.run import WHOLE, Judging
from runner.judging.vision import load_image
from runner.spec.problems import DataError, StageError
from runner.spec.tasks import EntitiesTask, MultilabelTask, PerplexityTask
from tests.judging.conftest import settings_of
from tests.judging.seen import END_TOKENS, TEMPLATES, make_seeing_model, write_seen

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=["gemma3", "mllama"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    write_seen(folder, {"train": range(100, 108), "validation": range(50, 62), "test": range(12)})
    make_seeing_model(folder, request.param)
    return request.param, folder


@pytest.fixture
def seeing(made: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Judging]:
    """Return a function that makes a `Judging` of a small model that sees, in a run directory of its own."""
    architecture, folder = made
    for name in ("data", "images", "model"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    settings = settings_of(
        images=True, template=TEMPLATES[architecture], end_tokens=END_TOKENS[architecture], context=64
    )
    events = EventWriter(tmp_path / "events.jsonl", "evaluate")
    return lambda **changes: Judging(settings | changes, settings | changes, events)


@pytest.fixture
def judge(made: tuple[str, Path], seeing: Callable[..., Judging]) -> Callable[..., dict[str, Any]]:
    """Return a function that runs the whole stage with one task and returns its result."""

    def run(task: Any, **changes: Any) -> dict[str, Any]:
        from runner.stages import evaluate as stage

        settings = seeing(tasks=[task.model_dump(mode="json")], **changes).settings
        stage.evaluate(settings, EventWriter(Path("events.jsonl"), "evaluate"))
        result: dict[str, Any] = json.loads(Path("eval/tuned.json").read_text(encoding="utf-8"))
        return result

    return run


def test_tokens_are_those_of_the_processor(seeing: Callable[..., Judging]) -> None:
    proof = seeing().check_images()
    assert proof is not None
    assert proof["tokens"] == len(seeing().rows(seeing().records("test", 1))[0].input_ids)


def test_another_order_of_tokens_is_refused(
    seeing: Callable[..., Judging], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = seeing()
    row = run.rows(run.records("test", 1))[0]
    import dataclasses

    turned = dataclasses.replace(row, input_ids=row.input_ids[:2] + row.input_ids[2:][::-1])
    monkeypatch.setattr(Judging, "rows", lambda self, records: [turned])
    with pytest.raises(StageError, match="differ from position"):
        run.check_images()


def test_sums_do_not_depend_on_who_shares_the_batch(seeing: Callable[..., Judging]) -> None:
    run = seeing()
    records = run.records("test", 4)
    rows = run.rows(records)
    together = score_rows(run.model, rows, run.looking_at(records))
    alone = [
        score_rows(run.model, [row], run.looking_at([record]))[0]
        for row, record in zip(rows, records, strict=True)
    ]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=2e-4)


def test_the_image_changes_what_the_model_says(seeing: Callable[..., Judging]) -> None:
    """Otherwise no ablation could show anything."""
    run = seeing()
    records = run.records("test", 4)
    blank = run.ablated("blank").records("test", 4)
    rows = run.rows(records)
    real, other = (score_rows(run.model, rows, run.looking_at(shown)) for shown in (records, blank))
    assert all(abs(one[0] - two[0]) > 1e-6 for one, two in zip(real, other, strict=True))


def test_answers_are_those_of_the_library(seeing: Callable[..., Judging]) -> None:
    """Greedy, batched and padded on the left, beside `generate` for each record alone."""
    import torch

    run = seeing()
    records = run.records("test", 4)
    prompts = prompts_of(run, records, WHOLE)
    written = write_answers(
        run.model,
        [prompt.ids for prompt in prompts],
        [record["id"] for record in records],
        frozenset(),
        Options(6),
        run.looking_at(records),
    )
    for prompt, record, answer in zip(prompts, records, written, strict=True):
        ids = torch.tensor([prompt.ids])
        seen = run.looking_at([record])(ids).first
        made = run.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **seen,
            do_sample=False,
            max_new_tokens=6,
            min_new_tokens=6,
            eos_token_id=None,
        )
        assert answer.ids == tuple(made[0, ids.shape[1] :].tolist())


def test_many_labels_behind_one_image_score_as_each_by_itself(seeing: Callable[..., Judging]) -> None:
    run = seeing()
    records = run.records("test", 3)
    texts = ["MI", "normal ECG", "no definite pathology here"]
    answers = [tuple(run.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    prompts = prompts_of(run, records, WHOLE)
    asked = [[Continuation(prompt.ids, ids) for ids in answers] for prompt in prompts]
    for at_once in (2, 16):
        found = score_continuations(run.model, asked, at_once, run.looking_at(records))
        for record, of, nats in zip(records, asked, found, strict=True):
            for one, value in zip(of, nats, strict=True):
                assert value == pytest.approx(whole_row(run, record, one), abs=2e-4)


def whole_row(run: Judging, record: Any, one: Continuation) -> float:
    """Return nats of an answer from one unpadded row of its own."""
    import torch

    ids = torch.tensor([one.prompt + one.answer])
    with torch.inference_mode():
        logits = run.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            use_cache=False,
            **run.looking_at([record])(ids).first,
        ).logits
    logs = torch.log_softmax(logits[0].float(), dim=-1)
    start = len(one.prompt) - 1
    return sum(float(logs[start + step, token]) for step, token in enumerate(one.answer))


def test_shuffled_images_are_of_other_patients(seeing: Callable[..., Judging]) -> None:
    run = seeing()
    owner = {record["images"][0]: record["group"] for record in run.records("test")}
    for record in run.ablated("shuffled").records("test"):
        assert owner[record["images"][0]] != record["group"]


def test_one_patient_has_nobody_to_exchange_with(seeing: Callable[..., Judging]) -> None:
    with pytest.raises(DataError, match=r"of one group.*\n  ablate: \[blank\]"):
        seeing().ablated("shuffled").shown(seeing().records("test", 2))


def test_a_blank_image_is_white_and_of_the_same_size(seeing: Callable[..., Judging]) -> None:
    (path,) = seeing().ablated("blank").records("test", 1)[0]["images"]
    blank = load_image(path)
    assert (blank.size, blank.getextrema()) == ((120, 90), ((255, 255),) * 3)


def test_a_damaged_image_is_named(seeing: Callable[..., Judging], tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"x\.png cannot be read"):
        load_image(str(tmp_path / "x.png"))


def test_a_record_without_an_image_is_named(seeing: Callable[..., Judging]) -> None:
    run = seeing()
    records = run.records("test", 2)
    with pytest.raises(DataError, match="1 of 2 records have no image, among them 'r1'"):
        run.shown([records[0], {**records[1], "images": []}])


@pytest.mark.parametrize("ask", ["each", "record"])
def test_labels_are_judged_by_likelihood_and_writing(judge: Callable[..., dict[str, Any]], ask: str) -> None:
    task = MultilabelTask(
        task="multilabel",
        label_set="superclasses",
        scoring=("likelihood", "generation"),
        ask=ask,
        max_new_tokens=4,
        batch=5,
        asks=("superclasses",) if ask == "record" else (),
        ablate=("blank", "shuffled"),
        subgroups=("sex",),
    )
    result = judge(task)["results"][0]
    assert result["n_records"] == (6 if ask == "record" else 12)
    assert ("brier" in result["metrics"]) == (ask == "each")
    assert {"macro_auc_present", "generated_auc_hard_present", "generated_parse_rate"} <= result[
        "metrics"
    ].keys()
    assert result["image"].keys() == {"blank", "shuffled"}
    assert result["lock"]["images"]
    assert result["lock"]["label_set"]
    lines = [json.loads(line) for line in Path(result["predictions"]).read_text().splitlines()]
    assert {line["split"] for line in lines} == {"test", "validation"}
    (blank, _) = (Path(place).read_text().splitlines() for place in result["ablated"].values())
    assert len(blank) == result["n_records"]


@pytest.mark.parametrize("made", ["gemma3"], indirect=True)
def test_what_is_scored_is_what_such_records_answer(seeing: Callable[..., Judging]) -> None:
    run = seeing()
    asks = [
        {**record, "asks": asks, "labels": {"code15": ["SB"]}}
        for record in run.records("test", 2)
        for asks in ("code15", "rhythm", None)
    ]
    found = names_of(run, label_set("code15"), asks)
    said = {word: [run.tokenizer.decode(ids) for ids in names.values()] for word, names in found.items()}
    assert said["code15"] == ["1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"]
    assert said["rhythm"][3:] == ["Sinus bradycardia.", "Sinus tachycardia.", "Atrial fibrillation."]
    assert said[None][0] == "first-degree AV block"


@pytest.mark.parametrize("made", ["gemma3"], indirect=True)
def test_a_mixture_without_labels_is_judged_by_its_other_tasks(
    seeing: Callable[..., Judging], tmp_path: Path
) -> None:
    """As an ablation that leaves out the one source with labels: no failure before training, no number either."""
    from runner.stages import evaluate as stage

    (tmp_path / "data").unlink()
    write_seen(tmp_path, {"train": range(100, 104), "validation": range(50, 54), "test": range(6)})
    for split in ("train", "validation", "test"):
        path = tmp_path / "data" / f"{split}.jsonl"
        bare = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(json.dumps(one | {"labels": {}}) + "\n" for one in bare), encoding="utf-8")
    labelled = MultilabelTask(
        task="multilabel",
        label_set="superclasses",
        scoring=("likelihood", "generation"),
        ablate=("blank", "shuffled"),
    )
    tasks = [labelled, PerplexityTask(task="perplexity", batch=5)]
    settings = seeing(tasks=[task.model_dump(mode="json") for task in tasks]).settings
    stage.evaluate(settings, EventWriter(tmp_path / "events.jsonl", "evaluate"))
    first, second = json.loads(Path("eval/tuned.json").read_text(encoding="utf-8"))["results"]
    assert first["not_judged"] == "no record of the split test has labels of the set superclasses"
    assert (first["metrics"], first["headline"], first["n_records"]) == ({}, [], 0)
    assert "not judged: no record of the split test" in first["notes"][0]
    assert second["metrics"]["loss"]["value"] > 0
    events = [json.loads(line) for line in Path("events.jsonl").read_text(encoding="utf-8").splitlines()]
    (told, *_) = (event["text"] for event in events if event["event"] == "note")
    assert "multilabel of superclasses is not judged" in told
    assert "they have: none" in told


def test_each_image_is_judged_once_where_the_task_asks(judge: Callable[..., dict[str, Any]]) -> None:
    """Twelve records about six images, the same six records whatever image they are shown with."""
    task = MultilabelTask(
        task="multilabel",
        label_set="superclasses",
        prompt="Which of these: {labels}?",
        max_new_tokens=3,
        ablate=("shuffled",),
    )
    (result,) = judge(task)["results"]
    (lines, others) = (
        [json.loads(line) for line in Path(place).read_text(encoding="utf-8").splitlines()]
        for place in (result["predictions"], result["ablated"]["shuffled"])
    )
    assert (
        [line["id"] for line in lines]
        == [line["id"] for line in others]
        == [f"r{n}" for n in range(0, 12, 2)]
    )
    assert all("normal ECG, myocardial infarction" in line["prompt"] for line in lines)


def test_perplexity_and_findings_work_with_images(judge: Callable[..., dict[str, Any]]) -> None:
    found = judge(PerplexityTask(task="perplexity", batch=5, ablate=("blank",)))
    assert found["images"]["sha256"]
    (result,) = found["results"]
    assert {"loss", "token_accuracy", "entropy"} <= result["metrics"].keys()
    assert result["n_cut"] == 0
    assert set(result["image"]["blank"]["verdicts"]) == {"perplexity", "loss", "bits_per_byte"}
    (result,) = judge(EntitiesTask(task="entities", max_new_tokens=3, asks=("report",)))["results"]
    assert result["n_records"] == 6


def test_an_ablation_goes_on_where_it_was_killed(
    seeing: Callable[..., Judging], judge: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.judging import perplexity

    task = PerplexityTask(task="perplexity", batch=4, ablate=("blank",))
    whole = judge(task)["results"]
    shutil.rmtree("eval")
    asked: list[int] = []
    real = perplexity.score_rows

    def counting(model: Any, rows: Any, look: Any) -> Any:
        asked.append(len(rows))
        if len(asked) == 5:
            raise KeyboardInterrupt
        return real(model, rows, look)

    monkeypatch.setattr(perplexity, "score_rows", counting)
    with pytest.raises(KeyboardInterrupt):
        judge(task)
    asked.clear()
    asked.extend([0] * 10)
    assert judge(task)["results"] == whole
    assert sum(asked) == 8  # of 24: the real ones and four blank ones were kept
