"""`runner runs prune`: what no run uses goes, what a run uses stays, and a living run stops all of it."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.cli import cli
from runner.data_cache import DataCache
from runner.pruning import prune
from runner.run_dir import RunDir
from runner.spec.problems import MachineError, UsageError

USED, UNUSED = "a" * 64, "b" * 64
TEXT = '{"id": "p1", "images": ["/elsewhere/%s.png"]}\n'


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with one run, the entry that it came from, one that no run uses, and what a killed process left."""
    folder = tmp_path / "runs"
    run = folder / "name" / "20260102T030405Z-01234567"
    (run / "data").mkdir(parents=True)
    (run / "plan.json").write_text("{}")
    records = TEXT % USED
    (run / "data" / "train.jsonl").write_text(records)
    manifest = {"splits": {"train": {"sha256": sha256(records.encode()).hexdigest()}}}
    (run / "data" / "manifest.json").write_text(json.dumps(manifest))
    other = folder / "name" / "other"
    other.mkdir()
    (other / "train.jsonl").write_text("the text of a patient")
    for key, source in ((USED, run / "data"), (UNUSED, other)):
        DataCache(folder / ".cache" / "data").store(key, source, ["train.jsonl"])
        (folder / ".cache" / "images" / "pages" / key[:2]).mkdir(parents=True)
        for ending in ("png", "json", "mask.png"):
            (folder / ".cache" / "images" / "pages" / key[:2] / f"{key}.{ending}").write_bytes(b"12345")
    stores = [folder / ".cache" / "data" / f"ecg-{letter * 32}.h5" for letter in "ab"]
    for store in stores:
        store.write_bytes(b"1234567")
    os.link(stores[0], run / "data" / "records.h5")
    killed = folder / ".cache" / "data" / f".{UNUSED[:16]}-left_123"
    killed.mkdir()
    (killed / "train.jsonl").write_text("123")
    return folder


def there(runs: Path) -> set[str]:
    cache = runs / ".cache"
    return {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}


KEPT = {
    f"data/{USED}/entry.json", f"data/{USED}/train.jsonl", f"data/ecg-{'a' * 32}.h5",
    *(f"images/pages/aa/{USED}.{ending}" for ending in ("png", "json", "mask.png")),
}  # fmt: skip


def test_what_no_run_uses_goes_and_the_rest_stays(runs: Path) -> None:
    before, run = there(runs), {p: p.read_bytes() for p in (runs / "name").rglob("*") if p.is_file()}
    told = prune(runs, used_too=False, dry_run=True)
    assert there(runs) == before
    done = prune(runs, used_too=False, dry_run=False)
    assert done == told
    assert there(runs) == KEPT
    entry = len("the text of a patient") + len(json.dumps({"train.jsonl": "0" * 64}, indent=2) + "\n")
    assert done.freed == entry + 7 + 3 + 3 * 5
    assert {p: p.read_bytes() for p in (runs / "name").rglob("*") if p.is_file()} == run
    assert prune(runs, used_too=False, dry_run=False).removed == ()


def test_all_takes_what_runs_use_too_and_no_run(runs: Path) -> None:
    prune(runs, used_too=True, dry_run=False)
    assert there(runs) == set()
    assert (runs / "name" / "20260102T030405Z-01234567" / "data" / "records.h5").read_bytes() == b"1234567"


def test_nothing_goes_while_a_run_lives(runs: Path) -> None:
    run, before = RunDir(next(runs.glob("name/*/plan.json")).parent), there(runs)
    with (
        run.lock(),
        pytest.raises(MachineError, match=r"is being run and may use what is shared; nothing was removed"),
    ):
        prune(runs, used_too=True, dry_run=False)
    assert there(runs) == before
    assert prune(runs, used_too=False, dry_run=False).removed


def test_a_run_that_was_deleted_frees_its_records(runs: Path) -> None:
    import shutil

    shutil.rmtree(runs / "name")
    prune(runs, used_too=False, dry_run=False)
    assert there(runs) == set()


def test_a_link_is_removed_and_not_followed(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    (runs / ".cache" / "data" / ("c" * 64)).symlink_to(tmp_path)
    prune(runs, used_too=False, dry_run=False)
    assert (tmp_path / "mine").read_text() == "x"
    assert there(runs) == KEPT


def test_as_typed(runs: Path) -> None:
    said = CliRunner().invoke(cli, ["runs", "prune", "--runs", str(runs), "--dry-run", "--json"])
    value = json.loads(said.stdout)
    assert (value["dry_run"], len(value["removed"]), len(value["kept"])) == (True, 6, 5)
    said = CliRunner().invoke(cli, ["runs", "prune", "--runs", str(runs)])
    assert f"6 removed, {value['freed_bytes']:,} bytes; 5 kept, which runs use" in said.stdout
    with pytest.raises(UsageError, match="no folder of runs at gone; nothing was removed"):
        prune(Path("gone"), used_too=False, dry_run=False)


@pytest.mark.parametrize("place", [".cache", ".cache/data", ".cache/images", ".cache/images/pages"])
def test_a_folder_that_is_a_link_stops_it(runs: Path, tmp_path: Path, place: str) -> None:
    victim = tmp_path / "victim"
    (runs / place).rename(victim)
    (runs / place).symlink_to(victim)
    (victim / ".ssh").mkdir()
    before = sorted(victim.rglob("*"))
    with pytest.raises(MachineError, match=r"is a link, .*; nothing was removed\n  put a folder"):
        prune(runs, used_too=True, dry_run=False)
    assert sorted(victim.rglob("*")) == before


def test_what_is_not_ours_by_its_name_is_left_alone_and_said(runs: Path) -> None:
    cache = runs / ".cache"
    strange = [cache / "data" / ".bashrc", cache / "data" / ".bbbb-left", cache / "images" / "letter.txt"]
    for path in strange:
        path.write_text("x")
    ours = cache / "images" / "pages" / "bb" / f".{UNUSED}.png.0123abcd"
    ours.write_text("x")
    assert set(prune(runs, used_too=True, dry_run=False).left) == set(strange)
    assert all(path.exists() for path in strange)
    assert not ours.exists()


def test_a_run_that_was_moved_counts(runs: Path) -> None:
    (runs / "old").mkdir()
    (runs / "name").rename(runs / "old" / "name")
    run = next(runs.glob("old/name/*/plan.json")).parent
    with RunDir(run).lock(), pytest.raises(MachineError, match="is being run"):
        prune(runs, used_too=True, dry_run=False)
    prune(runs, used_too=False, dry_run=False)
    assert there(runs) == KEPT


def test_damaged_files_and_pipes_are_passed_over(runs: Path) -> None:
    (runs / ".cache" / "data" / UNUSED / "entry.json").write_text('{"a.jsonl": []}')
    data = next(runs.glob("name/*/data"))
    (data / "deep.jsonl").write_text("[" * 100_000)
    os.mkfifo(data / "pipe.jsonl")
    prune(runs, used_too=False, dry_run=False)
    assert there(runs) == KEPT
