"""One large JSON list, item by item."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from runner.data_readers.common import Input, Progress
from runner.data_readers.json_items import items
from runner.files import sha256_of
from runner.spec.problems import DataError


def written(path: Path, content: bytes) -> tuple[Path, Input]:
    path.write_bytes(content)
    return path, Input(path.name, len(content), sha256_of(path))


def read(path: Path, content: bytes, progress: Progress) -> list[Any]:
    return list(items(*written(path, content), progress))


def test_the_items_are_those_of_the_json_module(tmp_path: Path, quiet: Progress) -> None:
    values = [{"id": "ä", "n": 1.5, "deep": [[{"a": None}], True]}, 7, "text", [], {}]
    for text in (
        json.dumps(values),
        json.dumps(values, indent=4),
        " \n" + json.dumps(values, ensure_ascii=False),
    ):
        assert read(tmp_path / "a.json", text.encode(), quiet) == values


def test_a_byte_order_mark_is_passed_over(tmp_path: Path, quiet: Progress) -> None:
    assert read(tmp_path / "a.json", b"\xef\xbb\xbf[1, 2]", quiet) == [1, 2]


def test_an_empty_list_has_no_items(tmp_path: Path, quiet: Progress) -> None:
    assert read(tmp_path / "a.json", b"[]", quiet) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1}\n{"a": 2}', "expected one JSON list of rows, got an object"),
        (b"", "expected one JSON list of rows, got empty"),
        (b"id,image\n", "got b'id,image"),
        (b"[1, 2", "is cut off, or no JSON, after item 2"),
        (b'[{"a": 1}, {"a": ', "is cut off, or no JSON, after item 1"),
        (b"[1, x]", "is cut off, or no JSON, after item 1"),
        (b"[1 2]", "is cut off, or no JSON, after item 1"),
        (b'["\xff"]', "is cut off, or no JSON, after item 0"),
    ],
)
def test_what_is_no_list_is_named(tmp_path: Path, quiet: Progress, content: bytes, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.json", content, quiet)
    assert str(tmp_path / "a.json") in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_changes_is_refused(tmp_path: Path, quiet: Progress) -> None:
    path, item = written(tmp_path / "a.json", b"[1, 2]")
    path.write_bytes(b"[1, 3]")
    with pytest.raises(DataError, match="changed while it was read"):
        list(items(path, item, quiet))


def test_memory_does_not_grow_with_the_file(tmp_path: Path, quiet: Progress) -> None:
    """40 MB of rows are read with less than 4 MB at any time."""
    path = tmp_path / "large.json"
    row = json.dumps(
        {"id": "a", "image": "x.png", "conversations": [{"from": "human", "value": "x" * 4000}] * 2}
    )
    with path.open("w") as file:
        file.write("[" + ",\n".join([row] * 5000) + "]")
    item = Input(path.name, path.stat().st_size, sha256_of(path))
    assert item.bytes > 40_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in items(path, item, quiet)) == 5000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
