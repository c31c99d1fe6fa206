"""The published sets and a user's own: class lists, label rules, what is left out, and the real records."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters.records.ecg.cinc2021 import COLUMNS, EQUIVALENT, Cinc2021, classes_of, known_codes, scored
from converters.records.ecg.code15 import Code15
from converters.records.ecg.ptbxl import Ptbxl, RawPtbxl
from converters.records.ecg.record import LEADS, EcgRecord, Faulty
from converters.records.ecg.sph import Sph
from converters.records.ecg.synthetic import BEATS_PER_MINUTE, SyntheticEcg
from converters.records.ecg.tabular import TabularEcg
from converters.records.record import Dropped
from runner.spec.problems import DataError

from .conftest import MakeRecord

FUSION_LISTS = {  # FUSION 1.1, columns in order: abbreviation and published count
    "georgia": "AF 570 IAVB 769 IRBBB 407 LAD 940 LBBB 231 LQRSV 374 NSIVCB 203 NSR 1752 PAC 639 LQT 1391 QAb 464 "
    "RBBB 542 SA 455 SB 1677 STach 1261 TAb 2306 TInv 812 VPB 357",
    "ptb-xl": "AF 1514 CRBBB 542 IAVB 797 IRBBB 1118 LAD 5146 LAnFB 1626 LBBB 536 NSIVCB 789 NSR 18092 PAC 398 PR 296 "
    "LPR 340 QAb 548 RAD 343 SA 772 SB 637 STach 826 TAb 2345 TInv 294",
    "ningbo": "AFL 7615 BBB 385 CLBBB 213 CRBBB 1096 IAVB 893 IRBBB 246 LAD 1163 LAnFB 380 LQRSV 794 NSIVCB 536 "
    "NSR 6299 PAC 1054 PR 1182 PRWP 638 PVC 1091 LQT 337 QAb 828 RAD 638 SA 2550 SB 12670 STach 5687 TAb 5167 "
    "TInv 2720",
    "chapman_shaoxing": "AF 1780 AFL 445 IAVB 247 LAD 382 LBBB 205 LQRSV 249 NSIVCB 235 NSR 1826 PAC 258 QAb 235 "
    "RAD 215 RBBB 454 SB 3889 STach 1568 TAb 1876 VPB 294",
}


def read_all(source: Any) -> tuple[list[EcgRecord], Counter[str]]:
    records, left_out = [], Counter[str]()
    for raw in source.raws():
        try:
            records.append(source.read(raw))
        except Dropped as drop:
            left_out[drop.reason] += 1
    return records, left_out


# ----------------------------------------------------------------------------------------- cinc 2021


@pytest.mark.parametrize(
    ("database", "classes"), [("georgia", 18), ("ptb-xl", 19), ("ningbo", 23), ("chapman_shaoxing", 16)]
)
def test_class_lists_are_those_of_fusion(database: str, classes: int) -> None:
    """FUSION's acceptance test 29: names, order and counts of FUSION 1.1."""
    words = FUSION_LISTS[database].split()
    wanted = list(zip(words[::2], map(int, words[1::2]), strict=True))
    found = classes_of([database])
    counts = {one.code: one.counts[database] for one in scored()}
    assert [(one.name, counts[one.codes[0]]) for one in found] == wanted
    assert len(found) == classes
    assert all(len(one.codes) == 1 for one in found)


def test_equivalents_are_merged_only_when_asked() -> None:
    """Ningbo: CLBBB 213 and LBBB 35, CRBBB 1096 and RBBB 195, PAC 1054 and SVPB 9, PVC 1091 and VPB 0: 23 classes still."""
    merged = classes_of(["ningbo"], merge_equivalents=True)
    pairs = [one.name for one in merged if len(one.codes) == 2]
    assert pairs == ["CLBBB|LBBB", "CRBBB|RBBB", "PAC|SVPB", "PVC|VPB"]
    assert len(merged) == 23
    notes = {one.code for one in scored()}
    assert {code for pair in EQUIVALENT for code in pair} <= notes


def test_merging_follows_the_notes_of_the_table() -> None:
    from converters.records.ecg.cinc2021 import SCORED

    text = SCORED.read_text()
    for pair in EQUIVALENT:
        assert f"We score {pair[0]} and {pair[1]} as the same diagnosis" in text


def test_merged_labels_of_a_record(make_record: MakeRecord, tmp_path: Path) -> None:
    """RBBB (59118001) in Ningbo is no class of its own; merged it is CRBBB|RBBB."""
    make_record("JS1", dx="59118001,426177001", folder=tmp_path / "ningbo")
    apart, merged = (Cinc2021(tmp_path, ("ningbo",), merge_equivalents=merge) for merge in (False, True))
    assert read_all(apart)[0][0].labels == ("SB",)
    assert read_all(merged)[0][0].labels == ("CRBBB|RBBB", "SB")
    assert read_all(apart)[0][0].codes == ("59118001", "426177001")


@pytest.mark.realdata
def test_all_records_of_the_challenge(real_data: Path) -> None:
    """216 records, 185 with a scored code (SOURCE.md); every code is known; two ages are NaN."""
    databases = tuple(name for name in COLUMNS if name != "st_petersburg_incart")
    source = Cinc2021(real_data / "ecg_cinc2021_subset", databases, more_than=0)
    records, left_out = read_all(source)
    assert left_out == {"no diagnosis among the classes": 31}
    assert len(records) == 185
    assert Counter(record.attributes["site"] for record in records)["ptb-xl"] == 25
    assert {record.leads for record in records} == {LEADS}
    assert {record.attributes["sex"] for record in records} == {"male", "female"}
    assert sum(record.attributes["age"] is None for record in records) in (1, 2)
    assert {code for record in records for code in record.codes} <= known_codes()
    labels = Counter(name for record in records for name in record.labels)
    assert labels["NSR"] == 62


@pytest.mark.realdata
def test_dx_that_is_no_code(make_record: MakeRecord, tmp_path: Path, real_data: Path) -> None:
    quirk = real_data / "ecg_cinc2021_subset/header_quirks/dx_as_abbreviation__A0001.hea"
    path = make_record("A0001", folder=tmp_path / "cpsc_2018", adu=np.arange(12 * 7500).reshape(12, -1) % 100)
    path.write_text(quirk.read_text())
    source = Cinc2021(tmp_path, ("cpsc_2018",))
    with pytest.raises(Faulty, match="A0001: diagnosis is no code: 'RBBB' is no SNOMED CT code"):
        source.read(source.raws()[0])


@pytest.mark.parametrize(
    ("dx", "reason"),
    [
        ("", "no diagnosis is given"),
        ("426783006,999999999", "diagnosis is a code that no table knows"),
        ("Normal", "diagnosis is no code"),
        ("164951009", "no diagnosis among the classes"),
    ],
)
def test_diagnoses_that_leave_a_record_out(
    make_record: MakeRecord, tmp_path: Path, dx: str, reason: str
) -> None:
    make_record("E1", dx=dx, folder=tmp_path / "WFDB_Ga")
    assert read_all(Cinc2021(tmp_path, ("georgia",)))[1] == {reason: 1}


def test_unknown_codes_may_be_ignored(make_record: MakeRecord, tmp_path: Path) -> None:
    make_record("E1", dx="426783006,999999999", folder=tmp_path / "georgia" / "g1")
    records, _ = read_all(Cinc2021(tmp_path, ("georgia",), unknown_codes="ignore"))
    assert records[0].labels == ("NSR",)
    assert "999999999" in records[0].codes


def test_a_missing_partner_shifts_nothing(make_record: MakeRecord, tmp_path: Path) -> None:
    """Upstream zips two sorted lists: one missing file gives all later records another's labels."""
    for number, dx in enumerate(("426783006", "426177001", "427084000")):
        make_record(f"E{number}", dx=dx, folder=tmp_path / "georgia")
    (tmp_path / "georgia/E0.mat").unlink()
    (tmp_path / "georgia/E1.hea").unlink()
    records, left_out = read_all(Cinc2021(tmp_path, ("georgia",)))
    assert left_out == {"no signal file": 1, "no header beside the signal file": 1}
    assert [(record.id, record.labels) for record in records] == [("E2", ("STach",))]


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder of georgia in .*WFDB_Ga"):
        Cinc2021(tmp_path, ("georgia",)).raws()
    (tmp_path / "georgia").mkdir()
    with pytest.raises(DataError, match="no WFDB record below"):
        Cinc2021(tmp_path, ("georgia",)).raws()
    with pytest.raises(DataError, match=r"unknown database 'gorgia'; .*nearest: georgia"):
        Cinc2021(tmp_path, ("gorgia",))


# -------------------------------------------------------------------------------------------- ptb-xl


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("task", "classes"), [("all", 71), ("diagnostic", 44), ("subdiagnostic", 23), ("superdiagnostic", 5), ("form", 19), ("rhythm", 12)]
)  # fmt: skip
def test_tasks_of_ptbxl(real_data: Path, task: Any, classes: int) -> None:
    """Class counts of the published benchmark (DOMAIN 6.1)."""
    assert len(Ptbxl(real_data / "ecg_ptbxl_subset", task).classes) == classes


@pytest.mark.realdata
def test_all_records_of_ptbxl(real_data: Path) -> None:
    """Superclasses NORM 192, STTC 68, MI 51, CD 51, HYP 27, none 10; 308 patients; fold 9 has 58 and 10 has 47."""
    records, left_out = read_all(Ptbxl(real_data / "ecg_ptbxl_subset", fs_hz=100, unlabelled="keep"))
    assert len(records) == 335
    assert not left_out
    assert Counter(name for record in records for name in record.labels) == {
        "NORM": 192, "STTC": 68, "MI": 51, "CD": 51, "HYP": 27,
    }  # fmt: skip
    assert sum(not record.labels for record in records) == 10
    assert len({record.patient for record in records}) == 308
    folds = Counter(record.attributes["fold"] for record in records)
    assert (folds[9], folds[10], folds[1]) == (58, 47, 39)
    assert {record.signal_mv.shape for record in records} == {(12, 1000)}
    first = records[0]
    assert (first.id, first.patient, first.attributes["age"], first.attributes["sex"]) == (
        "1",
        "15709",
        56,
        "female",
    )


@pytest.mark.realdata
def test_likelihoods(real_data: Path) -> None:
    """0 is "unknown": it counts unless asked not to; 80 % passes 80 and not 81."""
    root = real_data / "ecg_ptbxl_subset"
    row = {"scp_codes": "{'NORM': 80.0, 'SBRAD': 0.0, 'LVH': 35.0}"}
    raw = RawPtbxl("2", root / "x.hea", row)
    assert Ptbxl(root).codes_of(raw) == ("NORM", "SBRAD", "LVH")
    assert Ptbxl(root, likelihood_at_least=80).codes_of(raw) == ("NORM", "SBRAD")
    assert Ptbxl(root, likelihood_at_least=81, unknown_likelihood="is_absent").codes_of(raw) == ()


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("written", "message"),
    [("{'NOPE': 1.0}", "no table knows: NOPE"), ("__import__('os')", "is no code"), ("[1]", "is no code"), ("", "is no code")],
)  # fmt: skip
def test_statements_that_cannot_be_read(real_data: Path, written: str, message: str) -> None:
    root = real_data / "ecg_ptbxl_subset"
    with pytest.raises(Faulty, match=message):
        Ptbxl(root).codes_of(RawPtbxl("2", root / "x.hea", {"scp_codes": written}))


@pytest.mark.realdata
def test_an_age_of_300_is_90_and_said(real_data: Path) -> None:
    source = Ptbxl(real_data / "ecg_ptbxl_subset", fs_hz=100)
    raw = source.raws()[0]
    record = source.read(RawPtbxl(raw.id, raw.header, {**raw.row, "age": "300.0"}))
    assert record.attributes["age"] == 90
    assert "age above 89 given as 300" in {finding.word for finding in record.findings}


@pytest.mark.realdata
def test_a_file_outside_the_folder(real_data: Path) -> None:
    source = Ptbxl(real_data / "ecg_ptbxl_subset")
    raw = source.raws()[0]
    with pytest.raises(Faulty, match="is not below"):
        source.read(RawPtbxl(raw.id, source.root / "../ecg_cinc2021_subset/x.hea", raw.row))


# ---------------------------------------------------------------------------------- code-15, sph


@pytest.mark.realdata
def test_all_exams_of_code15(real_data: Path) -> None:
    """1dAVb 3, RBBB 3, SB 2, ST 2; six of 2,934 samples and four of 4,096; the last row is padding."""
    records, left_out = read_all(Code15(real_data / "ecg_code15_subset"))
    assert left_out == {"padding row": 1}
    assert Counter(name for record in records for name in record.labels) == {
        "1dAVb": 3,
        "RBBB": 3,
        "SB": 2,
        "ST": 2,
    }
    assert Counter(record.signal_mv.shape[1] for record in records) == {2934: 6, 4096: 4}
    assert {record.fs_hz for record in records} == {400}


@pytest.mark.realdata
def test_code15_is_what_its_origin_holds(real_data: Path) -> None:
    """The unpadded signals are those of the origin's own files, sample for sample."""
    from scipy.io import loadmat

    root = real_data / "ecg_code15_subset"
    for record in read_all(Code15(root))[0]:
        theirs = loadmat(root / "org" / f"code_15_{record.id}.mat")["feats"]
        assert np.array_equal(record.signal_mv, theirs.astype(np.float32))


EXAMS = "exam_id,age,is_male,AF,ST,SB,LBBB,RBBB,1dAVb,patient_id,trace_file\n"


def code15(folder: Path, rows: str, ids: list[int]) -> Code15:
    """A part of 20 time points, exam n has the value n everywhere but for the padding around it."""
    (folder / "exams.csv").write_text(EXAMS + rows)
    tracings = np.zeros((len(ids), 20, 12), dtype=np.float32)
    for place, exam in enumerate(ids):
        tracings[place, 5:15] = exam * np.arange(1, 11)[:, None]
    with h5py.File(folder / "part.hdf5", "w") as file:
        file["exam_id"], file["tracings"] = ids, tracings
    return Code15(folder)


def test_labels_of_code15_go_by_name_and_exams_by_id(tmp_path: Path) -> None:
    """The columns stand in another order here; exam 7 is not in the part, 8 not in the table."""
    source = code15(
        tmp_path,
        "5,60,True,True,False,False,False,False,False,1,part.hdf5\n"
        "6,61,False,False,False,False,False,False,True,2,part.hdf5\n"
        "7,62,False,False,False,False,False,False,False,3,part.hdf5\n",
        [6, 8, 5, 0],
    )
    records, left_out = read_all(source)
    assert [(record.id, record.labels) for record in records] == [("6", ("1dAVb",)), ("5", ("AF",))]
    assert records[0].signal_mv[0].tolist() == (6 * np.arange(1, 11)).tolist()
    assert left_out == {"not in the metadata": 1, "padding row": 1, "no signal file": 1}


def test_parts_of_code15_that_are_missing(tmp_path: Path) -> None:
    source = code15(tmp_path, "5,60,True,True,False,False,False,False,False,1,exams_part3.hdf5\n", [5])
    with pytest.raises(DataError, match=r"lacks exams_part3.hdf5, which exams.csv names"):
        source.raws()
    (tmp_path / "exams.csv").write_text("exam_id,age\n1,2\n")
    with pytest.raises(DataError, match="no column is_male"):
        source.raws()


@pytest.mark.realdata
def test_all_records_of_sph(real_data: Path) -> None:
    """Ten files, nine rows: SPH00005 has none. Statements 1, 22, 23 and 106."""
    source = Sph(real_data / "ecg_sph_subset")
    records, left_out = read_all(source)
    assert left_out == {"not in the metadata": 1}
    assert [one.name for one in source.classes] == ["1", "22", "23", "106"]
    assert records[0].labels == ("22", "23")
    assert sorted({record.signal_mv.shape[1] for record in records}) == [5000, 6000, 6500, 7500]
    assert max(np.abs(record.signal_mv).max() for record in records) < 10


# ------------------------------------------------------------------------------------- own, invented


def own(folder: Path, table: str, **options: Any) -> TabularEcg:
    (folder / "records.csv").write_text(table)
    return TabularEcg(folder, **{"fs_hz": 250.0, **options})


def test_a_users_own_recordings(tmp_path: Path) -> None:
    """The same signal as .npy in either direction, as one of many, and as .csv with shuffled leads in uV."""
    wave = np.random.default_rng(0).normal(size=(12, 50)).astype(np.float32)
    np.save(tmp_path / "a.npy", wave)
    np.save(tmp_path / "many.npy", np.stack([wave + 1, wave]))
    head = "id,file,row,labels,patient,age,sex,fold\n"
    table = head + "a,a.npy,,AF;LVH,p1,50,F,1\nb,many.npy,1,,p2,,,2\n"
    records, left_out = read_all(own(tmp_path, table))
    assert not left_out
    assert [record.labels for record in records] == [("AF", "LVH"), ()]
    assert all((record.signal_mv == wave).all() for record in records)
    assert records[0].attributes == {"age": 50, "sex": "female", "site": None, "fold": 1}
    np.save(tmp_path / "t.npy", 1000 * wave.T)
    turned = own(tmp_path, head + "t,t.npy,,AF,,,,\n", axes="time_lead", unit="uV")
    assert np.abs(read_all(turned)[0][0].signal_mv - wave).max() < 1e-5
    order = np.random.default_rng(0).permutation(12)
    rows = "\n".join(",".join(map(repr, map(float, row))) for row in wave[order].T)
    (tmp_path / "c.csv").write_text(",".join(LEADS[place] for place in order) + "\n" + rows + "\n")
    assert (read_all(own(tmp_path, head + "c,c.csv,,AF,,,,\n"))[0][0].signal_mv == wave).all()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,none.npy,,AF", "no signal file"),
        ("a,../a.npy,,AF", "metadata cannot be read"),
        ("a,two.npy,,AF", "signal has another shape than its description"),
        ("a,a.npy,5,AF", "signal has another shape than its description"),
        ("a,pickled.npy,,AF", "signal is not made of numbers"),
        ("a,short.csv,,AF", "leads are not those asked for"),
        ("a,a.npy,,VT", "diagnosis is a code that no table knows"),
    ],
)
def test_what_is_wrong_with_a_users_own(tmp_path: Path, row: str, reason: str) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(12, 50)))
    np.save(tmp_path / "two.npy", np.zeros((2, 50)))
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "short.csv").write_text("I,II\n1,2\n3,4\n")
    source = own(tmp_path, f"id,file,row,labels\n{row}\n", class_names=("AF",))
    assert read_all(source)[1] == {reason: 1}


def test_leads_in_the_order_of_another_set_are_found_out(tmp_path: Path) -> None:
    """MIMIC-IV-ECG has aVF before aVL: saved without names, the two were exchanged without a word."""
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 500))
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    wave = np.stack([*limbs, *rng.normal(size=(6, 500))]) + 0.01 * rng.normal(size=(12, 500))
    np.save(tmp_path / "right.npy", wave)
    np.save(tmp_path / "mimic.npy", wave[[0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]])
    np.save(tmp_path / "noise.npy", rng.normal(size=(12, 500)))  # of no heart: nothing can be said
    table = "id,file,labels\nr,right.npy,AF\nm,mimic.npy,AF\nn,noise.npy,AF\n"
    source = own(tmp_path, table)
    assert read_all(source)[1] == {"leads are not those asked for": 1}
    with pytest.raises(Faulty, match=r"m: .*: aVL and aVF are exchanged: .* \(is data.file_leads the order"):
        source.read(source.raws()[1])
    mimic = (*LEADS[:4], "aVF", "aVL", *LEADS[6:])
    assert own(tmp_path, table, file_leads=mimic).read(source.raws()[1]).signal_mv[4] == pytest.approx(
        wave[4]
    )


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column labels"):
        own(tmp_path, "id,file\na,a.npy\n").raws()
    with pytest.raises(DataError, match="id 'a' is there twice"):
        own(tmp_path, "id,file,labels\na,a.npy,\na,b.npy,\n").raws()
    with pytest.raises(DataError, match="a row has no id"):
        own(tmp_path, "id,file,labels\n,a.npy,\n").raws()
    with pytest.raises(DataError, match=r"records.csv:2: expected 3 cells"):
        own(tmp_path, "id,file,labels\na,a.npy\n").raws()
    with pytest.raises(DataError, match="unit is 'volt'; allowed: V, mV, uV"):
        own(tmp_path, "", unit="volt")


def test_invented_beats_are_found_by_neurokit() -> None:
    """In 24 recordings neurokit2's detector finds the rate of the rhythm that was asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # neurokit2 imports scipy.misc
        neurokit = pytest.importorskip("neurokit2", reason="needs the ecg extra")
    source = SyntheticEcg(40, seed=3, fs_hz=250)
    judged = 0
    for record in (source.read(raw) for raw in source.raws()):
        if {"PVC", "LAD", "AF"} & set(record.labels):
            continue
        clean = neurokit.ecg_clean(record.signal_mv[1], sampling_rate=250)
        peaks = neurokit.ecg_peaks(clean, sampling_rate=250)[1]["ECG_R_Peaks"]
        rate = 60 * 250 / np.median(np.diff(peaks))
        low, high = BEATS_PER_MINUTE[record.labels[0]]
        assert low - 3 < rate < high + 3, record.labels
        judged += 1
    assert judged >= 15


def test_invented_leads_hang_together() -> None:
    """Einthoven and Goldberger: III = II - I, aVR + aVL + aVF = 0, without noise exactly."""
    source = SyntheticEcg(5, noise_mv=0)
    for raw in source.raws():
        wave = dict(zip(LEADS, source.read(raw).signal_mv.astype(float), strict=True))
        assert np.abs(wave["III"] - (wave["II"] - wave["I"])).max() < 1e-6
        assert np.abs(wave["aVR"] + wave["aVL"] + wave["aVF"]).max() < 1e-6


def test_an_invented_record_depends_on_seed_and_number_alone() -> None:
    few, many = SyntheticEcg(5, seed=7), SyntheticEcg(9, seed=7)
    for one, other in zip(few.raws(), many.raws(), strict=False):
        assert (few.read(one).signal_mv == many.read(other).signal_mv).all()
    assert not (
        few.read(few.raws()[0]).signal_mv == SyntheticEcg(5, seed=8).read(few.raws()[0]).signal_mv
    ).all()


def test_invented_labels_can_be_learnt() -> None:
    """Logistic regression on spectrum and mean absolute value of each lead: macro AUC above 0.8; chance is 0.5."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    source = SyntheticEcg(240, fs_hz=100, seconds=5)
    records = [source.read(raw) for raw in source.raws()]
    waves = np.stack([record.signal_mv for record in records])
    spectrum = np.abs(np.fft.rfft(waves[:, 1], axis=-1))[:, 1:60]
    features = np.hstack([np.log(spectrum + 1), waves.mean(-1), np.abs(waves).mean(-1), (waves**3).mean(-1)])
    features = StandardScaler().fit_transform(features)
    labels = np.array([[one.name in record.labels for one in source.classes] for record in records])
    scores = [
        roc_auc_score(
            labels[160:, column],
            LogisticRegression(C=0.1, max_iter=500)
            .fit(features[:160], labels[:160, column])
            .decision_function(features[160:]),
        )
        for column in range(labels.shape[1])
    ]
    assert np.mean(scores) > 0.8
