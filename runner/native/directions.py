"""Random directions that are regenerated from a seed wherever they are needed, and never kept.

The tensors are drawn in runs of neighbours (buckets) so that a few large kernels do the work of many small ones;
a bucket is at most `BUCKET` scalars, or one tensor where that is larger, and only one exists at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from runner.native.errors import NativeError
from runner.native.sparsify import Sparsity
from runner.native.streams import generator, stream_seed

BUCKET = 2**22  # scalars: 16 MiB in fp32
Bucket = tuple[list[Tensor], list[Tensor]]  # parameters and what belongs to each, in the same order


class Directions:
    """Standard normal directions for named parameters, one for each (step, draw) of a run.

    The numbers depend on the device: CPU and CUDA generators differ.

    Raises:
        NativeError: `sparsity` names a tensor that is not among `parameters`.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], seed: int, sparsity: Sparsity | None) -> None:
        self.parameters: list[Tensor] = list(parameters.values())
        self._names = list(parameters)
        self._seed, self._sparsity = seed, sparsity
        if unknown := set(sparsity.per_tensor if sparsity else ()) - parameters.keys():
            raise NativeError(
                f"sparsity.per_tensor: {sorted(unknown)} name no tensor that is perturbed; there is for example "
                f"{next(iter(parameters), 'none at all')}"
            )
        self.spans = list(_neighbours(self.parameters))  # first and last + 1 of each bucket

    def drawn(self, step: int, draw: int = 0) -> Iterator[Bucket]:
        """Yield parameters and their directions, bucket by bucket, in the order of the parameters."""
        if not self.parameters:
            return
        device = self.parameters[0].device
        noise = generator(stream_seed(self._seed, "direction", step, draw), device)
        masks = None
        if self._sparsity is not None:
            at = (0, 0) if self._sparsity.fixed else (step, draw)
            masks = generator(stream_seed(self._seed, "mask", *at), device)
        for first, last in self.spans:
            parameters = self.parameters[first:last]
            total = sum(parameter.numel() for parameter in parameters)
            flat = torch.randn(total, generator=noise, device=device, dtype=parameters[0].dtype)
            parts = torch.split(flat, [parameter.numel() for parameter in parameters])
            views = [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
            if self._sparsity is not None and masks is not None:
                for name, view in zip(self._names[first:last], views, strict=True):
                    self._sparsity.sparsen(view, name, masks)
            yield parameters, views


def _neighbours(parameters: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    first, size = 0, 0
    for place, parameter in enumerate(parameters):
        other = place > first and parameter.dtype != parameters[first].dtype
        if place > first and (other or size + parameter.numel() > BUCKET):
            yield first, place
            first, size = place, 0
        size += parameter.numel()
    if parameters:
        yield first, len(parameters)
