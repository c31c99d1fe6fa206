"""Checkpoints that are none: half a download, a web page, a pointer to a file that was not fetched."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from runner.native.assembly import network, start_from  # noqa: E402 - after the skip
from runner.native.errors import NativeError  # noqa: E402

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def _stored(*, new: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"classifier.1.weight": torch.zeros(8)}, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk\n",
        b"<!DOCTYPE html><html></html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x80\x02.",
        _stored(new=True)[:300],
        _stored(new=False)[:100],
        b"\x8c\x02\xff\xfe.",
        b"h\x07.",
    ],
    ids=["empty", "text", "page", "pointer", "short", "half", "old half", "no text", "no memory"],
)
def test_what_is_no_checkpoint_is_said_with_its_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pretrained.pt"
    path.write_bytes(content)
    model = network({"backbone": "tinylight", "leads": LEADS}, 6, aux=False, seed=1)
    with pytest.raises(NativeError, match=r"pretrained\.pt: "):
        start_from(model, path)
