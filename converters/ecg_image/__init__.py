"""12-lead signals drawn as ECGs on paper, with a manifest of what is where. `render` is the way in."""

from converters.ecg_image.errors import RenderError
from converters.ecg_image.page import Page
from converters.ecg_image.render import render
from converters.ecg_image.signal import windows

__all__ = ["Page", "RenderError", "render", "windows"]
