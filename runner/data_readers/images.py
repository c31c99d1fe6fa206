"""What readers of images share: where images are kept, what one is once it is ready, and why one is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from runner.data_readers.common import Progress
from runner.spec.ecg_image import Render
from runner.spec.vlm_sources import ImageLimits

PNG_END = b"IEND\xaeB`\x82"
"""The last chunk of any PNG, without its length."""


@dataclass(frozen=True)
class ImageSetup:
    """What holds for the images of all sources of a spec."""

    root: Path | None
    """The folder that the places of sources are relative to; None where none is given."""
    cache: Path
    """Folder, shared by runs, of what is drawn, unpacked and converted; absolute."""
    limits: ImageLimits
    render: Render
    looks: tuple[Render, ...]
    workers: int
    """Processes; 0: one per core."""


@dataclass(frozen=True)
class ReadyImage:
    """An image file that the engine can open."""

    path: str
    """Absolute."""
    sha256: str
    bytes: int
    width: int
    height: int
    """In pixels, as width."""
    came_from: str
    """The file, the tar and its member, or the recording."""


@dataclass(frozen=True)
class ImageFault:
    """Why an image cannot be used."""

    missing: bool
    """Whether there is none at all; else it is there, and of no use."""
    reason: str


Prepared = Mapping[str, ReadyImage | ImageFault]
"""What a source calls an image -> the image, or why there is none."""


@runtime_checkable
class ImageReader(Protocol):
    """A reader whose records have images."""

    def image_places(self) -> list[list[str | int]]:
        """Return where images are looked for, so that another place is seen: tar files with size and time."""

    def prepare(self, names: Sequence[str], progress: Progress) -> Prepared:
        """Return every one of the images, ready for the engine, or why it is not."""
