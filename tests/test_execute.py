"""The executor with real processes: small stages written by the tests, started as any stage is."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from converters.numbers import Counts
from runner.environment import environment_of
from runner.events import EventWriter, read_events
from runner.execute import Outcome, execute
from runner.files import write_json, write_text
from runner.machine import Machine
from runner.plan import Plan, make_plan, plan_from_json, plan_to_json
from runner.progress import Silent
from runner.run_dir import RunDir, create, find
from runner.spec.problems import MachineError, UsageError
from runner.stage import Stage

CPU = Machine("Linux", 2, 8.0, 0, None, None, False, False)
WAIT_S = 20.0


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    """Return a function that writes a stage's module and describes it."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def write(name: str, body: str, reads: tuple[str, ...] = (), **settings: Any) -> Stage:
        write_text(folder / f"{name}_stage.py", "from pathlib import Path\n" + textwrap.dedent(body))
        return Stage(name, f"{name}_stage", reads, (f"out/{name}",), settings)

    return write


WRITE = """
import sys
Path("out").mkdir(exist_ok=True)
Path("out", sys.argv[1]).write_text("done")
with open("logs/calls", "a") as calls: calls.write(sys.argv[1] + " ")
"""
SLOW = """
import signal, sys, time
Path("out").mkdir(exist_ok=True)
Path("began").write_text("")
def save(*_):
    Path("saved").write_text("")
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
while True: time.sleep(0.01)
"""


@pytest.fixture
def plan_of(make_spec: Callable[..., Any]) -> Callable[..., Plan]:
    """Return a function that makes a plan of given stages."""

    def made(*stages: Stage) -> Plan:
        return replace(make_plan(make_spec(), CPU), stages=stages, files=())

    return made


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    path = tmp_path / "run"
    path.mkdir()
    return RunDir(path)


def launch(plan: Plan, run: RunDir, *, resumed: bool = False) -> Outcome:
    said: list[str] = []
    return execute(plan, run, Silent(), environ=os.environ, say=said.append, resumed=resumed)


def calls(run: RunDir) -> list[str]:
    return (run.path / "logs" / "calls").read_text().split()


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def wait_for(path: Path) -> None:
    wait_until(path.exists)


DATA = """
import json
from pathlib import Path
Path("data").mkdir()
splits = {name: {"records": n} for name, n in (("train", 24), ("validation", 4), ("test", 4))}
Path("data/manifest.json").write_text(json.dumps({"splits": splits, "records": {"kept": 90}}))
"""


@pytest.mark.parametrize(("train", "said"), [(60, True), (50, False)])
def test_a_rehearsal_says_that_the_real_split_asks_for_too_much(
    train: int, said: bool, stages: Callable[..., Stage], make_spec: Callable[..., Any], run: RunDir
) -> None:
    """60 + 20 + 20 of 90 records: a few of each side can be rehearsed, the real run cannot be made."""
    split = {"train": train, "validation": 20, "test": 20, "by": "record"}
    plan = replace(
        make_plan(make_spec({"data.split": split}), CPU, rehearse=True),
        stages=(stages("data", WRITE + DATA),), files=(), counts=Counts(24, 4, 4),
    )  # fmt: skip
    assert launch(plan, run) == Outcome("done", 0, "")
    notes = [event["text"] for event in read_events(run.events) if event["event"] == "note"]
    assert [note for note in notes if "60 + 20 + 20 = 100 records, and 90 are there" in note] == notes[:said]
    assert len(notes) == said


def test_stages_run_in_order_and_leave_events_logs_and_state(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    plan = plan_of(stages("first", WRITE + "print('said')"), stages("second", WRITE))
    assert launch(plan, run) == Outcome("done", 0, "")
    assert calls(run) == ["first", "second"]
    assert run.log("first").read_text() == "said\n"
    assert run.read_status()["state"] == "done"
    events = [(e["stage"], e["event"]) for e in read_events(run.events)]
    assert events == [
        ("run", "run_started"),
        ("first", "stage_started"),
        ("first", "stage_finished"),
        ("second", "stage_started"),
        ("second", "stage_finished"),
        ("run", "run_finished"),
    ]


def test_what_is_stored_is_what_is_executed(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    plan = plan_of(stages("only", WRITE, number=3))
    launch(plan, run)
    assert plan_from_json(json.loads(run.plan.read_text())) == plan
    assert json.loads((run.path / "config" / "only.json").read_text()) == {"number": 3}


def test_resume_runs_only_what_is_missing_or_changed(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    first = stages("first", WRITE)
    second = stages("second", WRITE, reads=("out/first",))
    launch(plan_of(first, second), run)
    launch(plan_of(first, second), run, resumed=True)
    assert calls(run) == ["first", "second"]
    (run.path / "out" / "first").write_text("changed by hand")
    launch(plan_of(first, second), run, resumed=True)
    assert calls(run) == ["first", "second", "first"], "the first made again, equal to what the second read"
    (run.path / "out" / "second").unlink()
    launch(plan_of(first, second), run, resumed=True)
    assert calls(run) == ["first", "second", "first", "second"], "what it wrote is gone"
    launch(plan_of(first, replace(second, settings={"new": 1})), run, resumed=True)
    assert len(calls(run)) == 5, "its settings have changed"
    assert [note.partition(": ")[2] for note in notes(run) if note.startswith("made again")] == [
        "out/first is not as the stage left it",
        "out/second is gone",
        "its settings have changed",
    ]


def notes(run: RunDir) -> list[str]:
    return [event["text"] for event in read_events(run.events) if event["event"] == "note"]


COPY = """
Path("out").mkdir(exist_ok=True)
Path("out/model").mkdir(exist_ok=True)
Path("out/model/weights").write_text(Path("out/first").read_text() + " learnt")
Path("out/checkpoints").mkdir(exist_ok=True)
for number in (1, 2): Path(f"out/checkpoints/{number}").touch()
with open("logs/calls", "a") as calls: calls.write("model ")
"""
JUDGE = """
import json
Path("out/judged").write_text(Path("out/model/weights").read_text().upper())
Path("out/model/README.md").write_text("a card")
with open("logs/calls", "a") as calls: calls.write("judged ")
"""


def three(stages: Callable[..., Stage], plan_of: Callable[..., Plan]) -> Plan:
    """Return a plan of data, a training, and a stage that judges it and leaves a card beside the weights."""
    model = replace(stages("model", COPY, reads=("out/first",)), writes=("out/model",))
    return plan_of(stages("first", WRITE), model, stages("judged", JUDGE, reads=("out/model",)))


def test_a_later_stage_may_put_a_file_beside_what_it_read(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    plan = three(stages, plan_of)
    launch(plan, run)
    launch(plan, run, resumed=True)
    assert calls(run) == ["first", "model", "judged"]


@pytest.mark.parametrize(
    ("file", "again"),
    [
        ("out/model/weights", ["model"]),
        ("out/first", ["first"]),
        ("out/judged", ["judged"]),
        ("out/model/README.md", ["judged"]),
    ],
)
def test_a_damaged_file_is_made_again_before_anything_rests_on_it(
    file: str, again: list[str], stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    """One bit of each: only the stage that left it runs, for what it makes is what it was."""
    plan = three(stages, plan_of)
    launch(plan, run)
    content = bytearray((run.path / file).read_bytes())
    content[0] ^= 1
    (run.path / file).write_bytes(content)
    assert launch(plan, run, resumed=True).state == "done"
    assert calls(run)[3:] == again
    assert (run.path / "out" / "judged").read_text() == "DONE LEARNT"
    assert any(file in note for note in notes(run))
    assert "all files are as they were the last time" in notes(run)


def test_a_deleted_checkpoint_is_no_damage_and_a_training_of_other_data_does_not_go_on_from_one(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    plan = three(stages, plan_of)
    launch(plan, run)
    (run.path / "out" / "checkpoints" / "1").unlink()
    launch(plan, run, resumed=True)
    assert calls(run) == ["first", "model", "judged"]
    write_text(
        run.path.parent / "modules" / "first_stage.py",
        "from pathlib import Path\n" + WRITE.replace('"done"', '"other"'),
    )
    (run.path / "out" / "first").unlink()
    launch(plan, run, resumed=True)
    assert calls(run)[3:] == ["first", "model", "judged"]
    assert [path.name for path in (run.path / "out").glob("checkpoints*/*")].count("1") == 1, (
        "of the new training alone"
    )
    assert (run.path / "out" / "checkpoints.before-1" / "2").exists()
    assert "other than the last time: out/first" in notes(run)
    assert "made again: out/first, which it reads, has changed" in notes(run)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"state": 3}', '{"state": "done", "stages": []}', "{" * 9999]
)
def test_a_damaged_state_does_not_block_a_run_and_is_told(
    text: str, stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    plan = plan_of(stages("first", WRITE))
    launch(plan, run)
    run.status.write_text(text)
    with pytest.raises(MachineError, match=r"status\.json is damaged"):
        run.read_status()
    assert launch(plan, run, resumed=True).state == "done"
    assert calls(run) == ["first", "first"]
    assert any("so all are made again" in note for note in notes(run))


def test_a_damaged_list_of_outputs_is_no_proof(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    plan = plan_of(stages("first", WRITE))
    launch(plan, run)
    (run.path / "config" / "first.outputs.json").write_text('{"format": 1, "files": {"../x": "y"}}')
    assert launch(plan, run, resumed=True).state == "done"
    assert calls(run) == ["first", "first"]
    assert any("first.outputs.json is damaged" in note for note in notes(run))


def test_a_list_of_outputs_that_is_gone_is_no_proof(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    """Without it damaged weights were judged again, and the right results overwritten."""
    plan = three(stages, plan_of)
    launch(plan, run)
    (run.path / "config" / "model.outputs.json").unlink()
    assert launch(plan, run, resumed=True).state == "done"
    assert calls(run)[3:] == ["model"]
    assert any("model.outputs.json, which says what it left, is gone" in note for note in notes(run))


@pytest.mark.parametrize(
    ("ends", "code"), [("sys.exit(1)", 1), ("sys.exit(2)", 2), ("sys.exit(3)", 3), ("1 / 0", 1)]
)
def test_a_failed_stage_ends_the_run_with_its_code_and_its_log(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir, ends: str, code: int
) -> None:
    plan = plan_of(stages("bad", f"import sys\nprint('the reason')\n{ends}"), stages("never", WRITE))
    outcome = launch(plan, run)
    assert (outcome.state, outcome.exit_code) == ("failed", code)
    assert "the reason" in outcome.reason
    assert not (run.path / "logs" / "calls").exists()
    assert run.read_status()["state"] == "failed"


def test_an_exit_code_is_not_believed_when_nothing_was_written(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    outcome = launch(plan_of(stages("liar", "pass")), run)
    assert outcome.state == "failed"
    assert "did not write out/liar" in outcome.reason


def test_a_stage_ended_by_a_signal_is_a_failure_that_names_it(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    outcome = launch(plan_of(stages("dies", "import os\nos.kill(os.getpid(), 9)")), run)
    assert outcome.exit_code == 1
    assert "SIGKILL" in outcome.reason


@pytest.fixture
def launched(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a launcher of one slow stage in a process of its own; end it afterwards."""
    write_json(run.path / "wanted.json", plan_to_json(plan_of(stages("slow", SLOW))))
    code = (
        "import json, os, sys; from pathlib import Path; from runner.execute import execute\n"
        "from runner.plan import plan_from_json; from runner.progress import Silent; from runner.run_dir import RunDir\n"
        "run = RunDir(Path(sys.argv[1])); plan = plan_from_json(json.loads((run.path / 'wanted.json').read_text()))\n"
        "sys.exit(execute(plan, run, Silent(), environ=os.environ, say=lambda t: print(t, flush=True)).exit_code)"
    )
    with (run.path / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=said)
    wait_for(run.path / "began")
    yield process
    process.kill()
    process.wait()


def stage_pid(run: RunDir) -> int:
    return next(e["pid"] for e in read_events(run.events) if e["event"] == "stage_started")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_lets_the_stage_save_and_ends_with_130(
    launched: subprocess.Popen[bytes], run: RunDir, number: signal.Signals
) -> None:
    launched.send_signal(number)
    assert launched.wait(WAIT_S) == 130
    assert (run.path / "saved").exists()
    assert run.read_status()["state"] == "interrupted"


def test_a_second_interrupt_ends_a_stage_that_does_not_listen(
    stages: Callable[..., Stage], launched: subprocess.Popen[bytes], run: RunDir
) -> None:
    os.kill(stage_pid(run), signal.SIGSTOP)
    launched.send_signal(signal.SIGINT)
    wait_until(lambda: "once more" in (run.path / "said").read_text())
    launched.send_signal(signal.SIGINT)
    assert launched.wait(WAIT_S) == 130
    assert not (run.path / "saved").exists()


def test_a_live_run_is_refused_and_a_dead_one_is_not(
    launched: subprocess.Popen[bytes],
    stages: Callable[..., Stage],
    plan_of: Callable[..., Plan],
    run: RunDir,
) -> None:
    other = plan_of(stages("other", WRITE))
    with pytest.raises(MachineError, match=f"is being run by process {launched.pid}"):
        launch(other, run)
    launched.kill()
    launched.wait()
    orphan = stage_pid(run)  # still alive, and holds the lock
    with pytest.raises(MachineError, match=rf"kill {orphan}\b") as refused:
        launch(other, run)
    assert f"its launcher, process {launched.pid}, is gone" in str(refused.value)
    assert "Ctrl-C" not in str(refused.value)
    os.kill(stage_pid(run), signal.SIGKILL)
    wait_until(lambda: is_free(run))
    assert launch(other, run).state == "done"


def is_free(run: RunDir) -> bool:
    try:
        with run.lock():
            return True
    except MachineError:
        return False


def test_a_full_disk_ends_the_run_and_leaves_no_half_written_file(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    """Files may not grow beyond 20 kB: the plan's settings do not fit."""
    plan = plan_of(stages("big", WRITE, text="x" * 100_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(MachineError, match=r"cannot write .*plan\.json"):
            launch(plan, run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in run.path.iterdir()) == [".lock"]


def test_a_runs_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"file/runs/name.*nothing was started"):
        create(tmp_path / "file" / "runs", "name", {}, datetime(2026, 1, 1, tzinfo=UTC))


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    first, second = create(tmp_path, "name", {"a": 1}, now), create(tmp_path, "name", {"a": 1}, now)
    assert first.path.name == "20260102T030405Z-015abd7f"
    assert second.path.name == "20260102T030405Z-015abd7f-2"


def test_a_folder_that_is_no_run_is_named_with_the_runs_in_it(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "plan.json").write_text("{}")
    with pytest.raises(UsageError, match="runs in it: one"):
        find(tmp_path)


def test_an_event_or_field_that_is_not_published_is_refused(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "events.jsonl", "train")
    with pytest.raises(ValueError, match="not in runner"):
        writer.write("stpe")
    with pytest.raises(ValueError, match="lss"):
        writer.write("step", lss=1.0)


def test_nan_is_written_as_text_and_a_torn_line_hurts_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventWriter(path, "train").write("step", step=1, loss=float("nan"))
    with path.open("a") as file:
        file.write('{"event": "st')
    assert [event["step"] for event in read_events(path)] == [1]
    EventWriter(path, "train").write("step", step=2, loss=0.5)
    assert [(event["step"], event["loss"]) for event in read_events(path)] == [(1, "nan"), (2, 0.5)]


def test_a_run_with_a_torn_event_goes_on(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    plan = plan_of(stages("first", WRITE), stages("second", WRITE))
    launch(plan, run)
    with run.events.open("a") as file:
        file.write('{"time": "2026", "stage": "tr')
    (run.path / "out" / "second").unlink()
    assert launch(plan, run, resumed=True).state == "done"


def test_an_interrupt_that_a_stage_outruns_stops_before_the_next(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    """The stage ends well although a stop was asked for: the run is interrupted, not carried on."""
    ask = WRITE + "import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\n"
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    outcome = launch(plan_of(stages("first", deaf + ask), stages("second", WRITE)), run)
    assert (outcome.state, outcome.exit_code) == ("interrupted", 130)
    assert calls(run) == ["first"]


def test_asking_for_the_state_writes_nothing_and_sees_a_live_run(
    launched: subprocess.Popen[bytes], run: RunDir
) -> None:
    before = (run.path / ".lock").stat().st_mtime_ns
    assert run.is_held()
    assert (run.path / ".lock").stat().st_mtime_ns == before
    os.kill(stage_pid(run), signal.SIGKILL)
    launched.wait()
    assert not run.is_held()


def test_a_full_disk_in_a_stage_says_the_stage_and_the_disk(
    stages: Callable[..., Stage], plan_of: Callable[..., Plan], run: RunDir
) -> None:
    """The stage fails, and its failure cannot be written down either: both are said."""
    fill = "import os, sys\nos.rename('status.json', 'kept')\nos.mkdir('status.json')\nos.mkdir('status.json/x')\n"
    outcome = launch(plan_of(stages("bad", fill + "print('no room')\nsys.exit(1)")), run)
    assert outcome.exit_code == 1
    assert "cannot write" in outcome.reason
    assert "no room" in outcome.reason


def test_the_text_of_uncommitted_changes_is_not_stored(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / ".env").write_text("A=1\n")
    git("init")
    git("add", ".env")
    git("commit", "-m", "first")
    (tmp_path / ".env").write_text("A=very-private\n")
    found = environment_of(tmp_path)
    assert found["git"]["changed"] == [".env"]
    assert "very-private" not in json.dumps(found)
