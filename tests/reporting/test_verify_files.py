"""Every file of a finished run is made again, held against its hash, or listed as not looked at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from left_run import write_down, write_left_run

from converters.records.ecg.synthetic import SyntheticEcg
from runner.cli import main
from runner.native.conversion import convert
from runner.native.dataset import rows_sha256
from runner.native.one_pass import Asked
from runner.native.signals import PadOrCrop
from runner.native.store import SIGNALS_AT
from runner.outputs import below, reading_run
from runner.spec.problems import MachineError
from runner.stages.report import write_report
from runner.verify import MADE_AGAIN
from runner.verify_files import (
    NEVER,
    OF_THE_STATE,
    unequal_recordings,
    unequal_splits,
    unequal_weights,
    verified_files,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_left_run(tmp_path_factory.mktemp("left") / "run")
    write_report(made)
    write_down(made)
    return made


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_every_file_is_looked_at_or_listed(run: Path) -> None:
    """A bit of each in turn: named, or listed beforehand as one that nothing is held against."""
    before = verified_files(run, MADE_AGAIN)
    assert before.unequal == ()
    assert len(below(run, ["report/plots"])) > 3
    listed = {name for names in before.not_looked_at.values() for name in names}
    assert listed == {
        *NEVER[1:], "notes.txt", *(f"config/{s}.outputs.json" for s in ("data", "baseline", "train", "evaluate", "report", "run")),
    }  # fmt: skip
    assert len(before.not_looked_at[OF_THE_STATE]) == 7
    names = below(run, [""])
    assert len(names) > 35
    for name in names:
        content = (run / name).read_bytes()
        flip(run / name)
        found = verified_files(run, MADE_AGAIN)
        assert name in listed or any(item.place.startswith(name) for item in found.unequal), name
        (run / name).write_bytes(content)
    assert verified_files(run, MADE_AGAIN) == before


def test_what_is_gone_is_named_but_for_checkpoints(run: Path) -> None:
    (run / "train/final/model.safetensors").unlink()
    shutil.rmtree(run / "train/checkpoints")
    found = verified_files(run, MADE_AGAIN)
    assert [str(item) for item in found.unequal] == [
        "train/final/model.safetensors: gone; the train stage left it"
    ]
    assert found.not_looked_at["checkpoints that were deleted since"] == (
        "train/checkpoints/checkpoint-60/w",
    )


def test_changes_that_a_reader_rests_on_are_named_and_what_was_not_looked_at_is_said(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The card, the records, the side of a record, and weights: each of them was 'all equal' once."""
    card = run / "report/README.md"
    text = card.read_text()
    card.write_text(text.replace("0.9", "0.8", 1))
    assert card.read_text() != text
    flip(run / "data/train.jsonl")
    flip(run / "train/final/model.safetensors")
    with pytest.raises(SystemExit, match="1"):
        main(["verify", str(run)])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  report/README.md:") for line in lines)
    for name, stage in (("data/train.jsonl", "data"), ("train/final/model.safetensors", "train")):
        assert any(line.startswith(f"  {name}: not as the {stage} stage left it: SHA-256 ") for line in lines)
    assert "4 places are not what the run left, or its predictions give" in lines
    assert any(line.startswith("not looked at:") and "notes.txt" in line for line in lines)
    assert lines[-1].startswith("not looked at:")


def test_a_list_of_hashes_that_is_gone_and_a_link_out_of_the_run_are_named(run: Path, tmp_path: Path) -> None:
    """Without the list, damaged weights were equal; a link may show anything."""
    status = json.loads((run / "status.json").read_text())
    status["stages"]["train"]["made_from"] = {}
    (run / "status.json").write_text(json.dumps(status))
    (run / "config/train.outputs.json").unlink()
    shutil.move(run / "data/test.jsonl", tmp_path / "elsewhere")
    (run / "data/test.jsonl").symlink_to(tmp_path / "elsewhere")
    places = {item.place for item in verified_files(run, MADE_AGAIN).unequal}
    assert {"config/train.outputs.json", "data/test.jsonl"} <= places


def test_an_untouched_run_says_how_much_was_hashed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["verify", str(run), "--json"])
    value = json.loads(capsys.readouterr().out)
    assert value["equal"]
    assert value["files"]["bytes"] == sum(
        (run / name).stat().st_size for name in value["files"]["equal"] if name != "config/data.json"
    ) + len("{}")
    assert any("notes.txt" in names for names in value["not_looked_at"].values())


def test_weights_that_are_not_those_that_were_judged(tmp_path: Path) -> None:
    """SHA-256 of the text 'weights'."""
    (tmp_path / "train" / "final").mkdir(parents=True)
    (tmp_path / "train" / "final" / "model.safetensors").write_text("weights")
    right = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    sha = "0" * 64
    ecg = {"model": {"name": "train/final", "sha256": right}, "results": []}
    assert list(unequal_weights(tmp_path, "tuned", ecg)) == []
    llm = {"name": "train/final", "sha256": {"model.safetensors": sha}}
    value = {
        "model": None,
        "adapter": llm,
        "results": [{"name": "rouge", "lock": {"model": {"name": "/a", "sha256": sha}}}],
    }
    (found,) = unequal_weights(tmp_path, "tuned", value)
    assert found.place == "eval/tuned.json: adapter: SHA-256 of train/final/model.safetensors"
    assert (found.written, found.again) == (sha, right)


def test_records_that_are_not_those_of_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.jsonl").write_text("{}\n")
    facts = {"file": "data/test.jsonl", "sha256": "0" * 64}
    (found,) = unequal_splits(
        tmp_path, {"splits": {"test": facts, "train": {**facts, "file": "data/split.json"}}}
    )
    assert found.place == "data/manifest.json: test: SHA-256 of data/test.jsonl"


def scaled(run: Path) -> None:
    """Ten signals of a run's store, a thousand times as large: 12 leads, 256 samples, 4 bytes."""
    with (run / "data" / "records.h5").open("r+b") as file:
        file.seek(SIGNALS_AT)
        values = np.frombuffer(file.read(10 * 12 * 256 * 4), dtype="<f4") * 1000
        file.seek(SIGNALS_AT)
        file.write(values.astype("<f4").tobytes())


def moved(run: Path) -> None:
    value = json.loads((run / "data" / "split.json").read_text())
    value["ids"]["train"].append(value["ids"]["test"].pop())
    (run / "data" / "split.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (scaled, "data/records.h5: signals with their own bytes"),
        (moved, "records of test, their signals and labels"),
    ],
)
def test_recordings_that_are_not_those_that_were_judged(
    edit: Callable[[Path], None], place: str, tmp_path: Path
) -> None:
    asked = Asked(SyntheticEcg(20, fs_hz=50.0, seconds=5.0), 50.0, (PadOrCrop(256),))
    (tmp_path / "data").mkdir()
    store = convert(asked, tmp_path / "data" / "records.h5")
    ids = {"train": list(store.ids[:12]), "test": list(store.ids[12:])}
    (tmp_path / "data" / "split.json").write_text(json.dumps({"ids": ids}))
    judged = {"name": "task", "lock": {"records": {"test": rows_sha256(store, np.arange(12, 20))}}}
    assert list(unequal_recordings(tmp_path, "tuned", [judged])) == []
    edit(tmp_path)
    (found,) = unequal_recordings(tmp_path, "tuned", [judged])
    assert place in found.place


def test_a_store_that_no_longer_holds_what_was_written_is_made_anew(tmp_path: Path) -> None:
    """It lies in the cache, and every run of the same recordings would take it."""
    asked = Asked(SyntheticEcg(20, fs_hz=50.0, seconds=5.0), 50.0, (PadOrCrop(256),))
    path = tmp_path / "data" / "records.h5"
    path.parent.mkdir()
    convert(asked, path)
    right = path.read_bytes()
    scaled(tmp_path)
    assert path.read_bytes() != right
    convert(asked, path)
    assert path.read_bytes() == right
    before = path.stat().st_mtime_ns
    convert(asked, path)
    assert path.stat().st_mtime_ns == before


def test_a_fault_of_ours_keeps_its_traceback_and_one_of_the_files_names_them(run: Path) -> None:
    with pytest.raises(KeyError), reading_run(run):
        raise KeyError("ours")
    flip(run / "train/proof.json")
    with (
        pytest.raises(
            MachineError, match=r"train/proof\.json: not as it was left, and cannot be read \(KeyError"
        ),
        reading_run(run),
    ):
        raise KeyError("theirs")
