"""Files and hubs -> raw things: finds what a source holds, hashes it, and hands it on one by one.

A reader is made for one source of the spec. `inputs` are its files with their hashes, known before
anything is read; `raws` yields what the converter of the same name turns into records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from runner.data_readers.common import LOCAL, MAX_NAMED, Asked, Faults, Input, Progress, Reader, named
from runner.data_readers.huggingface import open_huggingface
from runner.data_readers.medquad import open_medquad
from runner.data_readers.messages import open_messages
from runner.data_readers.synthetic import open_synthetic
from runner.data_readers.tabular import open_cardio, open_uci_heart

__all__ = ["LOCAL", "MAX_NAMED", "OPENERS", "Asked", "Faults", "Input", "Progress", "Reader", "named"]


def _about_images(module: str, name: str) -> Callable[[Asked, Progress], Reader]:
    """Return an opener whose module is imported when it is called: it needs packages that text does without."""

    def opened(asked: Asked, progress: Progress) -> Reader:
        reader: Reader = getattr(import_module(module), name)(asked, progress)
        return reader

    return opened


OPENERS: Mapping[str, Callable[[Asked, Progress], Reader]] = MappingProxyType(
    {
        "medquad": open_medquad,
        "messages": open_messages,
        "huggingface": open_huggingface,
        "synthetic_medical_qa": open_synthetic,
        "cardio": open_cardio,
        "uci_heart": open_uci_heart,
        "ecginstruct": _about_images("runner.data_readers.ecginstruct", "open_ecginstruct"),
        "ecg_instruct_from_signals": _about_images("runner.data_readers.from_signals", "open_from_signals"),
        "ecg_qa": _about_images("runner.data_readers.ecg_qa", "open_ecg_qa"),
    }
)
"""Word under `data.source` -> what opens it; the same words as `converters.records.SOURCES`."""
