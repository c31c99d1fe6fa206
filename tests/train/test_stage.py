"""What the train stage does before and after the engine, without it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.spec.problems import MachineError, StageError
from runner.stages.engine import import_plugins
from runner.stages.train import (
    check_final,
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
    collect_final(output, final)
    assert sorted(path.name for path in final.iterdir()) == ["config.json", "model.safetensors"]
    assert sorted(path.name for path in output.iterdir()) == ["checkpoint-5", "debug.log"]
    with pytest.raises(MachineError, match="cannot move the trained model"):
        collect_final(tmp_path / "absent", tmp_path / "other")


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
    check_final(tmp_path / "a", adapter=True, proof={"trainable": 14}, config={})


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
        with pytest.raises(StageError, match=message):
            check_final(tmp_path / name, adapter=True, proof={"trainable": 15}, config={})
