"""Fixtures of the readers: what holds for images, and a progress that says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.data_readers.common import Progress
from runner.data_readers.images import ImageSetup
from runner.spec.ecg_image import Render
from runner.spec.vlm_sources import ImageLimits


@pytest.fixture
def quiet() -> Progress:
    """Return a progress that nobody sees."""
    return lambda done, total, unit: None


@pytest.fixture
def setup(tmp_path: Path) -> ImageSetup:
    """Return images in an empty cache, coarse pages, one process."""
    render = Render(dpi=50, plotted_pixels=False)
    return ImageSetup(tmp_path, tmp_path / "cache", ImageLimits(), render, (), 1)
