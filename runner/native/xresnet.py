"""xresnet1d101: the strong supervised baseline of the PTB-XL benchmark literature.

A residual network with bottlenecks in one dimension, from bag-of-tricks ResNets: a stem of three convolutions, pooled
shortcuts, 3 + 4 + 23 + 3 blocks. The benchmark (Strodthoff et al., IEEE JBHI 2021, arXiv 2004.13701) keeps the width
at 64 in all four stages, uses kernels of 5, and a head on concatenated maximum and mean with one hidden layer of 128.

Sources: that paper; He et al., arXiv 1812.01187 (tricks); the layer sizes as the benchmark's public configuration
states them, from memory; no code was read, and no published parameter count was found to compare with. Ours has
1,873,938 parameters for 12 leads and 18 classes. Its anchor: macro AUC 0.925 on PTB-XL's 71 statements, 0.928 on the
5 superclasses, at 100 Hz with crops of 2.5 s.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.native.errors import NativeError
from runner.native.model import EcgModel

STEM = (32, 32, 64)
WIDTH, EXPANSION = 64, 4
BLOCKS = (3, 4, 23, 3)
KERNEL = 5
HIDDEN = 128
SHORTEST = 32  # samples: stem, pool and three stages halve five times


def _convolution(
    channels: int, width: int, kernel: int, stride: int = 1, *, act: bool = True
) -> nn.Sequential:
    layer = nn.Conv1d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(layer, nn.BatchNorm1d(width), *([nn.ReLU(inplace=True)] if act else []))


class Bottleneck(nn.Module):
    """1, 5, 1 convolutions beside a shortcut that pools first and then fits the channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        wide = WIDTH * EXPANSION
        self.body = nn.Sequential(
            _convolution(channels, WIDTH, 1),
            _convolution(WIDTH, WIDTH, KERNEL, stride),
            _convolution(WIDTH, wide, 1, act=False),
        )
        nn.init.zeros_(self.body.get_parameter("2.1.weight"))  # a block starts as its shortcut
        self.pool = nn.AvgPool1d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.fit = _convolution(channels, wide, 1, act=False) if channels != wide else nn.Identity()

    def forward(self, signal: Tensor) -> Tensor:
        """Return (record, 256, time / stride) for (record, channel, time)."""
        return functional.relu(self.body(signal) + self.fit(self.pool(signal)), inplace=True)


class XResNet(EcgModel):
    """xresnet1d101 with its head.

    Args:
        classes: outputs.
        leads: channels of the signal.
        aux: whether there is an auxiliary head of one output.
    """

    def __init__(self, classes: int, *, leads: int = 12, aux: bool = False) -> None:
        super().__init__()
        self.classes, self.leads = classes, leads
        widths = (leads, *STEM)
        self.stem = nn.Sequential(
            *(_convolution(widths[n], widths[n + 1], KERNEL, 2 if n == 0 else 1) for n in range(3)),
            nn.MaxPool1d(3, stride=2, padding=1),
        )
        wide = WIDTH * EXPANSION
        stages = []
        for stage, blocks in enumerate(BLOCKS):
            first = Bottleneck(STEM[-1] if stage == 0 else wide, 1 if stage == 0 else 2)
            stages.append(nn.Sequential(first, *(Bottleneck(wide, 1) for _ in range(blocks - 1))))
        self.stages = nn.Sequential(*stages)
        self.classifier = _head(2 * wide, classes)
        self.aux_classifier = _head(2 * wide, 1) if aux else None

    def check_length(self, samples: int) -> None:
        """Raise NativeError where `samples` is below 32: nothing would be left to pool."""
        if samples < SHORTEST:
            raise NativeError(f"signal length: {samples} samples; xresnet1d101 takes at least {SHORTEST}")

    def features(self, signal: Tensor) -> Tensor:
        """Return maximum and mean over time, (record, 512)."""
        self.check(signal)
        maps = self.stages(self.stem(signal))
        return torch.cat((maps.amax(dim=2), maps.mean(dim=2)), dim=1)

    def adapter_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Return all convolutions outside the heads as `conv`, and the head's hidden layer as `head0`."""
        convolutions = tuple(name for name, part in self.named_modules() if isinstance(part, nn.Conv1d))
        return {"conv": convolutions, "head0": ("classifier.2",)}


def _head(features: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm1d(features),
        nn.Dropout(0.25),
        nn.Linear(features, HIDDEN),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(HIDDEN),
        nn.Dropout(0.5),
        nn.Linear(HIDDEN, outputs),
    )
