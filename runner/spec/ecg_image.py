"""How a 12-lead recording is drawn on paper: the rendering of an ECG image, and what happens to the paper after."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from runner.spec.section import Section, key

MM_PER_INCH = 25.4
DEFAULT_DPI = 200.0
"""What ecg-image-kit draws with, and with it the images of ECGInstruct: 2200 x 1700 pixels of US letter."""

LayoutName = Literal[
    "3x4",
    "3x4+II",
    "3x4+V1",
    "3x4+II+V1+V5",
    "3x4 Cabrera+II",
    "6x2",
    "6x2+II",
    "2x6+II",
    "4x3",
    "12x1",
    "limb 6x1",
    "chest 6x1",
    "II",
]
SchemeName = Literal["red", "pink", "orange", "green", "blue", "grey", "black and white"]

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=10_000)]
NotNegative = Annotated[float, Field(ge=0)]


def span(default: tuple[float, float], description: str, unit: str | None = None) -> tuple[float, ...]:
    """Return a key that holds the smallest and the largest value that may be drawn."""
    value: tuple[float, ...] = key(
        default, f"{description}: smallest and largest, drawn evenly.", unit=unit, min_length=2, max_length=2
    )
    return value


class Paper(Section):
    """The sheet. The default is US letter, lying."""

    width: float = key(279.4, "Width of the sheet.", unit="mm", gt=0, le=10_000)
    height: float = key(215.9, "Height of the sheet.", unit="mm", gt=0, le=10_000)


# -------------------------------------------------------------------------------------------- artefacts


class Artefact(Section):
    """Something that happens to a sheet or to its picture, to a share of the pages."""

    probability: float = key(1.0, "Share of the pages to which it happens.", ge=0, le=1)


class Creases(Artefact):
    """Thin dark lines across the sheet, soft at their edges."""

    count: int = key(6, "Number of lines.", unit="creases", ge=1, le=50)
    width: tuple[Positive, ...] = span((0.5, 2.0), "Width of a line", "mm")
    darkness: tuple[Share, ...] = span((0.1, 0.3), "Share of the light that is lost in its middle")


class Wrinkles(Artefact):
    """Crumpled paper: flat facets that catch the light differently. Shading only; nothing moves."""

    size: tuple[Positive, ...] = span((15.0, 40.0), "Size of a facet", "mm")
    darkness: tuple[Share, ...] = span((0.1, 0.3), "Share of the light that the darkest facet loses")


class Folds(Artefact):
    """Sharp folds parallel to an edge; what lies beyond is tilted, and therefore darker and a little shorter."""

    count: int = key(1, "Number of folds.", unit="folds", ge=1, le=8)
    darkness: tuple[Share, ...] = span(
        (0.05, 0.25), "Share of the light that the tilted side loses at the fold"
    )
    shortening: tuple[Annotated[float, Field(ge=0, le=0.2)], ...] = span(
        (0.0, 0.03), "Share of its length by which the tilted side looks shorter"
    )


class Shadows(Artefact):
    """Soft shadows of a hand or a telephone, each beyond one straight edge."""

    count: int = key(1, "Number of shadows.", unit="shadows", ge=1, le=5)
    darkness: tuple[Share, ...] = span((0.2, 0.5), "Share of the light that a shadow takes")
    softness: tuple[Positive, ...] = span((10.0, 60.0), "Width over which its edge fades", "mm")


class Rotation(Artefact):
    """The sheet is turned about its middle; the size of the image stays."""

    angle: tuple[Annotated[float, Field(ge=-45, le=45)], ...] = span((-5.0, 5.0), "Angle, clockwise", "deg")


class Skew(Artefact):
    """Upright lines lean, as in a scan of a sheet that moved."""

    angle: tuple[Annotated[float, Field(ge=-30, le=30)], ...] = span(
        (-3.0, 3.0), "Angle by which they lean", "deg"
    )


class Perspective(Artefact):
    """A photograph that was not taken from straight above."""

    strength: tuple[Annotated[float, Field(ge=0, le=0.3)], ...] = span(
        (0.0, 0.05), "Share of the sides by which each corner moves inwards at most"
    )


class Crop(Artefact):
    """The edges of the image are cut off, each side by a share of its own. Ink may be lost; the manifest says so."""

    share: tuple[Annotated[float, Field(ge=0, le=0.4)], ...] = span(
        (0.0, 0.03), "Share of width or height cut off on a side"
    )


class ColourTemperature(Artefact):
    """Light of another colour than daylight of 6500 K."""

    temperature: tuple[Annotated[float, Field(ge=2000, le=12000)], ...] = span(
        (4000.0, 9000.0), "Colour temperature", "K"
    )


class GaussianNoise(Artefact):
    """Noise of the camera, of each pixel and colour by itself."""

    deviation: tuple[Annotated[float, Field(ge=0, le=100)], ...] = span(
        (3.0, 15.0), "Standard deviation", "grey levels of 255"
    )


class SaltAndPepper(Artefact):
    """Pixels that are black or white, each with the same chance."""

    share: tuple[Share, ...] = span((0.001, 0.01), "Share of the pixels")


class Jpeg(Artefact):
    """What storing as JPEG loses, with the standard tables and halved colour resolution."""

    quality: tuple[Annotated[float, Field(ge=1, le=100)], ...] = span(
        (30.0, 90.0), "Quality of the Independent JPEG Group"
    )


class Artefacts(Section):
    """What happens to the page, in this order. None by default."""

    creases: Creases | None = key(None, "Thin dark lines across the sheet.")
    wrinkles: Wrinkles | None = key(None, "Facets of crumpled paper.")
    folds: Folds | None = key(None, "Sharp folds parallel to an edge.")
    shadows: Shadows | None = key(None, "Soft shadows.")
    rotation: Rotation | None = key(None, "The sheet is turned.")
    skew: Skew | None = key(None, "Upright lines lean.")
    perspective: Perspective | None = key(None, "Not photographed from straight above.")
    crop: Crop | None = key(None, "Edges are cut off.")
    colour_temperature: ColourTemperature | None = key(None, "Light of another colour.")
    gaussian_noise: GaussianNoise | None = key(None, "Noise of the camera.")
    salt_and_pepper: SaltAndPepper | None = key(None, "Black and white pixels.")
    jpeg: Jpeg | None = key(None, "What storing as JPEG loses.")


# -------------------------------------------------------------------------------------------- rendering


class Render(Section):
    """An ECG on paper. Lengths are in millimetres of paper, and only the last step knows pixels."""

    layout: LayoutName = key(
        "3x4+II", "Rows and columns of leads; what follows `+` runs along the whole page as a rhythm strip."
    )
    columns: Literal["shifted", "simultaneous"] = key(
        "shifted",
        "`shifted`: each column goes on in time where the one to its left ends, as on real paper. "
        "`simultaneous`: all columns show the same first part.",
    )
    seconds: float = key(10.0, "Time that a page shows, and length of a window.", unit="s", gt=0, le=3_600)
    speed: float = key(25.0, "Paper speed.", unit="mm/s", gt=0, le=1_000)
    gain: float = key(10.0, "Height of 1 mV.", unit="mm/mV", gt=0, le=1_000)
    baseline: Literal["keep", "median"] = key(
        "keep", "`keep`: 0 mV lies on a lead's base line. `median`: the lead's median of what is shown does."
    )
    dpi: float | None = key(
        None, f"Resolution; {DEFAULT_DPI:g} without it.", unit="dots per inch", ge=25.4, le=1_200
    )
    px_per_mm: float | None = key(None, "Resolution, instead of `dpi`.", unit="pixels per mm", ge=1, le=50)
    paper: Paper = key(Paper, "The sheet.")
    scheme: SchemeName = key("red", "Colours of paper, grid and ink.")
    grid: Literal["full", "major", "none"] = key(
        "full", "Lines every 1 mm and, stronger, every 5 mm; every 5 mm only; or blank paper."
    )
    line: float = key(0.25, "Width of the trace.", unit="mm", gt=0, le=3)
    antialias: bool = key(True, "Smooth edges of trace and lettering.")
    calibration: bool = key(True, "A pulse of 1 mV and 0.2 s before each row.")
    lead_names: bool = key(True, "Names beside the leads.")
    separators: bool = key(True, "Short strokes where one lead of a row ends and the next begins.")
    footer: bool = key(True, "Speed and gain in words at the bottom.")
    plotted_pixels: bool = key(
        True, "The manifest lists the place of every sample: about 0.3 MB a page at 500 Hz."
    )
    mask: bool = key(False, "A second image that says which lead each pixel of ink belongs to.")
    seed: int = key(
        0,
        "Seed of the artefacts; with the record's name and window it settles all of them.",
        ge=0,
        le=2**32 - 1,
    )
    artefacts: Artefacts = key(Artefacts, "What happens to the page; nothing by default.")

    @property
    def scale(self) -> float:
        """Return the resolution in pixels per millimetre."""
        if self.px_per_mm is not None:
            return self.px_per_mm
        return (DEFAULT_DPI if self.dpi is None else self.dpi) / MM_PER_INCH


def contradictions(options: Render) -> Iterator[tuple[str, str, str]]:
    """Yield what no single key shows to be wrong: the key's path below `options`, what is wrong, what to do."""
    if options.dpi is not None and options.px_per_mm is not None:
        given = f"dpi {options.dpi:g} and px_per_mm {options.px_per_mm:g}"
        yield "px_per_mm", f"expected one resolution, got {given}", "give one of the two"
    for name in Artefacts.model_fields:
        artefact = getattr(options.artefacts, name)
        for field, value in {} if artefact is None else dict(artefact).items():
            if isinstance(value, tuple) and value[0] > value[1]:
                yield (
                    f"artefacts.{name}.{field}",
                    f"expected the smallest and the largest value, got [{value[0]:g}, {value[1]:g}]",
                    f"write [{value[1]:g}, {value[0]:g}]",
                )
