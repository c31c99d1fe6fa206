"""Pictures of a classification: reliability, confusion, classes and sub-groups with their intervals.

Each takes the stored tables of a result, `{"columns": [...], "rows": [[...]]}`, by who was judged.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest

from eval.report.plots import BLUE, INK, MUTED, PAPER, SERIES, picture, shortened
from eval.report.view import Picture

RawTable = Mapping[str, Any]

UNPARSED = "unparsed"
MOST_CLASSES = 30
"""More classes than this are a table only: their names could not be read."""
MOST_CONFUSED = 20
APART = 0.02
"""Mean scores of bins that a line joins differ by at least this; closer, it would jump up and down."""
SHADE = 0.6
"""Of a cell that holds its whole row; darker, and the number in it could not be read."""


def rows_of(table: RawTable) -> list[dict[str, Any]]:
    """Return the rows of a stored table by column name.

    >>> rows_of({"columns": ["class", "f1"], "rows": [["AF", 0.5]]})
    [{'class': 'AF', 'f1': 0.5}]
    """
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


# -------------------------------------------------------------------------------------- reliability


def reliability(name: str, tables: Mapping[str, RawTable]) -> Picture | None:
    """Return the reliability diagram, and below it how many records each bin holds.

    Args:
        name: of the file.
        tables: who was judged -> columns low, high, count, mean_score, share_positive. Empty bins may
            be there; they are left out.
    """
    bins = {who: bins_of(table) for who, table in tables.items()}
    bins = {who: rows for who, rows in bins.items() if rows}
    if not bins:
        return None
    return picture(
        name,
        "Reliability diagram",
        "Share of positive records against the mean score of each bin; on the diagonal a score of 0.7 "
        "comes true in 7 of 10 cases. Upright lines: 95 % intervals (Wilson) of the share, which take the "
        "records for independent. Bins of nearly the same score are not joined. Below: records in each bin.",
        lambda figure: _reliability(figure, bins),
        (4.6, 5.4),
    )


def bins_of(table: RawTable) -> list[dict[str, Any]]:
    """Return the bins that hold records, by rising mean score."""
    return sorted((row for row in rows_of(table) if row["count"]), key=lambda row: row["mean_score"])


def joined(scores: Sequence[float]) -> bool:
    """Return whether a line may join bins of these rising mean scores.

    >>> joined([0.1, 0.5, 0.9]), joined([0.480, 0.481, 0.9])
    (True, False)
    """
    return all(after - before >= APART for before, after in itertools.pairwise(scores))


def _reliability(figure: Figure, bins: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    top, below = figure.subplots(2, 1, height_ratios=(4, 1.3), sharex=True)
    top.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2)
    top.annotate(
        "perfectly calibrated", (0.03, 0.06), rotation=45, rotation_mode="anchor",
        transform_rotates_text=True, color=MUTED, fontsize=8,
    )  # fmt: skip
    for (who, rows), (colour, style, marker) in zip(bins.items(), SERIES, strict=False):
        scores = [row["mean_score"] for row in rows]
        line = style if joined(scores) else ""
        shares = [row["share_positive"] for row in rows]
        top.errorbar(
            scores, shares, yerr=_wilson(rows), color=colour, linestyle=line, marker=marker, label=who,
            elinewidth=1, capsize=2, clip_on=False,
        )  # fmt: skip
        below.plot(
            scores, [row["count"] for row in rows],
            color=colour, linestyle=line, marker=marker, linewidth=1.2, markersize=3.5, clip_on=False,
        )  # fmt: skip
    top.set(title="Reliability", ylabel="share positive", ylim=(-0.02, 1.02), xlim=(-0.02, 1.02))
    top.legend(frameon=False, loc="lower right")
    below.set(xlabel="mean score of the bin", ylabel="records", ylim=(0, None))
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def _wilson(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return how far the 95 % interval of each bin's share reaches below and above it."""
    below, above = [], []
    for row in rows:
        share = row["share_positive"]
        ends = binomtest(round(share * row["count"]), row["count"]).proportion_ci(0.95, method="wilson")
        below.append(max(0.0, share - ends.low))
        above.append(max(0.0, ends.high - share))
    return [below, above]


# ---------------------------------------------------------------------------------------- confusion


def confusion(name: str, tables: Mapping[str, RawTable]) -> Picture | None:
    """Return the confusion of each judged model side by side, shaded by the share of the row.

    Args:
        name: of the file.
        tables: who was judged -> columns "true", the classes, "unparsed"; counts.
    """
    counted = {who: table for who, table in tables.items() if table["rows"]}
    if not counted or len(next(iter(counted.values()))["rows"]) > MOST_CONFUSED:
        return None
    classes = max(len(table["rows"]) for table in counted.values())
    longest = max(len(shortened(row[0])) for table in counted.values() for row in table["rows"])
    width = 0.62 * (classes + 1) + 0.075 * longest + 1.3
    height = 0.5 * classes + 0.06 * longest + 1.3
    return picture(
        name,
        "Confusion",
        "Counts, and the share of the records of that true class. Shaded by that share. "
        f"\u201c{UNPARSED}\u201d: no class could be read from the answer.",
        lambda figure: _confusions(figure, counted),
        (max(width, 3.2) * len(counted), max(height, 2.8)),
        wide=max(width, 3.2) * len(counted) > 7,
    )


def _confusions(figure: Figure, tables: Mapping[str, RawTable]) -> None:
    for ax, (who, table) in zip(
        figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True
    ):
        _confusion(ax, who, table)


def _confusion(ax: Axes, who: str, table: RawTable) -> None:
    given = [shortened(column) for column in table["columns"][1:]]
    true = [shortened(row[0]) for row in table["rows"]]
    counts = np.array([row[1:] for row in table["rows"]], np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    ax.grid(visible=False)
    for (i, j), share in np.ndenumerate(shares):
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=BLUE, alpha=SHADE * share, linewidth=0))
        if i < len(true) and j < len(given) and table["rows"][i][0] == table["columns"][j + 1]:
            ax.add_patch(
                Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, edgecolor=MUTED, linewidth=1)
            )
        ax.text(j, i - 0.1, f"{counts[i, j]:,.0f}", ha="center", va="center", color=INK, fontsize=9)
        ax.text(j, i + 0.24, f"{share:.0%}", ha="center", va="center", color=MUTED, fontsize=7)
    ax.set(xlim=(-0.5, len(given) - 0.5), ylim=(len(true) - 0.5, -0.5))
    ax.set_xticks(range(len(given)), given, rotation=45 if max(map(len, given)) > 8 else 0,
                  ha="right" if max(map(len, given)) > 8 else "center")  # fmt: skip
    ax.set_yticks(range(len(true)), true)
    ax.tick_params(length=0)
    ax.set(title=who, xlabel="answered", ylabel="true class")
    for spine in ax.spines.values():
        spine.set_visible(False)


# -------------------------------------------------------------------------- classes and sub-groups


def per_class(name: str, tables: Mapping[str, RawTable], metric: str, title: str) -> Picture | None:
    """Return bars of one metric for each class, with the interval of each.

    Args:
        name: of the file.
        tables: who was judged -> columns class, positives, `metric`, `metric`_low, `metric`_high.
        metric: the column that is drawn.
        title: its name in words.
    """
    kept = {who: rows_of(table) for who, table in tables.items() if metric in table["columns"]}
    labels = [f"{shortened(row['class'])} ({row['positives']:,})" for row in next(iter(kept.values()), [])]
    if not 0 < len(labels) <= MOST_CLASSES:
        return None
    return picture(
        name,
        f"{title} of each class",
        "In brackets: records of the class. Lines: 95 % intervals.",
        lambda figure: _bars(figure.subplots(), kept, labels, metric, title),
        (6.6, 0.9 + len(labels) * (0.16 + 0.2 * len(kept))),
    )


def _bars(
    ax: Axes,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    labels: Sequence[str],
    metric: str,
    title: str,
) -> None:
    height = 0.8 / len(tables)
    for place, (who, rows) in enumerate(tables.items()):
        colour, _, marker = SERIES[place % len(SERIES)]
        y = [n + (place - (len(tables) - 1) / 2) * height for n in range(len(rows))]
        values = [row[metric] for row in rows]
        ax.barh(
            y, [value or 0.0 for value in values], height=height * 0.86, color=colour,
            alpha=0.45 if place == 0 and len(tables) > 1 else 0.85, label=who,
            hatch="///" if place == 0 and len(tables) > 1 else None, edgecolor=PAPER, linewidth=0,
        )  # fmt: skip
        for at, value, row in zip(y, values, rows, strict=True):
            low, high = row.get(f"{metric}_low"), row.get(f"{metric}_high")
            if value is None:
                ax.text(0.008, at, "does not exist", va="center", color=MUTED, fontsize=7.5)
            if value is not None and low is not None and high is not None:
                ax.plot([low, high], [at, at], color=INK, linewidth=1.3, solid_capstyle="butt")
                ax.plot([value], [at], color=INK, marker=marker, markersize=3)
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.grid(visible=False, axis="y")
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel=title)
    if len(tables) > 1:
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(tables), fontsize=8.5)


def subgroups(name: str, tables: Mapping[str, RawTable], metric: str, title: str) -> Picture | None:
    """Return one metric in each sub-group of the records, as points with intervals.

    Args:
        name: of the file.
        tables: who was judged -> columns attribute, value, records, metric, value_, low, high, warning.
        metric: the metric that is drawn.
        title: its name in words.
    """
    kept = {who: [row for row in rows_of(t) if row["metric"] == metric] for who, t in tables.items()}
    kept = {who: rows for who, rows in kept.items() if rows}
    labels: dict[tuple[Any, Any], str] = {}
    for rows in kept.values():
        labels |= {
            (
                row["attribute"],
                row["value"],
            ): f"{shortened(row['attribute'])} {shortened(row['value'])} ({row['records']:,})"
            for row in rows
        }
    if not 0 < len(labels) <= MOST_CLASSES:
        return None
    return picture(
        name,
        f"{title} by sub-group",
        "In brackets: records of the sub-group. Lines: 95 % intervals.",
        lambda figure: _points(figure.subplots(), kept, labels, title),
        (6.6, 0.9 + len(labels) * (0.16 + 0.16 * len(kept))),
    )


def _points(
    ax: Axes,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    labels: Mapping[tuple[Any, Any], str],
    title: str,
) -> None:
    places = {key: n for n, key in enumerate(labels)}
    for number, (who, rows) in enumerate(tables.items()):
        colour, _, marker = SERIES[number % len(SERIES)]
        shift = (number - (len(tables) - 1) / 2) * 0.3
        shown = [row for row in rows if row["value_"] is not None]
        y = [places[row["attribute"], row["value"]] + shift for row in shown]
        for at, row in zip(y, shown, strict=True):
            if row["low"] is not None and row["high"] is not None:
                ax.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=1.6)
        ax.plot([row["value_"] for row in shown], y, color=colour, marker=marker, linestyle="", label=who)
    ax.set_yticks(range(len(labels)), list(labels.values()))
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_xlabel(title)
    if len(tables) > 1:
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(tables), fontsize=8.5)
