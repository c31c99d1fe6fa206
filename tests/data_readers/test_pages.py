"""Pages of recordings in the cache: drawn once, whole or not at all, and anew when anything else is asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converters.records.ecg.synthetic import SyntheticEcg
from runner.data_readers import pages
from runner.data_readers.common import Progress
from runner.data_readers.images import ImageFault, ImageSetup, ReadyImage
from runner.data_readers.pages import PageOf, draw, look_of, signal_digest
from runner.files import write_bytes
from runner.spec.ecg_image import Render

SOURCE = SyntheticEcg(records=6, fs_hz=250.0)
WANTED = {f"syn/{raw.id}": PageOf(f"syn/{raw.id}", raw) for raw in SOURCE.raws()}


def drawn(setup: ImageSetup, quiet: Progress, wanted: dict[str, PageOf] = WANTED) -> dict[str, ReadyImage]:
    found = draw(wanted, SOURCE, setup, quiet)
    assert all(isinstance(one, ReadyImage) for one in found.values()), found
    return {name: one for name, one in found.items() if isinstance(one, ReadyImage)}


def test_a_page_and_its_manifest_are_there(setup: ImageSetup, quiet: Progress) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs the ecg extra")
    for name, one in drawn(setup, quiet).items():
        with image.open(one.path) as opened:
            assert opened.size == (one.width, one.height)
        manifest = json.loads(Path(one.path).with_suffix(".json").read_text())
        assert (manifest["width"], manifest["height"]) == (one.width, one.height)
        assert manifest["record"] == name
        assert one.came_from == name


def test_a_page_is_drawn_once(setup: ImageSetup, quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    first = drawn(setup, quiet)
    monkeypatch.setattr(pages, "write_bytes", lambda *_, **__: pytest.fail("a page was drawn again"))
    assert drawn(setup, quiet) == first


def test_several_processes_draw_the_same_bytes(setup: ImageSetup, quiet: Progress, tmp_path: Path) -> None:
    many = {f"syn/{n}": PageOf(f"syn/{n}", raw) for n in range(2) for raw in [SOURCE.raws()[n]]} | WANTED
    one = drawn(setup, quiet, many)
    two = drawn(replace(setup, cache=tmp_path / "other", workers=2), quiet, many)
    assert {name: page.sha256 for name, page in one.items()} == {
        name: page.sha256 for name, page in two.items()
    }


def test_a_drawing_that_was_killed_goes_on(
    setup: ImageSetup, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = write_bytes
    written: list[Path] = []

    def killed_at_the_third(path: Path, content: bytes, *, flushed: bool) -> None:
        if path.suffix == ".png":
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(path)
        really(path, content, flushed=flushed)

    monkeypatch.setattr(pages, "write_bytes", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        drawn(setup, quiet)
    assert sorted(setup.cache.rglob("*.png")) == sorted(written)
    monkeypatch.setattr(pages, "write_bytes", really)
    times = {path: path.stat().st_mtime_ns for path in written}
    assert len(drawn(setup, quiet)) == len(WANTED)
    assert times == {path: path.stat().st_mtime_ns for path in written}


@pytest.mark.parametrize("suffix", [".png", ".json", ".mask.png"])
@pytest.mark.parametrize("left", [0, 30])
def test_a_page_that_was_left_short_is_drawn_again(
    setup: ImageSetup, quiet: Progress, suffix: str, left: int
) -> None:
    with_mask = replace(setup, render=setup.render.model_copy(update={"mask": True}))
    first = drawn(with_mask, quiet)
    path = Path(next(iter(first.values())).path).with_suffix(suffix)
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    assert drawn(with_mask, quiet) == first
    assert path.read_bytes() == whole


@pytest.mark.parametrize("change", [{"dpi": 60}, {"seed": 1}, {"layout": "6x2"}, {"grid": "none"}])
def test_other_options_are_another_page(setup: ImageSetup, quiet: Progress, change: dict[str, Any]) -> None:
    other = replace(setup, render=setup.render.model_copy(update=change))
    ours, theirs = drawn(setup, quiet), drawn(other, quiet)
    assert not {one.path for one in ours.values()} & {one.path for one in theirs.values()}


def test_the_same_signal_under_another_name_is_another_page(setup: ImageSetup, quiet: Progress) -> None:
    """The artefacts follow from the name."""
    raw = SOURCE.raws()[0]
    both = drawn(setup, quiet, {"a": PageOf("a", raw), "b": PageOf("b", raw)})
    assert both["a"].path != both["b"].path


def test_each_recording_has_one_of_the_looks(setup: ImageSetup) -> None:
    looks = (Render(layout="6x2"), Render(layout="12x1"))
    several = replace(setup, looks=looks)
    chosen = [look_of(f"r/{n}", several) for n in range(60)]
    assert {one.layout for one in chosen} == {"3x4+II", "6x2", "12x1"}
    assert chosen == [look_of(f"r/{n}", several) for n in range(60)]


def test_a_window_that_is_not_there_is_a_fault(setup: ImageSetup, quiet: Progress) -> None:
    (fault,) = draw({"a": PageOf("a", SOURCE.raws()[0], window=3)}, SOURCE, setup, quiet).values()
    assert isinstance(fault, ImageFault)
    assert "window: expected 0 to 0" in fault.reason


def test_a_signal_is_known_by_its_samples() -> None:
    record = SOURCE.read(SOURCE.raws()[0])
    again = SOURCE.read(SOURCE.raws()[0])
    other = replace(record, signal_mv=record.signal_mv + 0.001)
    assert signal_digest(record) == signal_digest(again)
    assert signal_digest(record) != signal_digest(other)
    assert signal_digest(record) != signal_digest(replace(record, fs_hz=500.0))
