from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from converters.records.record import normalise
from runner.data_cache import DataCache
from runner.data_readers import named
from runner.events import EventWriter, read_events
from runner.files import sha256_of
from runner.spec.problems import DataError, MachineError
from runner.stages.data import build

SPLIT = {"train": 0.8, "validation": 0.1, "test": 0.1, "by": "record", "seed": 42}
SYNTHETIC = {"source": "synthetic_medical_qa", "records": 100, "template": "question_answer", "split": SPLIT}
Build = Callable[..., dict[str, Any]]
SIDES = ("train", "validation", "test")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "name" / "run"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def make(run_dir: Path) -> Build:
    """Return a function that builds the data folder: `make(data, at_most=..., cache=...)`."""

    def run(
        data: Mapping[str, Any],
        *,
        at_most: Mapping[str, int] | None = None,
        cache: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        settings = {"data": data, "at_most": at_most, "cache": cache, "tokens": None}
        return build(settings, run_dir, EventWriter(run_dir / "events.jsonl", "data"), environ or {})

    return run


def lines(run_dir: Path, side: str) -> list[dict[str, Any]]:
    with (run_dir / "data" / f"{side}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def notes(run_dir: Path) -> list[str]:
    return [event["text"] for event in read_events(run_dir / "events.jsonl") if event["event"] == "note"]


def talk(name: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"Q {name}?"}, {"role": "assistant", "content": f"A {name}."}]
    return {"messages": turns, **more}


def write_lines(file: Path, rows: list[Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def messages(path: Path, **more: Any) -> dict[str, Any]:
    return {"source": "messages", "path": str(path), "template": "question_answer", "split": SPLIT, **more}


XML = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="{name}" source="S" url="u"><Focus>Focus {name}</Focus><QAPairs>
<QAPair pid="1"><Question qid="{name}-1" qtype="x">What is {name} ?</Question><Answer>It is {name}.</Answer></QAPair>
</QAPairs></Document>"""


def medquad(root: Path, files: int = 10, **more: Any) -> dict[str, Any]:
    for number in range(files):
        file = root / f"{1 + number % 2}_Some_QA" / f"{number:07d}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(XML.format(name=f"{number:07d}"))
    return {"source": "medquad", "root": str(root), "template": "question_answer", "split": SPLIT, **more}


# ---------------------------------------------------------------------------------------- manifest


def test_keys_that_nothing_reads_are_counted_and_said(make: Build, run_dir: Path, tmp_path: Path) -> None:
    """A patient under another word than `group` would stand on two sides without a word about it."""
    rows = [talk(str(number), patient=number % 3) for number in range(18)]
    rows += [talk("a", url="u", patient=1, group="1"), talk("b", url="u")]
    manifest = make(messages(write_lines(tmp_path / "in.jsonl", rows)))
    assert manifest["sources"][0]["unread_keys"] == {
        "patient": {"count": 19, "nearest": "group"},
        "url": {"count": 2, "nearest": None},
    }
    assert (
        "messages: nothing reads the keys 'patient' (of 19 records; nearest: group), 'url' (of 2 records)"
        in notes(run_dir)
    )
    assert not any("patient" in row or "unread" in row for side in SIDES for row in lines(run_dir, side))


def test_many_keys_that_nothing_reads_are_one_short_note(make: Build, run_dir: Path, tmp_path: Path) -> None:
    rows = [talk(str(number), **{f"key{number:02d}": 1}) for number in range(25)]
    manifest = make(messages(write_lines(tmp_path / "in.jsonl", rows)))
    assert len(manifest["sources"][0]["unread_keys"]) == 25
    (said,) = [text for text in notes(run_dir) if "nothing reads" in text]
    assert said.endswith("'key19' (of 1 record), and 5 more, named in data/manifest.json")


def test_records_whose_keys_are_all_read_get_no_note(make: Build, run_dir: Path, tmp_path: Path) -> None:
    manifest = make(
        messages(write_lines(tmp_path / "in.jsonl", [talk(str(n), group=str(n)) for n in range(20)]))
    )
    assert "unread_keys" not in manifest["sources"][0]
    assert not any("nothing reads" in text for text in notes(run_dir))


def test_the_manifest_accounts_for_every_record(make: Build, run_dir: Path, tmp_path: Path) -> None:
    """10 good, 1 duplicate, 1 too short; 6 + 2 + 1 wanted, so 1 is left out by the split."""
    rows = [talk(str(number), id=f"r{number}") for number in range(10)]
    rows += [talk("3", id="twin"), talk("x", id="short")]
    rows[-1]["messages"][1]["content"] = "No"
    file = write_lines(tmp_path / "in.jsonl", rows)
    split = {"train": 6, "validation": 2, "test": 1, "by": "record", "seed": 1}
    manifest = make(messages(file, split=split, filter={"min_answer_words": 2}, system_prompt="Be brief."))
    assert manifest == json.loads((run_dir / "data" / "manifest.json").read_text())
    assert manifest["inputs"] == {
        "files": 1,
        "bytes": file.stat().st_size,
        "sha256": manifest["inputs"]["sha256"],
        "list": [
            {
                "source": "messages",
                "path": "in.jsonl",
                "bytes": file.stat().st_size,
                "sha256": sha256_of(file),
            }
        ],
    }
    assert manifest["records"] == {"read": 12, "kept": 10}
    assert {reason: entry["count"] for reason, entry in manifest["dropped"].items()} == {
        "answer shorter than filter.min_answer_words": 1,
        "duplicate of an earlier record": 1,
        "left out by split": 1,
    }
    assert manifest["dropped"]["duplicate of an earlier record"]["ids"] == ["twin"]
    assert manifest["sources"][0]["parts"] == {"in.jsonl": {"read": 12, "converted": 12, "kept": 10}}
    for side, count in (("train", 6), ("validation", 2), ("test", 1)):
        facts = manifest["splits"][side]
        assert facts["records"] == facts["groups"] == count == len(lines(run_dir, side))
        assert facts["sha256"] == sha256_of(run_dir / "data" / f"{side}.jsonl")
        assert facts["answer_words"] == {"p50": 2, "p90": 2, "max": 2}
    assert all(
        row["messages"][0] == {"role": "system", "content": "Be brief."} for row in lines(run_dir, "train")
    )
    assert set(lines(run_dir, "train")[0]) == {"id", "messages", "group", "question", "focus", "source"}


def test_a_record_keeps_its_own_system_message(make: Build, run_dir: Path, tmp_path: Path) -> None:
    rows = [talk(str(number)) for number in range(10)]
    rows[0]["messages"].insert(0, {"role": "system", "content": "Mine."})
    make(messages(write_lines(tmp_path / "in.jsonl", rows), system_prompt="Ours."))
    said = [row["messages"][0]["content"] for side in SIDES for row in lines(run_dir, side)]
    assert (said.count("Mine."), said.count("Ours.")) == (1, 9)


def test_words_are_summed_up_by_nearest_rank(make: Build, tmp_path: Path) -> None:
    """Answers of 1 to 10 words: half have at most 5, nine in ten at most 9."""
    rows = [
        {"messages": [{"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": "w " * n}]}
        for n in range(1, 11)
    ]
    split = {"train": 10, "validation": 0, "test": 0, "by": "record"}
    manifest = make(messages(write_lines(tmp_path / "in.jsonl", rows), split=split))
    assert manifest["splits"]["train"]["answer_words"] == {"p50": 5, "p90": 9, "max": 10}
    assert manifest["splits"]["test"] | {"sha256": ""} == {
        "file": "data/test.jsonl",
        "records": 0,
        "groups": 0,
        "answer_words": {"p50": None, "p90": None, "max": None},
        "bytes": 0,
        "sha256": "",
    }


def test_the_same_settings_give_the_same_bytes(make: Build, run_dir: Path) -> None:
    make(SYNTHETIC)
    first = {file.name: file.read_bytes() for file in (run_dir / "data").iterdir()}
    make(SYNTHETIC)
    assert {file.name: file.read_bytes() for file in (run_dir / "data").iterdir()} == first
    assert set(first) == {"train.jsonl", "validation.jsonl", "test.jsonl", "manifest.json"}


def test_a_rehearsal_is_cut_after_the_split(make: Build, run_dir: Path) -> None:
    make(SYNTHETIC)
    whole = lines(run_dir, "train")
    manifest = make(SYNTHETIC, at_most={"train": 7, "validation": 50, "test": 2})
    assert [manifest["splits"][side]["records"] for side in SIDES] == [7, 10, 2]
    assert lines(run_dir, "train") == whole[:7]
    assert manifest["dropped"]["left out by the rehearsal's limit"]["count"] == 81


def test_variables_are_put_in_but_not_stored(make: Build, run_dir: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "in.jsonl", [talk(str(number)) for number in range(10)])
    data = messages(Path("${env:MY_ROOT}/in.jsonl"))
    manifest = make(data, environ={"MY_ROOT": str(tmp_path)})
    assert manifest["settings"]["path"] == "${env:MY_ROOT}/in.jsonl"
    assert str(tmp_path) not in (run_dir / "data" / "manifest.json").read_text()
    with pytest.raises(MachineError, match="MY_ROOT is not set"):
        make(data)


def test_progress_ends_with_all(make: Build, run_dir: Path) -> None:
    make(SYNTHETIC)
    events = [event for event in read_events(run_dir / "events.jsonl") if event["event"] == "progress"]
    assert (events[-1]["done"], events[-1]["total"], events[-1]["unit"]) == (100, 100, "records")


# ----------------------------------------------------------------------------------------- medquad


@pytest.mark.realdata
def test_real_medquad_is_read_whole_and_split_by_focus(make: Build, run_dir: Path, real_data: Path) -> None:
    """The counts of SOURCE.md, and the 16 pairs of the four files in the older form, which it leaves out."""
    split = {"train": 3500, "validation": 750, "test": 750, "by": "focus", "seed": 42}
    root = real_data / "medquad"
    manifest = make({"source": "medquad", "root": str(root), "template": "question_answer", "split": split})
    source = manifest["sources"][0]
    assert {name: (part["read"], part["converted"]) for name, part in source["parts"].items()} == {
        "1_CancerGov_QA": (627, 627),
        "2_GARD_QA": (4579, 4575),
        "4_MPlus_Health_Topics_QA": (981, 981),
        "5_NIDDK_QA": (1025, 1025),
        "6_NINDS_QA": (920 + 16, 920 + 16),
        "8_NHLBI_QA_XML": (559, 559),
        "10_MPlus_ADAM_QA": (86, 0),
        "11_MPlusDrugs_QA": (241, 0),
        "12_MPlusHerbsSupplements_QA": (200, 0),
    }
    assert (source["read"], sum(part["converted"] for part in source["parts"].values())) == (9234, 8703)
    assert manifest["dropped"]["no answer"]["count"] == 9234 - 8703
    assert manifest["records"]["kept"] == 8663
    assert sum(source["documents"].values()) == 3894 - 6
    assert source["files_left_out"] == []
    without = Counter(item["file"].partition("/")[0] for item in source["files_without_pairs"])
    assert without == {"5_NIDDK_QA": 6}
    assert manifest["inputs"]["files"] == 3894
    assert len((run_dir / "data" / "inputs.jsonl").read_text().splitlines()) == 3894
    assert [manifest["splits"][side]["records"] for side in SIDES] == [3500, 750, 750]
    sides = defaultdict(set)
    for side in SIDES:
        for row in lines(run_dir, side):
            sides[normalise(row["focus"])].add(side)
            assert row["messages"][-1]["content"].strip() == row["messages"][-1]["content"] != ""
    assert all(len(where) == 1 for where in sides.values())
    assert manifest["split"]["crossing"] == manifest["split"]["crossing_duplicates"] == 0


@pytest.mark.realdata
def test_real_medquad_in_ratios_leaves_nothing_out(make: Build, real_data: Path) -> None:
    data = {"source": "medquad", "root": str(real_data / "medquad"), "template": "question_answer"}
    manifest = make(data | {"split": SPLIT | {"by": "focus"}})
    assert [manifest["splits"][side]["records"] for side in SIDES] == [6931, 866, 866]


def test_collections_are_chosen_and_misspelt_ones_refused(make: Build, tmp_path: Path) -> None:
    data = medquad(tmp_path / "mq", collections=["1_Some_QA"])
    data["split"] = SPLIT | {"train": 3, "validation": 1, "test": 1}
    assert list(make(data)["sources"][0]["parts"]) == ["1_Some_QA"]
    with pytest.raises(
        DataError, match=r"no XML files in '2_Som_QA' .*allowed: 1_Some_QA, 2_Some_QA; nearest: 2_Some_QA"
    ):
        make(data | {"collections": ["2_Som_QA"]})


def test_damaged_files_are_named_and_dropped_only_up_to_the_limit(
    make: Build, run_dir: Path, tmp_path: Path
) -> None:
    root = tmp_path / "mq"
    data = medquad(root, files=20)
    for name in ("1_Some_QA/0000000.xml", "2_Some_QA/0000001.xml"):
        (root / name).write_bytes((root / name).read_bytes()[:-30])
    with pytest.raises(DataError) as error:
        make(data | {"damaged_files": 1})
    assert str(error.value).splitlines() == [
        f"2 of 20 XML files below {root} cannot be read, data.damaged_files allows 1",
        "  2 like this: not whole XML: unclosed token: line 3, column 111: 1_Some_QA/0000000.xml, 2_Some_QA/0000001.xml",
        "  mend the files, or set data.damaged_files: 2 to leave them out",
    ]
    assert not (run_dir / "data" / "manifest.json").exists()
    manifest = make(data | {"damaged_files": 2})
    assert manifest["records"] == {"read": 18, "kept": 18}
    assert [item["file"] for item in manifest["sources"][0]["files_left_out"]] == [
        "1_Some_QA/0000000.xml",
        "2_Some_QA/0000001.xml",
    ]
    assert "medquad: 2 files left out, named in data/manifest.json" in notes(run_dir)


def test_a_document_of_another_root_is_read_and_one_without_pairs_is_no_damage(
    make: Build, run_dir: Path, tmp_path: Path
) -> None:
    """9_CDC_QA has a file whose root is `DiseaseFile`; no file may be called damaged for such a thing."""
    root = tmp_path / "mq"
    data = medquad(root, files=20)
    other, empty = root / "1_Some_QA" / "0000000.xml", root / "2_Some_QA" / "0000001.xml"
    other.write_text(other.read_text().replace("Document", "DiseaseFile"))
    empty.write_text('<Document id="1"><Focus>x</Focus><QAPairs></QAPairs></Document>')
    manifest = make(data)
    assert manifest["records"] == {"read": 19, "kept": 19}
    assert manifest["sources"][0]["documents"] == {"1_Some_QA": 10, "2_Some_QA": 9}
    assert manifest["sources"][0]["files_left_out"] == []
    assert manifest["sources"][0]["files_without_pairs"] == [
        {
            "file": "2_Some_QA/0000001.xml",
            "reason": "no question-answer pair below <Document>",
        }
    ]
    assert "medquad: no pairs in 1 file, named in data/manifest.json" in notes(run_dir)


def test_many_files_damaged_alike_are_one_cause(make: Build, tmp_path: Path) -> None:
    data = medquad(tmp_path / "mq", files=30)
    for file in (tmp_path / "mq").rglob("*.xml"):
        file.write_text("")
    with pytest.raises(DataError, match=r"\n  30 like this: not whole XML: .* and 25 more\n") as error:
        make(data)
    assert len(str(error.value).splitlines()) == 1 + 1 + 1


def test_a_billion_laughs_is_refused_and_counted_as_damaged(make: Build, tmp_path: Path) -> None:
    data = medquad(tmp_path / "mq")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    (tmp_path / "mq" / "1_Some_QA" / "bad.xml").write_text(
        f'<!DOCTYPE Document [<!ENTITY l0 "ha">{laughs}]><Document><Focus>&l9;</Focus></Document>'
    )
    with pytest.raises(
        DataError, match=r"1_Some_QA/bad.xml: declares a document type or entity, which is refused"
    ):
        make(data)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda root: None, "data.root: no such folder: {root}"),
        (lambda root: root.write_text("x"), "data.root: is a file, not a folder: {root}"),
        (lambda root: root.mkdir(), "data.root: no folder with XML files (1_CancerGov_QA, ...) in {root}"),
    ],
)
def test_a_missing_root_says_what_to_set(
    make: Build, tmp_path: Path, prepare: Callable[[Path], object], said: str
) -> None:
    root = tmp_path / "mq"
    prepare(root)
    data = medquad(tmp_path / "other") | {"root": "${env:MEDQUAD_ROOT:-" + str(root) + "}"}
    with pytest.raises(DataError) as error:
        make(data)
    assert str(error.value) == (
        said.format(root=root)
        + "\n  set the environment variable MEDQUAD_ROOT, or set data.root in the spec, or pass --set data.root=PATH"
    )


def test_a_collection_given_as_root_is_recognised(make: Build, tmp_path: Path) -> None:
    data = medquad(tmp_path / "mq")
    with pytest.raises(DataError, match="it holds XML files itself: give the folder above it"):
        make(data | {"root": str(tmp_path / "mq" / "1_Some_QA")})


def test_a_set_without_answers_is_empty(make: Build, tmp_path: Path) -> None:
    data = medquad(tmp_path / "mq", files=3)
    for file in (tmp_path / "mq").rglob("*.xml"):
        file.write_text(file.read_text().replace(f"It is {file.stem}.", ""))
    with pytest.raises(
        DataError, match=r"the data set is empty: 3 records read, none kept\n  3 dropped .*: no answer"
    ):
        make(data)


def test_too_few_records_give_the_numbers_and_what_was_dropped(make: Build, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.jsonl", [talk("1"), talk("1"), talk("2")])
    with pytest.raises(DataError) as error:
        make(messages(file, split={"train": 2, "validation": 1, "test": 0, "by": "record"}))
    assert str(error.value).splitlines() == [
        "data.split wants 2 + 1 + 0 = 3 records (train, validation, test); there are 2 in 2 groups by record",
        "  lower the counts, or write ratios (0.8, 0.1, 0.1)",
        "  2 kept of 3 read from messages, in.jsonl",
        "  1 dropped before the split: duplicate of an earlier record",
    ]


# ---------------------------------------------------------------------------------------- messages


def test_every_bad_line_is_named(make: Build, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "in.jsonl",
        [talk("1", id="a"), "{", "", talk("2", id="a"), {"messages": [{"role": "bot", "content": "x"}]}],
    )
    with pytest.raises(DataError) as error:
        make(messages(file))
    assert str(error.value).splitlines() == [
        f"3 bad records in data.path ({file})",
        "  in.jsonl:2: is not JSON: Expecting property name enclosed in double quotes at column 2",
        "  in.jsonl:4: the id 'a' is already that of in.jsonl:1",
        "  in.jsonl:5: messages[0]: unknown role 'bot'; allowed: system, user, assistant; nearest: assistant",
        "  mend or remove them; nothing was written",
    ]


def test_a_cause_is_said_once_with_five_places(make: Build, tmp_path: Path) -> None:
    odd = [{"messages": [{"role": f"r{number}", "content": "x"}]} for number in range(7)]
    file = write_lines(tmp_path / "in.jsonl", ["{"] * 33 + odd)
    with pytest.raises(DataError) as error:
        make(messages(file))
    assert str(error.value).splitlines() == [
        f"40 bad records in data.path ({file})",
        "  33 like this: is not JSON: Expecting property name enclosed in double quotes at column 2: "
        "in.jsonl:1, in.jsonl:2, in.jsonl:3, in.jsonl:4, in.jsonl:5 and 28 more",
        "  7 like this: messages[0]: unknown role 'r0'; allowed: system, user, assistant: "
        "in.jsonl:34, in.jsonl:35, in.jsonl:36, in.jsonl:37, in.jsonl:38 and 2 more",
        "  mend or remove them; nothing was written",
    ]


def test_after_twenty_causes_the_rest_is_counted() -> None:
    told = named((f"a:{number}", "x" * number) for number in range(1, 24)).splitlines()
    assert (len(told), told[0], told[-1]) == (21, "  a:1: x", "  ... and 3 more")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"messages": [], "id": 1' + "0" * 5000 + "}", "holds a number of more than 4,300 digits"),
        ("[" * 100_000, "is nested too deep to be read"),
        ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "holds half of a surrogate pair"),
    ],
)
def test_a_hostile_line_is_a_bad_record(make: Build, tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"in\.jsonl:2: .*{said}"):
        make(messages(write_lines(tmp_path / "in.jsonl", [talk("1"), line])))


def test_a_line_without_an_end_is_not_taken_into_memory(make: Build, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.jsonl", [talk("1")])
    os.truncate(file, 300 << 20)  # sparse: 300 MiB of zero bytes on no disk
    with pytest.raises(DataError, match=r"in\.jsonl:2: the line is longer than 16 MiB"):
        make(messages(file))


@pytest.mark.parametrize("source", ["messages", "medquad", "uci_heart", "cardio"])
def test_what_is_no_file_is_not_waited_for(make: Build, tmp_path: Path, source: str) -> None:
    """A pipe would be waited for without an end."""
    name = {"messages": "in.jsonl", "medquad": "1_Some_QA/a.xml", "uci_heart": "processed.cleveland.data"}
    pipe = tmp_path / "set" / name.get(source, "cardio.csv")
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    data = messages(pipe) if source == "messages" else {"source": source, "root": str(tmp_path / "set")}
    more = {"prompt": "{age}", "answers": {"present": "yes", "absent": "no"}}
    data |= {"template": "question_answer", "split": SPLIT} | (
        more if source in ("uci_heart", "cardio") else {}
    )
    with pytest.raises(DataError, match=r"cannot be read: it is a pipe|no \.csv or \.csv\.gz file"):
        make(data)


def test_a_folder_of_files_is_read_in_the_order_of_names(make: Build, run_dir: Path, tmp_path: Path) -> None:
    for name in ("b.jsonl", "sub/c.jsonl", "a.jsonl"):
        write_lines(tmp_path / "in" / name, [talk(f"{name} {number}") for number in range(5)])
    write_lines(tmp_path / "in" / ".hidden" / "x.jsonl", ["{"])
    (tmp_path / "in" / "README.md").write_text("x")
    (tmp_path / "in" / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "in" / "a.jsonl").read_bytes())
    manifest = make(messages(tmp_path / "in"))
    assert list(manifest["sources"][0]["parts"]) == ["a.jsonl", "b.jsonl", "sub/c.jsonl"]
    assert {row["id"] for side in SIDES for row in lines(run_dir, side)} >= {"a.jsonl:1", "sub/c.jsonl:5"}


def test_a_json_array_is_told_from_lines(make: Build, tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text(json.dumps([talk("1")], indent=1))
    with pytest.raises(DataError, match=r"in.json is one JSON array; expected JSON lines"):
        make(messages(file))


@pytest.mark.parametrize("name", ["none.jsonl", "empty"])
def test_a_missing_file_is_named(make: Build, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=rf"data.path: no .*{name}\n  set data.path in the spec, or pass --set"
    ):
        make(messages(tmp_path / name))


def test_an_empty_file_is_an_empty_set(make: Build, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the data set is empty: 0 records read, none kept"):
        make(messages(write_lines(tmp_path / "in.jsonl", [])))


def test_a_split_in_the_file_is_taken_as_given(make: Build, run_dir: Path, tmp_path: Path) -> None:
    rows = [talk(str(number), split=SIDES[number % 3], id=str(number)) for number in range(9)]
    make(messages(write_lines(tmp_path / "in.jsonl", rows), split=SPLIT | {"by": "given"}))
    assert sorted(row["id"] for row in lines(run_dir, "test")) == ["2", "5", "8"]


def test_unusual_line_separators_stay_within_a_record(make: Build, run_dir: Path, tmp_path: Path) -> None:
    rows = [talk(f"{number}\u2028next\x85\x0b\r\nline") for number in range(10)]
    make(messages(write_lines(tmp_path / "in.jsonl", rows)))
    got = {row["question"] for side in SIDES for row in lines(run_dir, side)}
    assert got == {f"Q {number}\u2028next\x85\x0b\r\nline?" for number in range(10)}


# ----------------------------------------------------------------------------------------- mixture


def test_a_mixture_takes_a_share_of_each_and_says_where_from(
    make: Build, run_dir: Path, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "in.jsonl", [talk(str(number)) for number in range(30)])
    data = {
        "source": "mixture",
        "template": "question_answer",
        "split": SPLIT,
        "components": [
            {"source": "messages", "path": str(file), "take": 20},
            {"source": "synthetic_medical_qa", "records": 10, "seed": 0, "take": None},
            {
                "source": "messages",
                "path": str(write_lines(tmp_path / "more.jsonl", [talk("3"), talk("more")])),
            },
        ],
    }
    manifest = make(data)
    assert [(item["name"], item["read"], item["kept"]) for item in manifest["sources"]] == [
        ("messages", 30, 20),
        ("synthetic_medical_qa", 10, 10),
        ("messages-2", 2, 1),
    ]
    assert {reason: entry["count"] for reason, entry in manifest["dropped"].items()} == {
        "duplicate of an earlier record": 1,
        "not among the component's take": 10,
    }
    rows = [row for side in SIDES for row in lines(run_dir, side)]
    assert len(rows) == 31
    assert all(row["id"].startswith(row["source"] + "/") for row in rows)


def test_a_take_beyond_what_is_there_is_refused(make: Build, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.jsonl", [talk("1"), talk("2")])
    component = {"source": "messages", "path": str(file), "take": 3}
    data = {"source": "mixture", "template": "question_answer", "split": SPLIT, "components": [component]}
    with pytest.raises(DataError, match=r"data.components\[0\].take is 3, but only 2 records are left there"):
        make(data)


def test_more_synthetic_questions_than_there_are_is_refused(make: Build) -> None:
    with pytest.raises(
        DataError, match=r"data.records: 10000000 questions; there are only 201600 distinct ones"
    ):
        make(SYNTHETIC | {"records": 10_000_000})


# ------------------------------------------------------------------------------------- hugging face


@pytest.fixture
def table() -> dict[str, list[Any]]:
    return {
        "question": [f"Q{number}?" for number in range(20)],
        "answer": ["", *(f"A{number}." for number in range(1, 20))],
        "patient": [number // 2 for number in range(20)],
    }


def hub(name: str | Path, **more: Any) -> dict[str, Any]:
    return {
        "source": "huggingface",
        "id": str(name),
        "question_column": "question",
        "answer_column": "answer",
        "group_column": "patient",
        "template": "question_answer",
        "split": SPLIT | {"by": "group"},
        **more,
    }


@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning")  # the csv reader of datasets
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "parquet", "saved", "saved_parts", "folder"])
def test_a_local_data_set_is_read_in_every_form(
    make: Build, run_dir: Path, tmp_path: Path, table: dict[str, list[Any]], form: str
) -> None:
    datasets = pytest.importorskip("datasets", reason="the train extra is not installed")
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_dict(table)
    place = tmp_path / (f"in.{form}" if form in ("json", "jsonl", "csv", "parquet") else "in")
    if form in ("json", "jsonl"):
        whole.to_json(place)
    elif form == "csv":
        whole.to_csv(place)
    elif form == "parquet":
        whole.to_parquet(place)
    elif form == "saved":
        whole.save_to_disk(place)
    elif form == "saved_parts":
        datasets.DatasetDict({"train": whole, "other": whole.select([0])}).save_to_disk(place)
    else:
        place.mkdir()
        whole.to_csv(place / "train.csv")
    manifest = make(hub(place))
    assert manifest["records"] == {"read": 20, "kept": 19}
    assert manifest["dropped"]["no answer"] == {"count": 1, "ids": ["train:0"]}
    assert manifest["inputs"]["files"] >= 1
    rows = [row for side in SIDES for row in lines(run_dir, side)]
    assert {row["group"] for row in rows} == {str(number) for number in range(10)}


def test_wrong_columns_parts_and_files_are_named(
    make: Build, tmp_path: Path, table: dict[str, list[Any]]
) -> None:
    datasets = pytest.importorskip("datasets", reason="the train extra is not installed")
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(table)}).save_to_disk(tmp_path / "in")
    with pytest.raises(
        DataError, match=r"data.answer_column: no column 'anser'; allowed: .*; nearest: answer"
    ):
        make(hub(tmp_path / "in", answer_column="anser"))
    with pytest.raises(DataError, match=r"data.part: no part 'trian'; allowed: train; nearest: train"):
        make(hub(tmp_path / "in", part="trian"))
    with pytest.raises(DataError, match=r"data.id: no such file or folder: .*none"):
        make(hub(tmp_path / "none"))
    (tmp_path / "in.txt").write_text("x")
    with pytest.raises(DataError, match=r"in.txt ends with '.txt'; allowed: .json, .jsonl, .csv, .parquet"):
        make(hub(tmp_path / "in.txt"))
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(DataError, match=r"data.id: .*bad.parquet' cannot be loaded"):
        make(hub(tmp_path / "bad.parquet"))


# ------------------------------------------------------------------------------------------- cache


CACHE = "../../.cache/data"


def contents(run_dir: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run_dir / "data").iterdir()}


def was_cached(run_dir: Path) -> bool:
    found = any("data taken from the cache" in text for text in notes(run_dir))
    (run_dir / "events.jsonl").unlink()
    return found


def test_nothing_changed_is_not_built_again_and_one_byte_is(
    make: Build, run_dir: Path, tmp_path: Path
) -> None:
    data = medquad(tmp_path / "mq", files=120)
    make(data, cache=CACHE)
    first = contents(run_dir)
    assert "inputs.jsonl" in first
    assert not was_cached(run_dir)
    shutil.rmtree(run_dir / "data")
    make(data, cache=CACHE)
    assert was_cached(run_dir)
    assert contents(run_dir) == first
    file = tmp_path / "mq" / "1_Some_QA" / "0000002.xml"
    file.write_bytes(file.read_bytes().replace(b"It is", b"it is"))
    make(data, cache=CACHE)
    assert not was_cached(run_dir)
    assert contents(run_dir) != first


def test_a_moved_folder_is_still_the_same_data(make: Build, run_dir: Path, tmp_path: Path) -> None:
    make(medquad(tmp_path / "mq"), cache=CACHE)
    was_cached(run_dir)
    (tmp_path / "mq").rename(tmp_path / "moved")
    manifest = make(medquad(tmp_path / "moved", files=0), cache=CACHE)
    assert was_cached(run_dir)
    assert manifest["settings"]["root"] == str(tmp_path / "moved")


@pytest.mark.parametrize(
    "change",
    [
        {"records": 101},
        {"seed": 1},
        {"system_prompt": "S"},
        {"filter": {"min_answer_words": 1}},
        {"split": SPLIT | {"seed": 1}},
    ],
)
def test_another_setting_is_built_again(make: Build, run_dir: Path, change: dict[str, Any]) -> None:
    make(SYNTHETIC, cache=CACHE)
    make(SYNTHETIC | change, cache=CACHE)
    assert not was_cached(run_dir)


def test_a_variable_that_changes_the_text_is_built_again(make: Build, run_dir: Path) -> None:
    data = SYNTHETIC | {"system_prompt": "${env:WHO:-You} answer."}
    make(data, cache=CACHE)
    make(data, cache=CACHE, environ={"WHO": "We"})
    assert not was_cached(run_dir)
    assert lines(run_dir, "train")[0]["messages"][0]["content"] == "We answer."


@pytest.mark.parametrize("name", ["train.jsonl", "manifest.json", "entry.json"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_damaged_entry_is_found_and_built_again(make: Build, run_dir: Path, name: str, how: str) -> None:
    make(SYNTHETIC, cache=CACHE)
    first = contents(run_dir)
    (entry,) = (run_dir / CACHE).iterdir()
    if how == "gone":
        (entry / name).unlink()
    else:
        (entry / name).write_bytes((entry / name).read_bytes().replace(b"a", b"b", 1))
    make(SYNTHETIC, cache=CACHE)
    assert any("are damaged" in text and text.endswith("built again") for text in notes(run_dir))
    assert not was_cached(run_dir)
    assert contents(run_dir) == first
    make(SYNTHETIC, cache=CACHE)
    assert was_cached(run_dir)


def test_a_run_that_is_edited_does_not_change_the_cache(make: Build, run_dir: Path) -> None:
    make(SYNTHETIC, cache=CACHE)
    first = contents(run_dir)
    with (run_dir / "data" / "train.jsonl").open("a") as file:
        file.write("{}\n")
    make(SYNTHETIC, cache=CACHE)
    assert was_cached(run_dir)
    assert contents(run_dir) == first


def test_many_writers_of_one_entry_leave_one_whole_entry(tmp_path: Path) -> None:
    source, cache = tmp_path / "source", DataCache(tmp_path / "cache")
    source.mkdir()
    (source / "a").write_bytes(b"x" * 100_000)
    threads = [threading.Thread(target=cache.store, args=("key", source, ["a"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.name for entry in cache.root.iterdir()] == ["key"]
    (tmp_path / "out").mkdir()
    assert cache.fetch("key", tmp_path / "out") == ("a",)


def test_the_entries_used_last_are_kept(tmp_path: Path) -> None:
    """Of 22 entries 20 stay: not the oldest, unless it was used since."""
    source, cache = tmp_path / "source", DataCache(tmp_path / "cache")
    source.mkdir()
    (source / "a").write_text("text")
    names = [f"{number:02}" for number in range(22)]
    for age, name in enumerate(names[:20]):
        cache.store(name, source, ["a"])
        os.utime(cache.root / name, (1_000_000 + age,) * 2)
    (tmp_path / "out").mkdir()
    assert cache.fetch("00", tmp_path / "out") == ("a",)
    for name in names[20:]:
        cache.store(name, source, ["a"])
    assert sorted(entry.name for entry in cache.root.iterdir()) == ["00", *names[3:]]


def test_a_cache_that_cannot_be_written_is_only_a_note(make: Build, run_dir: Path) -> None:
    (run_dir / "file").write_text("")
    assert make(SYNTHETIC, cache="file/cache")["records"]["kept"] == 100
    assert any(text.startswith("the data are not cached: cannot write") for text in notes(run_dir))


# ------------------------------------------------------------------------------------ real processes


WITHOUT_PRIVILEGES = """
import ctypes, runner.stages.data as data, runner.stages.common as common
header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the interface, this process
nothing = (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, nothing) == 0  # root, too, then obeys the bits of a folder
common.stage_main("data", data._body)
"""


def start(
    run_dir: Path,
    data: Mapping[str, Any],
    *program: str,
    tokens: Any = None,
    limit: Callable[[], None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    (run_dir / "config").mkdir(exist_ok=True)
    settings = {"data": data, "at_most": None, "cache": None, "tokens": tokens}
    (run_dir / "config" / "data.json").write_text(json.dumps(settings))
    return subprocess.run(
        [sys.executable, *(program or ("-m", "runner.stages.data"))],
        cwd=run_dir,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | dict(environ or {}),
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stage_ends_with_the_codes_of_the_command_line(run_dir: Path, tmp_path: Path) -> None:
    done = start(run_dir, SYNTHETIC)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "train: 80 records in 80 groups, data/train.jsonl"
    wrong = start(run_dir, messages(tmp_path / "none.jsonl"))
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("runner: data.path: no such file or folder")
    assert "Traceback" not in wrong.stderr


def test_a_relative_place_in_a_variable_is_found_from_the_users_folder(run_dir: Path, tmp_path: Path) -> None:
    """The stage works in the run directory; the user typed the path somewhere else."""
    user = tmp_path / "user"
    medquad(user / "mq")
    write_lines(user / "in.jsonl", [talk(str(number)) for number in range(10)])
    environ = {"RUNNER_CWD": str(user), "MQ": "mq", "FILE": "./in.jsonl"}
    one = medquad(tmp_path / "unused") | {"root": "${env:MQ}"}
    mixed = {
        "source": "mixture",
        "components": [
            {"source": "messages", "path": "${env:FILE}", "take": 5},
            {"source": "medquad", "root": "${env:MQ}", "take": 5},
        ],
        "template": "question_answer",
        "split": SPLIT,
    }
    for data in (one, mixed):
        done = start(run_dir, data, environ=environ)
        assert (done.returncode, done.stderr) == (0, "")
        manifest = (run_dir / "data" / "manifest.json").read_text()
        assert json.loads(manifest)["records"]["kept"] == 10
        assert str(user) not in manifest


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_leaves_no_half_written_file(run_dir: Path) -> None:
    """A limit on the size of files fails the write as a full disk does, in the middle of it."""
    full = start(run_dir, SYNTHETIC | {"records": 2000}, limit=limit_file_size)
    assert full.returncode == 3
    assert full.stderr.startswith("runner: cannot write data/")
    assert "Traceback" not in full.stderr
    assert list((run_dir / "data").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_a_read_only_run_folder_is_named(run_dir: Path) -> None:
    (run_dir / "config").mkdir(exist_ok=True)
    (run_dir / "config" / "data.json").touch()
    (run_dir / "events.jsonl").touch()
    run_dir.chmod(0o555)
    try:
        refused = start(run_dir, SYNTHETIC, "-c", WITHOUT_PRIVILEGES)
    finally:
        run_dir.chmod(0o755)
    assert refused.returncode == 3, refused.stderr
    assert (
        refused.stderr
        == "runner: cannot write data: Permission denied\n  make it writable, or give another folder with --runs\n"
    )
    assert not (run_dir / "data").exists()


def test_a_hub_that_cannot_be_reached_is_said(run_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the train extra is not installed")
    refused = start(run_dir, hub("nobody/no-such-set"))
    assert refused.returncode == 3, refused.stderr
    assert (
        "the data set 'nobody/no-such-set' is not on this machine and the hub cannot be reached"
        in refused.stderr
    )
    assert "Traceback" not in refused.stderr


def test_a_tokenizer_that_cannot_be_loaded_is_noted_and_no_failure(run_dir: Path) -> None:
    tokens = {
        "tokenizer": "nobody/no-such-model",
        "template": "question_answer",
        "context": 64,
        "end_tokens": [],
    }
    done = start(run_dir, SYNTHETIC, tokens=tokens)
    assert done.returncode == 0, done.stderr
    assert json.loads((run_dir / "data" / "tokens.json").read_text())["available"] is False
    private = tokens | {"tokenizer": "${env:MYB}"}
    done = start(run_dir, SYNTHETIC, tokens=private, environ={"MYB": "nobody/no-such-model"})
    assert done.returncode == 0, done.stderr
    for file in ("data/tokens.json", "events.jsonl"):
        assert "no tokenizer can be loaded from '${env:MYB}'" in (run_dir / file).read_text()
    assert "nobody" not in (run_dir / "data" / "tokens.json").read_text()
    assert any(text.startswith("tokens were not counted: ") for text in notes(run_dir))


def test_a_local_tokenizer_that_is_missing_fails(run_dir: Path, tmp_path: Path) -> None:
    tokens = {
        "tokenizer": str(tmp_path / "none"),
        "template": "question_answer",
        "context": 64,
        "end_tokens": [],
    }
    failed = start(run_dir, SYNTHETIC, tokens=tokens)
    assert failed.returncode == 3, failed.stderr
    assert str(tmp_path / "none") in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.realdata
def test_tokens_are_counted_with_a_real_tokenizer(run_dir: Path, real_data: Path) -> None:
    tokens = {
        "tokenizer": str(real_data / "tokenizers" / "gpt2"),
        "template": "question_answer",
        "context": 64,
        "end_tokens": [],
    }
    done = start(run_dir, SYNTHETIC, tokens=tokens)
    assert done.returncode == 0, done.stderr
    counted = json.loads((run_dir / "data" / "tokens.json").read_text())
    assert counted["splits"]["train"]["records"] == 80
