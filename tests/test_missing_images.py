"""Places of images below data.root are refused before anything starts, from the file and from --set alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from runner.missing import missing_files
from runner.spec.problems import Problem
from runner.validate import load_spec

BASE = Path(__file__).parent / "spec" / "base_vlm.yaml"
MIXTURE = """\
data:
  source: mixture
  root: ${env:ROOT_OF_IMAGES:-}
  template: llama3_2_vision
  split: {train: 0.8, validation: 0.1, test: 0.1, by: group}
  components:
    mimic:
      source: ecginstruct
      path: ECGInstruct.json
      images: [shards]
      stand_ins: [{source: ecg_instruct_from_signals, format: cinc2021, folder: challenge}]
    made: {source: ecg_instruct_from_signals, format: synthetic, records: 20}
"""
Look = Callable[..., Sequence[Problem]]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Return a function that gives what is missing before a run of the mixture."""
    text = BASE.read_text(encoding="utf-8")
    start, end = text.index("data:\n"), text.index("method:\n")
    file = tmp_path / "spec.yaml"
    file.write_text(text[:start] + MIXTURE + text[end:], encoding="utf-8")

    def found(
        sets: Sequence[str] = (), environ: Mapping[str, str] | None = None, *, rehearse: bool = False
    ) -> Sequence[Problem]:
        loaded = load_spec(file, ("model.base=tiny-random", *sets), environ or {})
        return missing_files(loaded, environ or {}, rehearse=rehearse)

    return found


def said(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in problems]


def test_without_a_root_the_parts_that_need_one_are_named(look: Look) -> None:
    wrong = "no folder is given, and data.components.mimic.path, data.components.mimic.images[0] are relative to it"
    assert said(look()) == [("data.root", wrong)]
    assert said(look(rehearse=True)) == [("data.root", wrong)]


def test_parts_that_are_not_used_need_nothing(look: Look) -> None:
    assert look(["data.components.mimic.use=false"]) == []


def test_what_is_not_below_the_root_is_named_part_by_part(look: Look, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "ECGInstruct.jsn").write_text("[]")
    (problem,) = look([f"data.root={tmp_path}"])
    assert problem.path == "data.components.mimic.path"
    assert problem.message == f"nothing at {tmp_path / 'ECGInstruct.json'}"
    assert problem.hint == f"nearest: {tmp_path / 'ECGInstruct.jsn'}"
    assert problem.line > 0


def test_a_root_that_is_not_there_is_said_once(look: Look, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert said(look([f"data.root={nowhere}"])) == [("data.root", f"nothing at {nowhere}")]
    by_variable = look(environ={"ROOT_OF_IMAGES": nowhere})
    assert said(by_variable) == [("data.root", "nothing at ${env:ROOT_OF_IMAGES}")]


def test_a_rehearsal_goes_on_with_a_stand_in_that_is_there(look: Look, tmp_path: Path) -> None:
    sets = [f"data.root={tmp_path}"]
    problems = look(sets, rehearse=True)
    assert [problem.path for problem in problems] == [
        "data.components.mimic.path",
        "data.components.mimic.images",
    ]
    assert "none of its stand-ins is there either" in problems[0].message
    (tmp_path / "challenge").mkdir()
    assert look(sets, rehearse=True) == []
    assert len(look(sets)) == 2
