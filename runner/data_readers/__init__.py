"""Files and hubs -> raw things: finds what a source holds, hashes it, and hands it on one by one.

A reader is made for one source of the spec. `inputs` are its files with their hashes, known before
anything is read; `raws` yields what the converter of the same name turns into records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from runner.data_readers.common import LOCAL, MAX_NAMED, Asked, Input, Progress, Reader, named
from runner.data_readers.huggingface import open_huggingface
from runner.data_readers.medquad import open_medquad
from runner.data_readers.messages import open_messages
from runner.data_readers.synthetic import open_synthetic
from runner.data_readers.tabular import open_cardio, open_uci_heart

__all__ = ["LOCAL", "MAX_NAMED", "OPENERS", "Asked", "Input", "Progress", "Reader", "named"]

OPENERS: Mapping[str, Callable[[Asked, Progress], Reader]] = MappingProxyType(
    {
        "medquad": open_medquad,
        "messages": open_messages,
        "huggingface": open_huggingface,
        "synthetic_medical_qa": open_synthetic,
        "cardio": open_cardio,
        "uci_heart": open_uci_heart,
    }
)
"""Word under `data.source` -> what opens it; the same words as `converters.records.SOURCES`."""
