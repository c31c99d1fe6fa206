"""The data stage with images: parts by name, stand-ins, patients kept apart, images for the records that are taken."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from runner.data_readers import pages
from runner.events import EventWriter, read_events
from runner.spec.problems import DataError
from runner.spec.vlm_sources import VlmData
from runner.stages.data import build

Build = Callable[..., dict[str, Any]]
SIDES = ("train", "validation", "test")
SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2, "by": "group"}
COMMON = {"template": "gemma3", "split": SPLIT, "render": {"dpi": 40, "plotted_pixels": False}, "workers": 1}
MADE = {"source": "ecg_instruct_from_signals", "format": "synthetic", "records": 12, "fs_hz": 100}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "name" / "run"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def make(run_dir: Path) -> Build:
    """Return a function that builds the data folder: `make(data, at_most=..., cache=...)`, the section as in a spec."""

    def run(
        data: Mapping[str, Any], *, at_most: Mapping[str, int] | None = None, cache: str | None = None
    ) -> dict[str, Any]:
        adapter: TypeAdapter[Any] = TypeAdapter(VlmData)
        section = json.loads(adapter.dump_json(adapter.validate_json(json.dumps({**COMMON, **data}))))
        settings = {"data": section, "at_most": at_most, "cache": cache, "tokens": None}
        return build(settings, run_dir, EventWriter(run_dir / "events.jsonl", "data"), {})

    return run


def rows(run_dir: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        side: [json.loads(line) for line in (run_dir / "data" / f"{side}.jsonl").read_text().splitlines()]
        for side in SIDES
    }


def every(run_dir: Path) -> list[dict[str, Any]]:
    return [row for side in rows(run_dir).values() for row in side]


def notes(run_dir: Path) -> list[str]:
    return [event["text"] for event in read_events(run_dir / "events.jsonl") if event["event"] == "note"]


def png(shade: int, size: tuple[int, int] = (30, 20)) -> bytes:
    image = pytest.importorskip("PIL.Image", reason="needs the ecg extra")
    out = BytesIO()
    image.fromarray(np.full((*size[::-1], 3), shade, dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def instruct(root: Path, count: int, lacking: tuple[int, ...] = (), **rows_more: Any) -> dict[str, Any]:
    """Write ECGInstruct rows with an image each, all but those of the numbers `lacking`; return the source."""
    (root / "images" / "x").mkdir(parents=True, exist_ok=True)
    items = []
    for number in range(count):
        if number not in lacking:
            (root / "images" / "x" / f"{number}.png").write_bytes(png(number))
        turns = [
            {"from": "human", "value": f"<image>\nWhat is {number}?"},
            {"from": "gpt", "value": f"A{number}."},
        ]
        items.append({"id": f"r{number}", "image": f"x/{number}.png", "conversations": turns})
    (root / "rows.json").write_text(json.dumps(items))
    return {"source": "ecginstruct", "root": str(root), "path": "rows.json", "images": ["images"]}


# -------------------------------------------------------------------------------------------- what is written


def test_rows_have_absolute_images_that_are_there(make: Build, run_dir: Path) -> None:
    manifest = make(MADE)
    written = every(run_dir)
    assert sum(part["records"] for part in manifest["splits"].values()) == len(written) > 12
    for row in written:
        (image,) = row["images"]
        assert Path(image).is_absolute()
        assert Path(image).read_bytes().startswith(b"\x89PNG")
        assert "<image>" not in json.dumps(row["messages"])
        assert "split" not in row
        assert "keep_with" not in row
    assert manifest["sources"][0]["recordings"] == 12
    assert manifest["split"]["patients_on_two_sides"] == 0


def test_the_list_of_images_is_the_one_of_the_rows(make: Build, run_dir: Path) -> None:
    make(MADE)
    listed = [json.loads(line) for line in (run_dir / "data" / "images.jsonl").read_text().splitlines()]
    assert sorted(one["path"] for one in listed) == sorted({row["images"][0] for row in every(run_dir)})
    assert len(listed) == 12


def test_runs_share_pages(
    make: Build, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(MADE, cache="../../.cache/data")
    assert len(list((tmp_path / "runs" / ".cache" / "images").rglob("*.png"))) == 12
    first = every(run_dir)
    monkeypatch.setattr(pages, "write_bytes", lambda *_, **__: pytest.fail("a page was drawn again"))
    make({**MADE, "system_prompt": "Be brief."}, cache="../../.cache/data")
    assert [row["images"] for row in every(run_dir)] == [row["images"] for row in first]


def test_cached_data_whose_images_are_gone_are_made_again(make: Build, run_dir: Path, tmp_path: Path) -> None:
    make(MADE, cache="../../.cache/data")
    first = rows(run_dir)
    shutil.rmtree(tmp_path / "runs" / ".cache" / "images")
    make(MADE, cache="../../.cache/data")
    assert rows(run_dir) == first
    assert all(Path(row["images"][0]).is_file() for row in every(run_dir))
    assert any("images of the cached data are gone" in note for note in notes(run_dir))


# ------------------------------------------------------------------------------------------------- mixtures


def mixture(**parts: Mapping[str, Any]) -> dict[str, Any]:
    return {"source": "mixture", "components": parts}


def test_a_part_is_left_out_by_its_name(make: Build, run_dir: Path) -> None:
    make(mixture(a=MADE, b={**MADE, "seed": 5, "use": False}))
    assert {row["source"] for row in every(run_dir)} == {"a"}
    make(mixture(a={**MADE, "use": False}, b={**MADE, "seed": 5}))
    assert {row["source"] for row in every(run_dir)} == {"b"}


def test_no_part_at_all_is_refused(make: Build) -> None:
    with pytest.raises(DataError, match="none is used; `use: true` for one of a"):
        make(mixture(a={**MADE, "use": False}))


def test_records_of_each_part_are_counted(make: Build, run_dir: Path) -> None:
    manifest = make(
        mixture(
            a={**MADE, "questions": ["report"]}, b={**MADE, "seed": 5, "questions": ["rhythm"], "take": 7}
        )
    )
    assert [(one["name"], one["kept"]) for one in manifest["sources"]] == [("a", 12), ("b", 7)]
    assert manifest["images"]["ready"] == {"a": 12, "b": 7}


LACKING = {"source": "ecginstruct", "path": "none.json", "images": ["none"]}


def test_a_rehearsal_reads_the_first_stand_in_that_is_there(make: Build, run_dir: Path) -> None:
    other = {"source": "ecg_instruct_from_signals", "format": "ptbxl", "folder": "none"}
    manifest = make(mixture(mimic={**LACKING, "stand_ins": [other, MADE]}), at_most=dict.fromkeys(SIDES, 6))
    assert manifest["sources"][0]["stands_in"] == "data.components.mimic.stand_ins[1]"
    assert {row["source"] for row in every(run_dir)} == {"mimic"}
    assert "mimic is not at hand: its stand-in data.components.mimic.stand_ins[1] was read" in notes(run_dir)


def test_a_run_reads_no_stand_in(make: Build, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.components.mimic.path: nothing at .*none.json"):
        make({**mixture(mimic={**LACKING, "stand_ins": [MADE]}), "root": str(tmp_path)})


def test_without_a_root_it_is_said_what_needs_one(make: Build) -> None:
    with pytest.raises(DataError, match=r"'none.json' is relative to data.root, which is not given"):
        make(mixture(mimic=LACKING))


# ------------------------------------------------------------------------------------ missing, unusable, limits


def test_missing_images_are_named_and_nothing_is_written(make: Build, run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        make(instruct(tmp_path, 12, lacking=(3, 7)))
    said = str(caught.value)
    assert "2 images are missing; data.limits.missing allows 0" in said
    assert (
        "  2 like this: in none of the places of `images`: ecginstruct: x/3.png, ecginstruct: x/7.png\n"
        in said
    )
    assert not (run_dir / "data" / "manifest.json").exists()


def test_allowed_missing_images_are_counted_by_name(make: Build, run_dir: Path, tmp_path: Path) -> None:
    manifest = make({**instruct(tmp_path, 12, lacking=(3, 7)), **limits(2)})
    assert manifest["images"]["missing"] == {
        "count": 2,
        "names": ["ecginstruct: x/3.png", "ecginstruct: x/7.png"],
    }
    assert manifest["dropped"]["an image is missing"]["ids"] == ["r3", "r7"]
    assert {row["id"] for row in every(run_dir)} == {f"r{n}" for n in range(12)} - {"r3", "r7"}


def limits(missing: int = 0, unusable: int = 0) -> dict[str, Any]:
    return {"limits": {"missing": missing, "unusable": unusable}}


def test_missing_and_unusable_images_are_told_at_once(make: Build, tmp_path: Path) -> None:
    data = instruct(tmp_path, 8, lacking=(5,))
    for number in (2, 3):
        (tmp_path / "images" / "x" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        make(data)
    said = str(caught.value)
    assert "1 image is missing; data.limits.missing allows 0" in said
    assert "2 images are unusable; data.limits.unusable allows 0" in said
    assert "--set data.limits.missing=NUMBER --set data.limits.unusable=NUMBER" in said
    with pytest.raises(DataError) as caught:
        make({**data, **limits(missing=1)})
    assert "missing" not in str(caught.value)


def test_a_system_message_in_a_row_is_refused_where_the_template_takes_none(
    make: Build, run_dir: Path, tmp_path: Path
) -> None:
    """Llama 3.2 Vision's template takes none beside an image; Gemma 3's does."""
    data = instruct(tmp_path, 12)
    items = json.loads((tmp_path / "rows.json").read_text())
    for number in (2, 9):
        items[number]["conversations"].insert(0, {"from": "system", "value": "Be brief."})
    (tmp_path / "rows.json").write_text(json.dumps(items))
    with pytest.raises(
        DataError,
        match=r"2 of 12 records have a system message.*'llama3_2_vision'[^\n]*\n(.*\n)*.*r2\b.*(\n.*)*r9\b",
    ):
        make({**data, "template": "llama3_2_vision"})
    assert not (run_dir / "data" / "manifest.json").exists()
    make({**data, "template": "gemma3"})
    assert sum(row["messages"][0]["role"] == "system" for row in every(run_dir)) == 2


def test_unusable_images_are_named_with_the_reason(make: Build, tmp_path: Path) -> None:
    data = instruct(tmp_path, 8)
    (tmp_path / "images" / "x" / "2.png").write_bytes(png(2)[:-14])
    with pytest.raises(
        DataError, match=r"1 image is unusable; data.limits.unusable allows 0\n.*x/2.png: truncated"
    ):
        make(data)
    manifest = make({**data, **limits(unusable=1)})
    assert list(manifest["images"]["unusable"]["reasons"]) == ["ecginstruct: x/2.png"]


def test_counts_are_met_although_images_are_missing(make: Build, run_dir: Path, tmp_path: Path) -> None:
    """Eight of twelve are asked for; whichever of the three that lack an image are chosen, others take their place."""
    split = {"train": 4, "validation": 2, "test": 2, "by": "record"}
    manifest = make({**instruct(tmp_path, 12, lacking=(1, 4, 9)), "split": split, **limits(3)})
    assert [manifest["splits"][side]["records"] for side in SIDES] == [4, 2, 2]
    assert not {"r1", "r4", "r9"} & {row["id"] for row in every(run_dir)}


def test_a_rehearsal_looks_at_the_images_of_its_records_alone(
    make: Build, run_dir: Path, tmp_path: Path
) -> None:
    manifest = make(instruct(tmp_path, 60), at_most={"train": 5, "validation": 2, "test": 2})
    assert manifest["images"]["ready"] == {"ecginstruct": 9}
    assert manifest["dropped"]["left out by the rehearsal's limit"]["count"] == 51


def test_parts_of_one_archive_read_it_once(
    make: Build, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = instruct(tmp_path, 20)
    with tarfile.open(tmp_path / "shard_0.tar.gz", "w:gz") as tar:
        for number in range(20):
            tar.add(tmp_path / "images" / "x" / f"{number}.png", f"{'ab'[number % 2]}/{number}.png")
    items = json.loads((tmp_path / "rows.json").read_text())
    for number, item in enumerate(items):
        item["image"] = f"{'ab'[number % 2]}/{number}.png"
    (tmp_path / "rows.json").write_text(json.dumps(items))
    part = {"source": "ecginstruct", "path": "rows.json", "images": ["shard_0.tar.gz"]}
    opened = []
    really = tarfile.open

    def counted(*args: Any, **options: Any) -> tarfile.TarFile:
        opened.append(args)
        return really(*args, **options)

    monkeypatch.setattr(tarfile, "open", counted)
    make({**mixture(a={**part, "keep": ["a"]}, b={**part, "keep": ["b"]}), "root": data["root"]})
    assert len(opened) == 1
    assert {(row["source"], Path(row["images"][0]).parts[-3]) for row in every(run_dir)} == {
        ("a", "unpacked"),
        ("b", "unpacked"),
    }


# -------------------------------------------------------------------------------------------------- patients


def two_patients_on_two_sides(root: Path) -> dict[str, Any]:
    (root / "a.png").write_bytes(png(1))
    turns = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]
    lines = [
        {
            "messages": turns,
            "images": ["a.png"],
            "id": f"{n}",
            "group": f"p{n % 3}",
            "split": SIDES[n % 3 if n < 6 else 0],
        }
        for n in range(8)
    ]
    for line in lines:
        line["messages"] = [{**turns[0], "content": f"Q {line['id']}?"}, turns[1]]
    (root / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"source": "messages", "root": str(root), "path": "rows.jsonl", "split": {"by": "given"}}


def test_a_patient_on_two_sides_is_refused_by_name(make: Build, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 patients? stands? on more than one side .*given.*\n  p1"):
        make(two_patients_on_two_sides(tmp_path))


def test_overlap_that_is_allowed_is_counted(make: Build, tmp_path: Path) -> None:
    manifest = make({**two_patients_on_two_sides(tmp_path), "patients": "may_overlap"})
    assert manifest["split"]["patients_on_two_sides"] == 1


def test_a_patient_by_another_word_is_said(make: Build, run_dir: Path, tmp_path: Path) -> None:
    """What nothing reads parts no patients: the split goes through, and its reader must learn why."""
    data = two_patients_on_two_sides(tmp_path)
    file = tmp_path / "rows.jsonl"
    file.write_text(file.read_text().replace('"group"', '"patient"'))
    manifest = make(data)
    assert manifest["sources"][0]["unread_keys"] == {"patient": {"count": 8, "nearest": "group"}}
    assert "messages: nothing reads the key 'patient' (of 8 records; nearest: group)" in notes(run_dir)
    assert not any("unread" in row for row in every(run_dir))


# ------------------------------------------------------------------------------------------------- real data


@pytest.mark.realdata
def test_the_folds_of_ptbxl(make: Build, run_dir: Path, real_data: Path) -> None:
    """47 recordings are in fold 10, 58 in fold 9, 230 in the others; one question each."""
    data = {
        "source": "ecg_instruct_from_signals",
        "format": "ptbxl",
        "folder": "ecg_ptbxl_subset",
        "fs_hz": 100,
    }
    manifest = make({**data, "root": str(real_data), "questions": ["superclasses"], "split": {"by": "given"}})
    assert [manifest["splits"][side]["records"] for side in SIDES] == [230, 58, 47]
    normal = [row for row in every(run_dir) if "NORM" in row["labels"]["superclasses"]]
    assert len(normal) == 192
    assert all("NORM" in row["messages"][-1]["content"] for row in normal)


@pytest.mark.realdata
def test_recordings_that_are_in_two_sets_stay_together(make: Build, run_dir: Path, real_data: Path) -> None:
    """HR00001 to HR00010 of the challenge are records 1 to 10 of PTB-XL, with the same samples."""
    part = {"source": "ecg_instruct_from_signals", "questions": ["code15"]}
    parts = {
        "ptbxl": {**part, "format": "ptbxl", "folder": "ecg_ptbxl_subset"},
        "challenge": {**part, "format": "cinc2021", "folder": "ecg_cinc2021_subset", "databases": ["ptb-xl"]},
    }
    make({**mixture(**parts), "root": str(real_data)}, at_most=dict.fromkeys(SIDES, 400))
    side_of = {row["id"]: side for side, found in rows(run_dir).items() for row in found}
    group_of = {row["id"]: row["group"] for row in every(run_dir)}
    for number in range(1, 11):
        one, other = f"ptbxl/ptbxl/{number}/code15", f"challenge/cinc2021/HR{number:05d}/code15"
        assert group_of[one] == group_of[other]
        assert side_of[one] == side_of[other]


@pytest.mark.realdata
def test_reports_of_ecgbench_get_drawn_images(make: Build, run_dir: Path, real_data: Path) -> None:
    """Ten of the 349 recordings are in the PTB-XL given; the other 339 are missing, and counted."""
    data = {
        "source": "ecginstruct",
        "path": "ecgbench_report_sample/ptb_report_generation_test.json",
        "ptbxl": "ecg_ptbxl_subset",
        "missing": "draw",
        "root": str(real_data),
    }
    manifest = make({**data, **limits(339)})
    assert manifest["sources"][0]["images_drawn"] == 10
    assert manifest["images"]["missing"]["count"] == 339
    written = every(run_dir)
    assert len(written) == 10
    assert all(row["reference"] == row["messages"][-1]["content"] for row in written)
    assert all(row["group"].startswith("ptbxl-patient/") for row in written)
