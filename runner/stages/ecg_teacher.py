"""A teacher as its weights file describes it: the network that it names, for the classes and leads of the records."""

from __future__ import annotations

from pathlib import Path

from runner.native.assembly import network
from runner.native.checkpoints import facts_of, load
from runner.native.dataset import Records
from runner.native.errors import NativeError
from runner.native.model import EcgModel
from runner.stages.ecg_final import joined

NEEDED = ("backbone", "leads", "classes")


def teacher_of(file: Path, records: Records) -> EcgModel:
    """Return the trained model of a weights file of ours.

    Raises:
        NativeError: its weights are of other classes, leads or another sampling rate, or do not say of which network they are.
    """
    facts, store = facts_of(file), records.store
    if lacking := [name for name in NEEDED if name not in facts]:
        raise NativeError(f"{file}: does not say its {', '.join(lacking)}; name a run of this program")
    if facts["classes"] != joined(store.class_names):
        raise NativeError(
            f"{file}: the teacher knows the classes {facts['classes']}, these records have {joined(store.class_names)}"
        )
    if facts["leads"] != joined(store.leads):
        raise NativeError(
            f"{file}: the teacher sees the leads {facts['leads']}, these records have {joined(store.leads)}"
        )
    if "fs_hz" in facts and facts["fs_hz"] != f"{store.fs_hz:g}":
        raise NativeError(
            f"{file}: the teacher was trained on recordings of {facts['fs_hz']} Hz, these have {store.fs_hz:g} Hz: its "
            f"opinion of them is worth nothing\n  add {{step: resample, fs_hz: {facts['fs_hz']}}} to data.pipeline"
        )
    section = {"backbone": facts["backbone"], "leads": store.leads}
    teacher = network(section, len(store.class_names), aux=facts.get("aux") == "true", seed=0)
    load(teacher, file)
    return teacher
