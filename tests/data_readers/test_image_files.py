"""Images in folders and in tar files: what is needed is taken out, and what would do harm is refused by name."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.data_readers.common import Progress
from runner.data_readers.image_files import open_places
from runner.spec.problems import DataError

FILES = {f"ptb-xl/{n}.png": f"image {n}".encode() for n in range(6)}


def tar_of(
    path: Path, files: Mapping[str, bytes], extra: Callable[[tarfile.TarFile], None] | None = None
) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if extra:
            extra(tar)
    return path


@pytest.mark.parametrize("name", ["shard_0.tar.gz", "shard_0.tar", "shard_0.tgz"])
def test_only_what_is_wanted_is_taken_out(tmp_path: Path, quiet: Progress, name: str) -> None:
    images = open_places([tar_of(tmp_path / name, FILES)], tmp_path / "cache")
    found = images.find(["ptb-xl/2.png", "ptb-xl/9.png"], quiet)
    assert list(found) == ["ptb-xl/2.png"]
    assert found["ptb-xl/2.png"].path.read_bytes() == b"image 2"
    assert found["ptb-xl/2.png"].came_from == f"{tmp_path / name}:ptb-xl/2.png"
    assert len(list((tmp_path / "cache" / "unpacked").rglob("*.png"))) == 1


def test_a_tar_is_read_again_only_for_what_nobody_asked_for(
    tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_places([tar_of(tmp_path / "a.tar.gz", FILES)], tmp_path / "cache")
    opened = []
    really = tarfile.open

    def counted(*args: Any, **options: Any) -> tarfile.TarFile:
        opened.append(args)
        return really(*args, **options)

    monkeypatch.setattr(tarfile, "open", counted)
    for wanted, times in (
        (["ptb-xl/1.png"], 1),
        (["ptb-xl/1.png"], 1),
        (["no.png"], 1),
        (["ptb-xl/3.png"], 2),
    ):
        found = images.find(wanted, quiet)
        assert len(opened) == times, wanted
        assert all(one.path.is_file() for one in found.values())
    assert set(images.find(["ptb-xl/1.png", "ptb-xl/3.png"], quiet)) == {"ptb-xl/1.png", "ptb-xl/3.png"}
    assert len(opened) == 2


def test_what_was_taken_out_and_is_gone_is_taken_out_again(tmp_path: Path, quiet: Progress) -> None:
    images = open_places([tar_of(tmp_path / "a.tar", FILES)], tmp_path / "cache")
    path = images.find(["ptb-xl/1.png"], quiet)["ptb-xl/1.png"].path
    path.unlink()
    assert images.find(["ptb-xl/1.png"], quiet)["ptb-xl/1.png"].path.read_bytes() == b"image 1"


def test_a_tar_that_changed_is_read_anew(tmp_path: Path, quiet: Progress) -> None:
    tar = tar_of(tmp_path / "a.tar", FILES)
    open_places([tar], tmp_path / "cache").find(["ptb-xl/1.png"], quiet)
    tar_of(tar, {**FILES, "ptb-xl/new.png": b"new"})
    os.utime(tar, ns=(1, 1))
    found = open_places([tar], tmp_path / "cache").find(["ptb-xl/new.png"], quiet)
    assert found["ptb-xl/new.png"].path.read_bytes() == b"new"


def test_a_folder_of_images_comes_before_its_tars(tmp_path: Path, quiet: Progress) -> None:
    (tmp_path / "images" / "ptb-xl").mkdir(parents=True)
    (tmp_path / "images" / "ptb-xl" / "1.png").write_bytes(b"in the folder")
    tar_of(tmp_path / "images" / "shard_1.tar", FILES)
    found = open_places([tmp_path / "images"], tmp_path / "cache").find(
        ["ptb-xl/1.png", "ptb-xl/2.png"], quiet
    )
    assert [one.path.read_bytes() for one in found.values()] == [b"in the folder", b"image 2"]


# ------------------------------------------------------------------------------------------- what would do harm


def link(kind: bytes, target: str) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo("ptb-xl/bad.png")
        member.type, member.linkname = kind, target
        tar.addfile(member)

    return add


@pytest.mark.parametrize(
    ("files", "extra", "said"),
    [
        ({"../../evil.png": b"x"}, None, "the member '../../evil.png' leads out of the folder"),
        ({"ptb-xl/../../evil.png": b"x"}, None, "leads out of the folder"),
        ({"/etc/evil.png": b"x"}, None, "the member '/etc/evil.png' leads out of the folder"),
        ({"a\\..\\b.png": b"x"}, None, "leads out of the folder"),
        ({}, link(tarfile.SYMTYPE, "/etc/passwd"), "the member 'ptb-xl/bad.png' is a link to '/etc/passwd'"),
        ({}, link(tarfile.LNKTYPE, "ptb-xl/1.png"), "is a link to 'ptb-xl/1.png'"),
        ({}, link(tarfile.CHRTYPE, ""), "is a device, a pipe or something else"),
        ({}, link(tarfile.BLKTYPE, ""), "is a device, a pipe or something else"),
        ({}, link(tarfile.FIFOTYPE, ""), "is a device, a pipe or something else"),
    ],
)
def test_a_tar_that_would_do_harm_is_refused_by_name(
    tmp_path: Path,
    quiet: Progress,
    files: dict[str, bytes],
    extra: Callable[[tarfile.TarFile], None] | None,
    said: str,
) -> None:
    tar = tar_of(tmp_path / "bad.tar.gz", {**FILES, **files}, extra)
    with pytest.raises(DataError) as caught:
        open_places([tar], tmp_path / "cache").find(list(FILES), quiet)
    assert said in str(caught.value)
    assert str(tar) in str(caught.value)
    assert not list(tmp_path.rglob("evil.png"))


def test_a_member_that_claims_to_be_huge_is_refused(tmp_path: Path, quiet: Progress) -> None:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo("ptb-xl/huge.png")
        member.size = 600 << 20
        tar.fileobj.write(member.tobuf())

    tar = tar_of(tmp_path / "a.tar", FILES, add)
    with pytest.raises(DataError, match="has 629,145,600 bytes; an image has at most"):
        open_places([tar], tmp_path / "cache").find(["ptb-xl/huge.png"], quiet)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_a_tar_that_is_cut_off_is_named(tmp_path: Path, quiet: Progress, name: str, share: float) -> None:
    noise = {f"x/{n}.png": os.urandom(3000) for n in range(5)}
    tar = tar_of(tmp_path / name, noise)
    content = tar.read_bytes()
    tar.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="is cut off or damaged after"):
        open_places([tar], tmp_path / "cache").find(list(noise), quiet)


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "a/../../b.png", ""])
def test_a_row_s_path_stays_in_its_folder(tmp_path: Path, quiet: Progress, name: str) -> None:
    with pytest.raises(DataError, match="leads out of its folder"):
        open_places([tmp_path], tmp_path / "cache").find([name], quiet)


def test_a_place_that_is_nothing_of_the_kind(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=r"is no folder, and no tar file by its name \(.tar, .tar.gz, .tgz\)"):
        open_places([tmp_path / "a.zip"], tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        open_places([tmp_path / "none"], tmp_path)
