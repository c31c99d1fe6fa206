"""The manifest of a data stage as text for a terminal: who is where, what was left out, what is proven. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eval.report.format import counted
from runner.reporting.data_part import split_checks
from runner.show import table

MARKS = {True: "\u2713", False: "\u2717", None: "?"}
SHOWN_IDS = 3
MISSING = "-"


def manifest_text(
    manifest: Mapping[str, Any], tokens: Mapping[str, Any] | None, width: int | None = None
) -> str:
    """Return what a manifest says.

    Args:
        manifest: `data/manifest.json` of any kind of run.
        tokens: `data/tokens.json`, of a language model.
        width: of the terminal, None without one.
    """
    counts = manifest["records"]
    parts = [
        f"{counted(counts['read'], 'record')} read, {counts['kept']:,} fit for use",
        _splits(manifest["splits"], tokens, width),
        *_tokens(tokens),
    ]
    dropped = list(_dropped(manifest["dropped"]))
    parts.append("\n".join(["left out", *dropped]) if dropped else "left out: nothing")
    proof = [f"  {MARKS[check.passed]} {check.text}" for check in split_checks(manifest)]
    parts.append("\n".join(["proof of the split", *proof]))
    return "\n\n".join(parts)


def _splits(splits: Mapping[str, Any], tokens: Mapping[str, Any] | None, width: int | None) -> str:
    audits = (tokens or {}).get("splits", {})
    header = ["split", "records", "groups"]
    header += ["tokens: median", "max", "longer than context", "carry loss"] if audits else []
    rows = []
    for name, part in splits.items():
        row = [name, f"{part['records']:,}", f"{part['groups']:,}"]
        if audits:
            row += _audited(audits[name])
        rows.append(row)
    return table(rows, header, width)


def _audited(audit: Mapping[str, Any]) -> list[str]:
    longer, share = audit["longer_than_context"], audit["label_share"]
    return [
        _number(audit["tokens"]["p50"]),
        _number(audit["tokens"]["max"]),
        MISSING if longer["share"] is None else f"{longer['records']:,} ({longer['share']:.1%})",
        MISSING if share is None else f"{share:.1%}",
    ]


def _number(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"


def _tokens(tokens: Mapping[str, Any] | None) -> Iterator[str]:
    if tokens is not None and tokens.get("available", True) is False:
        yield f"tokens were not counted: {tokens['reason']}"
    elif tokens is not None:
        total = sum(audit["tokens"]["total"] for audit in tokens["splits"].values())
        yield f"{total:,} tokens in all; context {tokens['context']:,}"


def _dropped(dropped: Mapping[str, Any]) -> Iterator[str]:
    for reason, item in sorted(dropped.items(), key=lambda pair: -pair[1]["count"]):
        ids = ", ".join(item["ids"][:SHOWN_IDS]) + (", ..." if item["count"] > SHOWN_IDS else "")
        yield f"  {item['count']:,}: {reason} ({ids})"
