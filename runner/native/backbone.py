"""The convolution-transformer family of CE-SSL and H-Tuning, from `tinylight` to `large`.

Three residual convolution blocks shorten a record 64-fold, a causal transformer reads the tokens, a maximum over
tokens gives the features. Shapes: signal (record, lead, time), tokens (record, token, width).

Source: the architecture table of FUSION section 2, whose parameter counts equal those that CE-SSL published
(9.505, 50.493 and 113.489 million for base, medium and large with 18 classes).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.native.errors import NativeError
from runner.native.model import EcgModel

SHORTENING = 4  # of each of the three encoder blocks
ENCODER_BLOCKS = 3
DIVISOR = SHORTENING**ENCODER_BLOCKS  # a length that it does not divide leaves the two branches one apart
LONGEST = 6144  # samples: 96 tokens, what the published weights were trained for
HEADS_OF_ATTENTION = 16
POSITIONS = 200
SLOPE = 0.01  # of the leaky ReLU


@dataclass(frozen=True)
class Size:
    """One member of the family."""

    width: int
    blocks: int


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "tinylight": Size(64, 1),
        "tiny": Size(128, 4),
        "base": Size(256, 8),
        "medium": Size(512, 12),
        "mediumv2": Size(512, 8),
        "large": Size(768, 12),
    }
)


class EncoderBlock(nn.Module):
    """Two convolutions beside an average-pooled shortcut; a quarter of the time, no activation after the sum."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, width, 9, stride=SHORTENING, padding=4)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 9, padding=4)
        self.bn2 = nn.BatchNorm1d(width)
        self.shortcut = nn.Conv1d(channels, width, 1)

    def forward(self, signal: Tensor) -> Tensor:
        """Return (record, width, time / 4) for (record, channel, time)."""
        # In place: the activation's result is what the next layer keeps anyway, its input need not be kept too.
        hidden = functional.leaky_relu(self.bn1(self.conv1(signal)), SLOPE, inplace=True)
        hidden = self.conv2(hidden)
        hidden = functional.leaky_relu(self.bn2(hidden), SLOPE, inplace=True)
        # Added onto the shortcut, which no backward pass needs: two such tensors at a time, not three.
        return self.shortcut(functional.avg_pool1d(signal, SHORTENING)).add_(hidden)  # type: ignore[no-any-return]


class FusedQkv(nn.Linear):
    """Query, key and value of all heads in one matrix, in this order. A type of its own: adapters treat it so."""


class CausalAttention(nn.Module):
    """Attention of 16 heads in which a token sees itself and what came before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = FusedQkv(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (record, token, width) for the same."""
        records, count, width = tokens.shape
        heads = self.qkv(tokens).view(records, count, 3, HEADS_OF_ATTENTION, width // HEADS_OF_ATTENTION)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.proj(mixed.transpose(1, 2).reshape(records, count, width))  # type: ignore[no-any-return]


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward, each added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalAttention(width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (record, token, width) for the same."""
        tokens = tokens + self.attention(self.norm1(tokens))
        hidden = functional.leaky_relu(self.fc1(self.norm2(tokens)), SLOPE, inplace=True)
        return tokens + self.fc2(hidden)  # type: ignore[no-any-return]


class Backbone(EcgModel):
    """A member of the family with its heads.

    Args:
        size: width and number of transformer blocks; one of `SIZES` or your own. The width is a multiple of 16.
        classes: outputs of the main head.
        aux: whether there is an auxiliary head of one output.
        leads: channels of the signal.
    """

    position: Tensor

    def __init__(self, size: Size, classes: int, *, aux: bool = False, leads: int = 12) -> None:
        super().__init__()
        width = size.width
        self.size, self.classes, self.leads = size, classes, leads
        channels = (leads, *[width] * (ENCODER_BLOCKS - 1))
        self.encoder = nn.ModuleList(EncoderBlock(count, width) for count in channels)
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(size.blocks))
        # No activation between the two: the head is linear, as published.
        self.classifier = nn.Sequential(nn.Linear(width, width), nn.Linear(width, classes))
        self.aux_classifier = _aux_head(width) if aux else None
        self.register_buffer("position", sinusoids(POSITIONS, width), persistent=False)

    def check_length(self, samples: int) -> None:
        """Raise NativeError where `samples` is no multiple of 64 in 64 to 6144."""
        if samples % DIVISOR or not DIVISOR <= samples <= LONGEST:
            longest_fit = min(LONGEST, max(DIVISOR, samples // DIVISOR * DIVISOR))
            raise NativeError(
                f"signal length: {samples} samples; this backbone takes a multiple of {DIVISOR}, at most {LONGEST}; "
                f"pad with zeros or crop, for example to {longest_fit}"
            )

    def features(self, signal: Tensor) -> Tensor:
        """Return the maximum over tokens, (record, width)."""
        return self.deep(self.shallow(signal, 0), 0)

    def shallow(self, signal: Tensor, cut: int) -> Tensor:
        """Return the tokens (record, token, width) after the encoder and the first `cut` transformer blocks."""
        self.check(signal)
        for block in self.encoder:
            signal = block(signal)
        tokens = signal.transpose(1, 2)
        tokens = tokens + self.position[: tokens.shape[1]]
        for block in self.blocks[:cut]:
            tokens = block(tokens)
        return tokens

    def deep(self, tokens: Tensor, cut: int) -> Tensor:
        """Return the features for the tokens that `shallow` gave at the same `cut`."""
        for block in self.blocks[cut:]:
            tokens = block(tokens)
        return tokens.max(dim=1).values

    def adapter_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Return the modules by group: conv, qkv, ffn, head0 and aux0, and proj, which upstream leaves out."""
        blocks, encoder = range(self.size.blocks), range(ENCODER_BLOCKS)
        groups = {
            "conv": tuple(f"encoder.{n}.{part}" for n in encoder for part in ("conv1", "conv2", "shortcut")),
            "qkv": tuple(f"blocks.{n}.attention.qkv" for n in blocks),
            "proj": tuple(f"blocks.{n}.attention.proj" for n in blocks),
            "ffn": tuple(f"blocks.{n}.{part}" for n in blocks for part in ("fc1", "fc2")),
            "head0": ("classifier.0",),
        }
        return groups | ({} if self.aux_classifier is None else {"aux0": ("aux_classifier.0",)})


def _aux_head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width // 2), nn.LeakyReLU(SLOPE), nn.Linear(width // 2, 1))


def sinusoids(positions: int, width: int) -> Tensor:
    """Return the fixed position table (position, width): sines in even columns, cosines in odd ones, base 10000.

    >>> [round(value, 6) for value in sinusoids(2, 2)[1].tolist()]
    [0.841471, 0.540302]
    """
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = torch.arange(positions)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1)


def backbone(name: str, classes: int, *, aux: bool = False, leads: int = 12) -> Backbone:
    """Return the member of the family called `name`, with random weights from torch's global generator.

    Raises:
        NativeError: there is no such member; names those there are.
    """
    if name not in SIZES:
        raise NativeError(f"model.backbone: unknown value {name!r}; allowed: {', '.join(SIZES)}")
    return Backbone(SIZES[name], classes, aux=aux, leads=leads)
