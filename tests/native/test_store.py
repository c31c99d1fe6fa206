"""Converting and reading back: the layout, kill and continue, damage, limits, and the real records."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters.records.ecg.cinc2021 import Cinc2021
from converters.records.ecg.code15 import Code15
from converters.records.ecg.ptbxl import FOLDS, Ptbxl
from converters.records.ecg.record import EcgRecord, Faulty
from converters.records.ecg.sph import Sph
from converters.records.ecg.synthetic import RawSynthetic, SyntheticEcg
from runner.native.conversion import convert
from runner.native.one_pass import Asked, moved_together
from runner.native.signals import PUBLISHED, Filter, PadOrCrop, Resample, Standardise, applied
from runner.native.splits import by_fold, few_labels, require_apart
from runner.native.store import SIGNALS_AT, open_store
from runner.spec.problems import DataError, MachineError

STEPS = (Filter(1, 40), Standardise(), PadOrCrop(512))
FIVE_SECONDS: dict[str, Any] = {"fs_hz": 100.0, "seconds": 5.0}


def made(records: int = 70, **options: Any) -> Asked:
    return Asked(SyntheticEcg(records, **{**FIVE_SECONDS, **options}), 100.0, STEPS)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    asked = made()
    store = convert(asked, tmp_path / "a.h5")
    assert store.shape == (70, 12, 512)
    for number, raw in enumerate(asked.source.raws()):
        record = asked.source.read(raw)
        assert store.ids[number] == record.id
        assert np.abs(store.signals[number] - applied(STEPS, record.signal_mv, 100.0)).max() < 1e-6
        named = tuple(np.array(store.class_names)[store.labels[number]])
        assert named == record.labels
        assert store.patients[number] == record.patient
        assert store.groups[number] == f"patient:{record.patient}"
        assert store.attributes["sex"][number] == record.attributes["sex"]
        assert store.attributes["age"][number] == record.attributes["age"]
    assert set(store.samples) == {500}
    assert store.manifest["records"] == {"read": 70, "kept": 70}
    assert store.manifest["positives"]["NSR"] == store.labels[:, 0].sum()
    assert store.damaged() == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_any_program_can_read_it(tmp_path: Path) -> None:
    store = convert(made(5), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {
            "signals", "labels", "ids", "patients", "groups", "samples", "attributes", "class_names", "class_codes", "codes",
            "leads", "manifest", "crc32",
        }  # fmt: skip
        assert (file["signals"][:] == store.signals).all()
        assert file["leads"][:3].tolist() == [b"I", b"II", b"III"]
        assert file["signals"].chunks is None


def test_the_same_bytes_however_many_processes(tmp_path: Path) -> None:
    one = convert(made(100), tmp_path / "one.h5", processes=1)
    two = convert(made(100), tmp_path / "two.h5", processes=3)
    assert sha256(one.path) == sha256(two.path)
    assert sha256(one.path) != sha256(convert(made(100, seed=1), tmp_path / "other.h5").path)


def test_what_is_there_is_left_alone_and_what_is_old_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    convert(made(), path)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    convert(made(), path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert len(convert(made(40), path)) == 40
    longer = replace(made(40), steps=(*STEPS[:2], PadOrCrop(640)))
    assert convert(longer, path).shape == (40, 12, 640)


def worked_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of recordings is added whenever some are worked on in this process."""
    counted: list[int] = []

    def counting(steps: Any, wave: Any, fs_hz: float) -> Any:
        counted.append(len(wave))
        return applied(steps, wave, fs_hz)

    monkeypatch.setattr("runner.native.one_pass.applied", counting)
    return counted


KILLED = """
import sys
from pathlib import Path
from runner.native.conversion import convert
from runner.native.one_pass import Asked, moved_together
from runner.native.signals import Filter, PadOrCrop, Standardise
from converters.records.ecg.synthetic import SyntheticEcg
asked = Asked(SyntheticEcg(300, fs_hz=100.0, seconds=5.0), 100.0, (Filter(1, 40), Standardise(), PadOrCrop(512)))
print("ready", flush=True)
convert(asked, Path(sys.argv[1]), processes=2, progress=lambda done, total, unit: print(unit, done, flush=True))
"""


@pytest.mark.parametrize("after", ["ready", "recordings written", "recordings written 1"])
def test_killed_at_any_instant_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """SIGKILL at the beginning, after the first task and in the middle of writing: the same file as without."""
    path = tmp_path / "a.h5"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(after):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not path.exists()
    counted = worked_on(monkeypatch)
    whole = convert(made(300), path)
    if after.endswith("1"):
        assert sum(counted) < 300 - 64, "what was done was done again"
    assert sha256(path) == sha256(convert(made(300), tmp_path / "b.h5").path)
    assert whole.damaged() == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def broken_off(asked: Asked, path: Path, after: int) -> None:
    """Convert until `after` recordings are written, and leave what a process leaves that is killed then."""

    class Killed(BaseException):
        pass

    def progress(done: int, total: int, unit: str) -> None:
        if done >= after:
            raise Killed

    with pytest.raises(Killed):
        convert(asked, path, progress=progress)


def test_a_journal_that_knows_more_than_the_disk_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut: the journal is there, some signals are not; and its last line is cut off."""
    path, work = tmp_path / "a.h5", tmp_path / ".a.h5.making"
    before = sha256(convert(made(100), tmp_path / "b.h5").path)
    broken_off(made(100), path, after=64)
    with (work / "journal").open("a") as journal:
        journal.write('{"task": 64, "cr')
    with (work / "store.h5").open("r+b") as file:
        file.seek(SIGNALS_AT + 9 * 12 * 512 * 4)  # the tenth recording: in the second eight of the first task
        file.write(bytes(4000))
    counted = worked_on(monkeypatch)
    convert(made(100), path)
    assert sum(counted) == 8 + 36  # those eight, and 64 to 100 that had never been there
    assert sha256(path) == before


def test_a_file_that_changed_after_the_kill_is_worked_on_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    broken_off(spoilt(70), path, after=64)
    counted = worked_on(monkeypatch)
    store = convert(spoilt(70, changed=(9,)), path)
    assert sum(counted) == 8 + 6
    assert sha256(path) == sha256(convert(spoilt(70, changed=(9,)), tmp_path / "b.h5").path)
    assert store.damaged() == []


def test_left_out_recordings_leave_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals are moved together behind those that are left out; killed while they are, it goes on all the same."""
    path = tmp_path / "a.h5"
    asked = replace(spoilt(70, faulty=(0, 7, 8, 33, 69)), faults_at_most=0.2)
    whole = convert(asked, path)
    assert len(whole) == 65
    wanted = asked.source.raws()[9]
    assert whole.ids[6] == wanted.id
    alone = applied(STEPS, asked.source.read(wanted).signal_mv, 100.0)
    assert np.abs(whole.signals[6] - alone).max() < 1e-5
    assert whole.damaged() == []
    before = sha256(path)
    path.unlink()

    def killed(kept: Any, room: Any) -> None:
        moved_together(kept[:40], room)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("runner.native.conversion.moved_together", killed)
        with pytest.raises(KeyboardInterrupt):
            convert(asked, path)
    assert sha256(convert(asked, path).path) == before


def test_two_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr("runner.native.conversion.LOCK_WAIT_S", 0.0)
    work = tmp_path / ".a.h5.making"
    work.mkdir()
    with (work / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(MachineError, match="being written by another process"):
            convert(made(5), tmp_path / "a.h5")
    assert len(convert(made(5), tmp_path / "a.h5")) == 5


def test_batches_are_copies_from_mapped_memory(tmp_path: Path) -> None:
    store = convert(made(30), tmp_path / "a.h5")
    rows = np.array([7, 3, 3, 29])
    out = np.empty((4, 12, 512), dtype=np.float32)
    assert store.batch(rows, out) is out
    assert (out == store.signals[rows]).all()
    assert not store.signals.flags.writeable
    with pytest.raises(IndexError, match="rows 3 to 30 of a store of 30"):
        store.batch([3, 30])
    with pytest.raises(IndexError):
        store.batch([-1])


def test_nothing_is_read_before_it_is_used_and_nothing_of_it_is_sent(tmp_path: Path) -> None:
    store = convert(made(30), tmp_path / "a.h5")
    assert "signals" not in vars(store)
    first = store.signals[0].copy()
    sent = pickle.dumps(store)
    assert len(sent) < 30 * 12 * 512
    assert (pickle.loads(sent).signals[0] == first).all()


def test_damage_is_found(tmp_path: Path) -> None:
    store = convert(made(10), tmp_path / "a.h5")
    content = bytearray(store.path.read_bytes())
    content[store.offset + 3 * 12 * 512 * 4 + 17] ^= 1
    store.path.write_bytes(content)
    assert open_store(store.path).damaged() == [store.ids[3]]
    store.path.write_bytes(content[: store.offset + 100])
    with pytest.raises(DataError, match=r"damaged.*\n.*convert the data again"):
        open_store(store.path)
    store.path.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match="is no store of recordings"):
        open_store(store.path)


# ---------------------------------------------------------------------------------------- what is refused


@dataclass(frozen=True)
class Spoilt(SyntheticEcg):
    """Recordings of which some are faulty, changed or copies."""

    faulty: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()
    other_rate: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()

    def options(self) -> dict[str, Any]:
        return super().options() | {"changed": None}  # files change, and what was asked for stays

    def read(self, raw: RawSynthetic) -> EcgRecord:
        if raw.number in self.faulty:
            raise Faulty("signal is shorter than its header says", raw.id, "10 of 500 samples")
        record = super().read(RawSynthetic("syn0", 0) if raw.number in self.copies else raw)
        if raw.number in self.changed:
            record = replace(record, signal_mv=record.signal_mv + 1)
        own = super().read(raw)
        fs_hz = 50.0 if raw.number in self.other_rate else record.fs_hz
        return replace(record, id=raw.id, patient=own.patient, fs_hz=fs_hz)


def spoilt(records: int = 50, **how: Any) -> Asked:
    return Asked(Spoilt(records, **FIVE_SECONDS, **how), 100.0, STEPS)


def test_faulty_records_are_counted_named_and_limited(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"2 of 50 recordings are faulty, at most 1 % may be\n  2 recordings: signal is sho.*\n    syn03: 10 of",
    ):
        convert(spoilt(faulty=(3, 7)), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []
    store = convert(replace(spoilt(faulty=(3, 7)), faults_at_most=0.04), tmp_path / "a.h5")
    assert len(store) == 48
    assert store.manifest["left_out"] == {
        "signal is shorter than its header says": {"count": 2, "ids": ["syn03", "syn07"]}
    }
    assert store.manifest["faulty"][0]["detail"] == "10 of 500 samples"
    assert "syn03" not in store.ids


def test_no_remedy_is_offered_that_is_none(tmp_path: Path) -> None:
    """All are faulty: `data.faults_at_most` of 1 is refused, and would leave nothing."""
    for faulty, offered in ((range(25), True), (range(26), False), (range(50), False)):
        with pytest.raises(DataError) as refused:
            convert(spoilt(faulty=tuple(faulty)), tmp_path / "a.h5")
        assert ("raising data.faults_at_most (to 0.5)" in str(refused.value)) is offered
        assert str(refused.value).count("samples\n") + 1 >= 5
        assert f"... and {len(faulty) - 5} more" in str(refused.value)


def test_another_sampling_rate_is_a_fault_unless_resampled(tmp_path: Path) -> None:
    asked = replace(spoilt(other_rate=(5,)), faults_at_most=0.5, steps=(Standardise(), PadOrCrop(1024)))
    store = convert(asked, tmp_path / "a.h5")
    assert store.manifest["left_out"].keys() == {"sampling rate cannot be brought to that of the set"}
    assert "50 Hz after the steps; the set has 100 Hz (add a resample step)" in str(store.manifest["faulty"])
    both = convert(replace(asked, steps=(Resample(100), *asked.steps)), tmp_path / "b.h5")
    assert len(both) == 50
    assert both.samples[5] == 1000
    assert both.samples[4] == 500


def test_equal_signals_are_found_and_kept_together(tmp_path: Path) -> None:
    """Records 0, 11 and 12 are one recording under three patients: one group, on one side of every split."""
    store = convert(spoilt(copies=(11, 12)), tmp_path / "a.h5")
    assert store.manifest["identical"] == [["syn00", "syn11", "syn12"]]
    assert len({store.groups[row] for row in (0, 11, 12)}) == 1
    assert len({store.patients[row] for row in (0, 11, 12)}) > 1
    split = few_labels(store.labels, store.groups, 0.5, 1)
    require_apart(split, store.groups)


def test_several_lengths_need_a_step(tmp_path: Path) -> None:
    asked = replace(spoilt(other_rate=(5,)), faults_at_most=0.5, steps=(Resample(100),))
    with pytest.raises(
        DataError, match=r"several lengths after the steps: 500 \(49 times\), 1000 \(1 times\)"
    ):
        convert(asked, tmp_path / "a.h5")


def test_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 recordings read, none kept"):
        convert(replace(spoilt(4, faulty=(0, 1, 2, 3)), faults_at_most=1.0), tmp_path / "a.h5")


def test_an_error_in_a_process_keeps_its_traceback(tmp_path: Path) -> None:
    class Broken(SyntheticEcg):
        def read(self, raw: RawSynthetic) -> EcgRecord:
            if raw.number == 50:
                raise ZeroDivisionError("a bug")
            return super().read(raw)

    with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug"):
        convert(Asked(Broken(100, **FIVE_SECONDS), 100.0, STEPS), tmp_path / "a.h5", processes=2)


def test_a_killed_process_is_an_error_that_says_so(tmp_path: Path) -> None:
    class Killed(SyntheticEcg):
        def read(self, raw: RawSynthetic) -> EcgRecord:
            if raw.number == 50:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().read(raw)

    start = time.monotonic()
    with pytest.raises(MachineError, match=r"a process of the conversion was killed \(exit code -9\)"):
        convert(Asked(Killed(100, **FIVE_SECONDS), 100.0, STEPS), tmp_path / "a.h5", processes=2)
    assert time.monotonic() - start < 60


# ------------------------------------------------------------------------------------------------- real


@pytest.mark.realdata
def test_ptbxl(real_data: Path, tmp_path: Path) -> None:
    """335 recordings of 308 patients, 325 with a superclass; folds 1-8, 9, 10 keep patients apart."""
    store = convert(Asked(Ptbxl(real_data / "ecg_ptbxl_subset"), 500.0), tmp_path / "a.h5", processes=2)
    assert store.shape == (325, 12, 6144)
    assert store.class_names == ("CD", "HYP", "MI", "NORM", "STTC")
    assert store.labels.sum(axis=0).tolist() == [51, 27, 51, 192, 68]
    assert store.manifest["left_out"] == {
        "no diagnosis among the classes": {
            "count": 10,
            "ids": store.manifest["left_out"]["no diagnosis among the classes"]["ids"],
        }
    }
    folds = [int(fold) for fold in store.attributes["fold"]]  # type: ignore[arg-type]
    split = by_fold(folds, store.groups, FOLDS)
    assert len(split.sides["test"]) <= 47
    real = store.signals[:, :, :5000].astype(float)
    flat = (real == 0).all(axis=-1)
    assert np.abs(real.mean(-1)).max() < 1e-5
    assert np.abs(real.std(-1)[~flat] - 1).max() < 1e-5
    assert (store.signals[:, :, 5000:] == 0).all()


@pytest.mark.realdata
def test_georgia_and_its_copies(real_data: Path, tmp_path: Path) -> None:
    """E07509 and E07510 are one recording, A0101 and Q0048 another, in two databases and with other codes."""
    source = Cinc2021(real_data / "ecg_cinc2021_subset", ("georgia", "cpsc_2018", "cpsc_2018_extra"))
    store = convert(Asked(source, 500.0), tmp_path / "a.h5")
    assert sorted(store.manifest["identical"]) == [["A0101", "Q0048"], ["E07509", "E07510"]]
    assert store.groups[store.ids.index("A0101")] == store.groups[store.ids.index("Q0048")]


@pytest.mark.realdata
def test_code15_and_sph_at_one_rate(real_data: Path, tmp_path: Path) -> None:
    """400 Hz and 7.3 or 10.2 s become 500 Hz: 2,934 samples -> 3,668 of 4,096, and 4,096 -> 5,120, cut."""
    steps = (Resample(500), Filter(), Standardise(), PadOrCrop(4096))
    code = convert(Asked(Code15(real_data / "ecg_code15_subset"), 500.0, steps), tmp_path / "code.h5")
    assert code.shape == (10, 12, 4096)
    assert sorted(set(code.samples.tolist())) == [3668, 4096]
    assert code.manifest["left_out"] == {"padding row": {"count": 1, "ids": ["exams_part0.hdf5[10]"]}}
    sph = convert(Asked(Sph(real_data / "ecg_sph_subset"), 500.0, PUBLISHED), tmp_path / "sph.h5")
    assert sph.shape == (9, 12, 6144)
    assert sph.manifest["left_out"] == {"not in the metadata": {"count": 1, "ids": ["SPH00005"]}}


def _spoil_code(place: Path, code: str) -> None:
    text = place.read_text(encoding="utf-8")
    place.write_text(re.sub(r"(# ?Dx: ?).*", rf"\g<1>{code}", text), encoding="utf-8")


def _empty_lead(place: Path) -> None:
    content = place.with_suffix(".mat").read_bytes()
    stored = np.frombuffer(content, "<i2", offset=24).reshape(-1, 12).copy()
    stored[:, 3] = -32768
    place.with_suffix(".mat").write_bytes(content[:24] + stored.tobytes())


def _replaced(place: Path, old: str, new: str) -> None:
    text = place.read_text(encoding="utf-8")
    assert old in text
    place.write_text(text.replace(old, new, 1), encoding="utf-8")


SPOILT: tuple[tuple[Callable[[Path], object], str], ...] = (
    (
        lambda place: place.with_suffix(".mat").unlink(),
        "no signal file: {0}.mat: No such file",
    ),
    (lambda place: place.unlink(), "no header beside the signal file: {0}.hea"),
    (
        lambda place: _replaced(place, " V6\n", " V7\n"),
        "leads are not those asked for: lacking: V6; given: I, II",
    ),
    (
        lambda place: _replaced(place, " 12 500 ", " 12 250 "),
        "sampling rate cannot be brought to that of the set: 250 Hz after the steps; the set has 500 Hz (add a resample",
    ),
    (
        lambda place: place.with_suffix(".mat").write_bytes(place.with_suffix(".mat").read_bytes()[:5000]),
        "signal is shorter than its header says: 207 of 5000 samples a lead in {0}.mat",
    ),
    (_empty_lead, "a lead has no sample at all: aVR"),
    (lambda place: _spoil_code(place, "99999999999"), "diagnosis is a code that no table knows: 99999999999"),
    (lambda place: _spoil_code(place, "AFIB"), "diagnosis is no code: 'AFIB' is no SNOMED CT code"),
    (
        lambda place: _replaced(place, "1000/mV", "0/mV"),
        "gain is missing, 0 or no number: I: '0/mV'; expected",
    ),
)
"""What is done to a real recording, and what is said of it."""


@pytest.mark.realdata
def test_every_kind_of_bad_recording_is_named_or_counted_under_a_limit(
    real_data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(real_data / "ecg_cinc2021_subset/training/georgia", root / "georgia")
    source = Cinc2021(root, ("georgia",))
    places = [raw.header for raw in source.raws()]
    said = []
    for place, (spoil, words) in zip(places, SPOILT, strict=False):
        spoil(place)
        there = place if place.is_file() else place.with_suffix(".mat")
        said.append(f"\n  {place.stem} ({there}): {words.format(place.stem)}")
    with pytest.raises(DataError) as refused:
        convert(Asked(source, 500.0), tmp_path / "a.h5")
    message = str(refused.value)
    assert message.startswith("cinc2021: 9 of 49 recordings are faulty, at most 1 % may be\n")
    assert [words for words in said if words not in message] == []
    assert message.endswith("by raising data.faults_at_most (to 0.19); nothing was written")
    assert not list(tmp_path.glob("*a.h5*"))
    store = convert(Asked(source, 500.0, faults_at_most=0.19), tmp_path / "a.h5")
    assert {one["id"] for one in store.manifest["faulty"]} == {place.stem for place in places[:9]}
    assert len(store) == 49 - sum(item["count"] for item in store.manifest["left_out"].values())
    assert store.damaged() == []
