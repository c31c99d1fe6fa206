"""Do 95 % intervals hold the truth? Simulated sets of records of a known population, judged by the code of eval/.

Each row is one kind of data: how many of the sets have an interval that holds the truth, how many have an interval at
all, and for how many the intervals are said to be too narrow. A set is drawn anew each time, with groups of records
(patients) that are alike within a group; the truth is known, or is the value on 400,000 records. Every row has a
generator of its own, so that it is the same whichever rows are asked for. A share of 500 has a standard error of 0.01.
Prints a table and JSON.

    python benchmarks/coverage.py [--sets 500] [--draws 1000] [--only groups metrics] [--match auc] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core; before numpy is loaded

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from eval.bootstrap import (
    BoolArray,
    FloatArray,
    IntArray,
    Interval,
    Statistic,
    clustered_intervals,
    clusters,
    effective_number,
    intervals,
)
from eval.classification import classification_differences, classify
from eval.likelihood import binary_differences, score_binary
from eval.perplexity import RecordScore, held_out
from eval.ranks import auc, average_precision
from eval.thresholds import beta_scores, decided, fit_thresholds

MANY = 400_000
"""Records that a truth without a formula is taken from."""


@dataclass(frozen=True)
class Found:
    """What one set gave."""

    interval: Interval
    narrow: bool
    effective: float


@dataclass(frozen=True)
class Case:
    """One row: what is measured, on what, and how a set is made and judged."""

    part: str
    what: str
    data: str
    truth: float
    judged: Callable[[np.random.Generator, int, int], Found]
    """Takes a generator, the draws of the bootstrap and its seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=500, help="simulated sets a row")
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap; the runner makes 2,000")
    parser.add_argument("--only", nargs="+", choices=("groups", "metrics"), default=("groups", "metrics"))
    parser.add_argument("--match", default="", help="rows whose name holds this")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    chosen = [case for case in cases() if case.part in arguments.only and arguments.match in case.what]
    if not arguments.json:
        print(f"{arguments.sets} sets a row, {arguments.draws:,} draws, 95 % intervals")
        print(f"{'what':<44}{'data':<36}{'counts as':>10}{'held':>8}{'none':>7}{'warned':>8}")
    rows = []
    for case in chosen:
        row = simulated(case, arguments.sets, arguments.draws)
        rows.append(row)
        if not arguments.json:
            held = "-" if row["held"] is None else f"{row['held']:.3f}"
            numbers = f"{row['effective']:>10.1f}{held:>8}{row['none']:>7.2f}{row['warned']:>8.2f}"
            print(f"{case.what:<44}{case.data:<36}{numbers}", flush=True)
    print(json.dumps({"sets": arguments.sets, "draws": arguments.draws, "rows": rows}))


def simulated(case: Case, sets: int, draws: int) -> dict[str, Any]:
    """Return the shares of sets whose interval holds the truth (of those with one), that have none, that are warned of."""
    rng = np.random.default_rng(zlib.crc32(f"{case.what}, {case.data}".encode()))
    found = [case.judged(rng, draws, seed) for seed in range(sets)]
    ends = [one.interval for one in found if not np.isnan(one.interval.low)]
    return {
        "what": case.what,
        "data": case.data,
        "truth": round(case.truth, 4),
        "mean": round(float(np.mean([one.interval.value for one in found])), 4),
        "effective": round(float(np.mean([one.effective for one in found])), 1),
        "held": round(float(np.mean([one.low <= case.truth <= one.high for one in ends])), 3)
        if ends
        else None,
        "none": round(1 - len(ends) / sets, 3),
        "warned": round(float(np.mean([one.narrow for one in found])), 3),
    }


def cases() -> Iterator[Case]:
    """Yield all rows."""
    yield from of_groups()
    yield from of_metrics()


# ------------------------------------------------------------------------------------------ groups

SIZES: dict[str, Callable[[np.random.Generator, int], IntArray]] = {
    "of 5 records": lambda rng, count: np.full(count, 5),
    "of unequal size": lambda rng, count: _log_normal(rng, count, 1.0),
    "of very unequal size": lambda rng, count: _log_normal(rng, count, 1.5),
}
"""Records of the groups. Log-normal, 5 in the mean: of 40 groups the largest holds about 14 % and 24 % of the records."""


def _log_normal(rng: np.random.Generator, count: int, spread: float) -> IntArray:
    return 1 + np.floor(4.5 * rng.lognormal(-(spread**2) / 2, spread, count)).astype(np.int64)


def of_groups() -> Iterator[Case]:
    """Yield an accuracy, an area, and the paired differences of both, for few and many groups of each kind of size."""
    area = float(norm.cdf(1 / np.sqrt(2)))
    for kind, sizes in SIZES.items():
        for count in (8, 20, 40, 200):
            data = f"{count} groups {kind}"
            for what, truth, judged in (
                ("accuracy", 0.8, _accuracy(sizes, count, paired=False)),
                ("accuracy, paired difference", 0.0, _accuracy(sizes, count, paired=True)),
                ("AUC", area, _area(sizes, count, paired=False)),
                ("AUC, paired difference", 0.0, _area(sizes, count, paired=True)),
            ):
                yield Case("groups", what, data, truth, judged)


def _accuracy(
    sizes: Callable[[np.random.Generator, int], IntArray], count: int, *, paired: bool
) -> Callable[[np.random.Generator, int, int], Found]:
    """Answers right with 0.8; each group has a chance of its own, with a correlation of 1 / 3 within it."""

    def judged(rng: np.random.Generator, draws: int, seed: int) -> Found:
        size = sizes(rng, count)
        member = np.repeat(np.arange(count), size)
        answers = [
            np.where(rng.random(len(member)) < rng.beta(1.6, 0.4, count)[member], "yes", "no").tolist()
            for _ in range(1 + paired)
        ]
        truth, groups = ["yes"] * len(member), [f"{number:03}" for number in member]
        found = classify(truth, answers[0], ["yes", "no"], groups, draws=0 if paired else draws, seed=seed)
        interval = found.accuracy
        if paired:
            interval = classification_differences(
                truth, *answers, ["yes", "no"], groups, draws=draws, seed=seed
            )["accuracy"]
        narrow = clusters(groups, draws=1).narrow is not None
        return Found(interval, narrow, effective_number(size))

    return judged


def _area(
    sizes: Callable[[np.random.Generator, int], IntArray], count: int, *, paired: bool
) -> Callable[[np.random.Generator, int, int], Found]:
    """Scores are normal, of positives with mean 1: AUC 0.760. 0.6 of their variance is the group's.

    Four groups in ten are of sick patients; one record in ten has the other label.
    """

    def judged(rng: np.random.Generator, draws: int, seed: int) -> Found:
        while True:
            size = sizes(rng, count)
            member = np.repeat(np.arange(count), size)
            positive = (rng.random(count) < 0.4)[member] ^ (rng.random(len(member)) < 0.1)
            if positive.any() and not positive.all():
                break
        drawn_from = clusters(
            [f"{number:03}" for number in member],
            np.column_stack([positive, ~positive]),
            draws=draws,
            seed=seed,
        )
        areas = []
        for _ in range(1 + paired):
            shared, own = rng.standard_normal(count)[member], rng.standard_normal(len(member))
            score = np.sqrt(0.6) * shared + np.sqrt(0.4) * own + positive
            areas.append(auc(positive, score, drawn_from.member))

        def statistic(times: IntArray) -> FloatArray:
            first = areas[0](times)
            return (areas[1](times) - first if paired else first)[:, None]

        (interval,) = intervals(drawn_from, statistic)
        return Found(interval, drawn_from.narrow is not None, drawn_from.effective)

    return judged


# ----------------------------------------------------------------------------------------- metrics


def of_metrics() -> Iterator[Case]:
    """Yield the metrics that a plug-in estimate, a maximum or a choice might bias; every record is a group."""
    for records in (200, 1000):
        data = f"{records} records"
        for what, slope in (("calibrated", 1.0), ("too sure", 2.0)):
            error, brier = _expected_error(slope), _expected_brier(slope)
            name = f"calibration error, {what}"
            yield Case("metrics", name, data, error, _binary("calibration_error", records, slope))
            yield Case("metrics", f"{name}, drawn all the same", data, error, _error_drawn(records, slope))
            yield Case("metrics", f"Brier score, {what}", data, brier, _binary("brier", records, slope))
            for metric in ("calibration_error", "brier"):
                said = f"{metric.replace('_', ' ')} of two {what}"
                yield Case("metrics", said, data, 0.0, _two_models(metric, records, slope))
        yield Case("metrics", "perplexity", data, _perplexity_truth(), _perplexity(records))
        yield Case(
            "metrics",
            "accuracy minus the commonest label's",
            f"{data}, two labels of 50 %",
            0.0,
            _beside_commonest(records),
        )
        yield Case("metrics", "F2 at a given threshold", data, _f2_truth(), _f2(records, chosen=False))
        yield Case("metrics", "F2 at the best of its records", data, _f2_truth(), _f2(records, chosen=True))
    for records, positives, apart in (
        (200, 60, 1.0),
        (200, 20, 1.0),
        (1000, 50, 1.0),
        (1000, 20, 1.0),
        (1000, 5, 1.0),
        (200, 60, 3.0),
        (1000, 50, 3.0),
    ):
        data = f"{records} records, {positives} positive"
        area, precision = float(norm.cdf(apart / np.sqrt(2))), _precision_truth(positives / records, apart)
        name = "" if apart == 1 else " near 1"
        yield Case("metrics", f"AUC{name}", data, area, _ranked(auc, records, positives, apart))
        yield Case(
            "metrics",
            f"average precision{name}",
            data,
            precision,
            _ranked(average_precision, records, positives, apart),
        )


def _scores(rng: np.random.Generator, records: int, slope: float) -> tuple[BoolArray, FloatArray, FloatArray]:
    """Return outcomes, the chances that they have, and what the model says: the logit times `slope`."""
    logit = 1.3 * rng.standard_normal(records)
    chance: FloatArray = expit(logit)
    return rng.random(records) < chance, chance, expit(slope * logit)


def _expected_error(slope: float) -> float:
    """Return the error of ten bins of equal mass, without chance."""
    _, chance, score = _scores(np.random.default_rng(0), MANY, slope)
    return float(np.abs((score - chance)[np.argsort(score)].reshape(10, -1).mean(axis=1)).mean())


def _expected_brier(slope: float) -> float:
    _, chance, score = _scores(np.random.default_rng(0), MANY, slope)
    return float((chance * (1 - chance) + (score - chance) ** 2).mean())


def _binary(metric: str, records: int, slope: float) -> Callable[[np.random.Generator, int, int], Found]:
    def judged(rng: np.random.Generator, draws: int, seed: int) -> Found:
        truth, _, score = _scores(rng, records, slope)
        found = score_binary(truth, score, _alone(records), draws=draws, seed=seed)
        return Found(getattr(found, metric), narrow=False, effective=records)

    return judged


def _error_drawn(records: int, slope: float) -> Callable[[np.random.Generator, int, int], Found]:
    """The interval that is not given: percentiles of the draws, the bins those of all records."""

    def judged(rng: np.random.Generator, draws: int, seed: int) -> Found:
        truth, _, score = _scores(rng, records, slope)
        place = np.argsort(np.argsort(score)) * 10 // records
        gaps = (place[:, None] == np.arange(10)) * (score - truth)[:, None]
        (found,) = clustered_intervals(
            np.column_stack([gaps, np.ones(records)]),
            _alone(records),
            lambda totals: (np.abs(totals[:, :-1]).sum(axis=1) / totals[:, -1])[:, None],
            draws=draws,
            seed=seed,
        )
        return Found(found, narrow=False, effective=records)

    return judged


def _two_models(metric: str, records: int, slope: float) -> Callable[[np.random.Generator, int, int], Found]:
    """Two models that know different things, both as far from calibrated."""

    def judged(rng: np.random.Generator, draws: int, seed: int) -> Found:
        one, other = rng.standard_normal((2, records))
        truth = rng.random(records) < norm.cdf((one + other) / 2)
        # Of the other's part and the noise each model knows the variance alone: its chance is that of their sum.
        scores = [norm.cdf(slope * known / 2 / np.sqrt(1.25)) for known in (one, other)]
        found = binary_differences(truth, *scores, _alone(records), draws=draws, seed=seed)
        return Found(found[metric], narrow=False, effective=records)

    return judged


def _perplexity_truth() -> float:
    return float(np.exp(2.0))


def _perplexity(records: int) -> Callable[[np.random.Generator, int, int], Found]:
    """1 to 200 tokens an answer, a mean of 2 nats a token, gamma-distributed over the answers."""

    def judged(rng: np.random.Generator, draws: int, seed: int) -> Found:
        tokens = 1 + np.minimum(rng.lognormal(3, 1, records), 199).astype(np.int64)
        loss = rng.gamma(2.0, 1.0, records)
        scores = [
            RecordScore(
                str(n), str(n), float(loss[n] * tokens[n]), int(tokens[n]), int(4 * tokens[n]), 0, 1.0
            )
            for n in range(records)
        ]
        found = held_out(scores, draws=draws, seed=seed)
        return Found(found.perplexity, found.narrow is not None, effective_number(tokens))

    return judged


def _beside_commonest(records: int) -> Callable[[np.random.Generator, int, int], Found]:
    """A model that guesses, beside always saying the label that is commonest among the judged records."""

    def judged(rng: np.random.Generator, draws: int, seed: int) -> Found:
        truth, said = (np.where(rng.random(records) < 0.5, "yes", "no").tolist() for _ in range(2))
        commonest = max(("no", "yes"), key=truth.count)
        found = classification_differences(
            truth, [commonest] * records, said, ["no", "yes"], _alone(records), draws=draws, seed=seed
        )
        return Found(found["accuracy"], narrow=False, effective=records)

    return judged


F2_SHARE, F2_APART = 0.2, 1.0


def _f2_curve() -> FloatArray:
    at = np.linspace(-3, 3, 601)
    hits, false = F2_SHARE * norm.sf(at - F2_APART), (1 - F2_SHARE) * norm.sf(at)
    curve: FloatArray = 5 * hits / (5 * hits + false + 4 * (F2_SHARE - hits))
    return np.stack([at, curve])


def _f2_truth() -> float:
    return float(_f2_curve()[1].max())


def _f2(records: int, *, chosen: bool) -> Callable[[np.random.Generator, int, int], Found]:
    """F2 at the best threshold of the population, or at the best of the judged records, which the runner refuses."""
    at, curve = _f2_curve()
    best = float(at[curve.argmax()])

    def judged(rng: np.random.Generator, draws: int, seed: int) -> Found:
        truth = rng.random((records, 1)) < F2_SHARE
        score = rng.standard_normal((records, 1)) + F2_APART * truth
        said: BoolArray = score >= best
        if chosen:  # "validation" is a lie here, and the point of the row
            said = decided(score, fit_thresholds(truth, score, ["c"], split="validation"))
        found = beta_scores(truth, said, _alone(records), draws=draws, seed=seed)
        return Found(found.f_beta, narrow=False, effective=records)

    return judged


def _precision_truth(share: float, apart: float) -> float:
    """Return the average precision of normal scores: the mean over positives of the precision at their score."""
    at = np.linspace(-8, 8 + apart, 20_001)
    hits, false = share * norm.sf(at - apart), (1 - share) * norm.sf(at)
    return float(np.trapezoid(hits / np.maximum(hits + false, 1e-300) * norm.pdf(at - apart), at))


def _ranked(
    area: Callable[[BoolArray, FloatArray, IntArray], Callable[[IntArray], FloatArray]],
    records: int,
    positives: int,
    apart: float,
) -> Callable[[np.random.Generator, int, int], Found]:
    """Normal scores, of positives with mean `apart`; how many are positive varies from set to set."""

    def judged(rng: np.random.Generator, draws: int, seed: int) -> Found:
        positive = np.zeros(records, np.bool_)
        while positive.sum() < 2:
            positive = rng.random(records) < positives / records
        drawn_from = clusters(_alone(records), np.column_stack([positive, ~positive]), draws=draws, seed=seed)
        found = area(positive, rng.standard_normal(records) + apart * positive, drawn_from.member)
        statistic: Statistic = lambda times: found(times)[:, None]  # noqa: E731 (a name for the type)
        (interval,) = intervals(drawn_from, statistic)
        return Found(interval, drawn_from.narrow is not None, drawn_from.fewest)

    return judged


def _alone(records: int) -> list[str]:
    return [f"{number:05}" for number in range(records)]


if __name__ == "__main__":
    main()
