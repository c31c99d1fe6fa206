"""What the rules of an ECG spec know of networks and sets, without torch and without a file.

Tests compare it with `runner.native` and `converters.records.ecg`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING

from runner.spec.yaml_text import Path

if TYPE_CHECKING:
    from runner.spec.ecg import EcgModel, EcgSpec, EcgTrain
    from runner.spec.ecg_methods import EcgMethod
    from runner.spec.ecg_sources import EcgData

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve leads in their usual order; places of the published lead subsets are places in it."""


@dataclass(frozen=True)
class Network:
    """What a backbone takes."""

    blocks: int
    """Transformer blocks; 0: it has none, and cannot be cut in two."""
    divisor: int
    """What the number of samples must be a multiple of."""
    shortest: int
    """In samples."""
    longest: int | None
    """In samples; None: there is no limit."""
    targets: tuple[str, ...]
    """Groups of layers that may carry an adapter."""


_FAMILY = ("conv", "qkv", "proj", "ffn", "head0")
NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        **{
            name: Network(blocks, 64, 64, 6144, _FAMILY)
            for name, blocks in {
                "tinylight": 1,
                "tiny": 4,
                "base": 8,
                "medium": 12,
                "mediumv2": 8,
                "large": 12,
            }.items()
        },
        "xresnet1d101": Network(0, 1, 32, None, ("conv", "head0")),
    }
)
"""Word under `model.backbone` -> what it takes (FUSION 2.1 and 2.3)."""

CINC_HZ: Mapping[str, float] = MappingProxyType(
    {
        "georgia": 500.0,
        "ptb-xl": 500.0,
        "ningbo": 500.0,
        "chapman_shaoxing": 500.0,
        "cpsc_2018": 500.0,
        "cpsc_2018_extra": 500.0,
        "ptb": 1000.0,
        "st_petersburg_incart": 257.0,
    }
)
"""Database of the challenge -> its sampling rate."""


_PERSON = ("age", "age_band", "sex", "site")
ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "arrays": (*_PERSON, "fold"),
        "cinc2021": _PERSON,
        "code15": _PERSON,
        "ptbxl": (*_PERSON, "fold"),
        "sph": _PERSON,
        "synthetic_ecg": _PERSON,
    }
)
"""Source -> what is known of its records beside the signal, by which sub-groups may be made."""
PUBLISHED_ENDINGS = (".pkl", ".pt", ".pth")
"""How files of published ECG checkpoints end; they say nothing of what they were trained on."""
PUBLISHED_HZ = 400.0
"""What the published checkpoints were pre-trained on: CODE, recordings of 400 Hz (Zenodo 4916206)."""


def rate_of(data: EcgData) -> float | None:
    """Return the sampling rate of all recordings of a source in Hz; None where they differ, or nobody knows."""
    if data.source == "cinc2021":
        rates = {CINC_HZ[name] for name in data.databases}
        return rates.pop() if len(rates) == 1 else None
    if data.source == "code15":
        return 400.0
    if data.source == "sph":
        return 500.0
    return data.fs_hz


def shape_after(data: EcgData) -> tuple[int | None, float | None]:
    """Return samples and sampling rate after the pipeline; None for what differs between recordings."""
    fs_hz = rate_of(data)
    samples: int | None = None
    if data.source == "ptbxl":
        samples = 10 * data.fs_hz
    elif data.source == "synthetic_ecg":
        samples = round(data.seconds * data.fs_hz)
    for step in data.pipeline:
        if step.step == "pad_or_crop":
            samples = step.samples
        elif step.step == "resample":
            if samples is not None and fs_hz is not None:
                samples = math.ceil(samples * Fraction(step.fs_hz) / Fraction(fs_hz))
            else:
                samples = None
            fs_hz = step.fs_hz
    return samples, fs_hz


def trainings(spec: EcgSpec) -> Iterator[tuple[Path, EcgModel, EcgMethod, EcgTrain]]:
    """Yield the trainings of a run: the model's own, and that of a teacher that is trained first."""
    yield (), spec.model, spec.method, spec.train
    if spec.distill is not None and (teacher := spec.distill.train_teacher) is not None:
        yield ("distill", "train_teacher"), teacher.model, teacher.method, teacher.train


def devices(spec: EcgSpec) -> int:
    """Return how many processes train, one a device."""
    return spec.compute.nodes * spec.compute.gpus
