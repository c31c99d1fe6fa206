"""What a piece of training really holds: bytes saved for the backward pass, and the peak of the allocator.

On a CPU the peak is a sum over the allocator's own events, as torch's profiler records them; on CUDA it is what the
caching allocator counts. Both are relative to what was allocated before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MIB = 2**20


@dataclass(frozen=True)
class Peak:
    """Bytes at the worst moment of a window.

    Args:
        allocated: most bytes alive, above those at the start of the window.
        total: most bytes alive at all, what was there before included; None on a CPU.
        reserved: most bytes that torch had taken from the device; None on a CPU.
    """

    allocated: int
    total: int | None = None
    reserved: int | None = None


def saved_bytes(work: Callable[[], object], held: Iterable[Tensor]) -> int:
    """Return the bytes that autograd saves during `work` for a backward pass.

    Storages are counted once; those of `held` (parameters, buffers, inputs) are not counted.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in held}
    seen: dict[int, int] = {}
    kept: list[Tensor] = []  # alive until the end, so that no address comes back for another tensor

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            seen[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = work()  # the graph lives as long as its result
    del result
    return sum(seen.values())


def held_by(*models: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers of `models`."""
    return [tensor for model in models for tensor in (*model.parameters(), *model.buffers())]


def peak(work: Callable[[], object], device: torch.device) -> Peak:
    """Return the peak of memory while `work` runs on `device`."""
    return _cuda_peak(work, device) if device.type == "cuda" else _cpu_peak(work)


def _cuda_peak(work: Callable[[], object], device: torch.device) -> Peak:
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    total = torch.cuda.max_memory_allocated(device)
    return Peak(total - before, total, torch.cuda.max_memory_reserved(device))


def _cpu_peak(work: Callable[[], object]) -> Peak:
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        result = work()
    del result
    results = profiler.profiler.kineto_results if profiler.profiler is not None else None
    if results is None:
        raise RuntimeError("torch's profiler recorded nothing")
    changes = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
    now = highest = 0
    for _, change in sorted(changes, key=lambda item: item[0]):
        now += change
        highest = max(highest, now)
    return Peak(highest)
