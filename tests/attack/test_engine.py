"""The suite can fail: a bug of each class is planted, and it is found, named, made smaller and repeated."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from .damage import FORMATS, Odd, bytes_changed, damaged
from .engine import CODES, CPU_S, MEMORY_MIB, Arena, Ended, Fault, Job, Target, Worker, faults_of, kept, put
from .runs import changes_are_told
from .targets import written_is_told

NUMBERS = b"12 30 7\n"


@pytest.fixture(autouse=True)
def the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    one = Worker(("bodies",))
    yield one
    one.close()


def right(folder: Path) -> None:
    (folder / "numbers.txt").write_bytes(NUMBERS)
    (folder / "data").mkdir()


def arena(worker: Worker, folder: Path, *jobs: Job, **more: object) -> Arena:
    target = Target("planted", right, ("numbers.txt",), jobs, **more)  # type: ignore[arg-type]
    return Arena(target, folder, worker)


@pytest.mark.parametrize(
    ("body", "kind", "where"),
    [
        ("traceback", "traceback", "KeyError"),
        ("hang", "hang", "hang"),
        ("wait", "hang", "wait"),
        ("memory", "memory", "memory"),
        ("address_space", "memory", "MemoryError"),
        ("exit_code", "exit code", "exit_code: 4"),
        ("killed", "exit code", "killed: -6"),
        ("silence", "silence", "silence"),
    ],
)
def test_each_class_of_bug_is_found(worker: Worker, tmp_path: Path, body: str, kind: str, where: str) -> None:
    """A second of computing is enough to hang here; the limits of the suite are constants of the engine."""
    job = Job(body, cpu_s=1 if kind == "hang" else CPU_S)
    ended = worker.run(job, _empty(tmp_path))
    assert list(faults_of(job, ended)) == [Fault(kind, where, "")]


def _empty(tmp_path: Path) -> Path:
    folder = tmp_path / "one" / "inside"
    folder.mkdir(parents=True)
    return folder


def test_what_a_command_prints_is_no_terminal_code(worker: Worker, tmp_path: Path) -> None:
    job = Job("escape")
    ended = worker.run(job, _empty(tmp_path))
    assert list(faults_of(job, ended)) == []  # a log keeps what it is given
    (fault,) = faults_of(Job("cli", ("validate",)), ended)
    assert (fault.kind, fault.where) == ("escape", "cli validate: '\\x1b'")


@pytest.mark.parametrize("code", CODES)
def test_named_exit_codes_with_words_are_no_fault(code: int) -> None:
    ended = Ended(code, True, 4.9, MEMORY_MIB - 1, 300.0, "", "what, where, and what to do")
    assert list(faults_of(Job("cli", ("validate",)), ended)) == []


def test_the_last_frame_of_ours_names_a_traceback(worker: Worker, tmp_path: Path) -> None:
    """Two inputs that fail at one place are one fault."""
    text = (
        "Traceback (most recent call last):\n"
        f'  File "{Path(__file__).parents[2]}/runner/files.py", line 3, in read\n    x\n'
        '  File "/usr/lib/python3/json/decoder.py", line 9, in decode\n    y\n'
        "json.decoder.JSONDecodeError: Expecting value: {}\n"
    )
    found = {
        fault
        for what in ("line 1", "line 2")
        for fault in faults_of(Job("cli"), Ended(1, True, 0, 0, 0, "", text.format(what)))
    }
    assert found == {Fault("traceback", "runner/files.py:3 in read: json.decoder.JSONDecodeError", "")}


# ------------------------------------------------------------------------------------------- silent changes


def test_a_number_that_changes_under_the_same_manifest_is_found(worker: Worker, tmp_path: Path) -> None:
    """The planted stage sums numbers, and its manifest is the same whatever they are: 49 becomes 50."""
    place = arena(worker, tmp_path, Job("number"), check=written_is_told)
    assert place.faults({"numbers.txt": b"13 30 7\n"}) == [
        Fault("change", "data/train.jsonl is another, and the manifest is the same", "")
    ]
    assert place.faults({"numbers.txt": NUMBERS + b"\n"}) == []


def test_a_verification_that_does_not_look_is_found(worker: Worker, tmp_path: Path) -> None:
    """The planted command finds all equal, and says that it has not looked at one file of the two."""

    def run(folder: Path) -> None:
        for name in ("seen", "unseen"):
            put(folder / "runs/attacked/a" / f"{name}.json", b'{"value": 1}')

    target = Target("planted", run, ("runs/**/*",), (Job("verified"),), changes_are_told)
    place = Arena(target, tmp_path, worker)
    assert list(place.files) == ["runs/attacked/a/seen.json", "runs/attacked/a/unseen.json"]
    assert place.faults({"runs/attacked/a/unseen.json": b'{"value": 2}'}) == []
    assert place.faults({"runs/attacked/a/seen.json": b'{ "value": 1}'}) == []  # the same in other bytes
    (fault,) = place.faults({"runs/attacked/a/seen.json": b'{"value": 2}'})
    assert fault == Fault("change", "verify finds all equal, and says nothing of seen.json", "")


# ----------------------------------------------------------------------------- cases: the same again, and smaller


def test_a_fault_is_told_with_a_small_input_and_the_command_that_repeats_it(
    worker: Worker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The planted command fails on a 7: of all that is there, the 7 alone is left."""
    place = arena(worker, tmp_path, Job("seven"))
    changes = {"numbers.txt": b"1 2 3 4 5 6 7 8 9\n" * 50}
    (fault,) = place.faults(changes)
    assert (fault.kind, fault.where) == ("traceback", "ValueError")
    assert place.smaller(changes, fault) == {"numbers.txt": b"7"}
    place.keep(changes, "planted:1:0")
    told = place.report()
    folder = Path(told.rpartition("=")[2])
    assert folder.is_relative_to(tmp_path)
    assert f"again: make attack CASE=planted:1:0 or make attack CASE={folder}" in told
    assert "numbers.txt (1 bytes)" in told
    assert place.faults(kept(folder / "planted")) == [fault]
    assert "planted planted:1:0: traceback: ValueError" in capsys.readouterr().out


def test_a_case_follows_from_its_seed_and_number_alone(worker: Worker, tmp_path: Path) -> None:
    one, other = (arena(worker, tmp_path / name, Job("number")) for name in "ab")
    cases = [one.drawn(1, number) for number in range(30)]
    assert [other.drawn(1, number) for number in reversed(range(30))] == cases[::-1]
    assert [one.drawn(2, number) for number in range(30)] != cases


def test_what_stands_in_place_of_a_file_is_kept_too(worker: Worker, tmp_path: Path) -> None:
    place = arena(worker, tmp_path, Job("folders"))
    place.keep({"numbers.txt": Odd.FOLDER}, "planted:1:0")
    assert kept(Path(place.report().rpartition("=")[2]) / "planted") == {"numbers.txt": Odd.FOLDER}


@pytest.mark.parametrize("odd", Odd)
def test_odd_things_are_what_they_say(tmp_path: Path, odd: Odd) -> None:
    place = tmp_path / "a"
    place.write_bytes(b"right")
    put(place, odd)
    found = {
        Odd.MISSING: not place.exists() and not place.is_symlink(),
        Odd.FOLDER: place.is_dir(),
        Odd.PIPE: place.is_fifo(),
        Odd.ENDLESS: place.is_char_device(),
        Odd.DANGLING: place.is_symlink() and not place.exists(),
        Odd.SPARSE: place.is_file() and place.stat().st_size > MEMORY_MIB << 20,
    }
    assert found[odd]


@pytest.mark.parametrize("suffix", sorted({*FORMATS, ".txt"}))
def test_every_format_is_damaged_in_many_ways(suffix: str) -> None:
    """Of bytes that are no file of the format too: damage is done to what was damaged before."""
    content = json.dumps({"a": [1, "b"], "c": {"d": 2.5}}).encode()
    made = {damaged(Random(number), f"a{suffix}", content) for number in range(60)}
    assert len(made - {content}) > 30


def test_cases_that_reach_new_lines_are_grown_from(worker: Worker, tmp_path: Path) -> None:
    """The planted lock has four parts, one behind the other; damage of one step opens one or two of them."""
    target = Target(
        "planted",
        lambda folder: put(folder / "lock.dat", b"lock"),
        ("lock.dat",),
        (Job("lock"),),
        draw=lambda rng, name, content: bytes_changed(rng, bytes(content)),  # type: ignore[arg-type]
    )
    blind, guided = (Arena(target, tmp_path / name, worker) for name in ("blind", "guided"))
    tries = iter(range(300))
    guided.guided(Random(1), lambda: not guided.found and next(tries, None) is not None)
    assert [found.fault.where for found in guided.found.values()] == ["ZeroDivisionError"]
    for number in range(300):
        blind.attack(1, number)
    assert not blind.found
