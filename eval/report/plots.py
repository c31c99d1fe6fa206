"""How every picture looks, and how a drawing becomes SVG for the page and PNG for a file.

The colours are those of Okabe and Ito (2008), which people with any of the common colour-blindnesses
tell apart; no line is told by its colour alone. In the SVG each colour is a CSS variable of the page,
so that pictures follow its light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from eval.report.view import Picture

INK, MUTED, RULE, PAPER = "#1c2127", "#5b6570", "#d3d8de", "#ffffff"
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = (
    "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9",
)  # fmt: skip

# Colour in the drawing -> variable in the page's style sheet.
VARIABLES = MappingProxyType(
    {
        INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper",
        BLUE: "--blue", VERMILION: "--vermilion", GREEN: "--green",
        ORANGE: "--orange", PURPLE: "--purple", SKY: "--sky",
    }
)  # fmt: skip

# Colour, line style, marker: the series of a picture, in order.
SERIES = (
    (BLUE, "-", "o"),
    (VERMILION, "--", "s"),
    (GREEN, "-.", "^"),
    (PURPLE, ":", "D"),
    (ORANGE, (0, (5, 1, 1, 1, 1, 1)), "v"),
    (SKY, (0, (3, 1)), "P"),
)
"""More series than these cannot be told apart, and are not drawn in one picture."""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a picture is the same on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-3, 5),
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "path.simplify": True,
    "text.parse_math": False,  # a class may be named "$x$"
}
PNG_DPI = 160
GAP = 0.085
"""Least distance of two labels at the ends of lines, as a share of the picture's height."""


@dataclass(frozen=True)
class Label:
    """A word at the end of a line."""

    text: str
    y: float
    colour: str


_blank: ContextVar[bool] = ContextVar("_blank", default=False)


@contextmanager
def left_blank() -> Iterator[None]:
    """Draw nothing inside the block: of a page that is compared, pictures are left out, and drawing is most of the work."""
    token = _blank.set(True)
    try:
        yield
    finally:
        _blank.reset(token)


def picture(
    name: str,
    title: str,
    caption: str,
    draw: Callable[[Figure], None],
    size: tuple[float, float],
    *,
    wide: bool = False,
) -> Picture:
    """Return a drawing as SVG and as PNG.

    Args:
        name: of the file, without ending.
        title: in words, read aloud in place of the picture.
        caption: below the picture.
        draw: draws on an empty figure.
        size: width and height in inches.
        wide: whether the page gives it the whole width.
    """
    if _blank.get():
        return Picture(name, title, caption, "<svg></svg>", b"", wide=wide)
    style: Any = {**STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        png, svg = io.BytesIO(), io.StringIO()
        FigureCanvasAgg(figure)
        figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
        figure.set_layout_engine("none")  # placed once, and so the same in both files
        FigureCanvasSVG(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(name, title, caption, inline_svg(svg.getvalue(), name), png.getvalue(), wide=wide)


def inline_svg(text: str, name: str) -> str:
    """Return an SVG file's text as an element for a page.

    Without prologue, never larger than it was drawn; colours are the page's variables; ids begin with
    `name`, for two pictures of one page must not share one.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', text)
    if box is None:
        raise ValueError(f"the drawing {name!r} has no viewBox")
    width_px = float(box[1].split()[2]) * 96 / 72
    opening = f'<svg viewBox="{box[1]}" style="max-width: {width_px:.0f}px">'
    text = opening + text[text.index(">") + 1 :]
    for colour, variable in VARIABLES.items():
        text = re.sub(re.escape(colour), f"var({variable})", text, flags=re.IGNORECASE)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    return re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', text).strip()


def shortened(text: object, most: int = 28) -> str:
    """Return a word as a picture has room for it; the page's tables hold it whole."""
    whole = " ".join(str(text).split())
    return whole if len(whole) <= most else whole[: most - 1] + "\u2026"


def end_labels(ax: Axes, labels: Sequence[Label]) -> None:
    """Write a word at the right end of each line, moved apart where lines end close together.

    Call it last: it reads the limits of the axes.
    """
    low, high = ax.get_ylim()
    order = sorted(labels, key=lambda label: label.y)
    places: list[float] = []
    for label in order:
        wanted = (label.y - low) / (high - low)
        places.append(max(wanted, places[-1] + GAP) if places else wanted)
    over = max(0.0, places[-1] - 0.97) if places else 0.0
    for label, place in zip(order, places, strict=True):
        ax.annotate(
            shortened(label.text), (1.01, place - over), xycoords="axes fraction",
            va="center", ha="left", color=label.colour, fontsize=8.5, annotation_clip=False,
        )  # fmt: skip
