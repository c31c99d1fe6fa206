"""Plan -> finished run directory. The only module that changes the world.

Stages run one after another, each a process with its own log. What a stage was made from is stored
with its success, and so are the hashes of what it left: a later `--resume` runs only what is missing, damaged,
or made from something that has changed.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from converters.numbers import Counts
from runner import __version__
from runner.data_cache import DamagedEntryError
from runner.environment import environment_of
from runner.events import COMMON, EventWriter, events_in
from runner.files import FULL_SAID, canonical_sha256, read_json, write_json, write_text
from runner.lineage import lineages
from runner.outputs import (
    CHECKPOINTS,
    GROWING,
    RUN,
    Files,
    Hashes,
    Left,
    below,
    checkpoints_of,
    forget,
    is_below,
    is_checkpoint,
    outputs_file,
    record,
    record_run,
    recorded,
)
from runner.places import variables_sha256
from runner.plan import Plan, complete, plan_to_json
from runner.progress import Progress, Silent
from runner.run_dir import RunDir
from runner.spec.problems import MachineError, RunnerError, StageError
from runner.stage import SAYS, Stage
from runner.stage_results import Snapshot, StageResults, snapshot
from runner.targets import local

POLL_S = 0.1
LOG_TAIL = 25
TRACEBACK = "Traceback (most recent call last)"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Lines of a failed stage's log that are shown."""
NO_ROOM = 1 << 20
"""Bytes: a disk with less room than this is full."""
MAKE_ROOM = "make room, then go on with runner launch --resume"
INTERRUPTED = 130


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    state: str
    exit_code: int
    reason: str


class Interrupts:
    """Counts requests to stop: Ctrl-C, SIGTERM, or the terminal going away."""

    def __init__(self) -> None:
        self.count = 0

    def _add(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    @contextmanager
    def watched(self) -> Any:
        """Take the signals for as long as the block runs, then give them back."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._add) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def execute(
    plan: Plan,
    run: RunDir,
    progress: Progress,
    *,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    resumed: bool = False,
    shared: StageResults | None = None,
    interrupts: Interrupts | None = None,
) -> Outcome:
    """Run what is left of a plan in its run directory, and return how it ended.

    Args:
        plan: the plan, stored in the directory already or not.
        run: the run directory.
        progress: told every event of the stream.
        environ: the environment that stages inherit.
        say: takes a line for the person at the terminal.
        resumed: whether the run was begun earlier.
        shared: results of stages that several runs have in common; None: this run is alone.
        interrupts: counts the requests to stop beyond this run; None: nobody asks afterwards.

    Raises:
        MachineError: another process runs this directory, or it cannot be written to.
    """
    counted = interrupts or Interrupts()
    with run.lock() as lock, counted.watched():
        execution = _Execution(plan, run, progress, dict(environ), say, lock, counted, shared)
        return execution.run_all(resumed=resumed)


class _Execution:
    """One execution of one plan: the state that its steps share."""

    def __init__(
        self,
        plan: Plan,
        run: RunDir,
        progress: Progress,
        environ: Mapping[str, str],
        say: Callable[[str], None],
        lock: int,
        interrupts: Interrupts,
        shared: StageResults | None,
    ) -> None:
        self.plan, self.run, self.progress, self.shared = plan, run, progress, shared
        self.quiet = isinstance(progress, Silent)
        # Of the plan as it was made: with counted records it says more, but does no other work.
        self.lineages = lineages(plan) if shared else {}
        self.environ, self.say, self.lock, self.interrupts = environ, say, lock, interrupts
        self.events = EventWriter(run.events, "run")
        self.log_from = 0
        """Where in its log the stage that runs began to write."""
        self.read_to = run.events.stat().st_size if run.events.exists() else 0
        self.hashes = Hashes(run.path)
        self.left = Left(self.hashes, [stage.name for stage in plan.stages])
        self.done: dict[str, Any] = {}
        self.begun: dict[str, str] = {}
        """Stage -> hash of what it is made from, of stages that were started and have not ended well."""

    def run_all(self, *, resumed: bool) -> Outcome:
        began = time.monotonic()
        if self.run.status.exists() or resumed:
            self._take_up()
        self._store_plan()
        if not resumed:
            variables = variables_sha256(self.plan.spec, self.environ)
            environment = environment_of(Path.cwd()) | {"variables_sha256": variables}
            write_json(self.run.path / "environment.json", environment)
        self._status("running", "")
        self.events.write("run_started", run=self.run.path.name, pid=os.getpid(), resumed=resumed)
        outcome = Outcome("done", 0, "")
        try:
            names = [stage.name for stage in self.plan.stages]
            for name in names:
                stage = next(item for item in self.plan.stages if item.name == name)
                outcome = self._stage(stage)
                if outcome.state == "done" and self.interrupts.count and name != names[-1]:
                    outcome = Outcome("interrupted", INTERRUPTED, f"stopped after the {name} stage")
                if outcome.state != "done":
                    break
                if name == "data":
                    self._count_records()
        except RunnerError as error:
            said = f"\n{outcome.reason}" if outcome.state == "failed" else ""
            outcome = Outcome("failed", error.exit_code, f"{error}{said}")
        self._close(outcome, time.monotonic() - began)
        return outcome

    def _take_up(self) -> None:
        """Read what earlier attempts left: which stages ended well, and what each of them left.

        Whatever of it cannot be believed is said, and not believed.
        """
        try:
            status = self.run.read_status()
            self.done, self.begun = dict(status["stages"]), dict(status.get("begun", {}))
        except MachineError as error:
            self._tell("run", f"{error}: which stages ended well is not known, so all are made again")
        for stage in self.plan.stages:
            try:
                files = recorded(self.run.path, stage.name)
            except MachineError as error:
                self._tell(stage.name, str(error))
                self.done.pop(stage.name, None)
                continue
            if files is None and "made_from" in self.done.get(stage.name, {}):
                gone = outputs_file(self.run.path, stage.name).relative_to(self.run.path)
                self._tell(stage.name, f"{gone}, which says what it left, is gone: it is made again")
                self.done.pop(stage.name)
            elif files is not None and stage.name in self.done:
                self.left.of_stage[stage.name] = files
        try:
            own = recorded(self.run.path, RUN) or {}
        except MachineError as error:
            self._tell("run", str(error))
            outputs_file(self.run.path, RUN).unlink(missing_ok=True)
            own = {}
        if changed := [name for name, sha in own.items() if self.hashes.of(name) != sha]:
            self._tell(
                "run", f"not as the run left {'it' if len(changed) == 1 else 'them'}: {_some(changed)}"
            )
        forget(self.run.path, [name for name in own if is_below(name, GROWING)])

    def _tell(self, stage: str, text: str) -> None:
        """Say something that must not be overlooked: in the event stream, and at the terminal also where it is quiet."""
        EventWriter(self.run.events, stage).write("note", text=text)
        if self.quiet:
            self.say(f"[{stage}] {text}")
        self._drain()

    def _close(self, outcome: Outcome, seconds: float) -> None:
        """Write down how the run ended, as far as the disk lets us."""
        try:
            self.events.write("run_finished", state=outcome.state, seconds=seconds, reason=outcome.reason)
            self._drain()
            record_run(self.hashes, [file.path for file in self.plan.files])
            self._status(outcome.state, outcome.reason)
        except RunnerError as error:
            self.say(str(error))

    def _store_plan(self) -> None:
        write_json(self.run.plan, plan_to_json(self.plan))
        for file in self.plan.files:
            write_text(self.run.path / file.path, file.text)

    def _count_records(self) -> None:
        """Compare the records with the plan's, or complete the plan with them."""
        manifest = read_json(self.run.path / "data" / "manifest.json")
        try:
            found = Counts(
                **{name: manifest["splits"][name]["records"] for name in ("train", "validation", "test")}
            )
        except (KeyError, TypeError) as error:
            raise MachineError(
                f"{self.run.path / 'data' / 'manifest.json'} is damaged: no count of records in every split\n"
                "  remove it, and go on with launch --resume: the data are made again"
            ) from error
        if short := _short_of(self.plan, manifest):
            self.events.write("note", text=short)
        if self.plan.counts is None:
            self.plan = complete(self.plan, found)
            self._store_plan()
        elif self.plan.counts != found:
            raise StageError(f"the data stage wrote {found}; the plan says {self.plan.counts}")

    def _stage(self, stage: Stage) -> Outcome:
        settings = self.run.path / "config" / f"{stage.name}.json"
        write_json(settings, dict(stage.settings))
        key = self._key(stage)
        events = EventWriter(self.run.events, stage.name)
        if self._holds(stage, key):
            outside = "" if stage.reads else "; sources outside the run are not read again"
            left = (
                ""
                if stage.name in self.left.of_stage
                else "; what it left was not looked at: no hashes are known"
            )
            events.write(
                "stage_skipped",
                reason="its settings, what it reads in the run, what it left, and runner are as at its last success"
                f"{left}{outside}",
            )
            self._drain()
            return Outcome("done", 0, "")
        earlier = self._make_room(stage, key)
        common = self._key_in_common(stage, key)
        before = snapshot(self.run.path)
        if common is not None and self._take(stage, key, common, events):
            self._record(stage, before, earlier)
            return Outcome("done", 0, "")
        began = time.monotonic()
        log = self.run.log(stage.name)
        self.log_from = log.stat().st_size if log.exists() else 0
        process = local.start(stage, self.run.path, log, self.environ, self.lock)
        events.write("stage_started", pid=process.pid)
        self.begun[stage.name] = self._inputs_sha256(stage)
        self._status("running", "", stage=stage.name, stage_pid=process.pid)
        code = self._wait(process)
        outcome = self._judge(stage, code)
        seconds = time.monotonic() - began
        if outcome.state == "done":
            self._record(stage, before, earlier)
            self.begun.pop(stage.name, None)
            self.done[stage.name] = {
                "key": key,
                "seconds": round(seconds, 3),
                "made_from": self._made_from(stage),
            }
        try:
            events.write("stage_finished", state=outcome.state, seconds=seconds, exit_code=code)
            self._drain()
            self._status("running", "")
        except RunnerError as error:
            if outcome.state == "done":
                raise
            return Outcome(outcome.state, outcome.exit_code, f"{error}\n{outcome.reason}")
        if outcome.state == "done" and common is not None and self.shared is not None:
            try:
                self.shared.keep(common, stage, self.run.path, before, seconds)
            except RunnerError as error:  # this run has its result; the others will make it again
                events.write("note", text=f"the result could not be kept for the other arms: {error}")
        return outcome

    # ---------------------------------------------------------------------------------- what a stage left

    def _make_room(self, stage: Stage, key: str) -> Files:
        """Say why a stage that ended well is made again, and take away what it must not go on from.

        Returns:
            What it left the last time.
        """
        made = self.done.pop(stage.name, None)
        earlier = self.left.of_stage.get(stage.name, {})
        if made is not None:
            faults = self.left.faults(stage, checkpoints=True)
            self._tell(stage.name, f"made again: {self._why(stage, made, key, faults)}")
            for name in self.left.damaged(faults):
                (self.run.path / name).unlink(missing_ok=True)
        before = self.begun.get(stage.name) or (_inputs_of(made) if made else None)
        if before is not None and before != self._inputs_sha256(stage):
            self._set_checkpoints_aside(stage)
        self.left.of_stage.pop(stage.name, None)
        return earlier

    def _why(self, stage: Stage, made: Mapping[str, Any], key: str, faults: Mapping[str, str]) -> str:
        """Return what keeps the earlier result of a stage from being used."""
        found = [f"{name} {fault}" for name, fault in faults.items()]
        gone = [path for path in stage.writes if not (self.run.path / path).exists()]
        found += [f"{path} is gone" for path in gone if not any(is_below(name, [path]) for name in faults)]
        if made.get("key") != key:
            found += _changed(made.get("made_from"), self._made_from(stage))
        return _some(found)

    def _set_checkpoints_aside(self, stage: Stage) -> None:
        """Rename the checkpoints of a training that was made from something else: it would go on from them."""
        for folder in map(self.run.path.joinpath, checkpoints_of(stage)):
            if folder.is_dir():
                number = sum(1 for _ in folder.parent.glob(f"{CHECKPOINTS}.before-*")) + 1
                kept = folder.rename(folder.with_name(f"{CHECKPOINTS}.before-{number}"))
                self._tell(
                    stage.name,
                    f"begun anew: what it is made from has changed; its checkpoints are kept as {kept.name}",
                )

    def _record(self, stage: Stage, before: Snapshot, earlier: Files) -> None:
        """Write down what a stage left, and say what of it is not as it was the last time."""
        touched = {name for name, known in snapshot(self.run.path).items() if before.get(name) != known}
        others = {name for files in self.left.of_stage.values() for name in files}
        # Beside what it made there may be what a later stage put there an earlier time.
        made = [name for name in below(self.run.path, stage.writes) if name in touched or name not in others]
        kept = below(self.run.path, checkpoints_of(stage))
        files = record(self.hashes, stage.name, [*made, *touched, *earlier, *kept])
        self.left.of_stage[stage.name] = files
        if earlier:
            other = [
                name for name, sha in earlier.items() if files.get(name) != sha and not is_checkpoint(name)
            ]
            EventWriter(self.run.events, stage.name).write(
                "note",
                text=f"other than the last time: {_some(other)}"
                if other
                else "all files are as they were the last time",
            )

    def _key_in_common(self, stage: Stage, key: str) -> str | None:
        """Return the key of a result that several runs need; None where only this one does."""
        if self.shared is None or self.lineages.get(stage.name) not in self.shared.wanted:
            return None
        return self.shared.key(stage, key, self.plan.machine)

    def _take(self, stage: Stage, key: str, common: str, events: EventWriter) -> bool:
        """Take the stage's result from another run; return whether there was one."""
        began = time.monotonic()
        try:
            taken = self.shared.take(common, stage, self.run.path) if self.shared else None
        except DamagedEntryError as error:
            events.write("note", text=f"the result of another arm is damaged, so it is made again: {error}")
            return False
        if taken is None:
            return False
        for event in taken.events:
            said = {name: value for name, value in event.items() if name not in COMMON}
            events.write(event["event"], **said)
        events.write("stage_taken", run=taken.run, files=taken.files, seconds=taken.seconds)
        seconds = round(time.monotonic() - began, 3)
        self.begun.pop(stage.name, None)
        self.done[stage.name] = {
            "key": key,
            "seconds": seconds,
            "taken_from": taken.run,
            "made_from": self._made_from(stage),
        }
        self._drain()
        self._status("running", "")
        return True

    def _wait(self, process: local.StageProcess) -> int:
        """Wait for a stage, passing on requests to stop; a second one ends it at once."""
        heard = 0
        while (code := process.poll()) is None:
            if self.interrupts.count > heard:
                heard = self.interrupts.count
                if heard == 1:
                    self.say("stopping: the stage saves what it has; once more to end it at once")
                    process.ask_to_stop()
                else:
                    process.kill()
            process.wait(POLL_S)
            self._drain()
        return code

    def _judge(self, stage: Stage, code: int) -> Outcome:
        if code == 0:
            return self._written(stage)
        if code == INTERRUPTED or (self.interrupts.count and code < 0):
            return Outcome("interrupted", INTERRUPTED, f"stopped in the {stage.name} stage")
        ended = (
            f"was ended by signal {-code} ({signal.Signals(-code).name})"
            if code < 0
            else f"failed with {code}"
        )
        said = self._said(stage)
        tail = "\n".join(f"  | {line}" for line in end_of_log("\n".join(said)))
        reason = f"the {stage.name} stage {ended}; its log: {self.run.log(stage.name)}\n{tail}"
        if code not in (2, 3) and (full := self._full_disk(said)):
            return Outcome("failed", MachineError.exit_code, f"{full}\n  {MAKE_ROOM}\n{reason}")
        return Outcome("failed", code if code in (2, 3) else 1, reason)

    def _full_disk(self, said: Sequence[str]) -> str | None:
        """Return what there is to say of a full disk: by the words of whatever failed, or because there is no room now."""
        if found := next(
            (line.strip() for line in reversed(said) if any(text in line for text in FULL_SAID)), None
        ):
            return f"the disk that {self.run.path} is on is full: {found}"
        room = os.statvfs(self.run.path)
        if room.f_blocks and room.f_bavail * room.f_frsize < NO_ROOM:
            return f"the disk that {self.run.path} is on is full"  # the log could not be written either
        return None

    def _written(self, stage: Stage) -> Outcome:
        missing = [path for path in stage.writes if not (self.run.path / path).exists()]
        if missing:
            return Outcome(
                "failed", 1, f"the {stage.name} stage ended well but did not write {', '.join(missing)}"
            )
        return Outcome("done", 0, "")

    def _said(self, stage: Stage) -> list[str]:
        """Return the lines that the last process of a stage wrote in its log."""
        with self.run.log(stage.name).open("rb") as log:
            log.seek(self.log_from)
            return log.read().decode(errors="replace").splitlines()

    def _key(self, stage: Stage) -> str:
        """Return a hash of all that the stage's result depends on."""
        return canonical_sha256({**self._made_from(stage), "settings": stage.settings})

    def _made_from(self, stage: Stage) -> dict[str, Any]:
        """Return what a stage's result depends on, each with its hash."""
        return {
            "module": stage.module,
            "settings": canonical_sha256(stage.settings),
            "reads": {path: self.left.as_read(stage, path) for path in stage.reads},
            "version": __version__,
        }

    def _inputs_sha256(self, stage: Stage) -> str:
        return _inputs_of({"made_from": self._made_from(stage)}) or ""

    def _holds(self, stage: Stage, key: str) -> bool:
        written = all((self.run.path / path).exists() for path in stage.writes)
        same = self.done.get(stage.name, {}).get("key") == key
        return written and same and not self.left.faults(stage)

    def _status(self, state: str, reason: str, **more: Any) -> None:
        self.run.write_status(
            {
                "state": state,
                "pid": os.getpid(),
                "reason": reason,
                "stages": self.done,
                "begun": self.begun,
                **more,
            }
        )

    def _drain(self) -> None:
        """Tell the progress display what is new in the event stream."""
        if not self.run.events.exists():
            return
        with self.run.events.open("rb") as file:
            file.seek(self.read_to)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.read_to += len(whole)
        for event in events_in(whole):
            self.progress.event(event)


MOST_NAMED = 5
"""Files and reasons that are said one by one; the others are counted."""


def _some(items: Sequence[str]) -> str:
    rest = len(items) - MOST_NAMED
    return "; ".join(items[:MOST_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def _changed(before: Any, now: Mapping[str, Any]) -> list[str]:
    """Return what a stage's result depends on and is not what it was."""
    if not isinstance(before, dict) or not isinstance(before.get("reads"), dict):
        return ["what it is made from has changed"]
    reads = before["reads"]
    found = [
        f"{path}, which it reads, has changed" for path, sha in now["reads"].items() if reads.get(path) != sha
    ]
    words = {
        "settings": "its settings have changed",
        "module": "it is another program",
        "version": "runner has changed",
    }
    return found + [text for name, text in words.items() if before.get(name) != now[name]]


def _inputs_of(made: Mapping[str, Any]) -> str | None:
    """Return one hash over settings and what is read, without the version; None where it is not known."""
    made_from = made.get("made_from")
    if not isinstance(made_from, dict):
        return None
    return canonical_sha256({name: made_from.get(name) for name in ("settings", "reads")})


def _short_of(plan: Plan, manifest: Mapping[str, Any]) -> str:
    """Return what a rehearsal has to say of a split that asks for more records than there are.

    The rehearsal itself takes a few of each side; the real run would be refused.
    """
    split = plan.spec["data"].get("split", {})
    asked = [split.get(side) for side in ("train", "validation", "test")]
    there = manifest.get("records", {}).get("kept")
    if not plan.rehearsal or there is None or not all(isinstance(count, int) for count in asked):
        return ""
    if sum(asked) <= there:
        return ""
    return (
        f"the spec's own split wants {' + '.join(map(str, asked))} = {sum(asked):,} records, and {there:,} are "
        "there: the real run on these data would be refused"
    )


def end_of_log(log: str) -> list[str]:
    r"""Return the end of a failed stage's log, beginning with what failed: packages may have said much before, and after.

    >>> end_of_log("a package: old\nTraceback (most recent call last):\n  x\nKeyError: 1\nand more")
    ['KeyError: 1', 'a package: old', 'Traceback (most recent call last):', '  x', 'and more']
    >>> end_of_log("a package: old\nrunner: no such table\n  give another")
    ['runner: no such table', '  give another']
    """
    lines = [plain for line in log.splitlines() if (plain := _COLOURS.sub("", line).rstrip())]
    begins = [n for n, line in enumerate(lines) if line.startswith((SAYS, TRACEBACK))]
    if not begins:
        return lines[-LOG_TAIL:]
    begin = begins[-1]
    if lines[begin].startswith(SAYS):
        return lines[begin:][:LOG_TAIL]
    later = range(begin + 1, len(lines))
    said = next((number for number in later if not lines[number].startswith(" ")), len(lines) - 1)
    return [lines[said], *[*lines[:said], *lines[said + 1 :]][-LOG_TAIL:]]
