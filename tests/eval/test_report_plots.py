"""Pictures: drawn of every table, coloured by the page, safe to stand on one page."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from eval.report import class_plots
from eval.report.plots import SERIES, VARIABLES, inline_svg
from eval.report.training_plots import Training, compared_pictures, training_pictures
from eval.report.view import Picture

NASTY = "<b>&\"'</b> $x^2$ $"

NAMES = ["dashboard", "loss", "token_accuracy", "learning_rate", "gradient_norm", "entropy"]


def steps(count: int, **more: Any) -> list[dict[str, Any]]:
    values = {"loss": 2.0, "token_accuracy": 0.5, "learning_rate": 1e-4, "grad_norm": 0.8, "entropy": 1.0}
    return [{"step": n, **values, **more} for n in range(1, count + 1)]


def texts(picture: Picture) -> set[str]:
    root = ElementTree.fromstring(picture.svg)
    return {"".join(item.itertext()) for item in root.iter() if item.tag.endswith("text")}


def the(picture: Picture | None) -> Picture:
    assert picture is not None
    return picture


def tables(columns: list[str], *rows: list[Any]) -> dict[str, dict[str, Any]]:
    return {who: {"columns": columns, "rows": list(rows)} for who in ("baseline", "tuned")}


CONFUSION = tables(["true", "no", NASTY, "unparsed"], ["no", 3, 1, 0], [NASTY, 0, 0, 0])
PER_CLASS = tables(
    ["class", "positives", "f1", "f1_low", "f1_high"],
    ["no", 1200, 0.5, 0.4, 0.6],
    [NASTY, 0, None, None, None],
)
RELIABILITY = tables(
    ["low", "high", "count", "mean_score", "share_positive"],
    [0.0, 0.5, 4, 0.2, 0.25],
    [0.5, 1.0, 0, None, None],
)
SUBGROUPS = tables(
    ["attribute", "value", "records", "metric", "value_", "low", "high"],
    ["sex", NASTY, 30, "accuracy", 0.5, 0.4, 0.6], ["sex", "x", 3, "accuracy", None, None, None],
)  # fmt: skip


def every_class_picture() -> dict[str, Picture]:
    drawn = {
        "reliability": class_plots.reliability("a", RELIABILITY),
        "confusion": class_plots.confusion("b", CONFUSION),
        "per_class": class_plots.per_class("c", PER_CLASS, "f1", "F1"),
        "subgroups": class_plots.subgroups("d", SUBGROUPS, "accuracy", "Accuracy"),
    }
    return {name: the(picture) for name, picture in drawn.items()}


@pytest.mark.parametrize("evaluated", [True, False])
@pytest.mark.parametrize("count", [1, 2, 50, 5000])
def test_the_five_curves_and_their_dashboard_are_drawn(count: int, evaluated: bool) -> None:
    evaluations = [{"step": 0, "loss": 2.5, "token_accuracy": 0.4, "entropy": 1.1}] if evaluated else []
    pictures = training_pictures(Training(steps(count), evaluations, None, 1.0))
    assert [picture.name for picture in pictures] == NAMES
    for picture in pictures:
        assert Image.open(io.BytesIO(picture.png)).format == "PNG"
        assert "optimiser step" in texts(picture)
        assert len(picture.svg) < 400_000
    units = {name: texts(picture) for name, picture in zip(NAMES, pictures, strict=True)}
    assert "nats per label token" in units["loss"] & units["entropy"]
    assert "share of label tokens" in units["token_accuracy"]
    assert "L2 norm" in units["gradient_norm"]
    assert ("validation" in units["loss"]) is evaluated


def test_a_training_without_steps_has_no_curves() -> None:
    assert training_pictures(Training([], [], None, None)) == ()


def test_losses_that_are_no_numbers_are_left_out() -> None:
    assert len(training_pictures(Training(steps(3, loss=None, grad_norm=float("nan")), [], 2, 1.0))) == 6


def test_every_class_picture_is_drawn_with_its_units() -> None:
    found = {name: texts(picture) for name, picture in every_class_picture().items()}
    assert {"mean score of the bin", "share positive", "records", "perfectly calibrated"} <= found[
        "reliability"
    ]
    assert {"answered", "true class", "unparsed", "3", "75%", "baseline", "tuned"} <= found["confusion"]
    assert {"F1", "no (1,200)", f"{NASTY} (0)", "does not exist"} <= found["per_class"]
    assert {"Accuracy", f"sex {NASTY} (30)"} <= found["subgroups"]


def test_the_colours_of_a_picture_are_those_of_the_page() -> None:
    for picture in every_class_picture().values():
        assert not re.findall(r"#[0-9a-f]{6}", picture.svg, re.IGNORECASE)
        assert "var(--ink)" in picture.svg
        assert ElementTree.fromstring(picture.svg).get("viewBox")


def test_no_two_pictures_of_a_page_share_an_id() -> None:
    ids = [found for p in every_class_picture().values() for found in re.findall(r'\bid="([^"]+)"', p.svg)]
    assert len(ids) == len(set(ids))
    for picture in every_class_picture().values():
        named = set(re.findall(r'\bid="([^"]+)"', picture.svg))
        used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', picture.svg)
        assert {one or other for one, other in used} <= named


def test_lines_differ_by_more_than_colour() -> None:
    assert (
        len({str(style) for _, style, _ in SERIES}) == len({marker for _, _, marker in SERIES}) == len(SERIES)
    )
    assert {colour for colour, _, _ in SERIES} <= set(VARIABLES)


def test_what_cannot_be_read_is_not_drawn() -> None:
    many = {"t": {"columns": ["class", "positives", "f1"], "rows": [[f"c{n}", 1, 0.5] for n in range(71)]}}
    assert class_plots.per_class("p", many, "f1", "F1") is None
    names = [f"c{n}" for n in range(71)]
    matrix = {"t": {"columns": ["true", *names], "rows": [[name, *[0] * 71] for name in names]}}
    assert class_plots.confusion("c", matrix) is None
    assert (
        class_plots.reliability("r", tables(["low", "high", "count", "mean_score", "share_positive"])) is None
    )
    runs = {f"run {n}": Training(steps(2), [], None, None) for n in range(len(SERIES) + 1)}
    assert compared_pictures(runs) == ()


def test_a_training_on_signals_is_told_in_its_own_words() -> None:
    told = {
        "loss": 0.4,
        "learning_rate": 1e-3,
        "grad_norm": 0.8,
        "memory_training_mib": 512.0,
        "memory_mib": 700.0,
    }
    held = [{"step": n, "loss": 0.5, "average_precision": 0.3, "auc": 0.7} for n in (0, 3)]
    mixed = [{"step": n, **told, "coefficient": 0.9, "fo_norm": 0.6} for n in (1, 2, 3)]
    pictures = {one.name: one for one in training_pictures(Training(mixed, held, 3, None, kind="signal"))}
    assert [*pictures] == [
        "dashboard", "loss", "validation_scores", "learning_rate", "coefficient", "gradient_norm", "memory",
    ]  # fmt: skip
    assert "nats per record and class" in texts(pictures["loss"])
    assert {"MAP", "AUC"} <= texts(pictures["validation_scores"])
    assert {"training steps", "whole run", "GiB"} <= texts(pictures["memory"])
    assert "first-order, backbone" in texts(pictures["gradient_norm"])
    for one in pictures.values():
        assert "token" not in " ".join([one.title, one.caption, *texts(one)])


def test_what_a_method_does_not_have_is_not_drawn() -> None:
    """LoRA mixes nothing, MeZO has no gradient, and without validation records there are no scores."""
    plain = [
        {"step": n, "loss": 0.4, "learning_rate": 1e-3, "coefficient": None, "grad_norm": None}
        for n in (1, 2)
    ]
    names = [one.name for one in training_pictures(Training(plain, [], None, None, kind="signal"))]
    assert names == ["dashboard", "loss", "learning_rate"]


def test_runs_on_signals_are_compared_by_map_and_never_with_text() -> None:
    held = [{"step": 3, "loss": 0.5, "average_precision": 0.3}]
    of_signals = Training(steps(3), held, None, None, kind="signal")
    names = [one.name for one in compared_pictures({"one": of_signals, "two": of_signals})]
    assert "compared-evaluations-average_precision" in names
    assert not any("token" in name for name in names)
    assert compared_pictures({"one": of_signals, "two": Training(steps(3), [], None, None)}) == ()


def test_runs_are_drawn_together() -> None:
    runs = {name: Training(steps(3), [{"step": 3, "loss": 1.0}], None, None) for name in ("one", NASTY)}
    pictures = compared_pictures(runs)
    assert [picture.title for picture in pictures] == [
        "Validation loss", "Training loss, smoothed", "Gradient norm, smoothed",
    ]  # fmt: skip
    assert {"one", NASTY} <= texts(pictures[0])


def test_an_svg_without_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="'p' has no viewBox"):
        inline_svg("<svg></svg>", "p")


def drawn_bins(*rows: list[Any]) -> tuple[list[list[float]], list[str]]:
    """Return x and line style of what is drawn of bins in the upper part of the diagram."""
    figure = Figure()
    table = {"columns": ["low", "high", "count", "mean_score", "share_positive"], "rows": list(rows)}
    class_plots._reliability(figure, {"tuned": class_plots.bins_of(table)})
    (line,) = figure.axes[0].containers
    return [list(map(float, line[0].get_xdata()))], [line[0].get_linestyle()]


def test_bins_that_nearly_coincide_are_points_with_intervals_and_no_line() -> None:
    together = [[0.4, 0.5, 8, 0.481, 0.2], [0.5, 0.5, 8, 0.480, 0.9], [0.5, 0.6, 8, 0.482, 0.1]]
    xs, styles = drawn_bins(*together)
    assert xs == [[0.480, 0.481, 0.482]]
    assert styles == ["None"]


def test_bins_that_are_apart_are_joined_in_the_order_of_their_scores() -> None:
    xs, styles = drawn_bins([0.5, 1.0, 8, 0.8, 0.9], [0.0, 0.5, 8, 0.3, 0.2])
    assert xs == [[0.3, 0.8]]
    assert styles == ["-"]


def test_the_interval_of_a_bin_is_wilson_s() -> None:
    """5 of 10: centre 0.5, half width 1.96 / (1 + 1.96^2 / 10) * sqrt(0.025 + 1.96^2 / 400) = 0.2634."""
    ((low,), (high,)) = class_plots._wilson([{"count": 10, "share_positive": 0.5}])
    assert (low, high) == (pytest.approx(0.2634, abs=1e-4), pytest.approx(0.2634, abs=1e-4))
