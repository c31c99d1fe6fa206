"""The data stage on tables: which file is read, which header is refused, and what the manifest says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.events import EventWriter, read_events
from runner.spec.problems import DataError
from runner.stages.data import build
from runner.validate import load_spec

SIDES = ("train", "validation", "test")
RAW = "id;age;gender;height;weight;ap_hi;ap_lo;cholesterol;gluc;smoke;alco;active;cardio"
DERIVED = RAW.replace(";", ",") + ",age_years,bmi,bp_category,bp_category_encoded"
SPEC = Path(__file__).parent.parent.parent / "specs" / "medgemma_cardio.yaml"

Build = Callable[..., dict[str, Any]]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture
def make(run_dir: Path) -> Build:
    """Return a function that builds the data folder of a `data` section."""

    def run(data: dict[str, Any], **settings: Any) -> dict[str, Any]:
        given = {"data": data, "at_most": None, "cache": None, "tokens": None, **settings}
        return build(given, run_dir, EventWriter(run_dir / "events.jsonl", "data"), {})

    return run


def cardio(root: Path, **changes: Any) -> dict[str, Any]:
    return {
        "source": "cardio",
        "root": str(root),
        "prompt": "{sex}, {age_years} years, {ap_hi}/{ap_lo} mmHg, {weight} kg: disease?",
        "answers": {"absent": "no", "present": "yes"},
        "template": "question_answer",
        "split": {"train": 0.6, "validation": 0.2, "test": 0.2, "by": "features"},
        **changes,
    }


def raw_row(number: int, **changes: object) -> str:
    names = RAW.split(";")
    values = dict(zip(names, (number, 18000 + 400 * number, 1 + number % 2, 168, 62.0, 110, 80, 1, 1, 0, 0, 1, number % 2), strict=True))  # fmt: skip
    return ";".join(str(value) for value in (values | changes).values())


def write(file: Path, *lines: str, header: str = RAW, ends: str = "\n") -> Path:
    content = "".join(f"{line}{ends}" for line in (header, *lines)).encode()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


def derived_row(raw: str, years: int, bmi: float, category: str) -> str:
    return ",".join([*raw.split(";"), str(years), repr(bmi), category, category])


def lines(run_dir: Path, side: str) -> list[dict[str, Any]]:
    with (run_dir / "data" / f"{side}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def notes(run_dir: Path) -> list[str]:
    return [event["text"] for event in read_events(run_dir / "events.jsonl") if event["event"] == "note"]


# ------------------------------------------------------------------------------------------- which file


def test_what_is_dropped_is_named_and_what_reads_the_same_is_counted(
    make: Build, run_dir: Path, tmp_path: Path
) -> None:
    rows = [raw_row(number) for number in range(20)]
    rows += [raw_row(90, ap_hi=16020), raw_row(91, ap_hi=80, ap_lo=110), raw_row(92, ap_hi=14)]
    rows += [raw_row(93, age=18000, gender=1), raw_row(94, age=18000, gender=1, cardio=1)]
    manifest = make(cardio(write(tmp_path / "a.csv", *rows), filter={"deduplicate": False}))
    assert manifest["dropped"] == {
        "ap_hi outside 60 to 260 mmHg": {"count": 2, "ids": ["90", "92"]},
        "ap_lo (diastolic) above ap_hi (systolic)": {"count": 1, "ids": ["91"]},
    }
    assert manifest["sources"][0]["layout"] == "raw"
    features = manifest["split"]["features"]
    assert (features["repeated"], features["with_several_labels"]) == (2, 1)
    assert features["records_with_several_labels"] == 3
    assert set(features["shared"].values()) == {0}
    assert any("2 records have the features of an earlier one" in note for note in notes(run_dir))
    assert any("3 records share their features with one of another label" in note for note in notes(run_dir))
    written = [record for side in SIDES for record in lines(run_dir, side)]
    assert len(written) == 22
    assert all({"label", "features", "attributes"} <= record.keys() for record in written)
    assert {type(value) for record in written for value in record["features"].values()} == {float}


def test_both_layouts_packed_or_not_give_the_same_bytes(make: Build, run_dir: Path, tmp_path: Path) -> None:
    """10 rows of 168 cm and 62 kg: 21.967 kg/m2, 110/80 is Stage 1, and (18000 + 400 n) // 365 years."""
    raw = [raw_row(number) for number in range(10)]
    derived = [
        derived_row(row, (18000 + 400 * n) // 365, 21.9671201814059, "Hypertension Stage 1")
        for n, row in enumerate(raw)
    ]
    files = (
        write(tmp_path / "r.csv", *raw),
        write(tmp_path / "r.csv.gz", *raw),
        write(tmp_path / "windows.csv", *raw, header="\ufeff" + RAW, ends="\r\n"),
        write(tmp_path / "d.csv", *derived, header=DERIVED),
    )
    prompt = "{age_years} {bmi} {bp_category}"
    made = []
    for file in files:
        manifest = make(cardio(file, prompt=prompt))
        made.append({side: (run_dir / "data" / f"{side}.jsonl").read_bytes() for side in SIDES})
        layout = "derived" if file.name == "d.csv" else "raw"
        assert manifest["sources"][0]["layout"] == layout
    assert made[0] == made[1] == made[2] == made[3]
    assert b"22.0 Hypertension Stage 1" in made[0]["train"]


def test_derived_cells_that_follow_other_rules_are_counted_not_taken(make: Build, tmp_path: Path) -> None:
    rows = [derived_row(raw_row(n), 99, 21.9671201814059, "Normal") for n in range(10)]
    manifest = make(cardio(write(tmp_path / "d.csv", *rows, header=DERIVED), prompt="{age_years}"))
    assert manifest["sources"][0]["recomputed_differently"] == {"age_years": 10, "bp_category": 10}


def test_a_folder_of_several_tables_wants_one_named(make: Build, tmp_path: Path) -> None:
    folder = tmp_path / "cardio"
    folder.mkdir()
    write(folder / "one.csv.gz", *(raw_row(number) for number in range(10)))
    assert make(cardio(folder))["records"]["kept"] == 10  # the only one
    write(folder / "two.csv", *(raw_row(number) for number in range(20)))
    with pytest.raises(
        DataError, match=r"data.file is not given, and .* holds 2 tables\n.*allowed: one.csv.gz, two.csv"
    ):
        make(cardio(folder))
    assert make(cardio(folder, file="two.csv"))["records"]["kept"] == 20
    assert make(cardio(folder, file="one.csv"))["records"]["kept"] == 10  # the same name with .gz
    with pytest.raises(DataError, match=r"data.file: no 'three.csv', nor with .gz"):
        make(cardio(folder, file="three.csv"))
    assert make(cardio(folder / "one.csv.gz", file="one.csv"))["records"]["kept"] == 10
    with pytest.raises(DataError, match=r"is the file one.csv.gz, but data.file asks for two.csv"):
        make(cardio(folder / "one.csv.gz", file="two.csv"))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (RAW.replace("ap_hi;ap_lo", "sbp;dbp"), "lacking: ap_hi, ap_lo; unknown: 'sbp', 'dbp'"),
        ("a,b,c", "lacking: id, age, gender"),
        ("", "is empty: its first line is to name the columns"),
    ],
)
def test_a_wrong_header_is_refused_before_anything_is_read(
    make: Build, run_dir: Path, tmp_path: Path, header: str, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        make(cardio(write(tmp_path / "a.csv.gz", raw_row(1), header=header)))
    assert not (run_dir / "data" / "manifest.json").exists()


def test_what_cannot_be_read_is_named(make: Build, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.root: no such file or folder: .*\n.*--set data.root=PATH"):
        make(cardio(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no .csv or .csv.gz file in"):
        make(cardio(tmp_path / "empty"))
    (tmp_path / "a.csv.gz").write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match=r"a.csv.gz cannot be unpacked"):
        make(cardio(tmp_path / "a.csv.gz"))
    whole = write(tmp_path / "b.csv.gz", *(raw_row(number) for number in range(500))).read_bytes()
    (tmp_path / "b.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b.csv.gz cannot be unpacked"):
        make(cardio(tmp_path / "b.csv.gz"))
    (tmp_path / "c.csv").write_bytes(RAW.encode() + b"\n\xff\n")
    with pytest.raises(DataError, match=r"c.csv is not UTF-8: byte"):
        make(cardio(tmp_path / "c.csv"))


def test_bad_rows_are_named_by_line(make: Build, tmp_path: Path) -> None:
    short = write(tmp_path / "a.csv", raw_row(1), "2;18000;1", raw_row(3))
    with pytest.raises(DataError, match=r"1 bad line in .*\n  a.csv:3: 3 cells, expected 13"):
        make(cardio(short))
    wrong = write(tmp_path / "b.csv", raw_row(1), raw_row(2, gender=7), raw_row(1))
    with pytest.raises(
        DataError, match=r"2 bad records (.|\n)*b.csv:3: gender: '7'(.|\n)*b.csv:4: the id '1' is already"
    ):
        make(cardio(wrong))


# ------------------------------------------------------------------------------------------- real data


@pytest.fixture
def published(real_data: Path) -> dict[str, Any]:
    """Return the data section of the committed spec, on the real data."""
    loaded = load_spec(SPEC, [f"data.root={real_data / 'cardio'}"], {})
    section: dict[str, Any] = loaded.spec.data.model_dump(mode="json")
    return section


@pytest.mark.realdata
def test_the_published_sizes_are_more_than_there_are(make: Build, published: dict[str, Any]) -> None:
    """The real folder holds 80 % of the rows; with all of them the spec's own sizes fit, the published do not."""
    with pytest.raises(DataError) as error:
        make(published)
    text = str(error.value)
    assert (
        "data.split wants 30692 + 3410 + 34103 = 68205 records (train, validation, test); there are 54575"
        in text
    )
    assert "54575 kept of 54575 read from cardio, cardio_data_processed.csv.gz" in text
    sizes = {"train": 34102, "validation": 13641, "test": 34103}
    with pytest.raises(DataError, match=r"34102 [+] 13641 [+] 34103 = 81846 records"):
        make({**published, "split": {**published["split"], **sizes}})


@pytest.mark.realdata
def test_a_rehearsal_of_the_spec_fits(make: Build, run_dir: Path, published: dict[str, Any]) -> None:
    sizes = {"train": 240, "validation": 40, "test": 40}
    manifest = make({**published, "split": {**published["split"], **sizes}}, at_most=sizes)
    assert [manifest["splits"][side]["records"] for side in SIDES] == [240, 40, 40]
    record = lines(run_dir, "test")[0]
    assert record["question"].endswith("Does this patient have cardiovascular disease? Answer yes or no.")
    assert record["label"] in ("yes", "no")


@pytest.mark.realdata
def test_the_real_raw_table_gives_the_records_of_the_derived_one(
    make: Build, run_dir: Path, published: dict[str, Any]
) -> None:
    """56,000 rows, of which the limits of the derived table leave its 54,575; 3,149 read like another one."""
    published = {**published, "split": {"train": 0.45, "validation": 0.05, "test": 0.5, "by": "features"}}
    derived = make(published)
    before = {side: (run_dir / "data" / f"{side}.jsonl").read_bytes() for side in SIDES}
    raw = make({**published, "file": "cardio_train.csv"})
    assert {side: (run_dir / "data" / f"{side}.jsonl").read_bytes() for side in SIDES} == before
    assert (raw["records"]["read"], raw["records"]["kept"], derived["records"]["kept"]) == (
        56_000,
        54_575,
        54_575,
    )
    assert sum(entry["count"] for entry in raw["dropped"].values()) == 56_000 - 54_575
    features = derived["split"]["features"]
    assert (features["repeated"], features["with_several_labels"]) == (3_149, 975)
    assert features["records_with_several_labels"] == 2_707
    assert (derived["split"]["crossing"], set(features["shared"].values())) == (0, {0})


# ------------------------------------------------------------------------------------------- uci heart


def uci(root: Path, **changes: Any) -> dict[str, Any]:
    section = cardio(root, source="uci_heart", prompt="{sex}, {age} years, {cp}, ca {ca}: disease?")
    return {**section, "split": {"train": 0.6, "validation": 0.2, "test": 0.2, "by": "record"}, **changes}


@pytest.mark.realdata
def test_the_real_uci_files_site_by_site(make: Build, run_dir: Path, real_data: Path) -> None:
    """Hungary has no `ca` in 291 of 294 rows: these read `unknown`, or are dropped where asked."""
    root = real_data / "uci_heart"
    manifest = make(uci(root, filter={"deduplicate": False}))
    assert manifest["sources"][0]["sites"] == ["cleveland", "hungarian"]
    assert manifest["records"] == {"read": 597, "kept": 597}
    written = [record for side in SIDES for record in lines(run_dir, side)]
    assert sum("ca unknown" in record["question"] for record in written) == 291 + 4
    assert {record["attributes"]["site"] for record in written} == {"cleveland", "hungarian"}
    dropped = make(
        uci(
            root,
            missing="drop",
            sites=["hungarian"],
            split={"train": 3, "validation": 0, "test": 0, "by": "record"},
        )
    )
    assert dropped["dropped"]["no value of ca"]["count"] == 291
    assert (
        make(uci(root / "processed.cleveland.data", filter={"deduplicate": False}))["records"]["kept"] == 303
    )


def test_other_heart_tables_are_refused(make: Build, tmp_path: Path) -> None:
    kaggle = tmp_path / "processed.cleveland.data"
    kaggle.write_text("age,sex,cp,target\n63,1,3,1\n")
    with pytest.raises(
        DataError, match=r"begins with 'age,sex,cp,target'; (.|\n)*Kaggle's heart.csv is another table"
    ):
        make(uci(tmp_path))
    with pytest.raises(DataError, match=r"data.sites: no processed.va.data in .*allowed: cleveland"):
        make(uci(tmp_path, sites=["va"]))
    with pytest.raises(DataError, match=r"data.sites is given, but data.root is one file"):
        make(uci(kaggle, sites=["va"]))
    with pytest.raises(DataError, match="no such file or folder"):
        make(uci(tmp_path / "nowhere"))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"no processed.<site>.data in"):
        make(uci(tmp_path / "none"))


def test_tables_and_other_records_mix(make: Build, run_dir: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", *(raw_row(number) for number in range(20)))
    part = {key: value for key, value in cardio(table, take=15).items() if key not in ("template", "split")}
    data = {
        "source": "mixture",
        "template": "question_answer",
        "split": {"train": 0.6, "validation": 0.2, "test": 0.2, "by": "features"},
        "components": [part, {"source": "synthetic_medical_qa", "records": 20}],
    }
    manifest = make(data)
    assert manifest["records"]["kept"] == 35
    assert manifest["split"]["without_key"] == 20  # kept together by group
    ids = [record["id"] for side in SIDES for record in lines(run_dir, side) if "features" in record]
    assert len(ids) == 15
    assert all(name.startswith("cardio/") for name in ids)
