"""The curves of a training on text: loss, token accuracy, learning rate, gradient norm, entropy."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from eval.report.curve_panels import Compared, Panel, Training, norm, rate, train_and_validation, trend

UNIT = "nats per label token"

COMPARED = (
    Compared("evaluations", "loss", "Validation loss", UNIT),
    Compared("evaluations", "token_accuracy", "Validation token accuracy", "share of label tokens"),
    Compared("steps", "loss", "Training loss, smoothed", UNIT),
    Compared("steps", "grad_norm", "Gradient norm, smoothed", "L2 norm"),
)


def panels(training: Training) -> tuple[Panel, ...]:
    """Return the panels of a training, in order; every one, for a token always has all of these."""
    return (
        Panel("loss", "Loss", f"{trend(training)} Mean over label tokens.", _loss),
        Panel(
            "token_accuracy",
            "Token accuracy",
            f"{trend(training)} Share of label tokens predicted first.",
            _accuracy,
        ),
        rate(),
        norm(training),
        Panel(
            "entropy",
            "Entropy",
            f"{trend(training)} Of the predicted distributions, at label tokens.",
            _entropy,
        ),
    )


def _loss(ax: Axes, training: Training) -> None:
    train_and_validation(ax, training, "loss", "Loss", UNIT)


def _accuracy(ax: Axes, training: Training) -> None:
    train_and_validation(ax, training, "token_accuracy", "Token accuracy", "share of label tokens")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))


def _entropy(ax: Axes, training: Training) -> None:
    train_and_validation(ax, training, "entropy", "Entropy", UNIT)
