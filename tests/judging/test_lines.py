"""Lines of an interrupted task are taken up again; of what is damaged, only the records themselves are asked anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.judging.lines import Lines, read_lines


@pytest.mark.parametrize(
    "damaged", ['{"id": "b", "answer"', "[]", '{"answer": 1}', '{"id": []}', "9" * 5000, "\ufffd"]
)
def test_a_damaged_line_of_an_interrupted_task_is_one_record_to_ask_again(
    tmp_path: Path, damaged: str
) -> None:
    file = tmp_path / "1_task.jsonl"
    with Lines(file, "key") as place:
        for name in "abc":
            place.add({"id": name, "answer": name})
    lines = file.with_suffix(".partial").read_text().splitlines()
    lines[2] = damaged
    file.with_suffix(".partial").write_text("\n".join(lines) + "\n")
    with Lines(file, "key") as place:
        assert ["a" in place, "b" in place, "c" in place] == [True, False, True]
        place.add({"id": "b", "answer": "again"})
        place.finish(["a", "b", "c"])
    assert [line["answer"] for line in read_lines(file)] == ["a", "again", "c"]
