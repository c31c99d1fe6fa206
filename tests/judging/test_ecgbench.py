"""The items of a set of ECGBench, from its file in every published form, and the answers to them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eval.judges import judge as verdict
from runner.judging.ecgbench import Bench, beside_training, items_of, known_of_training
from runner.judging.vision import load_image
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


def quiet(done: int, total: int, unit: str) -> None:
    """Tell nobody."""


def read(folder: Path, items: Any, most: int | None = None) -> list[dict[str, Any]]:
    return items_of(Bench(write_items(folder, items), None, most), folder / "cache", quiet)


@pytest.mark.parametrize("form", FORMS)
def test_every_published_form_is_read(tmp_path: Path, form: str) -> None:
    (item,) = read(tmp_path, [{"id": "a", "image": "0.png", **FORMS[form]}])
    assert [message["content"] for message in item["messages"]] == ["Which?", "MI"]
    assert item["images"] == [str((tmp_path / "bench" / "0.png").resolve())]


def test_an_id_that_stands_twice_is_two_items(tmp_path: Path) -> None:
    item = {"id": "a", "image": "0.png", **FORMS["arena"]}
    assert [one["id"] for one in read(tmp_path, [item, item])] == ["a", "a#2"]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (
            [{"id": "a", "image": "no.png", **FORMS["arena"]}],
            r"1 item cannot be judged\n  a: the image 'no.png': no such file below .*bench\n  give `images`",
        ),
        ([{"id": "a", "image": "0.png"}], "it has no 'conversations'"),
        ([], "holds no item"),
        ({"id": "a"}, "expected a list of items, got dict"),
    ],
)
def test_what_cannot_be_judged_is_counted_and_named(tmp_path: Path, items: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(tmp_path, items)


def test_a_transparent_image_is_seen_on_white_as_in_training(tmp_path: Path) -> None:
    """A black trace on a transparent page: without paper it would be black on black."""
    page = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    page.paste((0, 0, 0, 255), (0, 5, 20, 6))
    (tmp_path / "bench").mkdir()
    page.save(tmp_path / "bench" / "clear.png")
    (item,) = read(tmp_path, [{"id": "a", "image": "clear.png", **FORMS["arena"]}])
    seen = load_image(item["images"][0])
    assert (seen.mode, seen.getpixel((3, 0)), seen.getpixel((3, 5))) == ("RGB", (255,) * 3, (0,) * 3)


def test_all_images_of_no_use_are_named_at_once(tmp_path: Path) -> None:
    """Another colour space, cut off, a way out of the folder, not there; the sound one is not among them."""
    (tmp_path / "bench").mkdir()
    Image.new("CMYK", (8, 8)).save(tmp_path / "bench" / "ink.jpg")
    draw(tmp_path / "bench" / "whole.png", 1)
    content = (tmp_path / "bench" / "whole.png").read_bytes()
    (tmp_path / "bench" / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "beside.png").write_bytes(content)
    names = ["0.png", "ink.jpg", "cut.png", "../beside.png", str(tmp_path / "beside.png"), "gone.png"]
    with pytest.raises(DataError) as error:
        read(tmp_path, [{"id": name, "image": name, **FORMS["arena"]} for name in names])
    text = str(error.value)
    assert "5 items cannot be judged" in text
    assert "the image 'ink.jpg': colour mode CMYK" in text
    assert "the image 'cut.png': truncated" in text
    assert text.count("leads out of its folder") == 2
    assert "the image 'gone.png': no such file" in text
    assert "'0.png'" not in text


def test_only_the_images_that_are_judged_are_looked_at(tmp_path: Path) -> None:
    items = [{"id": name, "image": f"{name}.png", **FORMS["arena"]} for name in ("0", "gone")]
    assert [item["id"] for item in read(tmp_path, items, most=1)] == ["0"]


def test_an_image_in_a_tar_is_found(tmp_path: Path) -> None:
    file = write_items(tmp_path, [{"id": "a", "image": "in/0.png", **FORMS["arena"]}])
    (tmp_path / "images").mkdir()
    with tarfile.open(tmp_path / "images" / "all.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "bench" / "0.png", "in/0.png")
    (item,) = items_of(Bench(file, tmp_path / "images", None), tmp_path / "cache", quiet)
    assert Path(item["images"][0]).read_bytes() == (tmp_path / "bench" / "0.png").read_bytes()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*x\.json"):
        items_of(Bench(tmp_path / "x.json", None, None), tmp_path / "cache", quiet)


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
    draw(write_items(run_dir, []).parent / "00010_hr-0.png", 3)
    items[1]["image"] = "00010_hr-0.png"  # record 10 of PTB-XL, of which training saw a page
    items[3]["conversations"][1]["value"] = "NORM"
    file = write_items(run_dir, items)
    task = EcgBenchTask(task="ecgbench", set="ptbxl_super", file=str(file), max_new_tokens=3)
    result = judge(task.model_dump(mode="json"), **seeing)
    assert result["n_records"] == 4
    assert {"parse_rate", "hamming_loss", "pulse_hamming_loss"} <= result["metrics"].keys()
    assert result["lock"]["records"] != result["lock"]["task"]["file"]
    assert any("the published set has 2082" in note for note in result["notes"])
    assert any(note.startswith("1 of 4 items show what training records show") for note in result["notes"])


def test_what_training_shows_is_known_by_group_and_recording(run_dir: Path, seeing: dict[str, Any]) -> None:
    """Training has the records 20 to 23, two a page and a patient; 30 to 33 are validation's, 0 to 3 the test's."""
    assert known_of_training(Path("data")) == {"p10", "p11", "ptbxl/10", "ptbxl/11"}
    Path("data/images.jsonl").unlink()
    with pytest.raises(DataError, match=r"images\.jsonl"):
        known_of_training(Path("data"))


@pytest.mark.parametrize(
    ("image", "trained_on"),
    [
        ("ptb-xl/records500/00000/00010_hr-0.png", True),  # the recording
        ("ptb-xl/records500/00000/00010_hr-3.png", True),  # another stretch of it
        ("ptb-xl/records500/00000/00099_hr-0.png", False),
        ("mimic_v4/files_p1000_p10001725_s1_1-0.png", True),  # another study of the patient
        ("mimic_v4/files_p1000_p10009999_s1_1-0.png", False),
    ],
)
def test_an_item_is_known_by_recording_or_patient(tmp_path: Path, image: str, trained_on: bool) -> None:
    write_seen(tmp_path, {"train": range(20, 22)})
    lines = (tmp_path / "data" / "train.jsonl").read_text(encoding="utf-8")
    (tmp_path / "data" / "train.jsonl").write_text(lines.replace('"p10"', '"mimic-patient/10001725"'))
    group = "mimic-patient/10001725" if "10001725" in image else "another"
    (item,) = beside_training([{"id": "a", "group": group, "shows": [image]}], tmp_path / "data")
    assert item["in_training"] is trained_on


def test_no_item_of_training_is_no_proof_about_patients() -> None:
    line = {
        "id": "a", "group": "a", "question": "?", "labels": None, "prompt": "?", "answer": "NORM", "n_tokens": 1,
        "ended": True, "reference": "NORM", "prompt_cut": 0,
    }  # fmt: skip
    task = EcgBenchTask(task="ecgbench", set="ptbxl_super").model_dump(mode="json")

    def notes(**more: Any) -> str:
        return " ".join(verdict("ecgbench").judged(task, [{**line, **more}])["notes"])

    assert "another recording of a patient may be there" in notes(in_training=False)
    assert "1 of 1 items show what training records show" in notes(in_training=True)
    assert "training" not in notes()


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
