"""What was sound is passed over; whatever a spec rests on, a change of it brings the check back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runner import sound_files, validate_many
from runner.cli import cli
from runner.sound_files import SoundFiles, hash_of, program_hash

BASE = (Path(__file__).parent / "spec" / "base.yaml").read_text(encoding="utf-8")
Validate = Callable[..., Result]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Path]]:
    """Return a list that takes the files of each check that is really done."""
    calls: list[Sequence[Path]] = []
    really = validate_many.problems_of_each

    def counted(files: Sequence[Path], *rest: object) -> object:
        calls.append([file.name for file in files])  # type: ignore[misc]
        return really(files, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(validate_many, "problems_of_each", counted)
    return calls


@pytest.fixture
def validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Validate:
    """Return `runner validate` in a folder where `a.yaml` extends `_base.yaml`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    Path("_base.yaml").write_text(BASE, encoding="utf-8")
    Path("a.yaml").write_text("extends: _base.yaml\nsummary: a\n", encoding="utf-8")
    Path("b.yaml").write_text(BASE, encoding="utf-8")

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["validate", "a.yaml", "b.yaml", *words], standalone_mode=False)

    return run


def kept(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "cache/runner/sound.json").read_text())["specs"]
    return found


def test_what_was_sound_is_passed_over(
    validate: Validate, checked: list[Sequence[Path]], tmp_path: Path
) -> None:
    assert "2 specs checked, no problems" in validate().stdout
    assert "2 specs checked, no problems" in validate().stdout
    assert checked == [["a.yaml", "b.yaml"]]
    assert len(kept(tmp_path)) == 2
    validate("--no-cache")
    assert checked == [["a.yaml", "b.yaml"]] * 2


def test_a_fault_in_what_is_extended_is_found(validate: Validate, checked: list[Sequence[Path]]) -> None:
    validate()
    Path("_base.yaml").write_text(BASE.replace("learning_rate:", "learning_rte:"), encoding="utf-8")
    done = validate()
    assert (done.return_value, "learning_rte" in done.stdout) == (2, True)
    assert checked[1:] == [["a.yaml"]]


def test_a_change_that_keeps_the_length_is_seen(validate: Validate) -> None:
    validate()
    Path("b.yaml").write_text(BASE.replace("learning_rate:", "learning_rats:"), encoding="utf-8")
    assert validate().return_value == 2


def test_a_variable_that_set_names_is_part_of_it(validate: Validate, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--set", "train.learning_rate=${env:RATE:-1e-4}")
    assert validate(*words).return_value == 0
    monkeypatch.setenv("RATE", "fast")
    assert validate(*words).return_value == 2


def test_a_variable_behind_an_escape_is_not_overlooked(
    validate: Validate, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = r'train: {learning_rate: "$\x7benv:RATE:-1e-4}"}'
    Path("a.yaml").write_text(f"extends: _base.yaml\n{rate}\n", encoding="utf-8")
    assert validate().return_value == 0
    monkeypatch.setenv("RATE", "fast")
    assert validate().return_value == 2


def test_a_file_with_a_fault_is_checked_each_time(validate: Validate, checked: list[Sequence[Path]]) -> None:
    Path("a.yaml").write_text("extends: _base.yaml\nsumary: a\n", encoding="utf-8")
    assert [validate().return_value for _ in range(2)] == [2, 2]
    assert checked == [["a.yaml", "b.yaml"], ["a.yaml"]]


def test_a_variable_that_a_spec_names_is_part_of_it(
    validate: Validate, checked: list[Sequence[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.yaml").write_text(
        "extends: _base.yaml\ntrain: {learning_rate: '${env:RATE:-1e-4}'}\n", encoding="utf-8"
    )
    assert [validate().return_value for _ in range(2)] == [0, 0]
    monkeypatch.setenv("RATE", "fast")
    assert validate().return_value == 2
    assert checked == [["a.yaml", "b.yaml"], ["a.yaml"]]


def test_another_set_is_another_spec(validate: Validate, checked: list[Sequence[Path]]) -> None:
    assert [validate("--set", "train.epochs=2").return_value for _ in range(2)] == [0, 0]
    assert validate("--set", "train.epochs=0").return_value == 2
    assert len(checked) == 2


def test_another_program_knows_nothing(
    validate: Validate, checked: list[Sequence[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    validate()
    monkeypatch.setattr(sound_files, "program_hash", lambda: "another")
    validate()
    assert len(checked) == 2


def test_the_program_is_every_file_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    rule = tmp_path / "inner" / "rules.py"
    rule.write_text("A = 1\n", encoding="utf-8")
    really = sound_files._folder
    monkeypatch.setattr(sound_files, "_folder", lambda name: really(name) if name == "pydantic" else tmp_path)
    hashes = [program_hash(), program_hash()]
    rule.write_text("A = 11\n", encoding="utf-8")
    hashes.append(program_hash())
    (tmp_path / "inner" / "words.yaml").touch()
    hashes.append(program_hash())
    assert [hashes.index(one) for one in hashes] == [0, 0, 2, 3]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "program": 1, "specs": 1}', "\0\xff"]
)
def test_a_damaged_cache_is_no_cache(validate: Validate, tmp_path: Path, text: str) -> None:
    place = tmp_path / "cache" / "runner" / "sound.json"
    place.parent.mkdir(parents=True)
    place.write_text(text.replace('"program": 1', f'"program": "{program_hash()}"'), encoding="latin-1")
    assert validate().return_value == 0
    assert len(kept(tmp_path)) == 2


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    validate: Validate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "no problems" in validate().stdout
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    assert "no problems" in validate().stdout


def test_a_file_that_changes_while_it_is_checked_is_not_kept(
    validate: Validate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone saves a broken spec between its reading and the end of the check."""
    really = validate_many.problems_of_each

    def changed_meanwhile(*given: object) -> object:
        found = really(*given)  # type: ignore[arg-type]
        Path("a.yaml").write_text("extends: _base.yaml\nsumary: a\n", encoding="utf-8")
        return found

    monkeypatch.setattr(validate_many, "problems_of_each", changed_meanwhile)
    assert validate().return_value == 0
    assert [json.loads(key)[0] for key in kept(tmp_path)] == [str(tmp_path / "b.yaml")]


def test_the_last_found_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_files, "KEPT", 2)
    sound = SoundFiles(tmp_path / "sound.json", {}, "p")
    (tmp_path / "x").touch()
    digest = hash_of([str(tmp_path / "x")], (), {}) or ""
    for name in ("a", "b", "a", "c"):
        sound.add(Path(name), (), [str(tmp_path / "x")], digest)
    sound.store()
    stored = json.loads((tmp_path / "sound.json").read_text())["specs"]
    assert [Path(json.loads(key)[0]).name for key in stored] == ["a", "c"]


def test_a_file_that_is_gone_is_not_sound(tmp_path: Path) -> None:
    assert hash_of([str(tmp_path / "nowhere")], (), {}) is None
    assert not SoundFiles(None, {}, "p", {json.dumps([str(tmp_path / "x")]): ((), "")}).has(
        tmp_path / "x", ()
    )
