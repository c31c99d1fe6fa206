"""The train stage: start the engine, or go on from its newest whole checkpoint, and believe only its proof.

Settings (`config/train.json`): `config`, the engine's YAML; `rows`, records with images -> the file of rows that
is made of them for the engine; `expect`, the steps, rows, world_size,
distributed kind and early_stopping that were planned (`runner.proof.verify`); `device`, cpu, cuda or mps;
`adapter`, whether adapters are trained.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from runner import checkpoints
from runner.events import EventWriter
from runner.image_rows import write_rows
from runner.load_back import fault_of, trusts
from runner.proof import FAILED, FINISHED, INTERRUPTED, verify
from runner.spec.problems import MachineError, StageError
from runner.stages.common import expand, read_json, stage_main, write_text
from runner.stages.engine import PR_SET_PDEATHSIG
from runner.stages.final_files import RANDOM_MODEL, portable, without_machine, write_final_card

INTERRUPTED_CODE = 130
RESUME_CONFIG = Path("config/axolotl.resume.yaml")
FINAL = Path("train/final")
ROWS = Path("train/rows")
"""Where the rows for the engine are written, for records with images."""
DATASETS = Path("train/datasets")
"""Where the plan lets the data sets library keep its tables."""
LOCK_VARIABLE = "RUNNER_LOCK_FD"
"""Number of the file descriptor with the run's lock, set by the executor."""
PR_SET_CHILD_SUBREAPER = 36
"""Linux, prctl(2): orphans below this process become its children."""
KILL_PAUSE_S = 0.01
NOT_FINAL = ("debug.log", "training_args.bin")
"""Files beside the engine's final weights that are no part of the model."""

LAUNCHER_VARIABLES = (
    "GROUP_RANK", "GROUP_WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "RANK",
    "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE", "WORLD_SIZE",
)  # fmt: skip
"""What an outer launcher may have left in the environment; the engine would take it for its own."""

LAUNCHER_PREFIXES = ("ACCELERATE_", "AXOLOTL_", "FSDP_", "PARALLELISM_CONFIG_", "TORCHELASTIC_")
"""Variables through which accelerate and Axolotl can be told to train in another way than planned."""


def train(settings: Mapping[str, Any], events: EventWriter) -> int:
    """Train in the run directory that is the current folder.

    Returns:
        0 when the weights in `train/final` are what was planned; 130 when stopped with a checkpoint.

    Raises:
        StageError: the engine failed, or proves something else than was planned.
        MachineError: an environment variable is missing, or a file cannot be written.
    """
    config_path = Path(settings["config"])
    config: dict[str, Any] = yaml.safe_load(config_path.read_text(encoding="utf-8"))
    expand(config, os.environ)  # a variable that is not set is found out now, not by the engine
    expect = settings["expect"]
    proof_path, metrics_path = Path(config["runner"]["proof"]), Path(config["runner"]["metrics"])
    output = Path(config["output_dir"])

    step = _prepare_resume(config, output, expect["world_size"], events)
    trim_metrics(metrics_path, step)
    if not step:
        # Axolotl keys its cache of tokenised rows by names and settings, not by what is in the files.
        shutil.rmtree(config["dataset_prepared_path"], ignore_errors=True)
    for records, rows in settings["rows"].items():
        write_rows(Path(records), Path(rows))
    proof_path.unlink(missing_ok=True)
    shutil.rmtree(FINAL, ignore_errors=True)
    started = RESUME_CONFIG if step else config_path
    ended = run_engine(
        engine_command(started, expect["world_size"]),
        engine_environment(os.environ, settings["device"], config),
        proof_path,
    )
    proof = {"steps": step} | read_json(proof_path) if proof_path.exists() else {}
    if proof.get("state") == INTERRUPTED or (ended.stopped and proof.get("state") != FINISHED):
        print(f"stopped after step {proof.get('steps', step)} of {expect['steps']}", flush=True)
        return INTERRUPTED_CODE
    _require(proof, ended, expect, settings["device"])
    collect_final(output, FINAL, config["base_model"], proof, adapter=settings["adapter"])
    check_loaded_back(proof, adapter=settings["adapter"], config=config)
    _drop_caches(config)
    return 0


# ------------------------------------------------------------------------------------ before the start


def _prepare_resume(config: dict[str, Any], output: Path, world_size: int, events: EventWriter) -> int:
    """Write the engine's config for going on, where there is a whole checkpoint; return its step."""
    found = checkpoints.find(output, world_size)
    for path, reason in found.damaged:
        kept = checkpoints.set_aside(path)
        events.write("note", text=f"{path} cannot be continued from: {reason}; kept as {kept.name}")
    RESUME_CONFIG.unlink(missing_ok=True)
    if found.newest is None:
        return 0
    events.write("note", text=f"continuing from {found.newest.as_posix()}")
    resumed = config | {"resume_from_checkpoint": found.newest.as_posix()}
    write_text(RESUME_CONFIG, yaml.safe_dump(resumed, sort_keys=False))
    return found.step


def trim_metrics(path: Path, step: int) -> None:
    """Drop the metrics after `step`, which are about to be written once more."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step and step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a process that was killed
    write_text(path, "".join(kept))


def engine_environment(base: Mapping[str, str], device: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of the engine: telemetry off, nothing that changes how it trains.

    `accelerate`'s own defaults file is read by `accelerate launch` alone, which is not used.
    """
    environment = {
        name: value
        for name, value in base.items()
        if name not in LAUNCHER_VARIABLES and not name.startswith(LAUNCHER_PREFIXES)
    }
    environment |= {
        "AXOLOTL_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", os.defpath)]),
        # The run directory has folders named data, eval and config: they are no Python packages.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if not config.get("use_wandb"):
        environment["WANDB_MODE"] = "disabled"
    if device == "cpu":
        environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    return environment


def engine_command(config: Path, world_size: int) -> list[str]:
    """Return the command that trains: one process, or one a device under torchrun."""
    launcher = [sys.executable, "-m"]
    if world_size > 1:
        launcher += ["torch.distributed.run", "--standalone", f"--nproc-per-node={world_size}", "-m"]
    return [*launcher, "runner.stages.engine", config.as_posix()]


# ------------------------------------------------------------------------------------------ while it runs


@dataclass(frozen=True)
class Ended:
    """How the engine's process ended; a hint for messages, never the judgement."""

    code: int
    stopped: bool
    """Whether this stage was asked to stop."""

    def text(self) -> str:
        """Return the end in words."""
        if self.code < 0:
            return f"was ended by {signal.Signals(-self.code).name}"
        return f"ended with code {self.code}"


def run_engine(command: list[str], environment: Mapping[str, str], proof: Path) -> Ended:
    """Run the engine to its end; pass a request to stop on to it.

    The first SIGTERM or SIGINT is passed on, so that it saves a checkpoint; a second one ends it at once.
    The engine holds the run's lock, and is of this stage's process group where that is the stage's own:
    whoever kills the group kills the engine. Started from a terminal, the stage makes it a session of its
    own, so that Ctrl-C there reaches it through here alone.
    """
    _adopt_orphans()
    engine = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        start_new_session=os.getsid(0) != os.getpid(),
        preexec_fn=_stop_with_parent(),
        pass_fds=_held_lock(),
    )
    asked = 0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            _ask_to_stop(engine, proof)
        else:
            _kill_children()

    with _handled(on_signal):
        code = engine.wait()
        # A worker may outlive its launcher; nothing of the engine may outlive the stage.
        _kill_children()
    return Ended(code, asked > 0)


def _held_lock() -> tuple[int, ...]:
    """Return the file descriptor of the run's lock that the executor gave to this process, if it did."""
    given = os.environ.get(LOCK_VARIABLE, "")
    if not given.isdecimal():
        return ()
    try:
        os.fstat(int(given))
    except OSError:  # said of another process's descriptors
        return ()
    return (int(given),)


def _adopt_orphans() -> None:
    """On Linux, become the parent of what the engine leaves behind: torchrun's workers are own sessions."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def _kill_children() -> None:
    """End all that was started below this process."""
    import psutil

    while living := [
        child
        for child in psutil.Process().children(recursive=True)
        if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    ]:
        for child in living:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        time.sleep(KILL_PAUSE_S)


def _stop_with_parent() -> Callable[[], None] | None:
    """Return what the child does before it becomes the engine: on Linux, ask to end with this process."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: the child must not import anything
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _ask_to_stop(engine: subprocess.Popen[bytes], proof: Path) -> None:
    """Ask rank 0 to save and stop, which the other processes then do with it.

    torchrun itself would give its workers 30 s and then kill them, whatever they are writing.
    """
    if engine.poll() is not None:
        return
    pid = engine.pid
    with suppress(OSError, ValueError, KeyError):  # it may not have come that far
        pid = int(json.loads(proof.read_text(encoding="utf-8"))["pid"])
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        engine.terminate()


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


# --------------------------------------------------------------------------------------------- afterwards


def _require(proof: Mapping[str, Any], ended: Ended, expect: Mapping[str, Any], device: str) -> None:
    """Raise StageError unless the proof says that what was planned has been trained."""
    if not proof:
        raise StageError(
            f"the engine {ended.text()} before the runner plugin came alive; logs/train.log says why"
        )
    if proof["state"] == FAILED:
        raise StageError(str(proof["reason"]))
    if proof["state"] != FINISHED:
        raise StageError(
            f"the engine {ended.text()} after step {proof['steps']} of {expect['steps']}, before it was "
            "done; logs/train.log says why\n  `runner launch --resume RUN` goes on from the newest whole checkpoint"
        )
    differences = verify(proof, expect, device)
    if differences:
        lines = "\n".join(f"  {difference.text()}" for difference in differences)
        raise StageError(f"the engine did not train what was planned:\n{lines}")


def _drop_caches(config: Mapping[str, Any]) -> None:
    """Remove the engine's copies of the data, which can be larger than all else and which nobody reads again."""
    for name in (config["dataset_prepared_path"], DATASETS, ROWS):
        shutil.rmtree(name, ignore_errors=True)


def collect_final(output: Path, final: Path, base: str, proof: Mapping[str, Any], *, adapter: bool) -> None:
    """Move the engine's final model out of the folder of checkpoints, whole or not at all, fit to be passed on.

    Args:
        output: the folder of checkpoints.
        final: where the model goes.
        base: what it was made from, as the engine was told.
        proof: of the training.
        adapter: whether it is an adapter.

    Raises:
        MachineError: a file cannot be moved; names it.
    """
    partial = final.with_name(final.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in sorted(output.iterdir()):
            if file.is_file() and file.name not in NOT_FINAL:
                file.rename(partial / file.name)
        without_machine(partial)
        write_final_card(partial, None if base == RANDOM_MODEL else portable(base), proof, adapter=adapter)
        partial.rename(final)
    except OSError as error:
        raise MachineError(f"cannot move the trained model to {final}: {error}") from error


def check_loaded_back(proof: Mapping[str, Any], *, adapter: bool, config: Mapping[str, Any]) -> None:
    """Require that the trained weights were loaded back from the disk; do it here where the engine has not.

    Raises:
        StageError: they do not load.
    """
    fault = proof.get("load_back")
    if fault is None:
        fault = fault_of(FINAL, adapter=adapter, proof=proof, trust_remote_code=trusts(config))
    if fault:
        raise StageError(f"the trained model in {FINAL} does not load: {fault}")


if __name__ == "__main__":
    stage_main("train", train)
