"""The part of a report about the records: what was read, divided, proven and dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.report.format import MISSING, counted, size
from eval.report.judged import NO_EXAMPLES, REDACTED, flat
from eval.report.view import (
    Block,
    Cell,
    Check,
    Checks,
    Column,
    Details,
    Heading,
    Section,
    Table,
    Text,
    count_cell,
    text_cell,
)
from runner.reporting.record import RunRecord
from runner.spec.shared import Examples

Json = Mapping[str, Any]

SHOWN_IDS = 3
HASH_DIGITS = 12
SHOWN: Mapping[Examples, str] = {
    "none": f"{NO_EXAMPLES} Dropped records are counted and not named.",
    "redacted": f"{REDACTED} Dropped records are counted and not named.",
    "full": "This page shows records in full (report.examples: full): it goes where the records may go.",
}
"""What a reader may pass on depends on it, so the page says it."""


def data_section(record: RunRecord) -> Section:
    """Return data manifest, split proof and dropped records."""
    manifest = record.manifest
    if not manifest:
        return Section("data", "Data", (Text(("The data stage did not finish.",)),))
    blocks: list[Block] = [_splits(manifest, record.tokens)]
    if record.tokens.get("available", True) is False:
        blocks.append(Text((f"Share of cut records: not known ({record.tokens['reason']}).",)))
    blocks.append(Text((SHOWN[record.examples],)))
    blocks += [Heading("Proof of the split"), Checks(split_checks(manifest))]
    blocks += [
        Heading("Dropped records"),
        _dropped(manifest, named=record.examples == "full"),
        Heading("Manifest"),
        _sources(manifest),
    ]
    blocks.append(Details("Settings of the data stage, and hashes", (_settings(manifest),), printed=False))
    return Section("data", "Data", tuple(blocks), _lead(manifest))


def _lead(manifest: Json) -> str:
    counts, inputs = manifest["records"], manifest["inputs"]
    files = f" from {counted(inputs['files'], 'file')} ({size(inputs['bytes'])})" if inputs["files"] else ""
    return f"{counted(counts['read'], 'record')} read{files}, {counts['kept']:,} fit for use."


def _splits(manifest: Json, tokens: Json) -> Table:
    audits = tokens.get("splits", {})
    columns = (
        Column("Split"),
        Column("Records", number=True),
        Column("Groups", number=True, hint="records that belong together: one disease, one patient"),
        Column("Answer words", number=True, note="median"),
        Column("Answer words", number=True, note="90th percentile"),
        Column("Cut", number=True, hint="records longer than the model's context", note="at the context"),
        Column("Learned from", number=True, note="share of tokens"),
        Column("SHA-256", code=True, note="of the file"),
    )
    rows = []
    for name, part in manifest["splits"].items():
        audit = audits.get(name)
        cut = audit["longer_than_context"] if audit else None
        words = part.get("answer_words") or {}
        rows.append(
            (
                text_cell(name),
                count_cell(part["records"]),
                count_cell(part["groups"]),
                count_cell(words.get("p50")),
                count_cell(words.get("p90")),
                Cell(f"{cut['records']:,} ({cut['share']:.1%})", sort=cut["records"])
                if cut
                else Cell(MISSING),
                Cell(f"{audit['label_share']:.1%}", sort=audit["label_share"]) if audit else Cell(MISSING),
                text_cell(part["sha256"][:HASH_DIGITS]),
            )
        )
    context = f" Context: {tokens['context']:,} tokens." if audits else ""
    return Table(f"Records of each split.{context}", columns, tuple(rows))


def split_checks(manifest: Json) -> tuple[Check, ...]:
    """Return what the data stage proved of the split, in words that say what was looked at, and nothing else."""
    split = manifest["split"]
    checks = [_groups(manifest)]
    if split["by"] not in ("record", "given", "group") and split.get("own_groups"):
        checks.append(
            _crossing(split.get("crossing_groups", 0), "group stands", "groups stand", "on two sides.")
        )
    if split["shared_questions"] and split["by"] != "question":
        images = " with an image of the same name" if split.get("images") else ""
        shared = sum(split["shared_questions"].values())
        checks.append(_crossing(shared, "question stands", "questions stand", f"on two sides{images}."))
    checks.append(_copies(manifest))
    if split["without_key"] and split["crossing"]:
        checks.append(Check(None, f"{_without_key(manifest)}."))
    return tuple(checks)


def _copies(manifest: Json) -> Check:
    """Return that nothing stands twice, byte for byte, which is all that was compared."""
    count = manifest["split"]["crossing_duplicates"]
    if _of_recordings(manifest):
        where = (
            "an equal one on another side, byte for byte; copies that were cut or changed are not looked for."
        )
        return _crossing(count, "recording has", "recordings have", where)
    what = "messages and names of images" if manifest["split"].get("images") else "messages"
    where = f"an equal one on another side; {what} were compared byte for byte."
    return _crossing(count, "record has", "records have", where)


def _groups(manifest: Json) -> Check:
    """Return that no group crosses the sides; of records whose group nobody knows that is no proof."""
    split = manifest["split"]
    by = f"split by {split['by']}, seed {split['seed']}"
    if split["without_key"] and not split["crossing"]:
        return Check(None, f"{_without_key(manifest)}: that none stands on two sides is not proven; {by}.")
    if split["by"] in ("record", "given") and not _of_recordings(manifest):
        if split.get("own_groups") == 0:
            return Check(
                None, f"No record names a group (patient, document), so that none was looked at; {by}."
            )
        return _crossing(
            split.get("crossing_groups", 0), "group stands", "groups stand", f"on two sides; {by}."
        )
    noun = {"question": "question", "focus": "focus", "features": "row of features"}.get(split["by"], "group")
    if _of_recordings(manifest):
        noun = "patient"
    several = {"focus": "foci", "row of features": "rows of features"}.get(noun, f"{noun}s")
    return _crossing(split["crossing"], f"{noun} stands", f"{several} stand", f"on two sides; {by}.")


def _of_recordings(manifest: Json) -> bool:
    """Return whether the records are signals: these have patients and no questions."""
    return "identical" in manifest


def _without_key(manifest: Json) -> str:
    split, kept = manifest["split"], manifest["records"]["kept"]
    key = "patient" if split["by"] in ("fold", "record") else split["by"]
    return f"{split['without_key']:,} of {kept:,} records have no {key} and were divided without it"


def _crossing(count: int, one: str, several: str, where: str) -> Check:
    """Return that nothing crosses the sides, or how much does."""
    who = f"No {one}" if count == 0 else f"1 {one}" if count == 1 else f"{count:,} {several}"
    return Check(count == 0, f"{who} {where}")


def _dropped(manifest: Json, *, named: bool) -> Table | Text:
    """Return how many records were dropped and why; which they are, a patient's number often, only where `named`."""
    dropped: Json = manifest["dropped"]
    if not dropped:
        return Text(("No record was dropped.",))
    rows = tuple(
        (
            text_cell(reason),
            count_cell(item["count"]),
            *((text_cell(_some(item["ids"], item["count"])),) if named else ()),
        )
        for reason, item in sorted(dropped.items(), key=lambda pair: -pair[1]["count"])
    )
    which = (Column("Which", code=True),) if named else ()
    more = "more of them" if named else "them"
    return Table(
        f"Every record that was read and is in no split; the manifest names {more}.",
        (Column("Reason"), Column("Records", number=True), *which),
        rows,
    )


def _some(ids: list[str], count: int) -> str:
    shown = ", ".join(ids[:SHOWN_IDS])
    return shown + (", \u2026" if count > SHOWN_IDS else "")


def _sources(manifest: Json) -> Table:
    rows = []
    for source in manifest["sources"]:
        rows.append((text_cell(source["name"]), count_cell(source["read"]), count_cell(source["kept"])))
        parts = source.get("parts") or {}
        if len(parts) > 1:
            rows += [
                (
                    text_cell(f"{source['name']} / {name}"),
                    count_cell(part.get("read")),
                    count_cell(part.get("kept")),
                )
                for name, part in parts.items()
            ]
    columns = (Column("Source"), Column("Read", number=True), Column("Kept", number=True))
    return Table("Where the records come from.", columns, tuple(rows))


def _settings(manifest: Json) -> Table:
    leaves = [*flat(manifest["settings"]), *flat({"inputs": manifest["inputs"]})]
    leaves += [(f"splits.{name}.sha256", part["sha256"]) for name, part in manifest["splits"].items()]
    rows = tuple((text_cell(path), text_cell(value)) for path, value in leaves)
    return Table("Settings and hashes", (Column("Key"), Column("Value", code=True)), rows)
