"""Which records each step trains on, and how they come: shuffled, mixed, on the device, one step ahead.

Everything is a function of (seed, step): a run that is continued at a step needs no state of a loader, and the
number of processes changes who reads a record, not which records a step has.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.native.errors import NativeError
from runner.native.method import Batch
from runner.native.objective import drawn_mix
from runner.native.streams import generator, stream_seed

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]


class Rows(Protocol):
    """Records that are read by number; nothing else of them need be in memory."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def signals(self, rows: IntArray) -> FloatArray:
        """Return (record, lead, time), float32, of these rows in this order; a row may come twice."""
        ...

    def labels(self, rows: IntArray) -> FloatArray:
        """Return (record, class), float32, likewise."""
        ...


@dataclass(frozen=True, eq=False)
class InMemory:
    """Rows that are in memory already: signal (record, lead, time) and label (record, class)."""

    signal: FloatArray
    label: FloatArray

    def __len__(self) -> int:
        return len(self.label)

    def signals(self, rows: IntArray) -> FloatArray:
        """Return (record, lead, time)."""
        return self.signal[rows]

    def labels(self, rows: IntArray) -> FloatArray:
        """Return (record, class)."""
        return self.label[rows]


class Order:
    """The rows of each step: every epoch a new permutation; an epoch's last step takes what is left.

    Args:
        records: to train on.
        batch: records a step, over all processes.
        seed: of the run.
        multiple: with several processes, a step's records are filled up to a multiple of this by the first ones
            of the same epoch, so that all have equally many.
    """

    def __init__(self, records: int, batch: int, seed: int, multiple: int = 1) -> None:
        if records < 1 or batch < 1 or multiple < 1 or batch % multiple:
            raise NativeError(
                f"batch: expected at least 1 record, and a batch that {multiple} divides, got {records} and {batch}"
            )
        self.records, self.batch, self.seed, self.multiple = records, batch, seed, multiple
        self.steps_per_epoch = math.ceil(records / batch)
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def rows(self, step: int) -> IntArray:
        """Return the rows of `step`, from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            draw = np.random.default_rng(stream_seed(self.seed, "order", epoch))
            self._epoch, self._permutation = epoch, draw.permutation(self.records)
        chosen = self._permutation[place * self.batch : (place + 1) * self.batch]
        lacking = -len(chosen) % self.multiple
        return np.concatenate([chosen, np.resize(self._permutation, lacking)]) if lacking else chosen

    def rows_seen(self, steps: int) -> int:
        """Return how many rows `steps` steps take, repeats of a filled-up batch included."""
        left = self.records % self.batch
        last = left + -left % self.multiple if left else self.batch
        epochs, rest = divmod(steps, self.steps_per_epoch)
        whole = (self.steps_per_epoch - 1) * self.batch + last
        return epochs * whole + rest * self.batch  # `rest` is less than an epoch: its steps are whole ones


class Feed:
    """Batches on the device; the next one is read while a step computes.

    Args:
        rows: what is trained on.
        order: which of them each step takes.
        device: where batches go.
        cutmix: alpha of the Beta distribution of CutMix; None for records as they are.
        rank: of this process.
        world: processes; each gets its equal part of every batch, mixed with partners from the whole of it.
    """

    def __init__(
        self,
        rows: Rows,
        order: Order,
        device: torch.device,
        *,
        cutmix: float | None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if order.multiple % world:
            raise NativeError(f"batch: {world} processes need batches that they can share equally")
        self.rows, self.order, self.device, self.cutmix = rows, order, device, cutmix
        self.rank, self.world = rank, world
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[int, Future[Batch]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._reader.shutdown(wait=True, cancel_futures=True)

    def batch(self, step: int, *, until: int | None = None) -> Batch:
        """Return this process's part of the batch of `step`; begin to read that of the next, up to `until`."""
        ahead, self._ahead = self._ahead, None
        read = (
            ahead[1].result()
            if ahead and ahead[0] == step
            else self._reader.submit(self._read, step).result()
        )
        if until is None or step + 1 < until:
            self._ahead = step + 1, self._reader.submit(self._read, step + 1)
        non_blocking = self.device.type == "cuda"
        return Batch(
            read.signal.to(self.device, non_blocking=non_blocking),
            read.target.to(self.device, non_blocking=non_blocking),
        )

    def _read(self, step: int) -> Batch:
        rows = self.order.rows(step)
        # Dealt like cards: the first records of a batch, which some methods differentiate, are shared out too.
        mine = slice(self.rank, None, self.world)
        signal, target = self._tensors(rows[mine])
        if self.cutmix is not None:
            draw = generator(stream_seed(self.order.seed, "cutmix", step))
            mix = drawn_mix(len(rows), signal.shape[1], signal.shape[2], draw, self.cutmix)
            places = mix.order[mine]
            partners = (
                self._tensors(rows[places.numpy()]) if self.world > 1 else (signal[places], target[places])
            )
            signal, target = mix.applied(signal, target, *partners)
        if self.device.type == "cuda":
            signal, target = signal.pin_memory(), target.pin_memory()
        return Batch(signal, target)

    def _tensors(self, rows: IntArray) -> tuple[Tensor, Tensor]:
        values = self.rows.signals(rows), self.rows.labels(rows)
        signal, target = (torch.from_numpy(np.ascontiguousarray(part, np.float32)) for part in values)
        return signal, target
