"""Files of every format, damaged or hostile: a fault of one recording with its reason, and nothing else."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import wfdb

from converters.records.ecg.code15 import EXAMS, LABELS, Code15
from converters.records.ecg.record import LEADS, EcgRecord, EcgSource
from converters.records.ecg.sph import Sph
from converters.records.ecg.tables import read_table
from converters.records.ecg.tabular import TabularEcg
from converters.records.ecg.wfdb_reader import read_header, read_recording
from converters.records.record import Dropped
from runner.native.conversion import convert
from runner.native.one_pass import Asked
from runner.native.signals import PadOrCrop, Standardise
from runner.spec.problems import DataError

WAVE = np.random.default_rng(0).normal(size=(12, 400)).astype(np.float32)
STEPS = (Standardise(), PadOrCrop(448))


def arrays(root: Path, name: str, count: int = 1) -> TabularEcg:
    """Return the source of `count` recordings in files called `name`, made of 0 and up."""
    rows = "".join(f"r{number},{name.format(number)},AF\n" for number in range(count))
    (root / "records.csv").write_text(f"id,file,labels\n{rows}", encoding="utf-8")
    return TabularEcg(root, fs_hz=500.0)


def npy(root: Path) -> tuple[EcgSource, Path]:
    np.save(root / "a.npy", WAVE)
    return arrays(root, "a.npy"), root / "a.npy"


def csv(root: Path) -> tuple[EcgSource, Path]:
    lines = [",".join(LEADS), *(",".join(f"{value:.3f}" for value in row) for row in WAVE.T)]
    (root / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return arrays(root, "a.csv"), root / "a.csv"


def sph(root: Path) -> tuple[EcgSource, Path]:
    with h5py.File(root / "A1.h5", "w") as file:
        file.create_dataset("ecg", data=WAVE.astype("<f2"), chunks=(12, 100), compression="gzip")
    (root / "metadata.csv").write_text("ECG_ID,AHA_Code,Patient_ID,Age,Sex,N\nA1,1,P1,50,M,400\n")
    return Sph(root), root / "A1.h5"


def code15(root: Path) -> tuple[EcgSource, Path]:
    with h5py.File(root / "part.hdf5", "w") as file:
        file["exam_id"] = np.array([7, 0])
        file.create_dataset(
            "tracings", data=np.stack([WAVE.T, 0 * WAVE.T]), chunks=(1, 100, 12), compression="gzip"
        )
    labels = ",".join(["False"] * len(LABELS))
    head = ",".join(["exam_id", "age", "is_male", *LABELS, "patient_id", "trace_file"])
    (root / EXAMS).write_text(f"{head}\n7,50,True,{labels},P1,part.hdf5\n")
    return Code15(root), root / "part.hdf5"


class Wfdb:
    """One WFDB record as a source."""

    name, classes, leads = "wfdb", (), LEADS

    def __init__(self, header: Path) -> None:
        self.header = header

    def raws(self) -> list[Path]:
        return [self.header]

    def read(self, raw: Path) -> EcgRecord:
        recording = read_recording(raw)
        return EcgRecord(raw.stem, recording.signal_mv, recording.header.fs_hz, LEADS, (), (), None)

    def options(self) -> dict[str, Any]:
        return {}


def _wfdb(root: Path, form: str, gain: float = 200) -> Wfdb:
    """Return a record in a format; 61, which wfdb does not write, is 16 with its bytes exchanged."""
    wfdb.wrsamp(
        "w", fs=500, units=["mV"] * 12, sig_name=list(LEADS), p_signal=WAVE.T.astype(float),
        fmt=["16" if form == "61" else form] * 12, adc_gain=[gain] * 12, baseline=[0] * 12, write_dir=str(root),
    )  # fmt: skip
    if form == "61":
        text = (root / "w.hea").read_text()
        (root / "w.hea").write_text(text.replace("w.dat 16 ", "w.dat 61 "))
        (root / "w.dat").write_bytes(np.frombuffer((root / "w.dat").read_bytes(), "<i2").byteswap().tobytes())
    return Wfdb(root / "w.hea")


def wfdb16(root: Path) -> tuple[EcgSource, Path]:
    return _wfdb(root, "16"), root / "w.dat"


def wfdb212(root: Path) -> tuple[EcgSource, Path]:
    return _wfdb(root, "212"), root / "w.dat"


def header(root: Path) -> tuple[EcgSource, Path]:
    return _wfdb(root, "16"), root / "w.hea"


FORMATS = (npy, csv, sph, code15, wfdb16, wfdb212, header)


def damages(content: bytes) -> Iterator[bytes]:
    """Yield `content` cut off, with zeros, with single bits turned, with another beginning, and as something else."""
    random = np.random.default_rng(1)
    for share in (0.0, 0.001, 0.01, 0.1, 0.5, 0.99):
        yield content[: int(share * len(content))]
    yield content[:-1]
    for start in (0, 4, 8, 60, len(content) // 2, len(content) - 40):
        yield content[:start] + bytes(32) + content[start + 32 :]
    places = [*range(0, min(140, len(content)), 5), *random.integers(0, len(content), 40).tolist()]
    for place in places:
        turned = bytearray(content)
        turned[place] ^= 1 << int(random.integers(8))
        yield bytes(turned)
    yield b"PK\x03\x04" + content[4:]
    yield random.bytes(2000)
    yield b"{'a': nothing}\n" * 20
    yield bytes(4000)


def outcome(source: EcgSource) -> str:
    """Return why the recordings of a source are left out, "" where they are sound; anything else is raised."""
    try:
        for raw in source.raws():
            try:
                record = source.read(raw)
            except Dropped as drop:
                if drop.reason != "padding row":
                    return drop.reason
            else:
                assert np.isfinite(record.signal_mv).all()
                assert record.signal_mv.dtype == np.float32
    except DataError:
        return "data error"
    return ""


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_a_damaged_file_is_a_fault_or_sound_and_never_a_traceback(
    make: Callable[[Path], tuple[EcgSource, Path]], tmp_path: Path
) -> None:
    source, file = make(tmp_path)
    content = file.read_bytes()
    assert outcome(source) == ""
    found: Counter[str] = Counter()
    for spoilt in damages(content):
        file.write_bytes(spoilt)
        found[outcome(source)] += 1
    assert found.total() - found[""] >= 8, found  # a bit of a sample makes another sample


NOT_NUMBERS = {
    "text": np.array([["a", "b"]] * 6),
    "bytes": np.array([[b"a", b"b"]] * 6),
    "truth": WAVE > 0,
    "complex": WAVE.astype(complex),
    "object": np.array([[{}, None]], dtype=object),
    "structured": np.zeros((12, 400), dtype=[("mv", "f4"), ("at", "i4")]),
    "dates": np.zeros((12, 400), dtype="datetime64[s]"),
}


@pytest.mark.parametrize("kind", NOT_NUMBERS)
@pytest.mark.parametrize("container", ["npy", "hdf5"])
def test_what_is_not_made_of_numbers_is_said(kind: str, container: str, tmp_path: Path) -> None:
    values = NOT_NUMBERS[kind]
    if container == "npy":
        np.save(tmp_path / "a.npy", values, allow_pickle=True)
        source: EcgSource = arrays(tmp_path, "a.npy")
    else:
        source, file = sph(tmp_path)
        values = values.astype(str).astype(h5py.string_dtype()) if kind in ("text", "object") else values
        with h5py.File(file, "w") as made:
            made["ecg"] = values.astype("i8").astype(bool) if kind == "dates" else values
    assert outcome(source) == "signal is not made of numbers"


def test_nobody_is_advised_to_load_a_pickle(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "b.npz", WAVE)
    (tmp_path / "c.npy").write_bytes(b"\x80\x04damaged")
    for name, said in (
        ("a.npy", "it holds Python objects (object); save float32 or whole numbers"),
        ("b.npz", "it is a .npz archive; save each array by itself with np.save"),
        ("c.npy", r"it begins with b'\x80\x04da', which no .npy does; .npy and .csv are read"),
    ):
        source = arrays(tmp_path, name)
        with pytest.raises(Dropped) as refused:
            source.read(source.raws()[0])
        assert str(refused.value).endswith(f"{name}: {said}")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (WAVE * 1e30, "amplitude is none of an ECG"),
        (WAVE.astype(float) * 1e300, "amplitude is none of an ECG"),
        (WAVE + 1001, "amplitude is none of an ECG"),
        (np.where(np.arange(400) == 7, np.inf, WAVE), "samples are missing"),
        (WAVE * 200, ""),
        ((WAVE * 100).astype("<i2"), ""),
        ((WAVE * 100).astype(">i8"), ""),
    ],
)
def test_numbers_that_no_ecg_has(values: np.ndarray, reason: str, tmp_path: Path) -> None:
    """With the wrong unit, 1 mV is 1000: nobody wants that without a word."""
    np.save(tmp_path / "a.npy", values)
    assert outcome(arrays(tmp_path, "a.npy")) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '"' + '","'.join(LEADS) + '"\n' + "1,2,3,4,5,6,7,8,9,10,11,12\n" + "2,2,3,4,5,6,7,8,9,10,11,12\n",
            "",
        ),
        (",".join(LEADS) + "\n" + "abc,2,3,4,5,6,7,8,9,10,11,12\n", "signal is not made of numbers"),
        (",".join(LEADS) + "\n" + "1_0,2,3,4,5,6,7,8,9,10,11,12\n", "signal is not made of numbers"),
        (",".join(LEADS) + "\n" + "9" * 5000 + ",2,3,4,5,6,7,8,9,10,11,12\n", "a lead has no sample at all"),
        (",".join(LEADS) + "\n1,2\n", "signal file cannot be read"),
        (",".join(LEADS) + "\n" + ",2,3,4,5,6,7,8,9,10,11,12\n" * 2, "a lead has no sample at all"),
        ("\n", "signal file cannot be read"),
    ],
)
def test_csv_of_all_kinds(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert outcome(arrays(tmp_path, "a.csv")) == reason


@pytest.mark.parametrize(
    "name", ["x" * 5000 + ".npy", "a\0.npy", "\ud800.npy", "../a.npy", "/etc/passwd", ".", "~"]
)
def test_names_that_no_file_has(name: str, tmp_path: Path) -> None:
    source = arrays(tmp_path, "a.npy")
    row = {"id": "r0", "file": name, "labels": "AF"}
    object.__setattr__(source, "rows", {"r0": row})
    assert outcome(source) in ("metadata cannot be read", "no signal file", "signal file cannot be read")
    assert [raw.files for raw in source.raws()] == [()]


@pytest.mark.parametrize(
    ("column", "value"),
    [("row", "9" * 5000), ("row", "\u00b2"), ("row", "-1"), ("fold", "9" * 5000), ("fold", "1.5"), ("fold", "inf"),
     ("fs_hz", "9" * 5000), ("fs_hz", "nan"), ("patient", "p" * 10_000), ("id", "r" * 10_000)],
)  # fmt: skip
def test_cells_that_are_no_number_or_too_long(column: str, value: str, tmp_path: Path) -> None:
    """Nine good recordings and one whose row is odd: that one is counted, the others are a store."""
    np.save(tmp_path / "a.npy", WAVE[None] + np.arange(10)[:, None, None])
    head = ("id", "file", "row", "labels", "patient", "fold", "fs_hz")
    rows = [[f"r{number}", "a.npy", f"{number}", "AF", "p", "1", "500"] for number in range(10)]
    rows[4][head.index(column)] = value
    (tmp_path / "records.csv").write_text("\n".join(",".join(row) for row in (head, *rows)) + "\n")
    store = convert(Asked(TabularEcg(tmp_path), 500.0, STEPS, 0.1), tmp_path / "s.h5")
    assert len(store) == 9
    assert len(store.manifest["faulty"]) == 1


def test_a_table_that_says_another_rate_is_not_overruled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", WAVE)
    (tmp_path / "records.csv").write_text(
        "id,file,labels,fs_hz\nr0,a.npy,AF,1000\nr1,a.npy,AF,500\nr2,a.npy,AF,\n"
    )
    source = TabularEcg(tmp_path, fs_hz=500.0)
    raws = source.raws()
    with pytest.raises(
        Dropped, match=r"records.csv says 1000 Hz, data.fs_hz 500 \(leave out data.fs_hz, and add a"
    ):
        source.read(raws[0])
    assert [source.read(raw).fs_hz for raw in raws[1:]] == [500, 500]


def test_one_damaged_chunk_is_one_fault_and_not_the_disk(tmp_path: Path) -> None:
    """It ended with "cannot write ...: make room"."""
    source, part = code15(tmp_path)
    with h5py.File(part, "w") as file:
        file["exam_id"] = np.arange(1, 11)
        waves = np.stack([WAVE.T + number for number in range(10)])
        chunked = file.create_dataset("tracings", data=waves, chunks=(1, 400, 12), compression="gzip")
        place = chunked.id.get_chunk_info(3).byte_offset
    content = bytearray(part.read_bytes())
    content[place : place + 64] = bytes(64)
    part.write_bytes(content)
    text = (tmp_path / EXAMS).read_text()
    first, row = text.splitlines()
    (tmp_path / EXAMS).write_text(
        "\n".join([first, *(f"{number}{row[1:]}" for number in range(1, 11))]) + "\n"
    )
    store = convert(Asked(source, 400.0, STEPS, 0.1), tmp_path / "s.h5")
    assert [(one["id"], one["reason"]) for one in store.manifest["faulty"]] == [
        ("4", "signal file cannot be read")
    ]
    with pytest.raises(DataError, match="1 of 10 recordings are faulty, at most 5 %"):
        convert(Asked(source, 400.0, STEPS, 0.05), tmp_path / "t.h5")


def test_exams_of_one_number_are_both_seen(tmp_path: Path) -> None:
    source, part = code15(tmp_path)
    with h5py.File(part, "w") as file:
        file["exam_id"] = np.array([7, 7])
        file["tracings"] = np.stack([WAVE.T, WAVE.T + 1])
    with pytest.raises(DataError, match="1 ids are there twice: 7"):
        convert(Asked(source, 400.0, STEPS), tmp_path / "s.h5")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("w 12 500 400", "w 12 500 " + "9" * 5000, "header cannot be parsed"),
        ("w 12 500 400", "w 12 500 9999999999", "header cannot be parsed"),
        ("w 12 500 400", "w " + "9" * 30 + " 500 400", "header cannot be parsed"),
        ("w.dat 16", "../../../../etc/passwd 16", "header cannot be parsed"),
        ("w.dat 16", "w.dat 16+99999999999999999999", "header cannot be parsed"),
        ("w.dat 16", "w.dat 16+1999999999", "header cannot be parsed"),
        ("w.dat 16", "w.dat 16x999999999", "header cannot be parsed"),
        ("w.dat 16", "w.dat 16:99999999999", "header cannot be parsed"),
        ("w.dat 16", "w.dat 16:1999999999", "signal is larger than what is read"),
        ("w.dat 16", "w\0.dat 16", "signal file cannot be read"),
        ("w.dat 16", "w" * 300 + " 16", "signal file cannot be read"),
        ("200(0)/mV", "1e-300/mV", "gain is missing, 0 or no number"),
        ("200(0)/mV", "200(" + "9" * 400 + ")/mV", "gain is missing, 0 or no number"),
        ("16 0", "16 " + "9" * 400, "header cannot be parsed"),
    ],
)
def test_headers_that_ask_for_too_much(old: str, new: str, reason: str, tmp_path: Path) -> None:
    source, file = header(tmp_path)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    assert outcome(source) == reason


def test_a_name_with_a_folder_and_the_file_that_lies_there_are_said(tmp_path: Path) -> None:
    """Of the field: PTB-XL+ writes `x/M1` in its headers; some write the name of the signal without its end."""
    _, file = header(tmp_path)
    text = file.read_text()
    file.write_text(text.replace("w 12", "x/w 12", 1))
    with pytest.raises(
        Dropped, match="'x/w': a record's name with a folder is not read; write 'w' in its place"
    ):
        read_header(file)
    file.write_text(text.replace("w.dat", "w"))
    with pytest.raises(Dropped, match=r"no signal file: w: No such file or directory; beside it lies w\.dat"):
        read_recording(file)


@pytest.mark.parametrize("form", ["212", "24", "32", "61", "80", "16"])
def test_the_checksum_of_every_format(form: str, tmp_path: Path) -> None:
    """One bit of one sample: the lead is named, whoever decodes the format."""
    gain = 20 if form == "80" else 200  # eight bits: up to 6 mV
    source = _wfdb(tmp_path, form, gain)
    assert outcome(source) == ""
    clean = read_recording(tmp_path / "w.hea")
    assert [one.word for one in clean.findings] == []
    assert np.abs(clean.signal_mv - WAVE).max() <= 0.5 / gain + 1e-6
    content = bytearray((tmp_path / "w.dat").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "w.dat").write_bytes(content)
    assert {one.word for one in read_recording(tmp_path / "w.hea").findings} == {
        "checksum of the header differs"
    }


@pytest.mark.parametrize("at", ["w.dat", "w.hea"])
@pytest.mark.parametrize("target", ["/dev/zero", "fifo", "folder"])
def test_devices_pipes_and_folders_are_not_read(at: str, target: str, tmp_path: Path) -> None:
    """No wait for a pipe that nobody writes to, no end of memory."""
    for make in (wfdb16, wfdb212):
        root = tmp_path / make.__name__
        root.mkdir()
        source, _ = make(root)
        (root / at).unlink()
        if target == "fifo":
            os.mkfifo(root / at)
        elif target == "folder":
            (root / at).mkdir()
        else:
            (root / at).symlink_to(target)
        assert outcome(source) in ("signal file cannot be read", "header cannot be parsed")
    with pytest.raises(DataError, match="it is no file but a folder, a pipe or a device"):
        read_table(root / at, ["id"])


def test_hdf5_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    source, file = sph(tmp_path)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["ecg"] = WAVE
    whole = h5py.VirtualLayout(shape=(12, 400), dtype="f4")
    whole[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "ecg", shape=(12, 400))
    (tmp_path / "raw").write_bytes(bytes(12 * 400 * 4))
    makers: tuple[Callable[[Any], object], ...] = (
        lambda made: made.__setitem__("ecg", h5py.ExternalLink(str(tmp_path / "other.h5"), "ecg")),
        lambda made: made.create_virtual_dataset("ecg", whole),
        lambda made: made.create_dataset(
            "ecg", (12, 400), "f4", external=[(str(tmp_path / "raw"), 0, 19200)]
        ),
    )
    for make in makers:
        with h5py.File(file, "w") as made:
            make(made)
        assert outcome(source) == "signal file cannot be read"
    with h5py.File(file, "w") as made:
        made.create_group("ecg")
    assert outcome(source) == "signal has another shape than its description"
    with h5py.File(file, "w") as made:
        made["egc"] = WAVE
    with pytest.raises(Dropped, match=r"A1\.h5: it has no data set 'ecg'; it has: egc"):
        source.read(source.raws()[0])


def bombs(root: Path) -> list[EcgSource]:
    """Return sources of files of some kilobytes on the disk, each of which announces or grows to gigabytes."""
    made: list[EcgSource] = []

    def place(name: str) -> Path:
        (root / name).mkdir()
        return root / name

    def sparse(path: Path, size: int) -> None:
        with path.open("ab") as file:
            file.truncate(size)

    for name, shape, chunks in (("many", (12, 2**31), (1, 2**20)), ("chunk", (12, 2**20), (12, 2**23))):
        source, file = sph(place(name))
        with h5py.File(file, "w") as hdf5:
            hdf5.create_dataset("ecg", shape, "f4", maxshape=(12, None), chunks=chunks, compression="gzip")
        made.append(source)
    source, part = code15(place("exam"))
    with h5py.File(part, "w") as hdf5:
        hdf5.create_dataset("exam_id", (2**33,), "i8", chunks=(2**20,))
        hdf5.create_dataset("tracings", (2**33, 4096, 12), "f4", chunks=(1, 4096, 12))
    made.append(source)
    for name, text in (
        ("shape", "{'descr': '<f4', 'fortran_order': False, 'shape': (12, 99999999999999), }"),
        ("huge", "{'descr': '<f4', 'fortran_order': False, 'shape': (12, " + "9" * 400 + "), }"),
    ):
        folder = place(name)
        line = text.ljust(1000) + "\n"
        (folder / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line.encode())
        sparse(folder / "a.npy", 2_400_000_000)
        made.append(arrays(folder, "a.npy"))
    folder = place("header")
    (folder / "a.npy").write_bytes(b"\x93NUMPY\x02\x00" + (2_000_000_000).to_bytes(4, "little"))
    sparse(folder / "a.npy", 2_400_000_000)
    made.append(arrays(folder, "a.npy"))
    folder = place("csv")
    sparse(folder / "a.csv", 2_400_000_000)
    made.append(arrays(folder, "a.csv"))
    for make, words in ((wfdb16, ("w 12 500 400", "w 12 500")), (wfdb212, ("w 12 500 400", "w 12 500"))):
        source, file = make(place(make.__name__))
        sparse(file, 2_400_000_000)
        text = file.with_suffix(".hea").read_text()
        assert words[0] in text
        file.with_suffix(".hea").write_text(text.replace(*words, 1))
        made.append(source)
    source, file = wfdb16(place("many_samples"))
    text = file.with_suffix(".hea").read_text()
    file.with_suffix(".hea").write_text(text.replace("w 12 500 400", "w 12 500 99000000", 1))
    made.append(source)
    source, file = header(place("long_header"))
    sparse(file, 2_400_000_000)
    made.append(source)
    return made


def test_nothing_asks_for_more_memory_than_a_recording_may_have(tmp_path: Path) -> None:
    """In a process of its own, whose peak is looked at: below 700 MiB, most of which are libraries."""
    code = (
        "import pathlib, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_damaged_files import bombs, outcome\n"
        "print([outcome(source) for source in bombs(pathlib.Path(sys.argv[1]))])\n"
        # Not ru_maxrss, which a process has from the one that started it.
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) // 1024)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30)),
    )
    assert ran.returncode == 0, ran.stderr
    said, peak_mib = ran.stdout.splitlines()
    assert "''" not in said
    assert int(peak_mib) < 700, said
