"""The data stage: sources -> filter -> split -> `data/*.jsonl`, with a manifest that accounts for every record.

Reads `config/data.json`: `data` (the spec's section, placeholders kept), `at_most` (records per split
of a rehearsal, or null), `cache` (folder relative to the run directory, or null) and `tokens`
(arguments of `runner.token_audit.audit`, or null). `python -m runner.stages.data`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import runner
from converters.records import mixture, split
from converters.records.filter import filtered
from converters.records.grouping import shared, together
from converters.records.record import Ledger, Record
from runner.data_cache import DataCache
from runner.data_readers import LOCAL
from runner.events import EventWriter
from runner.files import read_json, write_json
from runner.spec.problems import DataError, MachineError
from runner.spec.sources import MixtureData
from runner.spec.vlm_sources import ImageMixtureData, VlmDataCommon
from runner.stages.common import expand, expand_path, stage_main, throttled
from runner.stages.data_files import (
    from_cache,
    into_place,
    keep_in_cache,
    list_inputs,
    staging_in,
    write_split,
)
from runner.stages.data_images import (
    LISTED,
    Images,
    divided_with_images,
    images_there,
    require_patients_apart,
    require_readable_by,
    setup_of,
)
from runner.stages.data_records import (
    MANIFEST,
    Tally,
    converted,
    described,
    dropped_so_far,
    note_all,
    nothing_left,
    proven,
    share,
    where_from,
)
from runner.stages.data_sources import FORMAT, AnyData, Source, asked_of, cache_key, opened, placed, validated

AT_MOST = "left out by the rehearsal's limit"


def build(
    settings: Mapping[str, Any], run_dir: Path, events: EventWriter, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Make the data folder of a run and return its manifest.

    Raises:
        DataError: the data are missing, empty, damaged, or not enough for the split.
        MachineError: a package or variable is missing, the hub cannot be reached, or nothing can be
            written; a manifest that stands in the folder always belongs to the files beside it.
    """
    written, at_most = settings["data"], settings["at_most"]
    data = validated(expand(placed(written, environ), environ))
    progress = throttled(events)
    setup = setup_of(data, run_dir, settings["cache"]) if isinstance(data, VlmDataCommon) else None
    asked = list(asked_of(data, written, setup, rehearsal=at_most is not None))
    sources = [opened(name, one, progress) for name, one in asked]
    key = cache_key(data, at_most, sources)
    cache = DataCache(run_dir / settings["cache"]) if settings["cache"] else None
    folder = run_dir / "data"
    with staging_in(folder) as staging:
        names = from_cache(cache, key, staging, events)
        if names is not None and setup is not None and not images_there(staging):
            events.write(
                "note", text="images of the cached data are gone or changed; they are made ready again"
            )
            for file in staging.iterdir():
                file.unlink()
            names, cache = None, None  # what is there is kept, and would not be replaced
        if names is None:
            made = _made(data, at_most, sources, staging, progress, events)
            write_json(staging / MANIFEST, made)
            names = tuple(sorted(file.name for file in staging.iterdir()))
            if not made.get("images", {}).get("missing", {}).get("count"):  # it may be there the next time
                keep_in_cache(cache, key, staging, names, events)
        manifest = {
            "format": FORMAT,
            "settings": written,
            "at_most": at_most,
            **read_json(staging / MANIFEST),
        }
        write_json(staging / MANIFEST, manifest)
        into_place(staging, folder, names)
    return manifest


def _made(
    data: AnyData,
    at_most: Mapping[str, int] | None,
    sources: Sequence[Source],
    staging: Path,
    progress: Callable[[int, int | None, str], None],
    events: EventWriter,
) -> dict[str, Any]:
    """Write the splits and input list into `staging`; return the manifest without its settings."""
    ledger = Ledger()
    kept, tallied = _kept(data, sources, ledger, progress)
    told = [described(source, tallies) for source, tallies in tallied]
    if not kept:
        raise DataError(nothing_left(told, ledger))
    images = None
    overlap: dict[str, Any] = {}
    if isinstance(data, VlmDataCommon):
        require_readable_by(data.template, kept)
        images = Images({source.name: source for source in sources}, data.limits, progress)
        kept = together(kept)
        divide = partial(_divided, data=data, at_most=at_most, told=told, ledger=ledger)
        divided, kept = divided_with_images(kept, images, divide, ledger)
        overlap = {"patients_on_two_sides": len(shared(divided.parts.values()))}
        told = [
            described(source, tallies) for source, tallies in tallied
        ]  # readers know more once they have drawn
    else:
        divided = _divided(kept, data=data, at_most=at_most, told=told, ledger=ledger)
    _count_left_out(divided, kept, at_most, ledger)
    proof = proven(divided.parts, data, events) | overlap
    note_all(told, ledger, proof, events)
    facts = {
        "runner": runner.__version__,
        "sources": told,
        "inputs": list_inputs(sources, staging),
        "records": {"read": sum(item["read"] for item in told), "kept": len(kept)},
        "dropped": ledger.as_json(),
        "split": proof,
    }
    parts: Mapping[str, Sequence[Record]] = divided.parts
    if images is not None:
        images.write_list((row for rows in parts.values() for row in rows), staging / LISTED)
        facts["images"] = images.report()
        parts = {side: [images.with_paths(row) for row in rows] for side, rows in parts.items()}
    facts["splits"] = {
        side: write_split(staging / f"{side}.jsonl", rows, data.system_prompt, proof["groups"][side])
        for side, rows in parts.items()
    }
    return facts


def _kept(
    data: AnyData, sources: Sequence[Source], ledger: Ledger, progress: Callable[[int, int | None, str], None]
) -> tuple[list[Record], list[tuple[Source, Mapping[str, Tally]]]]:
    """Return the records left after filter and take, and what became of the raw things of each source."""
    seen = set[bytes]()
    in_mixture = isinstance(data, (MixtureData, ImageMixtureData))
    kept: list[Record] = []
    tallied: list[tuple[Source, Mapping[str, Tally]]] = []
    for source in sources:
        tallies: dict[str, Tally] = {}
        rows = list(converted(source, tallies, ledger, progress))
        if in_mixture:
            rows = [(part, mixture.named(record, source.name)) for part, record in rows]
        part_of = {record["id"]: part for part, record in rows}
        records = list(filtered((record for _, record in rows), data.filter, ledger, seen))
        records = share(source, records, data.split.seed, ledger)
        for record in records:
            tallies[part_of[record["id"]]].kept += 1
        kept += records
        tallied.append((source, tallies))
    return kept, tallied


def _divided(
    records: Sequence[Record],
    *,
    data: AnyData,
    at_most: Mapping[str, int] | None,
    told: Sequence[Mapping[str, Any]],
    ledger: Ledger,
) -> split.Divided:
    """Return the records divided as the spec says, and cut to what a rehearsal takes."""
    try:
        divided = split.divide(records, data.split)
    except split.SplitError as error:
        raise DataError(f"{error}{where_from(told)}{dropped_so_far(ledger)}") from error
    if isinstance(data, VlmDataCommon):
        require_patients_apart(divided.parts, data)
    return split.cut(divided.parts, at_most) if at_most else divided


def _count_left_out(
    divided: split.Divided, kept: Sequence[Record], at_most: Mapping[str, int] | None, ledger: Ledger
) -> None:
    """Count the records that no side took: of the split itself, or of the rehearsal's limit."""
    cut = {record["id"] for record in divided.left_out} if at_most else set()
    used = {record["id"] for rows in divided.parts.values() for record in rows}
    for record in sorted(kept, key=lambda record: record["id"]):
        if record["id"] not in used:
            ledger.drop(AT_MOST if record["id"] in cut else split.LEFT_OUT, record["id"])


def audit_tokens(tokens: Mapping[str, Any], run_dir: Path, events: EventWriter) -> None:
    """Count tokens with the real tokenizer, or say in `data/tokens.json` why that was not possible.

    A library that is not installed and a hub that cannot be reached are no failure: the records are
    good without the count.

    Args:
        tokens: arguments of `runner.token_audit.audit`, placeholders kept.
        run_dir: holds the finished splits.
        events: gets a note where nothing was counted.

    Raises:
        RunnerError: a local tokenizer cannot be loaded, or the records do not go with it.
    """
    try:
        from runner.token_audit import audit  # needs the train extra

        audit(run_dir=run_dir, **tokens)
    except (ImportError, OSError, MachineError) as error:
        place = expand_path(tokens["tokenizer"], os.environ, hub=True)
        if place.startswith(LOCAL) and not isinstance(error, ImportError):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        reason = reason.replace(place, tokens["tokenizer"])
        write_json(run_dir / "data" / "tokens.json", {"available": False, "reason": reason})
        events.write("note", text=f"tokens were not counted: {reason}")


def _body(settings: Mapping[str, Any], events: EventWriter) -> None:
    run_dir = Path()
    manifest = build(settings, run_dir, events, os.environ)
    for side, facts in manifest["splits"].items():
        print(f"{side}: {facts['records']} records in {facts['groups']} groups, {facts['file']}")
    if settings["tokens"]:
        audit_tokens(settings["tokens"], run_dir, events)


if __name__ == "__main__":
    stage_main("data", _body)
