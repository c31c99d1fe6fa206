"""Files of a run in another form than they were written in: an error in words from every verb that reads them, no traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from judged_run import write_judged_run
from left_run import write_left_run

from eval.report.card import render_card
from runner.comparing import compare
from runner.events import read_events
from runner.judging.lines import read_lines
from runner.launching import state_of
from runner.outputs import Hashes, reading_run, record, recorded
from runner.reporting.card import card_of
from runner.reporting.record import read_run
from runner.spec.problems import MachineError, RunnerError
from runner.sweeps.folder import state_of_sweep
from runner.verify import MADE_AGAIN
from runner.verify_files import verified_files

FORMS = {
    "empty": "", "cut-off": '{"a": [1, ', "null": "null", "list": "[]", "number": "3", "text": '"x"', "object": "{}",
    "deep": "[" * 99_999, "deep-object": '{"a":' * 99_999, "nan": '{"results": NaN}', "long": "1" * 5_000, "bytes": "\0\xff",
}  # fmt: skip
"""What stands in the place of a file's content, as Latin-1."""
OTHERS: tuple[Any, ...] = (None, [], {}, "x", 10**30)
"""What stands in the place of a value."""
MOST_PLACES = 16
"""Values of a file that are exchanged, evenly spread; a longer search is for the fuzzers."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run with hashes of its files, one without, and another to compare with."""
    folder = tmp_path_factory.mktemp("forms")
    other = write_judged_run(folder / "other", shift=0.1, started="2026-01-03T03:04:05.678+00:00")
    return write_left_run(folder / "left"), write_judged_run(folder / "old"), other


def reported(run: Path) -> None:
    with reading_run(run):
        record = read_run(run)
        record.results()
        render_card(card_of(record))


def readers(other: Path) -> tuple[Callable[[Path], object], ...]:
    return (
        reported,
        state_of,
        lambda run: compare([run, other], different_locks=True),
        lambda run: verified_files(run, MADE_AGAIN),
    )


def read(run: Path, other: Path) -> list[str]:
    """Return what the verbs say of a run; anything but an error in words fails the test."""
    said = []
    for reader in readers(other):
        try:
            reader(run)
        except RunnerError as error:
            said.append(str(error))
    return said


FILES = (
    "plan.json", "status.json", "environment.json", "resolved.yaml", "events.jsonl", "data/manifest.json", "data/tokens.json",
    "train/proof.json", "train/metrics.jsonl", "eval/baseline.json", "eval/tuned.json", "eval/tuned/1_perplexity.jsonl",
    "config/train.outputs.json", "config/run.outputs.json",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_form_is_an_error_in_words(
    name: str, runs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    left, old, other = runs
    for number, made in enumerate((left, old)):
        run = Path(shutil.copytree(made, tmp_path / str(number)))
        for form in FORMS.values():
            if not (run / name).exists():
                continue
            (run / name).write_bytes(form.encode("latin-1"))
            read(run, other)
            if made is left:
                found = verified_files(run, MADE_AGAIN)
                assert any(item.place.startswith(name) for item in found.unequal), (name, form[:20])


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_not_waited_for_and_a_file_of_a_gigabyte_is_not_read(
    name: str, runs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    (run / name).unlink()
    os.mkfifo(run / name)
    read(run, runs[2])
    (run / name).unlink()
    with (run / name).open("wb") as file:
        file.truncate(1 << 30)  # on no disk
    for reader in readers(runs[2])[:3]:
        with suppress(RunnerError):
            reader(run)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".json")])
def test_a_value_of_another_form_is_an_error_in_words(
    name: str, runs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """Some values, by every kind of JSON."""
    left, _, other = runs
    run = Path(shutil.copytree(left, tmp_path / "run"))
    value = json.loads((run / name).read_text())
    places = list(below(value, ()))
    for place in places[:: -(-len(places) // MOST_PLACES)]:
        for wrong in OTHERS:
            (run / name).write_text(json.dumps(put(value, place, wrong)))
            read(run, other)


def below(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    yield place
    if isinstance(value, dict):
        for key in value:
            yield from below(value[key], (*place, key))
    elif isinstance(value, list):
        for number in range(min(2, len(value))):
            yield from below(value[number], (*place, number))


def put(value: Any, place: tuple[str | int, ...], wrong: Any) -> Any:
    if not place:
        return wrong
    made = json.loads(json.dumps(value))
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = wrong
    return made


def test_what_is_wrong_is_named_with_its_file(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    for name, text, said in (
        ("plan.json", "[]", "plan.json is damaged: expected an object, got list"),
        ("plan.json", '{"name": "x"}', "plan.json is damaged, or of another release of runner: it has no kind"),
        ("status.json", '{"state": "gone"}', "state: expected one of pending, running, done, failed, interrupted, got 'gone'"),
        ("eval/tuned.json", "{}", "eval/tuned.json is damaged, or of another release of runner: it has no results"),
        ("eval/tuned.json", '{"results": 3}', "results: expected a list of objects"),
        ("train/metrics.jsonl", '{"event": "step"}\n[]\n', "metrics.jsonl:2 is damaged: expected an object, got list"),
        ("train/metrics.jsonl", "{}\n", "metrics.jsonl:1 is damaged: no event"),
        ("train/proof.json", '{"steps": NaN}', "proof.json is damaged: NaN is no number"),
        ("data/manifest.json", "[" * 99_999, "manifest.json is damaged: it is nested too deep"),
        ("data/manifest.json", "{}", "it has no sources, inputs, records, dropped, split, splits"),
    ):  # fmt: skip
        content = (run / name).read_bytes()
        (run / name).write_text(text)
        assert any(said in one for one in read(run, runs[2])), (name, text[:20])
        (run / name).write_bytes(content)


def test_an_answer_with_a_line_separator_is_one_line(tmp_path: Path) -> None:
    """JSON leaves U+2028 as it is; it ends no line of a file of lines."""
    file = tmp_path / "lines.jsonl"
    file.write_text(
        json.dumps({"id": "a", "answer": "one\u2028two\x85three"}, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    assert [line["answer"] for line in read_lines(file)] == ["one\u2028two\x85three"]


def test_an_event_nested_too_deep_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(
        '{"event": "note", "text": "a"}\n'
        + "[" * 99_999
        + '\n{"event": []}\n{"event": "note", "text": "b"}\n'
    )
    assert [event["text"] for event in read_events(file)] == ["a", "b"]


@pytest.mark.parametrize("name", ["../a", "/a", "", "."])
def test_a_list_of_hashes_names_files_of_the_run_alone(name: str, tmp_path: Path) -> None:
    record(Hashes(tmp_path), "train", [])
    (tmp_path / "config" / "train.outputs.json").write_text(
        json.dumps({"format": 1, "files": {name: "0" * 64}})
    )
    with pytest.raises(MachineError, match=r"train\.outputs\.json is damaged"):
        recorded(tmp_path, "train")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["sweep.json", "status.json"])
def test_a_sweep_of_another_form_is_an_error_in_words(name: str, form: str, tmp_path: Path) -> None:
    arm = {"name": "a", "base": "a", "seed": None, "state": "done", "run": "x"}
    defined = {"name": "n", "kind": "llm", "controls": {}, "arms": [], "differs": {}, "shared": {}}
    (tmp_path / "sweep.json").write_text(json.dumps(defined))
    (tmp_path / "status.json").write_text(json.dumps({"state": "done", "reason": "", "arms": [arm]}))
    assert state_of_sweep(tmp_path)["arms"][0]["state"] == "done"
    (tmp_path / name).write_bytes(FORMS[form].encode("latin-1"))
    if name == "status.json":
        with pytest.raises(MachineError, match=r"status\.json is damaged"):
            state_of_sweep(tmp_path)
    (tmp_path / "status.json").write_text(json.dumps({"state": "done", "arms": [3]}))
    with pytest.raises(MachineError, match=r"status\.json is damaged: arms"):
        state_of_sweep(tmp_path)
