"""The arms of a sweep side by side, as text for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.format import UNBROKEN, number, span
from runner.reporting.method_part import method_text, tuned_rows
from runner.show import table
from runner.sweeps.compared import NOT_MEASURED, SEEDS, ArmComparison, Change, metric_title


def compared_arms_text(compared: ArmComparison, width: int | None = None) -> str:
    """Return one table over the arms: every metric of each with its interval, and its difference from the control.

    `width`: of the terminal, None without one.
    """
    keys = compared.keys
    several = len(set(compared.controls.values())) > 1
    rows = []
    for key in keys:
        for member in compared.members:
            row = compared.rows[member.name].get(key)
            change = compared.change(member.name, key)
            rows.append(
                [
                    metric_title(key, keys) if member is compared.members[0] else "",
                    member.name,
                    _missing(compared.why_missing(member.name, key))
                    if row is None
                    else _with_ends(row["tuned"], row["interval"]),
                    _change(change, member.base not in compared.controls),
                    "" if change is None else _verdict(change, named=several),
                ]
            )
    minus = "its control" if several else next(iter(compared.controls.values()), "its control")
    header = ["metric", "arm", "tuned (95 % interval)", f"minus {minus} (95 %)", "different?"]
    parts = [table(rows, header, width)]
    if methods := tuned_rows(compared.records):
        parts.append(table(*method_text(methods, [member.name for member in compared.members]), width))
    parts += _others(compared, width)
    if compared.findings():
        parts.append("\n".join(compared.findings()))
    if compared.caution():
        parts.append(compared.caution())
    if compared.spreads:
        parts += [_seeds(compared, width), SEEDS]
    if compared.rehearsal:
        parts.append("A rehearsal: tiny models with random weights. The numbers say nothing about real ones.")
    parts += compared.notes
    return "\n\n".join(parts)


def _others(compared: ArmComparison, width: int | None) -> list[str]:
    """Return the pairs without the control, where they were asked for: those that differ."""
    others = [item for item in compared.changes if not compared.from_control(item)]
    if not others:
        return []
    rows = [
        [
            f"{item.arm} - {item.minus}",
            metric_title(item.key, compared.keys),
            _change(item, False),
            _verdict(item),
        ]
        for item in others
        if item.real
    ]
    if not rows:
        return ["Of the other pairs, none differs."]
    return [table(rows, ["other pairs that differ", "metric", "difference (95 %)", ""], width)]


def _seeds(compared: ArmComparison, width: int | None) -> str:
    rows = [
        [
            item.base or "the spec itself",
            metric_title(item.key, compared.keys),
            str(len(item.values)),
            number(item.mean),
            number(item.deviation),
            f"{number(min(item.values))} to {number(max(item.values))}",
            number(sum(item.differences) / len(item.differences), sign=True) if item.differences else "-",
        ]
        for item in compared.spreads
    ]
    header = ["over seeds", "metric", "seeds", "mean", "SD", "lowest to highest", "mean minus control"]
    return _plain(table(rows, header, width))


def _missing(why: str) -> str:
    return "-" if why == NOT_MEASURED else f"- ({why})"


def _with_ends(value: float, interval: Sequence[float] | None) -> str:
    return _plain(f"{number(value)} ({span(interval[0], interval[1])})" if interval else number(value))


def _change(change: Change | None, of_control: bool) -> str:
    if change is None:
        return "" if of_control else "-"
    ends = f" ({span(change.low, change.high, sign=True)})" if change.low is not None else ""
    return _plain(f"{number(change.value, sign=True)}{ends}")


def _verdict(change: Change, *, named: bool = False) -> str:
    word = "too few groups to say" if change.narrow else change.word or "no interval"
    return f"{word} ({change.minus})" if named else word


def _plain(text: str) -> str:
    return text.replace(UNBROKEN, " ").replace("\u2212", "-").replace("\u2013", "-")
