"""The curves of a training: loss, token accuracy, learning rate, gradient norm, entropy, and all five."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter, StrMethodFormatter

from eval.report.plots import BLUE, INK, MUTED, SERIES, VERMILION, Label, end_labels, picture
from eval.report.series import SMOOTHING, Curve, curve, smoothed, thinned
from eval.report.view import Picture

SIZE = (6.6, 3.5)
DASHBOARD_SIZE = (13.2, 7.0)
TREND = f"Thin: each logged step. Thick: centred Gaussian average, {SMOOTHING:.0%} of the steps wide."


@dataclass(frozen=True)
class Training:
    """What a training told of itself."""

    steps: Sequence[Mapping[str, Any]]
    """Step events: step, loss, token_accuracy, entropy, grad_norm, learning_rate."""
    evaluations: Sequence[Mapping[str, Any]]
    """Evaluation events on the validation records."""
    final_step: int | None
    """The step whose weights are the result; None: the last one."""
    clipped_at: float | None
    """Gradients are clipped to this norm."""


def training_pictures(training: Training) -> tuple[Picture, ...]:
    """Return the dashboard and the five curves; nothing where no step was logged."""
    if not training.steps:
        return ()
    # Name, title, caption, panel.
    single: tuple[tuple[str, str, str, Callable[[Axes, Training], None]], ...] = (
        ("loss", "Loss", f"{TREND} Mean over label tokens.", _loss),
        ("token_accuracy", "Token accuracy", f"{TREND} Share of label tokens predicted first.", _accuracy),
        ("learning_rate", "Learning rate", "As the optimiser used it at each step.", _rate),
        ("gradient_norm", "Gradient norm", f"{TREND} {_clipping(training)}", _norm),
        ("entropy", "Entropy", f"{TREND} Of the predicted distributions, at label tokens.", _entropy),
    )
    pictures = [
        picture(name, title, caption, partial(_alone, training=training, panel=draw), SIZE)
        for name, title, caption, draw in single
    ]
    panels = [draw for _, _, _, draw in single]
    board = picture(
        "dashboard",
        "Training dashboard: loss, token accuracy, learning rate, gradient norm, entropy",
        TREND,
        lambda figure: _dashboard(figure, training, panels),
        DASHBOARD_SIZE,
        wide=True,
    )
    return (board, *pictures)


def _alone(figure: Figure, training: Training, panel: Callable[[Axes, Training], None]) -> None:
    panel(figure.subplots(), training)


def _clipping(training: Training) -> str:
    limit = training.clipped_at
    return "L2 norm before clipping" + (f" at {limit:g}." if limit is not None else ".")


def _dashboard(
    figure: Figure, training: Training, panels: Sequence[Callable[[Axes, Training], None]]
) -> None:
    axes = figure.subplots(2, 3).flat
    for ax, draw in zip(axes, panels, strict=False):
        draw(ax, training)
    _key(axes[5], training)


def _key(ax: Axes, training: Training) -> None:
    """Say what the lines are, in the place of a sixth panel."""
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


def _loss(ax: Axes, training: Training) -> None:
    _train_and_validation(ax, training, "loss", "Loss", "nats per label token")


def _accuracy(ax: Axes, training: Training) -> None:
    _train_and_validation(ax, training, "token_accuracy", "Token accuracy", "share of label tokens")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))


def _entropy(ax: Axes, training: Training) -> None:
    _train_and_validation(ax, training, "entropy", "Entropy", "nats per label token")


def _train_and_validation(ax: Axes, training: Training, name: str, title: str, unit: str) -> None:
    train, held = curve(training.steps, name), curve(training.evaluations, name)
    labels = _trend(ax, train)
    if len(held):
        ax.plot(held.x, held.y, color=VERMILION, linestyle="--", marker="s", zorder=3)
        labels.append(Label("validation", float(held.y[-1]), VERMILION))
    _finish(ax, training, title, unit, labels)


def _rate(ax: Axes, training: Training) -> None:
    line = thinned(curve(training.steps, "learning_rate"))
    ax.plot(line.x, line.y, color=BLUE)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    _finish(ax, training, "Learning rate", "learning rate", [])


def _norm(ax: Axes, training: Training) -> None:
    line = curve(training.steps, "grad_norm")
    _trend(ax, line)
    labels = []
    limit = training.clipped_at
    if limit is not None and len(line) and limit <= 1.2 * float(line.y.max()):
        ax.axhline(limit, color=MUTED, linestyle=(0, (2, 2)), linewidth=1.2)
        labels.append(Label(f"clipped at {limit:g}", limit, MUTED))
    ax.set_ylim(bottom=0)
    _finish(ax, training, "Gradient norm", "L2 norm", labels)


def _trend(ax: Axes, line: Curve) -> list[Label]:
    """Draw a curve thin and its smoothed trend thick; return the label at its end."""
    if not len(line):
        return []
    trend = Curve(line.x, smoothed(line.y))
    raw, smooth = thinned(line), thinned(trend)
    ax.plot(raw.x, raw.y, color=BLUE, linewidth=0.8, alpha=0.35)
    ax.plot(smooth.x, smooth.y, color=BLUE, marker="o" if len(line) == 1 else None)
    return [Label("training", float(trend.y[-1]), BLUE)]


def _finish(ax: Axes, training: Training, title: str, unit: str, labels: Sequence[Label]) -> None:
    ax.set_title(title)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel(unit)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if training.final_step is not None:
        ax.axvline(training.final_step, color=MUTED, linestyle=":", linewidth=1.2, zorder=1)
    ax.margins(x=0.01)
    end_labels(ax, labels)


# -------------------------------------------------------------------------------- several runs

# Events they are taken from, value, title, unit.
_COMPARED = (
    ("evaluations", "loss", "Validation loss", "nats per label token"),
    ("evaluations", "token_accuracy", "Validation token accuracy", "share of label tokens"),
    ("steps", "loss", "Training loss, smoothed", "nats per label token"),
    ("steps", "grad_norm", "Gradient norm, smoothed", "L2 norm"),
)


def compared_pictures(trainings: Mapping[str, Training]) -> tuple[Picture, ...]:
    """Return one picture a value with a line for each run; none where there are too many runs to tell apart.

    Args:
        trainings: the run's name on the page -> its curves.
    """
    if len(trainings) > len(SERIES):
        return ()
    found = []
    for events, value, title, unit in _COMPARED:
        lines = {name: curve(getattr(training, events), value) for name, training in trainings.items()}
        lines = {name: line for name, line in lines.items() if len(line)}
        if events == "steps":
            lines = {name: Curve(line.x, smoothed(line.y)) for name, line in lines.items()}
        if lines:
            draw = partial(_compared, lines=lines, title=title, unit=unit, marked=events == "evaluations")
            found.append(picture(f"compared-{events}-{value}", title, f"{title}, {unit}.", draw, SIZE))
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
