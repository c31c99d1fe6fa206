"""Which checkpoint is whole: each file missing, cut off or of another run, in turn."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from runner.checkpoints import fault_of, find, read_header, set_aside, weights_in

safetensors = pytest.importorskip("safetensors.numpy", reason="needs the `train` extra")


def checkpoint(folder: Path, step: int, ranks: int = 1, weights: str = "model.safetensors") -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    state = {
        "global_step": step,
        "stateful_callbacks": {"RunnerCallback": {"args": {}, "attributes": {"rows": 4 * step}}},
    }
    (path / "trainer_state.json").write_text(json.dumps(state))
    safetensors.save_file({"a": np.ones((3, 4), np.float32), "b": np.ones(5, np.float16)}, path / weights)
    names = ["rng_state.pth"] if ranks == 1 else [f"rng_state_{rank}.pth" for rank in range(ranks)]
    for name in ["optimizer.pt", "scheduler.pt", *names]:
        with zipfile.ZipFile(path / name, "w") as archive:
            archive.writestr("data", b"x" * 1000)
    return path


def test_a_whole_checkpoint(tmp_path: Path) -> None:
    assert fault_of(checkpoint(tmp_path, 5), 1) is None
    assert fault_of(checkpoint(tmp_path, 6, weights="adapter_model.safetensors"), 1) is None
    assert fault_of(checkpoint(tmp_path, 7, ranks=2), 2) is None


@pytest.mark.parametrize(
    "name", ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"]
)
@pytest.mark.parametrize("damage", ["missing", "cut off", "empty"])
def test_a_file_is_missing_or_cut_off(tmp_path: Path, name: str, damage: str) -> None:
    path = checkpoint(tmp_path, 5)
    file = path / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-7] if damage == "cut off" else b"")
    reason = fault_of(path, 1)
    assert reason is not None
    if name == "model.safetensors" and damage == "missing":
        assert reason == "has no weights"
    else:
        assert reason.startswith(f"{name} is {'missing' if damage == 'missing' else 'cut off'}")


def test_a_tensor_that_does_not_fill_its_place(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 5) / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"shape":[3,4]', b'"shape":[3,5]'))
    with pytest.raises(ValueError, match="a does not fill its place"):
        read_header(path)


def test_random_states_of_another_number_of_processes(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 5, ranks=2)
    assert fault_of(path, 1) == "has random states of 2 processes, the run has 1"
    assert fault_of(path, 4) == "rng_state_2.pth is missing"


def test_a_checkpoint_of_another_program_or_step(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 5)
    state = json.loads((path / "trainer_state.json").read_text())
    (path / "trainer_state.json").write_text(json.dumps(state | {"global_step": 4}))
    assert fault_of(path, 1) == "trainer_state.json is of step 4"
    (path / "trainer_state.json").write_text(json.dumps(state | {"stateful_callbacks": {}}))
    assert "was not written by a run of this program" in str(fault_of(path, 1))


def test_a_shard_named_by_the_index_is_missing(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 5)
    (path / "model.safetensors").rename(path / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert fault_of(path, 1) == "model-00002-of-00002.safetensors is missing"


def test_deepspeed_keeps_one_optimiser_file_a_process(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 5, ranks=2)
    (path / "optimizer.pt").unlink()
    (path / "scheduler.pt").unlink()
    shards = path / "global_step5"
    shards.mkdir()
    (path / "latest").write_text("global_step5")
    for name in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"):
        with zipfile.ZipFile(shards / name, "w") as archive:
            archive.writestr("data", b"x")
    assert fault_of(path, 2) == "global_step5 has optimiser states of 1 processes, the run has 2"
    (shards / "zero_pp_rank_1_mp_rank_00_optim_states.pt").write_bytes(b"PK")
    assert fault_of(path, 2) == "global_step5/zero_pp_rank_1_mp_rank_00_optim_states.pt is cut off"
    with zipfile.ZipFile(shards / "zero_pp_rank_1_mp_rank_00_optim_states.pt", "w") as archive:
        archive.writestr("data", b"x")
    assert fault_of(path, 2) is None


def test_the_newest_whole_one_is_found_by_number(tmp_path: Path) -> None:
    for step in (5, 10, 100):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-100" / "optimizer.pt").write_bytes(b"half")
    (tmp_path / "checkpoint-best").mkdir()
    found = find(tmp_path, 1)
    assert (found.newest, found.step) == (tmp_path / "checkpoint-10", 10)
    assert found.damaged == ((tmp_path / "checkpoint-100", "optimizer.pt is cut off"),)


def test_nothing_there(tmp_path: Path) -> None:
    found = find(tmp_path / "absent", 1)
    assert (found.newest, found.step, found.damaged) == (None, 0, ())


def test_set_aside_checkpoints_are_no_longer_counted_by_the_trainer(tmp_path: Path) -> None:
    """The trainer deletes old `checkpoint-*` folders; two damaged ones of one step are both kept."""
    first = set_aside(checkpoint(tmp_path, 5))
    second = set_aside(checkpoint(tmp_path, 5))
    assert (first.name, second.name) == ("damaged-5.incomplete", "damaged-5-2.incomplete")
    assert not list(tmp_path.glob("checkpoint-*"))


def test_weights_of_a_folder(tmp_path: Path) -> None:
    assert weights_in(checkpoint(tmp_path, 5)) == {"a": (3, 4), "b": (5,)}
    with pytest.raises(ValueError, match="has no weights"):
        weights_in(tmp_path)
