"""The items of a set of ECGBench, from its file in every published form, and the answers to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judging.ecgbench import items_of
from runner.spec.problems import DataError
from runner.spec.tasks import EcgBenchTask
from tests.judging.seen import END_TOKENS, TEMPLATES, draw, make_seeing_model, write_seen

pytestmark = pytest.mark.filterwarnings("ignore")

FORMS: dict[str, Any] = {
    "human and gpt": {
        "conversations": [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "MI"}]
    },
    "user and assistant": {
        "conversation": [{"from": "user", "value": "Which?"}, {"from": "assistant", "value": "MI"}]
    },
    "a list": {"conversations": [{"from": "human", "value": ["Which?"]}, {"from": "gpt", "value": ["MI"]}]},
    "arena": {"conversations": [{"question": "Which?", "answer": "MI"}]},
}


def write_items(folder: Path, items: list[Any]) -> Path:
    (folder / "bench").mkdir(exist_ok=True)
    for number in range(3):
        draw(folder / "bench" / f"{number}.png", number)
    file = folder / "bench" / "items.json"
    file.write_text(json.dumps(items), encoding="utf-8")
    return file


@pytest.mark.parametrize("form", FORMS)
def test_every_published_form_is_read(tmp_path: Path, form: str) -> None:
    (item,) = items_of(write_items(tmp_path, [{"id": "a", "image": "0.png", **FORMS[form]}]), None)
    assert [message["content"] for message in item["messages"]] == ["Which?", "MI"]
    assert item["images"] == [str((tmp_path / "bench" / "0.png").resolve())]


def test_an_id_that_stands_twice_is_two_items(tmp_path: Path) -> None:
    item = {"id": "a", "image": "0.png", **FORMS["arena"]}
    assert [one["id"] for one in items_of(write_items(tmp_path, [item, item]), None)] == ["a", "a#2"]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (
            [{"id": "a", "image": "no.png", **FORMS["arena"]}],
            r"1 items cannot be judged\n  a: the image .*no\.png is not there",
        ),
        ([{"id": "a", "image": "0.png"}], "it has no 'conversations'"),
        ([], "holds no item"),
        ({"id": "a"}, "expected a list of items, got dict"),
    ],
)
def test_what_cannot_be_judged_is_counted_and_named(tmp_path: Path, items: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        items_of(write_items(tmp_path, items), None)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*x\.json"):
        items_of(tmp_path / "x.json", None)


@pytest.fixture
def seeing(run_dir: Path) -> dict[str, Any]:
    write_seen(run_dir, {"train": range(20, 24), "validation": range(30, 34), "test": range(4)})
    make_seeing_model(run_dir, "gemma3")
    return {"images": True, "template": TEMPLATES["gemma3"], "end_tokens": END_TOKENS["gemma3"]}


def test_a_file_is_answered_beside_the_published_reading(
    run_dir: Path, seeing: dict[str, Any], judge: Callable[..., dict[str, Any]]
) -> None:
    items = [
        {"id": f"i{number}", "image": f"{number % 3}.png", **FORMS["human and gpt"]} for number in range(4)
    ]
    items[3]["conversations"][1]["value"] = "NORM"
    file = write_items(run_dir, items)
    task = EcgBenchTask(task="ecgbench", set="ptbxl_super", file=str(file), max_new_tokens=3)
    result = judge(task.model_dump(mode="json"), **seeing)
    assert result["n_records"] == 4
    assert {"parse_rate", "hamming_loss", "pulse_hamming_loss"} <= result["metrics"].keys()
    assert result["lock"]["records"] != result["lock"]["task"]["file"]
    assert any("the published set has 2082" in note for note in result["notes"])


def test_invented_items_are_about_the_images_of_the_run(
    seeing: dict[str, Any], judge: Callable[..., dict[str, Any]]
) -> None:
    task = EcgBenchTask(
        task="ecgbench",
        set="g12",
        file="/nowhere.json",
        items="invented",
        max_new_tokens=3,
        ablate=("shuffled",),
    )
    result = judge(task.model_dump(mode="json"), **seeing)
    assert result["n_records"] == 4
    assert result["image"]["shuffled"]["verdicts"].keys() == {"accuracy", "pulse_accuracy"}
    lines = [
        json.loads(line) for line in Path(result["predictions"]).read_text(encoding="utf-8").splitlines()
    ]
    assert [line["reference"] for line in lines] == ["A", "B", "C", "D"]
