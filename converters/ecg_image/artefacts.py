"""Everything that can happen to a page, in the order in which it does: the paper, the movement, the light, the camera.

Movements that follow each other are joined into one map, so that pixels are mixed once. Each artefact draws from a
stream of its own: adding one to a spec does not change the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from converters.ecg_image.camera import compressed, noisy, peppered
from converters.ecg_image.chance import Draws
from converters.ecg_image.lighting import creased, folded, lit, shadowed, wrinkled
from converters.ecg_image.movements import cropped, in_perspective, rotated, skewed
from converters.ecg_image.sheet import Move, Sheet, after, moved
from runner.spec.ecg_image import Artefact, Artefacts

BACKGROUNDS = (40.0, 256.0)
"""Grey of the table that shows where a sheet was moved, drawn evenly."""


class Change(NamedTuple):
    """An artefact that changes the sheet in place: `change(sheet, options, draws)` -> sheet, what was drawn."""

    change: Callable[[Sheet, Any, Draws], tuple[Sheet, dict[str, Any]]]


class Movement(NamedTuple):
    """An artefact that moves it: `movement(size, options, draws)` -> map, what was drawn."""

    movement: Callable[[tuple[int, int], Any, Draws], tuple[Move, dict[str, Any]]]


# Key under `artefacts` in the spec -> what it does; in this order.
ARTEFACTS: Mapping[str, Change | Movement] = MappingProxyType(
    {
        "creases": Change(creased),
        "wrinkles": Change(wrinkled),
        "folds": Change(folded),
        "shadows": Change(shadowed),
        "rotation": Movement(rotated),
        "skew": Movement(skewed),
        "perspective": Movement(in_perspective),
        "crop": Movement(cropped),
        "colour_temperature": Change(lit),
        "gaussian_noise": Change(noisy),
        "salt_and_pepper": Change(peppered),
        "jpeg": Change(compressed),
    }
)


def chosen(options: Artefacts, key: tuple[int, str, int]) -> dict[str, tuple[Artefact, Draws]]:
    """Return which artefacts happen to the page of a key (seed, record, window), each with its own draws."""
    happening = {}
    for name in ARTEFACTS:
        artefact: Artefact | None = getattr(options, name)
        if artefact is not None:
            draws = Draws(*key, name)
            if draws.uniform(0, 1) < artefact.probability:
                happening[name] = artefact, draws
    return happening


def happened(
    sheet: Sheet, happening: Mapping[str, tuple[Artefact, Draws]], key: tuple[int, str, int]
) -> tuple[Sheet, list[dict[str, Any]]]:
    """Return the sheet after its artefacts, and what they were, for the manifest."""
    background = int(Draws(*key, "background").uniform(*BACKGROUNDS))
    drawn: list[dict[str, Any]] = []
    pending: Move | None = None
    for name, (artefact, draws) in happening.items():
        kind = ARTEFACTS[name]
        if isinstance(kind, Movement):
            move, values = kind.movement(pending.size if pending else sheet.size, artefact, draws)
            pending = Move(after(move.matrix, pending.matrix), move.size) if pending else move
            values["background"] = background
        else:
            if pending:
                sheet, pending = moved(sheet, pending, background), None
            sheet, values = kind.change(sheet, artefact, draws)
        drawn.append({"name": name, **values})
    return (moved(sheet, pending, background) if pending else sheet), drawn
