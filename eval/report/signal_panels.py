"""The curves of a training on signals: BCE loss, validation MAP and AUC, learning rate, coefficient, norms, memory."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from eval.report.curve_panels import (
    Compared,
    Panel,
    Training,
    finish,
    norm,
    rate,
    train_and_validation,
    trend,
)
from eval.report.plots import BLUE, GREEN, ORANGE, PURPLE, VERMILION, Label
from eval.report.series import Curve, curve, smoothed, thinned

UNIT = "nats per record and class"
MIB_PER_GIB = 1024

COMPARED = (
    Compared("evaluations", "loss", "Validation BCE loss", UNIT),
    Compared("evaluations", "average_precision", "Validation MAP, macro", "mean over the defined classes"),
    Compared("steps", "loss", "Training loss, smoothed", UNIT),
    Compared("steps", "grad_norm", "Gradient norm, smoothed", "L2 norm"),
)


def panels(training: Training) -> tuple[Panel, ...]:
    """Return the panels for which the training told something, in order."""
    mixed = norm(training)
    every = (
        (
            training.steps,
            "loss",
            Panel(
                "loss",
                "BCE loss",
                f"{trend(training)} Training: the objective of the steps, its mixed labels and every added part included. "
                "Validation: binary cross-entropy alone.",
                _loss,
            ),
        ),
        (
            training.evaluations,
            "average_precision",
            Panel(
                "validation_scores",
                "Validation MAP and AUC, macro",
                "Means over the classes that have a positive and a negative among the validation records.",
                _scores,
            ),
        ),
        (training.steps, "learning_rate", rate()),
        (
            training.steps,
            "coefficient",
            Panel(
                "coefficient",
                "Coefficient",
                "Weight of the first-order gradient where a zeroth-order one is mixed in; 1 is the first-order one alone.",
                _coefficient,
            ),
        ),
        (
            training.steps,
            "grad_norm",
            Panel(
                mixed.name,
                "Gradient norms",
                f"{mixed.caption} First-order: of the backbone, before another is mixed in.",
                _norms,
            )
            if len(curve(training.steps, "fo_norm"))
            else mixed,
        ),
        (
            training.steps,
            "memory_training_mib",
            Panel(
                "memory",
                "Peak memory",
                "Highest so far: within training steps alone, and of the whole run with loading and evaluations. "
                "On CUDA what torch allocated; on a CPU the resident memory of the process, its libraries included.",
                _memory,
            ),
        ),
    )
    return tuple(panel for events, name, panel in every if len(curve(events, name)))


def _loss(ax: Axes, training: Training) -> None:
    train_and_validation(ax, training, "loss", "BCE loss", UNIT)


def _scores(ax: Axes, training: Training) -> None:
    labels = []
    for name, said, colour, marker in (
        ("average_precision", "MAP", VERMILION, "s"),
        ("auc", "AUC", GREEN, "^"),
    ):
        line = curve(training.evaluations, name)
        if len(line):
            ax.plot(line.x, line.y, color=colour, linestyle="--", marker=marker)
            labels.append(Label(said, float(line.y[-1]), colour))
    finish(ax, training, "Validation MAP and AUC, macro", "0 to 1", labels)


def _coefficient(ax: Axes, training: Training) -> None:
    line = thinned(curve(training.steps, "coefficient"))
    ax.step(line.x, line.y, where="post", color=PURPLE)
    ax.set_ylim(min(0.8, float(line.y.min()) - 0.02), 1.02)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    finish(ax, training, "Coefficient", "weight of the first order", [])


def _norms(ax: Axes, training: Training) -> None:
    norm(training).draw(ax, training)
    line = curve(training.steps, "fo_norm")
    trend = thinned(Curve(line.x, smoothed(line.y)))
    ax.plot(trend.x, trend.y, color=ORANGE, linestyle="-.", label="first-order, backbone")
    ax.lines[0].set_label("")
    ax.plot([], [], color=BLUE, label="as the optimiser got it")
    ax.set(title="Gradient norms")
    ax.legend(frameon=False, fontsize=8)


def _memory(ax: Axes, training: Training) -> None:
    labels = []
    for name, said, colour, style in (
        ("memory_training_mib", "training steps", BLUE, "-"),
        ("memory_mib", "whole run", VERMILION, "--"),
    ):
        line = curve(training.steps, name)
        if len(line):
            shown = thinned(line)
            ax.plot(shown.x, shown.y / MIB_PER_GIB, color=colour, linestyle=style)
            labels.append(Label(said, float(line.y[-1]) / MIB_PER_GIB, colour))
    ax.set_ylim(bottom=0)
    finish(ax, training, "Peak memory", "GiB", labels)
