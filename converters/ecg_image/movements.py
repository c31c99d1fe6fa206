"""Artefacts that move the sheet: each returns a projective map. They are joined before any pixel is mixed."""

from __future__ import annotations

from typing import Any

from converters.ecg_image.chance import Draws
from converters.ecg_image.sheet import IDENTITY, Matrix, Move, after
from runner.spec.ecg_image import Crop, Perspective, Rotation, Skew

Drawn = dict[str, Any]
"""What was drawn by chance, for the manifest."""
RADIANS = 0.017453292519943295


def rotated(size: tuple[int, int], options: Rotation, draws: Draws) -> tuple[Move, Drawn]:
    """Turn the sheet about its middle, clockwise."""
    angle = draws.between(options.angle)
    t = half_tangent(angle)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    turn = (cosine, -sine, 0.0, sine, cosine, 0.0, 0.0, 0.0, 1.0)
    return Move(_about_middle(turn, size), size), {"angle": angle}


def skewed(size: tuple[int, int], options: Skew, draws: Draws) -> tuple[Move, Drawn]:
    """Let upright lines lean to the right, by a positive angle."""
    angle = draws.between(options.angle)
    t = half_tangent(angle)
    lean = (1.0, -2 * t / (1 - t * t), 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    return Move(_about_middle(lean, size), size), {"angle": angle}


def in_perspective(size: tuple[int, int], options: Perspective, draws: Draws) -> tuple[Move, Drawn]:
    """Move each corner inwards by shares of width and height, from none to the strength drawn."""
    strength = draws.between(options.strength)
    height, width = size
    inwards = [float(f"{share:.6g}") for share in draws.shares(8) * strength]
    corners = tuple(
        (
            width * (inwards[2 * n] if left else 1 - inwards[2 * n]),
            height * (inwards[2 * n + 1] if up else 1 - inwards[2 * n + 1]),
        )
        for n, (left, up) in enumerate(((1, 1), (0, 1), (0, 0), (1, 0)))
    )
    square = (1.0 / width, 0.0, 0.0, 0.0, 1.0 / height, 0.0, 0.0, 0.0, 1.0)
    return Move(after(square_to(corners), square), size), {"strength": strength, "inwards": inwards}


def cropped(size: tuple[int, int], options: Crop, draws: Draws) -> tuple[Move, Drawn]:
    """Cut whole pixels off each side."""
    height, width = size
    shares = [draws.between(options.share) for _ in range(4)]
    top, right, bottom, left = (
        int(share * side) for share, side in zip(shares, (height, width) * 2, strict=True)
    )
    shift = (1.0, 0.0, -float(left), 0.0, 1.0, -float(top), 0.0, 0.0, 1.0)
    drawn = {"top": top, "right": right, "bottom": bottom, "left": left}
    return Move(shift, (height - top - bottom, width - left - right)), drawn


def half_tangent(degrees: float) -> float:
    """Return the tangent of half an angle of at most 45 degrees, to 3e-7, by sums and products alone.

    Any such number gives an exact rotation, so what is lost is a millionth of the angle and not the right angles.
    Source: the power series of the tangent, to the ninth power.
    """
    x = degrees * RADIANS / 2
    square = x * x
    series = 1 / 3 + square * (2 / 15 + square * (17 / 315 + square * (62 / 2835)))
    return x * (1 + square * series)


def square_to(corners: tuple[tuple[float, float], ...]) -> Matrix:
    """Return the map that takes the unit square to a quadrangle, given clockwise from the upper left corner.

    Source: Heckbert, Fundamentals of Texture Mapping and Image Warping, 1989, section 2.2.3.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    sum_x, sum_y = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    dx1, dx2, dy1, dy2 = x1 - x2, x3 - x2, y1 - y2, y3 - y2
    below = dx1 * dy2 - dx2 * dy1
    g, h = (sum_x * dy2 - dx2 * sum_y) / below, (dx1 * sum_y - sum_x * dy1) / below
    return (x1 - x0 + g * x1, x3 - x0 + h * x3, x0, y1 - y0 + g * y1, y3 - y0 + h * y3, y0, g, h, 1.0)


def _about_middle(matrix: Matrix, size: tuple[int, int]) -> Matrix:
    y, x = size[0] / 2, size[1] / 2
    there = (*IDENTITY[:2], -x, *IDENTITY[3:5], -y, *IDENTITY[6:])
    back = (*IDENTITY[:2], x, *IDENTITY[3:5], y, *IDENTITY[6:])
    return after(back, after(matrix, there))
