"""Which checkpoint of a training can be continued from: the newest that is whole.

A trainer can be killed while it writes. The engine takes the highest number whatever is in it, and then
stops every later attempt; here each file is looked at first. Reads only the ends of large files.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.spec.problems import MachineError

STATE_KEY = "RunnerCallback"
"""The plugin's name in `trainer_state.json`, where its counters are kept."""

STATE_FILE = "trainer_state.json"

_NAME = re.compile(r"checkpoint-(\d+)")

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element of each type of the safetensors format."""


@dataclass(frozen=True)
class Found:
    """The checkpoints of a folder."""

    newest: Path | None
    """The newest whole one."""
    step: int
    """Its optimiser steps; 0 without one."""
    damaged: tuple[tuple[Path, str], ...]
    """Those that cannot be continued from, newest first, each with the reason."""


def find(folder: Path, world_size: int) -> Found:
    """Return the checkpoints of `folder` as a run of `world_size` processes can use them."""
    numbered = sorted(
        (
            (int(match[1]), path)
            for path in folder.glob("checkpoint-*")
            if (match := _NAME.fullmatch(path.name))
        ),
        reverse=True,
    )
    newest, newest_step = None, 0
    damaged: list[tuple[Path, str]] = []
    for step, path in numbered:
        reason = fault_of(path, world_size)
        if reason:
            damaged.append((path, reason))
        elif newest is None:
            newest, newest_step = path, step
    return Found(newest, newest_step, tuple(damaged))


def set_aside(path: Path) -> Path:
    """Rename a checkpoint so that the engine does not count it as one; return its new name.

    Raises:
        MachineError: it cannot be renamed.
    """
    # Not `checkpoint-...`: the trainer counts every such name when it deletes old checkpoints.
    name = path.with_name(f"damaged-{path.name.removeprefix('checkpoint-')}.incomplete")
    number = 1
    while name.exists():
        number += 1
        name = name.with_name(f"damaged-{path.name.removeprefix('checkpoint-')}-{number}.incomplete")
    try:
        path.rename(name)
    except OSError as error:
        raise MachineError(f"cannot rename the damaged checkpoint {path}: {error.strerror}") from error
    return name


def fault_of(path: Path, world_size: int) -> str | None:
    """Return why training cannot go on from a checkpoint, or None where it can."""
    if not path.is_dir():
        return "is not a folder"
    try:
        state = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        step = state["global_step"]
        counters = state["stateful_callbacks"][STATE_KEY]["attributes"]
    except OSError:
        return f"{STATE_FILE} is missing"
    except (ValueError, TypeError):
        return f"{STATE_FILE} is cut off"
    except KeyError as error:
        return f"{STATE_FILE} has no {error}: it was not written by a run of this program"
    if path.name != f"checkpoint-{step}" or not counters:
        return f"{STATE_FILE} is of step {step}"
    return _weights_fault(path) or _resume_fault(path, world_size)


def _resume_fault(path: Path, world_size: int) -> str | None:
    """Return what is wrong with the optimiser, the schedule and the random states."""
    sharded = [item for item in path.glob("global_step*") if item.is_dir()]
    archives = [path / "scheduler.pt"]
    if sharded:  # DeepSpeed keeps one optimiser file a process, and the weights beside them
        if not (path / "latest").is_file():
            return "latest is missing"
        folder = path / (path / "latest").read_text(encoding="utf-8").strip()
        optimisers = sorted(folder.glob("*optim_states.pt"))
        if len(optimisers) != world_size:
            return (
                f"{folder.name} has optimiser states of {len(optimisers)} processes, the run has {world_size}"
            )
        archives += [*optimisers, *sorted(folder.glob("*model_states.pt"))]
        if not (path / "scheduler.pt").exists():  # the engine's own schedule is in its files
            archives.pop(0)
    else:
        archives.append(path / "optimizer.pt")
    expected = (
        ["rng_state.pth"] if world_size == 1 else [f"rng_state_{rank}.pth" for rank in range(world_size)]
    )
    present = sorted(item.name for item in path.glob("rng_state*.pth"))
    if present and set(present) - set(expected):
        return f"has random states of {len(present)} processes, the run has {world_size}"
    archives += [path / name for name in expected]
    for archive in archives:
        if not archive.is_file():
            return f"{archive.relative_to(path)} is missing"
        if not zipfile.is_zipfile(archive):  # the directory of the archive is at its very end
            return f"{archive.relative_to(path)} is cut off"
    return None


def _weights_fault(path: Path) -> str | None:
    """Return what is wrong with the weights of a folder."""
    files = weight_files(path)
    if not files:
        return "has no weights"
    for file in files:
        if not file.is_file():
            return f"{file.name} is missing"
        try:
            read_header(file)
        except ValueError as error:
            return str(error)
    return None


def weight_files(path: Path) -> tuple[Path, ...]:
    """Return the safetensors files of a model or adapter folder, those of an index where there is one."""
    for stem in ("adapter_model", "model"):
        index = path / f"{stem}.safetensors.index.json"
        if index.is_file():
            try:
                names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (ValueError, KeyError, AttributeError):
                return (index,)
            return tuple(path / name for name in names)
        if (path / f"{stem}.safetensors").is_file():
            return (path / f"{stem}.safetensors",)
    return ()


def read_header(file: Path) -> Mapping[str, Any]:
    """Return tensor name -> {dtype, shape, data_offsets} of a safetensors file.

    Raises:
        ValueError: the file is cut off or is not in the format; names it.

    Source:
        safetensors format: 8 bytes header length (little endian), JSON header, data without gaps.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= size - 8:
            raise ValueError(f"{file.name} is cut off")
        text = stream.read(length)
    try:
        header = json.loads(text)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        for name, entry in tensors.items():
            begin, end = entry["data_offsets"]
            bits = _BITS.get(entry["dtype"])
            if bits is not None and (end - begin) * 8 != _product(entry["shape"]) * bits:
                raise ValueError(f"{file.name} is damaged: {name} does not fill its place")
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file.name} is damaged: its header cannot be read") from error
    if 8 + length + end != size:
        raise ValueError(f"{file.name} is cut off: {size:,} bytes of {8 + length + end:,}")
    return tensors


def _product(shape: list[int]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


def weights_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Return tensor name -> shape of all weights of a folder.

    Raises:
        ValueError: there are none, or a file is damaged; names it.
    """
    fault = _weights_fault(path)
    if fault:
        raise ValueError(fault)
    return {
        name: tuple(entry["shape"])
        for file in weight_files(path)
        for name, entry in read_header(file).items()
    }
