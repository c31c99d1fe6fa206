"""A sweep of small stages that the tests write, in the form that a launch leaves: real processes, no engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judged_run import write_judged_run

from runner.files import read_json
from runner.launching import Finished
from runner.machine import Machine
from runner.plan import make_plan
from runner.stage import Stage
from runner.sweep import Arm
from runner.sweeps import launch as sweeping
from runner.sweeps.arms import PlannedArm
from runner.sweeps.folder import SweepDir, sweep_at

ROOT = Path(__file__).parent.parent.parent
CPU = Machine("Linux", 2, 8.0, 0, None, None, False, False)
WAIT_S = 60.0

PREPARE = """
import json, os
from pathlib import Path
settings = json.loads(Path("config/prepare.json").read_text())
Path("out").mkdir(exist_ok=True)
Path("out/prepared").write_bytes(os.urandom(64))
Path("out/undeclared").write_text("not among the stage's `writes`")
with open("events.jsonl", "a") as events:
    events.write('{"time": "", "stage": "prepare", "event": "note", "text": "said while preparing"}\\n')
with open(settings["log"], "a") as log: log.write("prepare\\n")
"""
WORK = """
import json, signal, sys, time
from pathlib import Path
settings = json.loads(Path("config/work.json").read_text())
here, arm = Path(settings["log"]).parent, settings["arm"]
def stopped(*_):
    sys.exit(130)
signal.signal(signal.SIGTERM, stopped)
if (here / f"slow-{arm}").exists():
    (here / f"began-{arm}").write_text("")
    while True: time.sleep(0.01)
if (here / f"fail-{arm}").exists():
    sys.exit(f"no luck with {arm}")
Path("out/work").write_text(arm)
with open(settings["log"], "a") as log: log.write(f"work {arm}\\n")
"""
REPORT = """
import json, shutil
from pathlib import Path
settings = json.loads(Path("config/report.json").read_text())
shutil.copytree(Path(settings["made"], "eval"), "eval", dirs_exist_ok=True)
Path("report").mkdir(exist_ok=True)
Path("report/results.json").write_text("{}")
"""


LAUNCH = """
import os, sys
sys.path[:0] = [sys.argv[1], os.path.join(os.path.dirname(sys.argv[1]), "support")]
from conftest import sweep_at, sweeping, taken_up
from pathlib import Path
finished = sweeping.run(taken_up(sweep_at(Path(sys.argv[2]))), os.environ, quiet=False, say=lambda text: print(text, file=sys.stderr, flush=True))
print(finished.text)
sys.exit(finished.exit_code)
"""
"""What `runner launch --resume` does, but for looking whether the plans are ours: these are of a test's own stages."""


def taken_up(sweep: SweepDir) -> sweeping.PreparedSweep:
    """Return a sweep that was defined, ready to be run."""
    return sweeping.PreparedSweep(sweep, sweep.arms(), sweep.definition()["controls"], resumed=True)


class Sweep:
    """A sweep with arms `one`, `two` and `three`, and what happened in it."""

    def __init__(self, folder: Path, modules: Path, make_spec: Callable[..., Any]) -> None:
        self.folder, self.modules, self.make_spec = folder, modules, make_spec
        self.log = folder / "log"
        self.processes: list[subprocess.Popen[str]] = []
        for name, text in (("prepare", PREPARE), ("work", WORK), ("report", REPORT)):
            (modules / f"{name}_of_sweep.py").write_text(textwrap.dedent(text))

    def define(self, *names: str, **prepare: Any) -> SweepDir:
        """Store a sweep; `prepare` is told to its first stage, which all arms have in common."""
        arms = [self.planned(name, number, **prepare) for number, name in enumerate(names)]
        sweep = SweepDir(self.folder / "runs" / "small" / "sweep-00000000")
        with sweep.lock():
            sweep.define(arms, dict.fromkeys(names[1:], names[0]))
        return sweep_at(sweep.path)

    def planned(self, name: str, number: int, **prepare: Any) -> PlannedArm:
        """Return an arm whose answers cost 0.25 nats a token less than those of the arm before."""
        made = self.folder / "made" / name
        if not made.exists():
            write_judged_run(made, shift=-0.25 * number, groups=40)
        told = {"title": name, "summary": None, "notes": None, "rehearsal": False, "reference": None}
        stages = (
            Stage("prepare", "prepare_of_sweep", (), ("out/prepared",), {"log": str(self.log), **prepare}),
            Stage("work", "work_of_sweep", ("out/prepared",), ("out/work",), {"log": str(self.log), "arm": name}),
            Stage(
                "report", "report_of_sweep", ("out/work",), ("report/results.json",), {**told, "made": str(made)}
            ),
        )  # fmt: skip
        spec = self.make_spec({"train.seed": number})
        plan = replace(make_plan(spec, CPU), stages=stages, files=())
        return PlannedArm(Arm(name, (), name, None, name), plan, "spec: 1\n", "spec: 1\n")

    def launch(self, sweep: SweepDir) -> tuple[Finished, str]:
        """Launch in this process; return how it ended and what was said."""
        said: list[str] = []
        finished = sweeping.run(taken_up(sweep), os.environ, quiet=True, say=said.append)
        return finished, "\n".join(said)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Type `runner WORDS`."""
        return self._start("-m", "runner", *map(str, words))

    def start_launch(self, sweep: SweepDir) -> subprocess.Popen[str]:
        """Launch in a process of its own."""
        return self._start("-c", LAUNCH, str(Path(__file__).parent), str(sweep.path))

    def _start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, *words: str | Path) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr of a command."""
        process = self.start(*words)
        out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, out, err

    def calls(self) -> list[str]:
        """Return which stages ran, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def states(self, sweep: SweepDir) -> dict[str, str]:
        """Return the state of each arm."""
        return {arm.name: arm.state for arm in sweep.arm_states()}

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return once it is so."""
        end = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.01)

    def end_all(self) -> None:
        """End what was started, and the stages of runs that outlived it."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
        for file in self.folder.glob("runs/small/*/status.json"):
            pid = read_json(file).get("stage_pid")
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)


@pytest.fixture
def sweep(tmp_path: Path, make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    modules = tmp_path / "modules"
    modules.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{modules}{os.pathsep}{ROOT}")
    made = Sweep(tmp_path, modules, make_spec)
    yield made
    made.end_all()
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
