"""WFDB records: by hand, against the wfdb library on every real record, and everything that can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wfdb

from converters.records.ecg.record import LEADS, Faulty
from converters.records.ecg.wfdb_reader import parse_header, read_header, read_recording, to_millivolts

from .conftest import MakeRecord

HEADER_QUIRKS = Path("ecg_cinc2021_subset/header_quirks")


def test_gain_and_baseline_by_hand() -> None:
    """(1024 - 1024) / 200 = 0 mV, (1224 - 1024) / 200 = 1 mV; in uV a thousandth, in V a thousandfold."""
    adu = np.array([1024.0, 1224.0])
    assert to_millivolts(adu, 200, 1024).tolist() == [0, 1]
    assert to_millivolts(adu, 0.2, 1024, "uV").tolist() == [0, 1]
    assert to_millivolts(adu, 200_000, 1024, "V").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("gain", "zero", "millivolts"),
    [
        ("1000/mV", 0, 0.25), ("1000.0(0)/mv", 0, 0.25), ("1000", 0, 0.25), ("200(50)/mV", 7, 1.0),
        ("500/MV", 50, 0.4), ("1(0)/uV", 0, 0.25), ("1000000/V", 0, 0.25), ("-1000/mV", 0, -0.25), ("1e3/mV", 0, 0.25),
    ],
)  # fmt: skip
def test_units_gain_and_baseline_from_the_header(
    make_record: MakeRecord, gain: str, zero: int, millivolts: float
) -> None:
    """A stored 250: the baseline is in brackets, else the ADC's zero (header(5)); MV is mV in any case."""
    adu = np.full((12, 50), 250)
    adu[:, 1] = 0
    recording = read_recording(make_record(adu=adu, gain=gain, zero=zero))
    assert recording.signal_mv[:, 0].tolist() == pytest.approx([millivolts] * 12)
    assert recording.signal_mv.dtype == np.float32


@pytest.mark.realdata
def test_all_real_records_are_as_wfdb_reads_them(real_data: Path) -> None:
    """216 records of the challenge, 335 of PTB-XL at 500 and 335 at 100 Hz: bit for bit, no checksum differs."""
    headers = sorted(real_data.glob("ecg_cinc2021_subset/training/*/*/*.hea"))
    headers += sorted(real_data.glob("ecg_ptbxl_subset/records*/*/*.hea"))
    assert len(headers) == 216 + 2 * 335
    for place, path in enumerate(headers):
        recording = read_recording(path)
        assert recording.signal_mv.shape[0] == 12
        assert {finding.word for finding in recording.findings} <= {"flat lead"}
        if place % 4 == 0:  # wfdb takes most of the time of this test
            theirs = wfdb.rdrecord(str(path.with_suffix("")))
            assert np.array_equal(recording.signal_mv, theirs.p_signal.T.astype(np.float32))
            assert recording.header.fs_hz == theirs.fs


@pytest.mark.realdata
def test_flat_leads_of_the_real_records(real_data: Path) -> None:
    """JS11438 has V1 to V6 flat, as its header's zeros say; it is kept, and they are named."""
    path = real_data / "ecg_cinc2021_subset/training/ningbo/g1/JS11438.hea"
    flat = [finding.detail for finding in read_recording(path).findings if finding.word == "flat lead"]
    assert flat == list(LEADS[6:])


@pytest.mark.realdata
def test_header_with_the_record_name_dot_mat(real_data: Path) -> None:
    for name in ("E00271", "E01137"):
        text = (real_data / HEADER_QUIRKS / f"record_name_has_dot_mat__{name}.hea").read_text()
        header = parse_header(text, name)
        assert [finding.word for finding in header.findings] == ["record name with .mat"]
        assert len(header.leads) == 12


@pytest.mark.realdata
def test_header_of_another_gain_is_read_as_it_says(real_data: Path) -> None:
    """200 per mV where 1000 is right: no reader can know. Its Dx is empty, so the record is left out for that."""
    header = parse_header(
        (real_data / HEADER_QUIRKS / "wrong_gain_200_blank_dx__HR00001.hea").read_text(), "HR00001"
    )
    assert header.leads[0].gain == 200
    assert header.comments["dx"] == ""


def test_leads_are_put_in_order_by_name(make_record: MakeRecord) -> None:
    adu = np.arange(12)[:, None] * 100 + np.arange(50)[None]
    straight = read_recording(make_record("A1", adu)).signal_mv
    order = np.random.default_rng(1).permutation(12)
    shuffled = tuple(LEADS[place].upper() for place in order)
    recording = read_recording(make_record("A2", adu[order], leads=shuffled))
    assert (recording.signal_mv == straight).all()
    assert [finding.word for finding in recording.findings] == ["leads put in order"]


def test_leads_that_nobody_asked_for_are_left_out_and_said(make_record: MakeRecord) -> None:
    adu = np.arange(13)[:, None] * 100 + np.arange(50)[None]
    recording = read_recording(make_record(adu=adu, leads=(*LEADS, "vx")), ("V5", "II"))
    assert recording.signal_mv[:, 0].tolist() == pytest.approx([1.0, 0.1])
    assert ("lead left out", "vx") in {(finding.word, finding.detail) for finding in recording.findings}


def test_other_formats_are_read_by_wfdb(tmp_path: Path) -> None:
    signal = 0.001 * np.random.default_rng(0).integers(-500, 500, (1000, 12))
    wfdb.wrsamp(
        "w212", fs=500, units=["mV"] * 12, sig_name=list(LEADS), p_signal=signal, fmt=["212"] * 12,
        adc_gain=[1000] * 12, baseline=[0] * 12, write_dir=str(tmp_path),
    )  # fmt: skip
    recording = read_recording(tmp_path / "w212.hea")
    assert recording.header.leads[0].format == "212"
    assert np.abs(recording.signal_mv - signal.T).max() < 1e-6


def test_gaps(make_record: MakeRecord) -> None:
    """-32768 is "no sample" in format 16: a record with gaps is left out, or filled in where so much is allowed."""
    adu = np.tile(np.arange(100), (12, 1))
    adu[2, 10:15] = -32768
    path = make_record(adu=adu)
    with pytest.raises(Faulty, match="A0001: samples are missing: III 5 of 100"):
        read_recording(path)
    recording = read_recording(path, fill_at_most=0.05)
    assert recording.signal_mv[2].tolist() == pytest.approx((np.arange(100) / 1000).tolist())
    assert [finding.detail for finding in recording.findings] == ["III 5 of 100"]
    with pytest.raises(Faulty, match="samples are missing"):
        read_recording(path, fill_at_most=0.049)


def test_a_lead_without_a_sample_is_never_filled(make_record: MakeRecord) -> None:
    adu = np.tile(np.arange(100), (12, 1))
    adu[[0, 11]] = -32768
    with pytest.raises(Faulty, match="a lead has no sample at all: I, V6"):
        read_recording(make_record(adu=adu), fill_at_most=1.0)


def test_nothing_but_flat_leads(make_record: MakeRecord) -> None:
    with pytest.raises(Faulty, match="all leads are flat"):
        read_recording(make_record(adu=np.full((12, 100), 3)))


def test_missing_partners(make_record: MakeRecord) -> None:
    path = make_record()
    path.with_suffix(".mat").unlink()
    with pytest.raises(Faulty, match=r"A0001: no signal file: A0001\.mat"):
        read_recording(path)
    path.unlink()
    with pytest.raises(Faulty, match="A0001: no header beside the signal file"):
        read_recording(path)


def test_truncated(make_record: MakeRecord) -> None:
    path = make_record()
    content = path.with_suffix(".mat").read_bytes()
    path.with_suffix(".mat").write_bytes(content[: 24 + 624 * 24 + 7])
    with pytest.raises(Faulty, match=r"signal is shorter than its header says: 624 of 1000 samples a lead"):
        read_recording(path)
    path.with_suffix(".mat").write_bytes(b"")
    with pytest.raises(Faulty, match="0 of 1000"):
        read_recording(path)


def test_a_checksum_that_differs_is_said(make_record: MakeRecord) -> None:
    path = make_record()
    content = bytearray(path.with_suffix(".mat").read_bytes())
    content[24] ^= 1
    path.with_suffix(".mat").write_bytes(content)
    words = [(finding.word, finding.detail) for finding in read_recording(path).findings]
    assert words == [("checksum of the header differs", "I")]


@pytest.mark.parametrize(
    "gain", ["0/mV", "abc/mV", "1000/furlong", "/mV", "1.2.3/mV", "nan/mV", "inf/mV", "1e999/mV"]
)
def test_gains_and_units_that_give_no_millivolts(make_record: MakeRecord, gain: str) -> None:
    with pytest.raises(
        Faulty, match=r"A0001: (gain is missing, 0 or no number|unit is none of V, mV, uV): I: "
    ):
        read_recording(make_record(gain=gain))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("A0001 12 500", "B0001 12 500", "it is that of the record 'B0001'"),
        ("A0001 12 500", "A0001 11 500", "11 leads announced, 12 described"),
        ("A0001 12 500", "A0001 many 500", "record line"),
        ("A0001 12 500", "A0001/2 12 500", "several segments"),
        ("A0001 12 500", "A0001 12 0", "out of range"),
        ("A0001 12 500 1000", "A0001 12 500 99999999999", "out of range"),
        ("A0001.mat 16+24", "../A0001.mat 16+24", "is not beside the header"),
        ("A0001.mat 16+24", "A0001.mat sixteen", "lead line"),
        (" 0 V3", "", "lead line"),
    ],
)
def test_headers_that_cannot_be_parsed(make_record: MakeRecord, old: str, new: str, message: str) -> None:
    path = make_record()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(Faulty, match=f"A0001: header cannot be parsed: .*{message}"):
        read_header(path)


def test_an_empty_header_and_one_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.hea").write_bytes(b"")
    with pytest.raises(Faulty, match="it is empty"):
        read_header(tmp_path / "x.hea")
    (tmp_path / "x.hea").write_bytes(bytes(range(256)))
    with pytest.raises(Faulty, match="header cannot be parsed"):
        read_header(tmp_path / "x.hea")


@pytest.mark.parametrize(
    ("leads", "message"),
    [
        ((*LEADS[:11], "V7"), r"lacking: V6; given: I, II, III, aVR"),
        ((*LEADS[:11], "v5"), r"lead 'v5' is there twice"),
        ((*LEADS[:3], "-aVR", *LEADS[4:]), "lacking: aVR"),
    ],
)
def test_wrong_lead_names(make_record: MakeRecord, leads: tuple[str, ...], message: str) -> None:
    with pytest.raises(Faulty, match=f"leads are not those asked for: {message}"):
        read_recording(make_record(leads=leads))
