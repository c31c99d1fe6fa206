"""What the curves of any training share: one panel, its trend, its validation points, the step of the final weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, StrMethodFormatter

from eval.report.format import counted
from eval.report.plots import BLUE, MUTED, VERMILION, Label, end_labels
from eval.report.series import Curve, curve, smoothed, thinned, width

Kind = Literal["text", "signal"]
"""What a model learns from, which decides what its training tells."""


@dataclass(frozen=True)
class Training:
    """What a training told of itself."""

    steps: Sequence[Mapping[str, Any]]
    """Step events; of text: step, loss, token_accuracy, entropy, grad_norm, learning_rate."""
    evaluations: Sequence[Mapping[str, Any]]
    """Evaluation events on the validation records."""
    final_step: int | None
    """The step whose weights are the result; None: the last one."""
    clipped_at: float | None
    """Gradients are clipped to this norm."""
    kind: Kind = "text"


def trend(training: Training) -> str:
    """Return what the lines of a curve over the steps are."""
    sigma = counted(round(width(len(training.steps))), "logged step")
    return f"Thin: each logged step. Thick: centred Gaussian average, standard deviation {sigma}."


@dataclass(frozen=True)
class Panel:
    """One curve of the dashboard, and a picture of its own."""

    name: str
    """Names the picture's file."""
    title: str
    caption: str
    draw: Callable[[Axes, Training], None]


@dataclass(frozen=True)
class Compared:
    """One value of several runs in one picture."""

    events: Literal["steps", "evaluations"]
    value: str
    title: str
    unit: str


def train_and_validation(ax: Axes, training: Training, name: str, title: str, unit: str) -> None:
    """Draw a value of the training records and of the validation records."""
    train, held = curve(training.steps, name), curve(training.evaluations, name)
    labels = trended(ax, train)
    if len(held):
        ax.plot(held.x, held.y, color=VERMILION, linestyle="--", marker="s", zorder=3)
        labels.append(Label("validation", float(held.y[-1]), VERMILION))
    finish(ax, training, title, unit, labels)


def rate() -> Panel:
    """Return the panel of the learning rate."""
    return Panel("learning_rate", "Learning rate", "As the optimiser used it at each step.", _rate)


def _rate(ax: Axes, training: Training) -> None:
    line = thinned(curve(training.steps, "learning_rate"))
    ax.plot(line.x, line.y, color=BLUE)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    finish(ax, training, "Learning rate", "learning rate", [])


def norm(training: Training) -> Panel:
    """Return the panel of the gradient's norm, and where it is clipped."""
    limit = training.clipped_at
    said = "L2 norm before clipping" + (f" at {limit:g}." if limit is not None else ".")
    return Panel("gradient_norm", "Gradient norm", f"{trend(training)} {said}", _norm)


def _norm(ax: Axes, training: Training) -> None:
    line = curve(training.steps, "grad_norm")
    trended(ax, line)
    labels = []
    limit = training.clipped_at
    if limit is not None and len(line) and limit <= 1.2 * float(line.y.max()):
        ax.axhline(limit, color=MUTED, linestyle=(0, (2, 2)), linewidth=1.2)
        labels.append(Label(f"clipped at {limit:g}", limit, MUTED))
    ax.set_ylim(bottom=0)
    finish(ax, training, "Gradient norm", "L2 norm", labels)


def trended(ax: Axes, line: Curve) -> list[Label]:
    """Draw a curve thin and its smoothed trend thick; return the label at its end."""
    if not len(line):
        return []
    trend = Curve(line.x, smoothed(line.y))
    raw, smooth = thinned(line), thinned(trend)
    ax.plot(raw.x, raw.y, color=BLUE, linewidth=0.8, alpha=0.35)
    ax.plot(smooth.x, smooth.y, color=BLUE, marker="o" if len(line) == 1 else None)
    return [Label("training", float(trend.y[-1]), BLUE)]


def finish(ax: Axes, training: Training, title: str, unit: str, labels: Sequence[Label]) -> None:
    """Write title, axes, the step of the final weights, and the names at the ends of the lines."""
    ax.set_title(title)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel(unit)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if training.final_step is not None:
        ax.axvline(training.final_step, color=MUTED, linestyle=":", linewidth=1.2, zorder=1)
    ax.margins(x=0.01)
    end_labels(ax, labels)
