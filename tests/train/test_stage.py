"""What the train stage does before and after the engine, without it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.load_back import fault_of
from runner.spec.problems import MachineError, StageError
from runner.stages.engine import import_plugins
from runner.stages.train import (
    check_loaded_back,
    collect_final,
    engine_command,
    engine_environment,
    trim_metrics,
)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written = [
        {"event": "evaluation", "step": 0},
        *({"event": "step", "step": step} for step in (1, 2, 3, 4)),
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in written) + '{"event": "st')
    trim_metrics(path, 2)
    assert [line["step"] for line in lines(path)] == [0, 1, 2]
    trim_metrics(path, 0)  # from the beginning: the evaluation before the first step is made again
    assert lines(path) == []
    trim_metrics(tmp_path / "absent.jsonl", 2)
    assert not (tmp_path / "absent.jsonl").exists()


def test_the_engine_is_told_nothing_by_its_surroundings() -> None:
    base = {
        "PATH": "/usr/bin",
        "HOME": "/home/someone",
        "HF_HUB_OFFLINE": "1",
        "WORLD_SIZE": "8",
        "RANK": "3",
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "FSDP_VERSION": "2",
        "AXOLOTL_DO_NOT_TRACK": "0",
        "CUDA_VISIBLE_DEVICES": "0,1",
    }
    found = engine_environment(base, "cuda", {})
    assert found["PATH"].split(":") == [str(Path(sys.executable).parent), "/usr/bin"]
    assert (found["HOME"], found["HF_HUB_OFFLINE"], found["CUDA_VISIBLE_DEVICES"]) == (
        "/home/someone",
        "1",
        "0,1",
    )
    assert not {"WORLD_SIZE", "RANK", "ACCELERATE_MIXED_PRECISION", "FSDP_VERSION"} & found.keys()
    assert all(
        found[name] == "1" for name in ("AXOLOTL_DO_NOT_TRACK", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY")
    )
    assert found["WANDB_MODE"] == "disabled"
    assert "ACCELERATE_USE_CPU" not in found
    assert base["AXOLOTL_DO_NOT_TRACK"] == "0"


def test_on_cpu_no_gpu_is_seen() -> None:
    found = engine_environment({"CUDA_VISIBLE_DEVICES": "0"}, "cpu", {})
    assert (found["CUDA_VISIBLE_DEVICES"], found["ACCELERATE_USE_CPU"]) == ("", "true")


def test_wandb_is_on_only_when_the_config_asks() -> None:
    assert "WANDB_MODE" not in engine_environment({}, "cpu", {"use_wandb": True})
    assert engine_environment({}, "cpu", {"use_wandb": False})["WANDB_MODE"] == "disabled"


def test_one_process_needs_no_launcher() -> None:
    config = Path("config/axolotl.yaml")
    assert engine_command(config, 1) == [sys.executable, "-m", "runner.stages.engine", "config/axolotl.yaml"]
    several = engine_command(config, 4)
    assert several[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    assert several[5:] == ["-m", "runner.stages.engine", "config/axolotl.yaml"]


@pytest.mark.parametrize("plugin", ["runner.no_such_module.Plugin", "runner.proof.NoSuchPlugin", "nothing"])
def test_a_plugin_that_is_not_there_is_named(tmp_path: Path, plugin: str) -> None:
    (tmp_path / "axolotl.yaml").write_text(f"plugins: [{plugin}]\n")
    with pytest.raises(MachineError, match=f"the plugin {plugin} cannot be imported"):
        import_plugins(tmp_path / "axolotl.yaml")


def test_final_weights_are_moved_whole(tmp_path: Path) -> None:
    output, final = tmp_path / "checkpoints", tmp_path / "final"
    (output / "checkpoint-5").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "debug.log"):
        (output / name).write_text(name)
    (tmp_path / "final.partial").mkdir()
    (tmp_path / "final.partial" / "left over").write_text("from a stage that was killed")
    collect_final(output, final, "org/base", {"steps": 5}, adapter=False)
    assert sorted(path.name for path in final.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert sorted(path.name for path in output.iterdir()) == ["checkpoint-5", "debug.log"]
    with pytest.raises(MachineError, match="cannot move the trained model"):
        collect_final(tmp_path / "absent", tmp_path / "other", "org/base", {}, adapter=False)


@pytest.mark.parametrize(
    ("base", "kept", "front"),
    [
        ("org/base", "org/base", {"base_model": "org/base", "base_model_relation": "adapter"}),
        ("/home/me/models/llama", "llama", {}),
        (
            "/c/hub/models--org--base/snapshots/0123abc",
            "org/base",
            {"base_model": "org/base", "base_model_relation": "adapter"},
        ),
        ("model", None, {}),
    ],
)
def test_what_is_passed_on_names_no_place_of_this_machine(
    tmp_path: Path, base: str, kept: str | None, front: dict[str, str]
) -> None:
    """The trainer's card prints its whole configuration, and its files the paths that it was given."""
    output = tmp_path / "out"
    output.mkdir()
    (output / "README.md").write_text("base_model: /home/me/models\n")
    (output / "adapter_config.json").write_text(
        json.dumps(
            {"base_model_name_or_path": base, "r": 2, "nested": [{"file": "/home/me/x.json"}], "m": "a/.*b"}
        )
    )
    (output / "config.json").write_text('{"name": "</s>", "eps": Infinity, "path": "/home/me/y"}')
    (output / "tokenizer_config.json").write_text("[")
    collect_final(
        output, tmp_path / "final", base, {"steps": 5, "rows_seen": 40, "trainable": 1000}, adapter=True
    )
    texts = {file.name: file.read_text() for file in (tmp_path / "final").iterdir()}
    assert not any("/home/me" in text or "snapshots" in text for text in texts.values())
    settings = json.loads(texts["adapter_config.json"])
    assert settings == {
        "base_model_name_or_path": kept or "model", "r": 2, "nested": [{"file": "x.json"}], "m": "a/.*b",
    }  # fmt: skip
    assert json.loads(texts["config.json"]) == {"name": "</s>", "eps": float("inf"), "path": "y"}
    _, head, body = texts["README.md"].split("---\n", 2)
    read = yaml.safe_load(head)
    assert read == {"license": "unknown", "tags": ["medical", "not-for-clinical-use"]} | front
    assert ("An adapter." if kept is None else f"An adapter, made from `{kept}`.") in body
    assert "5 optimiser steps, 40 rows, 1,000 weights trained" in body
    assert "Not for clinical use" in body


def adapter(folder: Path, rank: int = 2, **changed: Any) -> None:
    torch = pytest.importorskip("torch", reason="needs the `train` extra")
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 2}))
    tensors = {"x.lora_A.weight": torch.ones(rank, 3), "x.lora_B.weight": torch.ones(4, rank)} | changed
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "adapter_model.safetensors")


def test_an_adapter_that_is_whole(tmp_path: Path) -> None:
    adapter(tmp_path / "a")
    assert fault_of(tmp_path / "a", adapter=True, proof={"trainable": 14}, trust_remote_code=False) == ""


def test_what_the_engine_loaded_back_is_believed_and_what_it_did_not_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    adapter(tmp_path / "train/final")
    check_loaded_back({"trainable": 14}, adapter=True, config={})
    with pytest.raises(StageError, match="does not load: it holds 14 weights, 15 were trained"):
        check_loaded_back({"trainable": 15}, adapter=True, config={})
    with pytest.raises(StageError, match="train/final does not load: a weight is missing"):
        check_loaded_back({"trainable": 14, "load_back": "a weight is missing"}, adapter=True, config={})


def test_an_adapter_that_is_not(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the `train` extra")
    adapter(tmp_path / "nan", **{"x.lora_B.weight": torch.full((4, 2), float("nan"))})
    adapter(tmp_path / "half", **{"x.lora_B.weight": None})
    adapter(tmp_path / "rank", rank=3)
    adapter(tmp_path / "few")
    adapter(tmp_path / "cut")
    file = tmp_path / "cut/adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    for name, message in {
        "nan": "x.lora_B.weight has values that are not finite",
        "half": "x.lora_A.weight and x.lora_B.weight are no pair of rank 2",
        "rank": "are no pair of rank 2",
        "few": "it holds 14 weights, 15 were trained",
        "cut": "adapter_model.safetensors is cut off",
        "absent": "has no weights",
    }.items():
        found = fault_of(tmp_path / name, adapter=True, proof={"trainable": 15}, trust_remote_code=False)
        assert message in found


# ------------------------------------------------------------------------------------ real processes


STAGE = """
import sys
from pathlib import Path
from runner.stages.train import run_engine
import os
print(run_engine([sys.executable, "-c", sys.argv[1]], os.environ, Path("proof.json")), flush=True)
"""

ENGINE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
asked = Path("asked")
signal.signal(signal.SIGTERM, lambda *_: asked.touch())  # a save that never ends
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
Path("pids.tmp").write_text(json.dumps({"engine": os.getpid(), "worker": worker.pid}))
Path("pids.tmp").rename("pids")
time.sleep(300)
"""


class Stage:
    """A stage whose engine does not end when asked, with a worker in a session of its own."""

    def __init__(self, folder: Path, *, own_session: bool) -> None:
        self.folder = folder
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.process = subprocess.Popen(
            [sys.executable, "-c", STAGE, ENGINE],
            cwd=folder,
            env=os.environ | {"RUNNER_LOCK_FD": str(lock)},
            pass_fds=(lock,),
            start_new_session=own_session,
            stdout=subprocess.PIPE,
            text=True,
        )
        os.close(lock)
        self.wait(lambda: (folder / "pids").exists())
        self.pids: dict[str, int] = json.loads((folder / "pids").read_text())

    def wait(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not true():
            assert time.monotonic() < end
            time.sleep(0.01)

    def lives(self, name: str) -> bool:
        try:
            return Path(f"/proc/{self.pids[name]}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def is_locked(self) -> bool:
        with (self.folder / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def end(self) -> None:
        for pid in (self.process.pid, *self.pids.values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate(timeout=30)


@pytest.fixture
def start_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    if not Path("/proc").is_dir():
        pytest.skip("needs prctl and /proc, which only Linux has")
    pytest.importorskip("psutil", reason="needs the `train` extra")
    started: list[Stage] = []

    def start(*, own_session: bool = True) -> Stage:
        started.append(Stage(tmp_path, own_session=own_session))
        return started[-1]

    yield start
    for stage in started:
        stage.end()


def test_an_engine_that_outlives_its_stage_keeps_the_run_locked(start_stage: Callable[..., Stage]) -> None:
    stage = start_stage()
    stage.process.kill()
    stage.process.wait(30)
    stage.wait(lambda: (stage.folder / "asked").exists())
    assert stage.is_locked()
    os.kill(stage.pids["engine"], signal.SIGKILL)
    stage.wait(lambda: not stage.is_locked())


def test_whoever_kills_the_stages_group_kills_the_engine(start_stage: Callable[..., Stage]) -> None:
    """As the executor does at the second request to stop; the first went to the stage alone."""
    stage = start_stage()
    stage.process.terminate()
    stage.wait(lambda: (stage.folder / "asked").exists())
    assert stage.lives("engine")
    os.killpg(stage.process.pid, signal.SIGKILL)
    stage.wait(lambda: not stage.lives("engine"))
    stage.wait(lambda: not stage.is_locked())


@pytest.mark.parametrize("own_session", [True, False])
def test_a_second_request_to_the_stage_ends_all(start_stage: Callable[..., Stage], own_session: bool) -> None:
    stage = start_stage(own_session=own_session)
    stage.process.terminate()
    stage.wait(lambda: (stage.folder / "asked").exists())
    stage.process.terminate()
    out, _ = stage.process.communicate(timeout=30)
    assert out == "Ended(code=-9, stopped=True)\n"
    assert not stage.lives("engine")
    assert not stage.lives("worker")


def test_nothing_of_the_engine_outlives_the_stage(start_stage: Callable[..., Stage]) -> None:
    stage = start_stage()
    os.kill(stage.pids["engine"], signal.SIGKILL)
    out, _ = stage.process.communicate(timeout=30)
    assert out == "Ended(code=-9, stopped=False)\n"
    assert not stage.lives("worker")


WORKER = """
import signal, time
from pathlib import Path
from runner.stages.engine import stop_with_parent
signal.signal(signal.SIGTERM, lambda *_: Path("asked").touch())
stop_with_parent()
Path("ready").touch()
time.sleep(300)
"""
PARENT = """
import subprocess, sys
from pathlib import Path
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
Path("pid").write_text(str(worker.pid))
worker.wait()
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs prctl and /proc, which only Linux has")
@pytest.mark.parametrize("torchrun", [True, False])
def test_a_worker_of_torchrun_dies_with_it_and_an_engine_is_asked(tmp_path: Path, torchrun: bool) -> None:
    """A worker is a session of its own: nobody who kills the stage's group reaches it."""
    kept = {name: value for name, value in os.environ.items() if name != "TORCHELASTIC_RUN_ID"}
    environ = kept | ({"TORCHELASTIC_RUN_ID": "1"} if torchrun else {})
    parent = subprocess.Popen([sys.executable, "-c", PARENT, WORKER], cwd=tmp_path, env=environ)
    end = time.monotonic() + 30
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    worker = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait(30)

    def ended() -> bool:
        try:
            return Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    while not (ended() or (tmp_path / "asked").exists()):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert (ended(), (tmp_path / "asked").exists()) == (torchrun, not torchrun)
    if not torchrun:
        os.kill(worker, signal.SIGKILL)
