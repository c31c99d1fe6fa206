"""The items of a set of ECGBench, from its file in every published form, and the answers to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from misbehaving import reply, serving
from PIL import Image
from pydantic import TypeAdapter

import runner
from eval.judge.rubrics import rubric
from eval.judges import judge as verdict
from eval.lock import LOCK
from runner.events import read_events
from runner.files import sha256_of
from runner.judging.ecgbench import Bench, items_of
from runner.judging.in_training import beside, training_of
from runner.judging.vision import load_image
from runner.machine import Machine
from runner.plan import make_plan
from runner.rehearse import rehearsed
from runner.spec.judge_rules import judges_away
from runner.spec.kinds import KINDS, broken_rules
from runner.spec.problems import DataError, MachineError
from runner.spec.tasks import EcgBenchTask
from runner.spec.vlm_sources import VlmData
from runner.verify import _records
from tests.judging.conftest import settings_of
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
    assert result["lock"]["records"] == {"ptbxl_super": sha256_of(file)}
    # `verify` does not look for the file's hash in the run's own split.
    assert list(_records(run_dir, "a place", result)) == []
    assert any("the published set has 2082" in note for note in result["notes"])
    assert result["in_training"] == {"items": 4, "recording": 1, "patient": 1, "patient_unknown": 3}
    assert any(note.startswith("1 of 4 items show a recording of the training") for note in result["notes"])


# ---------------------------------------------------------------------------- what training shows of the items


def overlap_of(folder: Path, image: str, group: str = "another") -> tuple[bool, bool | None]:
    """Return whether training shows the recording of an image, and its patient."""
    training = training_of(folder / "data", lambda _: None)
    (item,) = beside([{"id": "a", "group": group, "shows": [image]}], training)
    return item["in_training"]["recording"], item["in_training"]["patient"]


def test_what_training_shows_is_known_by_recording_and_patient(tmp_path: Path) -> None:
    """Training has the records 20 to 23, two a page and a patient; 30 to 33 are validation's, 0 to 3 the test's."""
    write_seen(tmp_path, {"train": range(20, 24), "validation": range(30, 34), "test": range(4)})
    found = training_of(tmp_path / "data", lambda _: None)
    assert found.recordings == {"ptbxl/10", "ptbxl/11"}
    assert found.patients == {"p10", "p11"}
    assert {key: found.owners[key] for key in ("ptbxl/0", "ptbxl/15")} == {"ptbxl/0": "p0", "ptbxl/15": "p15"}
    (tmp_path / "data" / "images.jsonl").unlink()
    with pytest.raises(DataError, match=r"images\.jsonl"):
        training_of(tmp_path / "data", lambda _: None)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("ptb-xl/records500/00000/00010_hr-0.png", (True, True)),  # the recording
        ("ptb-xl/records500/00000/00010_hr-3.png", (True, True)),  # another stretch of it
        ("ptb-xl/records500/00000/00015_hr-0.png", (False, False)),  # of validation: its patient is known
        ("ptb-xl/records500/00000/00099_hr-0.png", (False, None)),  # of no record: nobody knows whose it is
        ("mimic_v4/files_p1000_p10001725_s1_1-0.png", (False, True)),  # another study of the patient
        ("mimic_v4/files_p1000_p10009999_s1_1-0.png", (False, False)),
    ],
)
def test_an_item_is_known_by_recording_or_patient(
    tmp_path: Path, image: str, expected: tuple[bool, bool | None]
) -> None:
    write_seen(tmp_path, {"train": range(20, 24), "validation": range(30, 34)})
    lines = (tmp_path / "data" / "train.jsonl").read_text(encoding="utf-8")
    (tmp_path / "data" / "train.jsonl").write_text(lines.replace('"p11"', '"mimic-patient/10001725"'))
    assert overlap_of(tmp_path, image) == expected


@pytest.mark.parametrize("group", ["ptbxl/{}", "signal/{}", "r{}"], ids=["recording", "signal", "record"])
def test_a_group_that_is_no_patient_is_taken_for_none(tmp_path: Path, group: str) -> None:
    """Where the source knows no patient, a record's group is its recording, the signal or the record itself."""
    write_seen(tmp_path, {"train": [20], "validation": [30]})
    for side, shown in (("train", 10), ("validation", 15)):
        file = tmp_path / "data" / f"{side}.jsonl"
        number = 2 * shown if group.startswith("r") else shown
        file.write_text(file.read_text(encoding="utf-8").replace(f'"p{shown}"', f'"{group.format(number)}"'))
    assert training_of(tmp_path / "data", lambda _: None).owners == {}
    assert overlap_of(tmp_path, "x/00015_hr-0.png") == (False, None)


def write_ptbxl(folder: Path, patients: dict[int, int]) -> None:
    """Write the tables of PTB-XL, of these recordings, and the manifest of data that were made with them."""
    root = folder / "ptbxl"
    root.mkdir()
    head = "ecg_id,patient_id,age,sex,site,scp_codes,strat_fold,filename_lr,filename_hr"
    rows = [f"{ecg},{patient}.0,60,1,0,\"{{'NORM': 100.0}}\",1,lr,hr" for ecg, patient in patients.items()]
    (root / "ptbxl_database.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    (root / "scp_statements.csv").write_text(
        ",diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\nNORM,1.0,,,NORM,NORM\n",
        encoding="utf-8",
    )
    section = {"source": "ecginstruct", "path": "a.json", "ptbxl": "ptbxl", "root": str(folder)}
    data = {
        **section,
        "template": "gemma3",
        "split": {"train": 0.8, "validation": 0.1, "test": 0.1, "by": "group"},
    }
    made = TypeAdapter[Any](VlmData).validate_json(json.dumps(data)).model_dump(mode="json")
    (folder / "data" / "manifest.json").write_text(json.dumps({"settings": made}), encoding="utf-8")


def test_another_recording_of_a_patient_is_known_by_the_table_of_ptbxl(tmp_path: Path) -> None:
    """77 is of patient 500, of whom 10 was trained on; 78 is of nobody in training. The group becomes the patient."""
    write_seen(tmp_path, {"train": range(20, 24)})
    write_ptbxl(tmp_path, {10: 500, 11: 501, 77: 500, 78: 900})
    assert overlap_of(tmp_path, "x/00077_hr-0.png") == (False, True)
    assert overlap_of(tmp_path, "x/00078_hr-0.png") == (False, False)
    assert overlap_of(tmp_path, "x/00079_hr-0.png") == (False, None)
    training = training_of(tmp_path / "data", lambda _: None)
    (item,) = beside([{"id": "a", "group": "ptbxl/77", "shows": ["x/00077_hr-0.png"]}], training)
    assert item["group"] == "ptbxl-patient/500"


def test_the_copy_of_ptbxl_in_the_challenge_is_the_same_recording(tmp_path: Path) -> None:
    """The CinC 2021 challenge numbers PTB-XL's recordings by ecg_id: HR00010 is record 10, of patient 500 like 77."""
    write_seen(tmp_path, {"train": range(20, 24)})
    file = tmp_path / "data" / "images.jsonl"
    file.write_text(
        file.read_text(encoding="utf-8").replace("ptbxl/10", "cinc2021/HR00010"), encoding="utf-8"
    )
    write_ptbxl(tmp_path, {10: 500, 77: 500})
    assert overlap_of(tmp_path, "x/00010_hr-0.png") == (True, True)
    assert overlap_of(tmp_path, "x/00077_hr-0.png") == (False, True)


def test_a_table_that_is_gone_is_noted(tmp_path: Path) -> None:
    write_seen(tmp_path, {"train": range(20, 24)})
    write_ptbxl(tmp_path, {77: 500})
    (tmp_path / "ptbxl" / "ptbxl_database.csv").unlink()
    notes: list[str] = []
    assert "ptbxl/77" not in training_of(tmp_path / "data", notes.append).owners
    (note,) = notes
    assert note.endswith(f"no ptbxl_database.csv in {tmp_path / 'ptbxl'}")


def test_overlap_is_counted_or_refused(
    run_dir: Path, seeing: dict[str, Any], judge: Callable[..., dict[str, Any]]
) -> None:
    """Of four items one shows a recording of training, one another of its patient, one nobody's who is known."""
    write_ptbxl(run_dir, {10: 500, 77: 500, 78: 900})
    names = ["00010_hr-0.png", "00077_hr-0.png", "00078_hr-0.png", "00079_hr-0.png"]
    file = write_items(run_dir, [{"id": name, "image": name, **FORMS["arena"]} for name in names])
    for name in names:
        draw(file.parent / name, 3)
    given = {"set": "ptbxl_super", "file": str(file), "max_new_tokens": 3}
    result = judge(EcgBenchTask(task="ecgbench", **given).model_dump(mode="json"), **seeing)
    assert result["in_training"] == {"items": 4, "recording": 1, "patient": 2, "patient_unknown": 1}
    assert [row[1] for row in result["tables"]["in_training"]["rows"]] == [1, 2, 1]
    assert result["n_groups"] == 3
    refusing = EcgBenchTask(task="ecgbench", **given, overlap="refuse").model_dump(mode="json")
    with pytest.raises(
        DataError,
        match=r"2 of 4 items show a patient of the training records, 1 of them in a recording that was trained on\n"
        r"  00010_hr-0\.png, 00077_hr-0\.png\n  .* or set overlap: count",
    ):
        judge(refusing, **seeing)
    assert (run_dir / "eval/tuned/1_ecgbench.partial").read_text(encoding="utf-8").count("\n") == 1


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ((False, False), "none of 1 items shows a recording or a known patient of the training records"),
        ((False, None), "whose recording 1 show is not known, and another one of the patient may be there"),
        ((False, True), "0 of 1 items show a recording of the training records, and 1 a patient of theirs"),
        ((True, True), "1 of 1 items show a recording of the training records, and 1 a patient of theirs"),
    ],
)
def test_what_is_not_known_of_training_is_said(told: tuple[bool, bool | None], says: str) -> None:
    line = {
        "id": "a", "group": "a", "question": "?", "labels": None, "prompt": "?", "answer": "NORM", "n_tokens": 1,
        "ended": True, "reference": "NORM", "prompt_cut": 0,
    }  # fmt: skip
    task = EcgBenchTask(task="ecgbench", set="ptbxl_super").model_dump(mode="json")
    found = {"recording": told[0], "patient": told[1]}
    result = verdict("ecgbench").judged(task, [{**line, "in_training": found}])
    assert any(says in note for note in result["notes"])
    own = verdict("ecgbench").judged(task, [line])
    assert "training" not in " ".join(own["notes"])
    assert "in_training" not in {*own, *own["tables"]}


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


# ----------------------------------------------------------------------------- reports, graded by a judge

GRADES = {
    "ptbxl_report": {"Diagnosis": 6, "Waveform": 3, "Rhythm": 0},
    "arena": {"Accuracy": 6, "Completeness": 3, "Instruction Adherence": 0},
}
RUBRIC = {"ptbxl_report": "pulse_report_10", "arena": "pulse_arena_10"}


def reports(folder: Path, count: int = 6) -> Path:
    """Write items that ask for a report, as the published file does; the id says so."""
    turns = [{"from": "user", "value": "<image>\nA secret question?"}]
    items = [
        {
            "id": f"ptb_report-{number}",
            "image": f"{number % 3}.png",
            "conversation": [*turns, {"from": "assistant", "value": f"Sinus rhythm of {60 + number}."}],
        }
        for number in range(count)
    ]
    return write_items(folder, items)


def graded_task(of: str, endpoint: str, file: Path, **changes: Any) -> dict[str, Any]:
    judge = {"endpoint": endpoint, "model": "m", "retries": 0, "concurrency": 1, **changes.pop("judge", {})}
    given = {"set": of, "file": str(file), "max_new_tokens": 3, "judge": judge, **changes}
    return EcgBenchTask(task="ecgbench", **given).model_dump(mode="json")


@pytest.mark.parametrize("of", GRADES)
def test_the_items_of_a_file_are_graded_by_the_aspects_of_their_set(
    run_dir: Path,
    seeing: dict[str, Any],
    judge: Callable[..., dict[str, Any]],
    lines: Callable[[], list[dict[str, Any]]],
    of: str,
) -> None:
    """Grades 6, 3 and 0 of 10: a mean of 3, times 10. The judge is sent answer and reference, and nothing else."""
    name = RUBRIC[of]
    with serving(reply(GRADES[of])) as server:
        task = graded_task(of, server.url, reports(run_dir))
        result = judge(task, **seeing)
    assert result["metrics"][name]["value"] == 30
    assert (result["n_records"], result["n_judged"], result["n_bad"]) == (6, 6, 0)
    assert result["headline"][0] == name
    assert {"entity_f1", f"{name}_judged"} <= result["metrics"].keys()
    assert result["lock"]["rubric"] == {"name": name, "version": 1, "sha256": rubric(name).prompt_sha256}
    assert len(result["lock"]["records"][of]) == len(result["lock"]["vocabulary"]) == 64
    assert {"records", "rubric", "vocabulary"} <= LOCK.keys()
    assert result["judge"]["endpoint"] == server.url
    assert result["examples"][0]["score"] == 30
    stored = lines()
    sent = [json.loads(request["messages"][1]["content"]) for request in server.requests]
    assert sent == [{"reference": line["reference"], "candidate": line["answer"]} for line in stored]
    assert "secret question" not in json.dumps(server.requests)
    again = verdict("ecgbench").judged(task, stored)
    assert {key: result[key] for key in again} == json.loads(json.dumps(again))


def test_invented_items_are_graded_by_the_stand_in_alone(
    run_dir: Path, seeing: dict[str, Any], judge: Callable[..., dict[str, Any]]
) -> None:
    """Neither the address nor the key nor the shared cache of the spec is touched."""
    kept = run_dir / "shared"
    who = {"allow_text_to_leave": True, "key_variable": "NO_SUCH_KEY", "cache": str(kept)}
    task = graded_task(
        "arena", "https://judge.example.org/v1", Path("/nowhere.json"), items="invented", judge=who
    )
    result = judge(task, **seeing)
    assert (result["n_judged"], result["judge"]["endpoint"]) == (4, "rehearsal")
    assert any("stand-in" in note for note in result["notes"])
    assert not kept.exists()
    assert not [event for event in read_events(run_dir / "events.jsonl") if "leaves" in event.get("text", "")]


def test_no_answer_leaves_without_leave(
    run_dir: Path, seeing: dict[str, Any], judge: Callable[..., dict[str, Any]]
) -> None:
    task = graded_task("ptbxl_report", "https://judge.example.org/v1", reports(run_dir))
    with pytest.raises(DataError, match="the spec does not allow it\n  set allow_text_to_leave"):
        judge(task, **seeing)
    assert not list(run_dir.glob("eval/**/*.jsonl"))


def test_without_its_key_nothing_is_answered(
    run_dir: Path,
    seeing: dict[str, Any],
    judge: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    monkeypatch.setattr("runner.judging.ecgbench.answers", lambda *_: pytest.fail("answers were written"))
    task = graded_task(
        "arena", "http://127.0.0.1:9/v1", reports(run_dir), judge={"key_variable": "JUDGE_KEY"}
    )
    with pytest.raises(MachineError, match="environment variable JUDGE_KEY is not set"):
        judge(task, **seeing)


def test_a_killed_stage_grades_only_the_rest(
    run_dir: Path, seeing: dict[str, Any], judge: Callable[..., dict[str, Any]]
) -> None:
    """SIGKILL while the judge is silent on the third item: two lines stand, four items are asked about."""
    good = reply(GRADES["ptbxl_report"])

    def silent(handler: Any) -> None:
        server.release.wait(60)
        handler.close_connection = True

    with serving(good, good, silent) as server:
        task = graded_task("ptbxl_report", server.url, reports(run_dir))
        (run_dir / "config").mkdir()
        settings = settings_of(tasks=[task], **seeing)
        (run_dir / "config" / "evaluate.json").write_text(json.dumps(settings), encoding="utf-8")
        with subprocess.Popen(
            [sys.executable, "-m", "runner.stages.evaluate"],
            cwd=run_dir,
            env={**os.environ, "PYTHONPATH": str(Path(runner.__file__).parents[1])},
            stderr=subprocess.DEVNULL,
        ) as process:
            while len(server.requests) < 3 and process.poll() is None:  # the test's own time limit ends it
                time.sleep(0.01)
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        server.release.set()
        server.acts[:] = [good]
        result = judge(task, **seeing)
        assert len(server.requests) == 3 + 4
    assert (result["n_judged"], result["n_records"]) == (6, 6)


def spec_with(task: dict[str, Any]) -> Any:
    return KINDS["vlm"].model_validate(
        {
            "spec": 1,
            "name": "graded",
            "kind": "vlm",
            "model": {"base": "a/b", "architecture": "gemma3", "context": 1024},
            "data": {
                "source": "ecg_instruct_from_signals",
                "format": "synthetic",
                "records": 60,
                "template": "gemma3",
                "split": {"train": 0.8, "validation": 0.1, "test": 0.1, "by": "group"},
            },
            "method": {"name": "lora", "rank": 8, "alpha": 16, "include": ("language.attention",)},
            "train": {
                "epochs": 1,
                "learning_rate": 1e-4,
                "precision": "fp32",
                "batch": {"micro": 4, "effective": 8},
            },
            "compute": {"device": "cpu"},
            "evaluate": ({"task": "ecgbench", **task},),
        }
    )


AWAY = {
    "set": "ptbxl_report",
    "file": "/bench.json",
    "judge": {"endpoint": "https://judge.example.org/v1", "model": "m", "allow_text_to_leave": True},
}


def test_the_plan_says_whose_answers_leave_and_a_rehearsal_sends_none() -> None:
    spec = spec_with(AWAY)
    assert list(broken_rules(spec)) == []
    notes = make_plan(spec, Machine("Linux", 2, 8.0, 0, None, None, False, False)).notes
    assert [note for note in notes if "leaves" in note] == [
        "text leaves this machine: the answers and references of ECGBench's ptbxl_report are sent to the judge at "
        "https://judge.example.org/v1"
    ]
    small = rehearsed(spec)
    assert (list(judges_away(small)), list(broken_rules(small))) == ([], [])
