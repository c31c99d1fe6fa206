"""Text and tables that are damaged or made to do harm: said with the place, bounded, and no traceback."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from runner.data_readers.common import Input, Progress
from runner.data_readers.json_items import MOST_OF_ITEM, items
from runner.data_readers.messages import MAX_LINE_BYTES
from runner.events import EventWriter
from runner.files import sha256_of
from runner.spec.problems import DataError
from runner.stages.data import build

SPLIT = {"train": 0.5, "validation": 0.25, "test": 0.25, "by": "record", "seed": 1}
GOOD = json.dumps({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]})
CARDIO = b"id;age;gender;height;weight;ap_hi;ap_lo;cholesterol;gluc;smoke;alco;active;cardio\n"
CHECK_UP = b"0;18393;2;168;62.0;110;80;1;1;0;0;1;0\n"


def refused(tmp_path: Path, data: dict[str, Any]) -> str:
    run_dir = tmp_path / "run"
    run_dir.mkdir(exist_ok=True)
    settings = {"data": {"split": SPLIT, **data}, "at_most": None, "cache": None, "tokens": None}
    with pytest.raises(DataError) as error:
        build(settings, run_dir, EventWriter(run_dir / "events.jsonl", "data"), {})
    return str(error.value)


def messages(path: Path) -> dict[str, Any]:
    return {"source": "messages", "path": str(path), "template": "question_answer"}


def table(source: str, root: Path) -> dict[str, Any]:
    asked = {"prompt": "{sex}?", "answers": {"absent": "no", "present": "yes"}, "template": "tokenizer"}
    return {"source": source, "root": str(root), **asked}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"id": ' + b"9" * 5000 + b"}", "holds a number of more than 4,300 digits; write it as text"),
        (b'{"messages": ' + b"[" * 100_000, "is nested too deep to be read"),
        (b'{"messages": \x00}', "is not JSON: Expecting value at column 14"),
        (GOOD.replace("Q", "\\ud800").encode(), "messages[0].content: holds half of a surrogate pair"),
        (GOOD.encode("utf-16"), "is not UTF-8: byte 1 of the line is 0xff"),
        (GOOD.replace("Q", "é").encode("latin-1").replace(b"\\u00e9", b"\xe9"), "is not UTF-8: byte"),
        (b"\x00" * 1000, "is not JSON: Expecting value at column 1"),
        (b'{"id": NaN, "messages": 1e999}', "messages: expected a list, got inf"),
    ],
    ids=["digits", "deep", "nul", "surrogate", "utf-16", "latin-1", "zeros", "nan"],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(GOOD.encode() + b"\n" + line + b"\n")
    message = refused(tmp_path, messages(tmp_path / "in.jsonl"))
    assert message.startswith("1 bad record in data.path (")
    assert f"\n  in.jsonl:2: {said}" in message


def test_a_line_without_end_is_not_read_to_it(tmp_path: Path) -> None:
    """A file of zeros of two gigabytes that take no room on the disk, as a broken copy leaves one."""
    file = tmp_path / "in.jsonl"
    with file.open("wb") as opened:
        opened.write(GOOD.encode() + b"\n")
        opened.truncate(MAX_LINE_BYTES * 3)
    assert f"{file}:2: the line is longer than 16 MiB" in refused(tmp_path, messages(file))


@pytest.mark.parametrize("source", ["messages", "cardio", "uci_heart", "huggingface", "medquad"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, source: str) -> None:
    inside = {"cardio": "a.csv", "uci_heart": "processed.x.data", "medquad": "1_QA/a.xml"}.get(
        source, "a.jsonl"
    )
    pipe = tmp_path / "data" / inside
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    text = {"question_column": "q", "answer_column": "a", "template": "tokenizer"}
    data = {
        "messages": messages(pipe),
        "cardio": table("cardio", pipe),
        "uci_heart": table("uci_heart", pipe.parent),
        "huggingface": {"source": "huggingface", "id": str(pipe), **text},
        "medquad": {"source": "medquad", "root": str(tmp_path / "data"), "template": "tokenizer"},
    }
    said = refused(tmp_path, data[source])
    assert (
        "cannot be read: it is a pipe" in said
        or "neither a file nor a folder" in said
        or (source == "cardio" and "no such file or folder" in said)
    )


def test_a_link_to_a_device_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").symlink_to("/dev/zero")
    assert "cannot be read: it is a device" in refused(tmp_path, messages(tmp_path / "in.jsonl"))


@pytest.mark.parametrize(("source", "name"), [("cardio", "a.csv"), ("uci_heart", "processed.x.data")])
def test_a_table_of_gigabytes_is_refused_by_its_size(tmp_path: Path, source: str, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(2_400_000_000)
    assert "2,400,000,000 bytes; at most 268,435,456 are read" in refused(tmp_path, table(source, tmp_path))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (CHECK_UP.replace(b"18393", b"9" * 5000), "age: '" + "9" * 59),
        (
            CHECK_UP.replace(b"18393", b"1e999"),
            "age: '1e999' is above 1,000,000,000, which nothing measured is",
        ),
        (
            CHECK_UP.replace(b"18393", b"50"),
            "age: expected days, 365 to 47,450, got 50; taken as years it is 18250 days",
        ),
        (CHECK_UP.replace(b"18393", b"nan"), "age: expected a number, got 'nan'"),
        (CHECK_UP.replace(b"62.0", b"6\x002"), "weight: expected a number, got '6\\x002'"),
    ],
    ids=["digits", "infinite", "years", "nan", "nul"],
)
def test_a_cell_that_is_no_measurement_is_named(tmp_path: Path, row: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(CARDIO + row)
    assert f"\n  a.csv:2: {said}" in refused(tmp_path, table("cardio", tmp_path))


def test_a_header_with_more_behind_it_than_csv_takes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        CARDIO.rstrip() + b" " * 200_000 + b"\n" + CHECK_UP.replace(b"168", b"x")
    )
    assert "a.csv:2: height: expected a number, got 'x'" in refused(tmp_path, table("cardio", tmp_path))
    (tmp_path / "a.csv").write_bytes(b"x" * 200_000 + b";y\n")
    assert "a.csv" in refused(tmp_path, table("cardio", tmp_path))


def test_a_small_archive_of_a_large_table_is_not_unpacked(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wb", compresslevel=1) as file:
        file.write(CARDIO + b"\n" * (33 << 20))
    assert "holds more than 33,554,432 bytes unpacked" in refused(tmp_path, table("cardio", tmp_path))


def test_a_cell_larger_than_csv_takes_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(CARDIO + CHECK_UP.replace(b"62.0", b"6" * 200_000))
    said = refused(tmp_path, table("cardio", tmp_path))
    assert "\n  a.csv:2: field larger than field limit (131072)" in said


def test_one_item_may_not_be_larger_than_its_limit(tmp_path: Path, quiet: Progress) -> None:
    file = tmp_path / "a.json"
    with file.open("wb") as opened:
        opened.write(b'[{"id": 1}, {"id": "')
        opened.write(b"x" * (MOST_OF_ITEM + (1 << 20)))
        opened.write(b'"}]')
    found = items(file, Input(file.name, file.stat().st_size, sha256_of(file)), quiet)
    assert next(found) == {"id": 1}
    with pytest.raises(DataError, match=r"after item 1: an item of more than 16 MiB"):
        next(found)
