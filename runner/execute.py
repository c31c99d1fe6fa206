"""Plan -> finished run directory. The only module that changes the world.

Stages run one after another, each a process with its own log. What a stage was made from is stored
with its success, so that a later `--resume` runs only what is missing or has changed.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Mapping
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
from runner.files import canonical_sha256, read_json, tree_sha256, write_json, write_text
from runner.lineage import lineages
from runner.places import variables_sha256
from runner.plan import Plan, complete, plan_to_json
from runner.progress import Progress
from runner.run_dir import RunDir
from runner.spec.problems import RunnerError, StageError
from runner.stage import SAYS, Stage
from runner.stage_results import StageResults, snapshot
from runner.targets import local

POLL_S = 0.1
LOG_TAIL = 25
TRACEBACK = "Traceback (most recent call last)"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Lines of a failed stage's log that are shown."""
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
        # Of the plan as it was made: with counted records it says more, but does no other work.
        self.lineages = lineages(plan) if shared else {}
        self.environ, self.say, self.lock, self.interrupts = environ, say, lock, interrupts
        self.events = EventWriter(run.events, "run")
        self.read_to = run.events.stat().st_size if run.events.exists() else 0
        self.done: dict[str, Any] = dict(run.read_status().get("stages", {}))

    def run_all(self, *, resumed: bool) -> Outcome:
        began = time.monotonic()
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

    def _close(self, outcome: Outcome, seconds: float) -> None:
        """Write down how the run ended, as far as the disk lets us."""
        try:
            self.events.write("run_finished", state=outcome.state, seconds=seconds, reason=outcome.reason)
            self._drain()
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
        found = Counts(
            **{name: manifest["splits"][name]["records"] for name in ("train", "validation", "test")}
        )
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
            events.write(
                "stage_skipped",
                reason=f"its settings, what it reads in the run, and runner are as at its last success{outside}",
            )
            self._drain()
            return Outcome("done", 0, "")
        self.done.pop(stage.name, None)
        common = self._key_in_common(stage, key)
        if common is not None and self._take(stage, key, common, events):
            return Outcome("done", 0, "")
        before = snapshot(self.run.path) if common is not None else {}
        began = time.monotonic()
        log = self.run.log(stage.name)
        process = local.start(stage, self.run.path, log, self.environ, self.lock)
        events.write("stage_started", pid=process.pid)
        self._status("running", "", stage=stage.name, stage_pid=process.pid)
        code = self._wait(process)
        outcome = self._judge(stage, code)
        seconds = time.monotonic() - began
        if outcome.state == "done":
            self.done[stage.name] = {"key": key, "seconds": round(seconds, 3)}
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
        self.done[stage.name] = {"key": key, "seconds": seconds, "taken_from": taken.run}
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
        reason = f"the {stage.name} stage {ended}; its log: {self.run.log(stage.name)}\n{self._tail(stage)}"
        return Outcome("failed", code if code in (2, 3) else 1, reason)

    def _written(self, stage: Stage) -> Outcome:
        missing = [path for path in stage.writes if not (self.run.path / path).exists()]
        if missing:
            return Outcome(
                "failed", 1, f"the {stage.name} stage ended well but did not write {', '.join(missing)}"
            )
        return Outcome("done", 0, "")

    def _tail(self, stage: Stage) -> str:
        log = self.run.log(stage.name).read_text(encoding="utf-8", errors="replace")
        return "\n".join(f"  | {line}" for line in end_of_log(log))

    def _key(self, stage: Stage) -> str:
        """Return a hash of all that the stage's result depends on."""
        reads = {path: tree_sha256(self.run.path / path) for path in stage.reads}
        made_from = {
            "module": stage.module,
            "settings": stage.settings,
            "reads": reads,
            "version": __version__,
        }
        return canonical_sha256(made_from)

    def _holds(self, stage: Stage, key: str) -> bool:
        written = all((self.run.path / path).exists() for path in stage.writes)
        return written and self.done.get(stage.name, {}).get("key") == key

    def _status(self, state: str, reason: str, **more: Any) -> None:
        self.run.write_status(
            {"state": state, "pid": os.getpid(), "reason": reason, "stages": self.done, **more}
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
