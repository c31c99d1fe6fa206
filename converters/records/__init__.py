"""Raw data -> canonical records: one module a source, each with one pure `to_record(raw)`.

A canonical record is one line of `data/<split>.jsonl`; `record.py` says what it holds. Reading files,
progress and counting are the data stage's (`runner.data_readers`, `runner.stages.data`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Word under `data.source` -> module. Text, so that knowing the words imports nothing. `mixture` is
# no source of its own: it is several of these one after another.
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "medquad": "converters.records.medquad",
        "messages": "converters.records.messages",
        "huggingface": "converters.records.huggingface",
        "synthetic_medical_qa": "converters.records.synthetic",
        "cardio": "converters.records.cardio",
        "uci_heart": "converters.records.uci_heart",
        "ecginstruct": "converters.records.ecginstruct",
        "ecg_instruct_from_signals": "converters.records.ecg_questions",
        "ecg_qa": "converters.records.ecg_qa",
    }
)
