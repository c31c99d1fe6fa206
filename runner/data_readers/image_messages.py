"""JSON lines whose records name images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from runner.data_readers.common import Asked, Progress, hashed
from runner.data_readers.image_checks import all_ready
from runner.data_readers.image_files import ImageFiles, open_places
from runner.data_readers.images import ImageFault, ImageSetup, Prepared
from runner.data_readers.messages import MessagesReader, lines_in
from runner.spec.vlm_sources import ImageMessagesSource


@dataclass
class ImageMessagesReader(MessagesReader):
    """JSON lines, read one at a time, and the images that they name."""

    files: ImageFiles = field(kw_only=True)
    setup: ImageSetup = field(kw_only=True)

    def image_places(self) -> list[list[str | int]]:
        """Return where images are looked for."""
        return self.files.places()

    def prepare(self, names: Sequence[str], progress: Progress) -> Prepared:
        """Return the images, found and checked."""
        found = self.files.find(names, progress)
        missing = [name for name in names if name not in found]
        nowhere = ImageFault(True, "in none of the places of `images`")
        return {**all_ready(found, self.setup, progress), **dict.fromkeys(missing, nowhere)}


def open_image_messages(asked: Asked, progress: Progress) -> ImageMessagesReader:
    """Find and hash the JSONL files, and find the places of the images.

    Raises:
        DataError: something is not there, or is not what it should be.
    """
    options, setup = asked.options, asked.images
    assert isinstance(options, ImageMessagesSource)
    assert setup is not None
    root, files = lines_in(asked.place("path", options.path), asked)
    places = [asked.place(f"images[{number}]", place) for number, place in enumerate(options.images)]
    found = open_places(places, setup.cache)
    return ImageMessagesReader(root, hashed(root, files, progress), True, files=found, setup=setup)
