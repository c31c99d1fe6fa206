"""Several processes that train one model: what they agree on, and batch normalisation over all of them.

Methods of one forward train through torch's own `DistributedDataParallel`; here is what it leaves open. Zeroth-order
methods make the same step in every process: each probes its part of the batch in the same directions, and of all that they
exchange one number, the mean loss. One process is the same code with nothing to exchange.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, overload

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from runner.native.errors import NativeError

WHOLE_MODEL_METHODS = ("full", "lora", "distill")
"""Methods whose whole gradient comes out of one forward: torch exchanges it while it is computed. The others take losses
and gradients of several forwards, and exchange them themselves (`mean`, `average`)."""
EXCHANGED = 2**22
"""Scalars that are exchanged at once: 16 MiB in fp32."""


class Together:
    """The processes of a training; `with` joins and leaves them."""

    def __init__(self, rank: int = 0, world: int = 1, local_rank: int = 0) -> None:
        self.rank, self.world, self.local_rank = rank, world, local_rank

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Return this process's place as torchrun put it into the environment; alone without it."""
        if "WORLD_SIZE" not in environ:
            return cls()
        return cls(int(environ["RANK"]), int(environ["WORLD_SIZE"]), int(environ.get("LOCAL_RANK", "0")))

    @property
    def writes(self) -> bool:
        """Whether this process writes files and events."""
        return self.rank == 0

    def device(self, word: str) -> torch.device:
        """Return this process's device of the kind `word`: cpu, cuda or mps."""
        return torch.device("cuda", self.local_rank) if word == "cuda" else torch.device(word)

    def join(self, device: torch.device) -> Together:
        """Meet the other processes, through NCCL on CUDA and gloo elsewhere."""
        if self.world > 1:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def wrapped(self, model: nn.Module, method: str) -> nn.Module | None:
        """Return `model` ready to exchange gradients; None for one process, and for other than `WHOLE_MODEL_METHODS`.

        Batch normalisation of `model` is first made to normalise over all processes, in place.
        """
        if self.world == 1 or method not in WHOLE_MODEL_METHODS:
            return None
        synchronise(model)
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    def mean(self, value: float, device: torch.device) -> float:
        """Return the mean of `value` over all processes."""
        if self.world == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return float(total) / self.world

    @torch.no_grad()
    def average(self, gradients: Iterable[Tensor | None]) -> None:
        """Set each tensor to its mean over all processes; None is passed over, as it is None in all of them."""
        if self.world == 1:
            return
        for bucket in _buckets([part for part in gradients if part is not None]):
            flat = torch.cat([part.reshape(-1) for part in bucket])
            distributed.all_reduce(flat)
            flat.div_(self.world)
            means = torch.split(flat, [part.numel() for part in bucket])
            for part, mean in zip(bucket, means, strict=True):
                part.copy_(mean.view_as(part))

    @overload
    def part(self, records: int) -> int: ...

    @overload
    def part(self, records: int | None) -> int | None: ...

    def part(self, records: int | None) -> int | None:
        """Return how many of the first `records` records of a batch are this process's, as `Feed` deals them.

        Raises:
            NativeError: they cannot be shared equally.
        """
        if records is None:
            return None
        if records % self.world:
            raise NativeError(f"bp_batch: {self.world} processes cannot share {records} records equally")
        return records // self.world

    def require_same(self, model: nn.Module) -> None:
        """Refuse to go on where processes that make the same steps have come to other weights.

        Raises:
            NativeError: they have.
        """
        if self.world == 1:
            return
        trained = [part for part in model.parameters() if part.requires_grad]
        sums = torch.stack([part.detach().view(torch.int32).sum(dtype=torch.int64) for part in trained])
        least, most = sums.clone(), sums.clone()
        distributed.all_reduce(least, distributed.ReduceOp.MIN)
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
        if not torch.equal(least, most):
            raise NativeError(
                f"{int((least != most).sum())} of {len(sums)} tensors differ between the processes, which must make the "
                "same steps: are all devices of one type, with one version of torch?"
            )

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether any process says so; all get the same answer."""
        if self.world == 1:
            return flag
        word = torch.tensor(int(flag), device=device)
        distributed.all_reduce(word, distributed.ReduceOp.MAX)
        return bool(word)

    def gathered(self, part: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the parts of all processes after one another, in the order of their ranks."""
        if self.world == 1:
            return part
        parts: list[Any] = [None] * self.world
        distributed.all_gather_object(parts, part)
        return np.concatenate(parts)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.world > 1:
            distributed.barrier()


ALONE = Together()
"""One process."""


def _buckets(parts: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield neighbours of one type together, up to `EXCHANGED` scalars, or one larger tensor alone."""
    bucket: list[Tensor] = []
    size = 0
    for part in parts:
        if bucket and (part.dtype != bucket[0].dtype or size + part.numel() > EXCHANGED):
            yield bucket
            bucket, size = [], 0
        bucket.append(part)
        size += part.numel()
    if bucket:
        yield bucket


class _Sum(torch.autograd.Function):
    """The sum over all processes, which a gradient flows back through."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def _summed(value: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]  # torch's function has no types
    return total


class SyncedBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation by the statistics of all processes' records, on any device.

    torch's own needs a GPU. Every process must have equally many values, as `Feed` sees to.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return (record, channel, time) or (record, channel), normalised over all records and times."""
        if not self.training:
            return super().forward(values)
        axes = [axis for axis in range(values.ndim) if axis != 1]
        shape = [1, -1, *[1] * (values.ndim - 2)]
        count = values.numel() // values.shape[1] * distributed.get_world_size()
        mean = _summed(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _summed(centred.square().sum(axes)) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        normed: Tensor = centred * scale.view(shape)
        return normed + self.bias.view(shape) if self.affine else normed

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum  # type: ignore[arg-type]
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)  # type: ignore[union-attr]
            self.running_var.lerp_(variance.to(self.running_var.dtype), share)  # type: ignore[union-attr]


def synchronise(model: nn.Module) -> None:
    """Make every batch normalisation of `model` one over all processes; parameters and names stay."""
    for name, norm in list(model.named_modules()):
        if not isinstance(norm, _BatchNorm) or isinstance(norm, nn.SyncBatchNorm | SyncedBatchNorm1d):
            continue
        parent, _, child = name.rpartition(".")
        cuda = any(part.is_cuda for part in norm.parameters())
        setattr(model.get_submodule(parent), child, _cuda_synced(norm) if cuda else _synced(norm))


def _synced(norm: _BatchNorm) -> SyncedBatchNorm1d:
    made = SyncedBatchNorm1d(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
    )
    for name, value in norm._parameters.items():
        setattr(made, name, value)
    for name, buffer in norm._buffers.items():
        setattr(made, name, buffer)
    return made.train(norm.training)


def _cuda_synced(norm: _BatchNorm) -> nn.Module:
    made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
    return made


def threads() -> int:
    """Return the threads that torch computes with; results are bit-identical only for an equal number."""
    return torch.get_num_threads()


def quiet_environment() -> dict[str, str]:
    """Return what makes a CUDA computation repeatable, for the environment of a training process."""
    return {"CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8")}
