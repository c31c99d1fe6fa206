"""The curves of a training as pictures: each by itself, all of them at a glance, and those of several runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from eval.report import signal_panels, text_panels
from eval.report.curve_panels import Compared, Kind, Panel, Training, trend
from eval.report.plots import BLUE, INK, MUTED, SERIES, VERMILION, Label, end_labels, picture
from eval.report.series import Curve, curve, smoothed, thinned
from eval.report.view import Picture

__all__ = ["Training", "compared_pictures", "training_pictures"]

SIZE = (6.6, 3.5)
ROWS, PANEL_SIZE = 2, (4.4, 3.5)

PANELS: Mapping[Kind, Callable[[Training], tuple[Panel, ...]]] = MappingProxyType(
    {"text": text_panels.panels, "signal": signal_panels.panels}
)
COMPARED: Mapping[Kind, tuple[Compared, ...]] = MappingProxyType(
    {"text": text_panels.COMPARED, "signal": signal_panels.COMPARED}
)
"""Kind of training -> what of several runs is drawn in one picture."""


def training_pictures(training: Training) -> tuple[Picture, ...]:
    """Return the dashboard and each curve by itself; nothing where no step was logged."""
    if not training.steps:
        return ()
    panels = PANELS[training.kind](training)
    pictures = [
        picture(
            panel.name, panel.title, panel.caption, partial(_alone, training=training, panel=panel.draw), SIZE
        )
        for panel in panels
    ]
    columns = -(-(len(panels) + 1) // ROWS)  # and the key
    board = picture(
        "dashboard",
        f"Training dashboard: {', '.join(_within(panel.title) for panel in panels)}",
        trend(training),
        partial(_dashboard, training=training, panels=panels, columns=columns),
        (columns * PANEL_SIZE[0], ROWS * PANEL_SIZE[1]),
        wide=True,
    )
    return (board, *pictures)


def _within(title: str) -> str:
    """Return a title as it stands in a sentence: small, but for what is written in capitals."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _alone(figure: Figure, training: Training, panel: Callable[[Axes, Training], None]) -> None:
    panel(figure.subplots(), training)


def _dashboard(figure: Figure, training: Training, panels: Sequence[Panel], columns: int) -> None:
    axes = list(figure.subplots(ROWS, columns).flat)
    for ax, panel in zip(axes, panels, strict=False):
        panel.draw(ax, training)
    _key(axes[len(panels)], training)
    for ax in axes[len(panels) + 1 :]:
        ax.axis("off")


def _key(ax: Axes, training: Training) -> None:
    """Say what the lines are, in the place of one more panel."""
    ax.axis("off")
    lines = [
        Line2D([], [], color=BLUE, alpha=0.3, linewidth=1, label="training, each logged step"),
        Line2D([], [], color=BLUE, label="training, smoothed"),
    ]
    if training.evaluations:
        lines.append(Line2D([], [], color=VERMILION, linestyle="--", marker="s", label="validation records"))
    if training.final_step is not None:
        lines.append(Line2D([], [], color=MUTED, linestyle=":", label="step of the final weights"))
    ax.legend(handles=lines, loc="center left", frameon=False, fontsize=10, labelcolor=INK)


# -------------------------------------------------------------------------------- several runs


def compared_pictures(trainings: Mapping[str, Training]) -> tuple[Picture, ...]:
    """Return one picture a value with a line for each run; none where there are too many runs to tell apart.

    Args:
        trainings: the run's name on the page -> its curves.
    """
    kinds = {training.kind for training in trainings.values()}
    if len(trainings) > len(SERIES) or len(kinds) != 1:
        return ()
    found = []
    for one in COMPARED[kinds.pop()]:
        lines = {
            name: curve(getattr(training, one.events), one.value) for name, training in trainings.items()
        }
        lines = {name: line for name, line in lines.items() if len(line)}
        of_steps = one.events == "steps"
        if of_steps:
            lines = {name: Curve(line.x, smoothed(line.y)) for name, line in lines.items()}
        if lines:
            draw = partial(_compared, lines=lines, title=one.title, unit=one.unit, marked=not of_steps)
            caption = f"{one.title}, {one.unit}."
            found.append(picture(f"compared-{one.events}-{one.value}", one.title, caption, draw, SIZE))
    return tuple(found)


def _compared(figure: Figure, lines: Mapping[str, Curve], title: str, unit: str, *, marked: bool) -> None:
    ax = figure.subplots()
    labels = []
    for (name, line), (colour, style, marker) in zip(lines.items(), SERIES, strict=False):
        shown = thinned(line)
        ax.plot(shown.x, shown.y, color=colour, linestyle=style, marker=marker if marked else None)
        labels.append(Label(name, float(line.y[-1]), colour))
    ax.set(title=title, xlabel="optimiser step", ylabel=unit)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.margins(x=0.01)
    end_labels(ax, labels)
