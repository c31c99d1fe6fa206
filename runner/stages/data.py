"""The data stage: sources -> filter -> split -> `data/*.jsonl`, with a manifest that accounts for every record.

Reads `config/data.json`: `data` (the spec's section, placeholders kept), `at_most` (records per split
of a rehearsal, or null), `cache` (folder relative to the run directory, or null) and `tokens`
(arguments of `runner.token_audit.audit`, or null). `python -m runner.stages.data`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import runner
from converters import records as converters_records
from converters.records import SOURCES, mixture, split
from converters.records.filter import filtered
from converters.records.record import BadRecordError, Dropped, Ledger, Raw, Record, answer_of, words
from runner import data_readers
from runner.data_cache import DamagedEntryError, DataCache
from runner.data_readers import LOCAL, OPENERS, Asked, Reader, named
from runner.events import EventWriter
from runner.files import canonical_sha256, read_json, sha256_of, write_json, write_text
from runner.spec.problems import DataError, MachineError
from runner.spec.sources import Data, DataCommon, MixtureData, SourceSection
from runner.stages.common import expand, expand_path, stage_main

FORMAT = 1
"""Version of the manifest's form."""
INPUTS_IN_MANIFEST = 100
"""More input files than this are listed in `inputs.jsonl`, and the manifest has their hash."""
NOT_TAKEN = "not among the component's take"
AT_MOST = "left out by the rehearsal's limit"
PLACES = ("path", "root", "id")  # where a source lies; what lies there is hashed instead
PROGRESS_EVERY_S = 0.25
MANIFEST, INPUTS = "manifest.json", "inputs.jsonl"


@dataclass(frozen=True)
class Source:
    """One opened source of the spec."""

    name: str
    word: str
    asked: Asked
    take: int | None
    reader: Reader


@dataclass
class Tally:
    """What became of the raw things of one part of a source."""

    read: int = 0
    converted: int = 0
    """Records that the source's converter gave: those with an answer."""
    kept: int = 0
    """Records left after the filter and a component's take."""


def build(
    settings: Mapping[str, Any], run_dir: Path, events: EventWriter, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Make the data folder of a run and return its manifest.

    Raises:
        DataError: the data are missing, empty, damaged, or not enough for the split.
        MachineError: a package or variable is missing, the hub cannot be reached, or nothing can be
            written; a manifest that stands in the folder always belongs to the files beside it.
    """
    written = settings["data"]
    data = _validated(expand(_placed(written, environ), environ))
    progress = _throttled(events)
    sources = [_opened(name, asked, progress) for name, asked in _asked(data, written)]
    key = _cache_key(data, settings["at_most"], sources)
    cache = DataCache(run_dir / settings["cache"]) if settings["cache"] else None
    folder = run_dir / "data"
    with _staging(folder) as staging:
        names = _from_cache(cache, key, staging, events)
        if names is None:
            write_json(
                staging / MANIFEST, _made(data, settings["at_most"], sources, staging, progress, events)
            )
            names = tuple(sorted(file.name for file in staging.iterdir()))
            _keep(cache, key, staging, names, events)
        manifest = {
            "format": FORMAT,
            "settings": written,
            "at_most": settings["at_most"],
            **read_json(staging / MANIFEST),
        }
        write_json(staging / MANIFEST, manifest)
        _into_place(staging, folder, names)
    return manifest


# ------------------------------------------------------------------------------------------- settings


def _placed(section: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the section with its places, and those of its components, found from the user's folder."""
    placed = dict(section)
    for key in PLACES:
        if isinstance(placed.get(key), str):
            placed[key] = expand_path(placed[key], environ, hub=key == "id")
    if placed.get("components"):
        placed["components"] = [_placed(component, environ) for component in placed["components"]]
    return placed


def _validated(values: Mapping[str, Any]) -> DataCommon:
    try:
        data: DataCommon = TypeAdapter[DataCommon](Data).validate_json(json.dumps(values))
    except ValidationError as error:
        faults = (f"data.{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors())
        raise DataError(
            "the data section is not valid once its variables are put in\n" + named(faults)
        ) from error
    return data


def _asked(data: DataCommon, written: Mapping[str, Any]) -> Iterator[tuple[str, Asked]]:
    """Yield each source's name and what is asked of it: one, or the components of a mixture."""
    if isinstance(data, MixtureData):
        components: Sequence[Any] = data.components
        for number, name in enumerate(mixture.component_names([item.source for item in components])):
            yield name, Asked(components[number], f"data.components[{number}]", written["components"][number])
    elif isinstance(data, SourceSection):
        yield written["source"], Asked(data, "data", written)


def _opened(name: str, asked: Asked, progress: Callable[[int, int | None, str], None]) -> Source:
    word: str = asked.written["source"]
    return Source(name, word, asked, getattr(asked.options, "take", None), OPENERS[word](asked, progress))


def _cache_key(data: DataCommon, at_most: Mapping[str, int] | None, sources: Iterable[Source]) -> str:
    """Return the hash of everything that decides what is written: options, contents, and our own code."""
    folders = [Path(module.__file__ or "").parent for module in (converters_records, data_readers)]
    code = [*(file for folder in folders for file in sorted(folder.glob("*.py"))), Path(__file__)]
    return canonical_sha256(
        {
            "format": FORMAT,
            "version": runner.__version__,
            "code": {f"{file.parent.name}/{file.name}": sha256_of(file) for file in code},
            "data": _without_places(data.model_dump(mode="json")),
            "at_most": dict(at_most) if at_most else None,
            "inputs": [[asdict(item) for item in source.reader.inputs] for source in sources],
        }
    )


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if key not in PLACES}
    return [_without_places(item) for item in value] if isinstance(value, list) else value


# ------------------------------------------------------------------------------------------------ make


def _made(
    data: DataCommon,
    at_most: Mapping[str, int] | None,
    sources: Sequence[Source],
    staging: Path,
    progress: Callable[[int, int | None, str], None],
    events: EventWriter,
) -> dict[str, Any]:
    """Write the splits and input list into `staging`; return the manifest without its settings."""
    ledger, seen = Ledger(), set[bytes]()
    in_mixture = isinstance(data, MixtureData)
    kept: list[Record] = []
    described = []
    for source in sources:
        tallies: dict[str, Tally] = {}
        rows = list(_converted(source, tallies, ledger, progress))
        if in_mixture:
            rows = [(part, mixture.named(record, source.name)) for part, record in rows]
        part_of = {record["id"]: part for part, record in rows}
        records = list(filtered((record for _, record in rows), data.filter, ledger, seen))
        records = _share(source, records, data.split.seed, ledger)
        for record in records:
            tallies[part_of[record["id"]]].kept += 1
        kept += records
        described.append(_described(source, tallies))
    if not kept:
        raise DataError(_nothing_left(described, ledger))
    try:
        divided = split.divide(kept, data.split)
    except split.SplitError as error:
        raise DataError(f"{error}{_where_from(described)}{_dropped_so_far(ledger)}") from error
    for record in divided.left_out:
        ledger.drop(split.LEFT_OUT, record["id"])
    if at_most:
        divided = split.cut(divided.parts, at_most)
        for record in divided.left_out:
            ledger.drop(AT_MOST, record["id"])
    proof = _proven(divided.parts, data, events)
    _notes(described, ledger, proof, events)
    return {
        "runner": runner.__version__,
        "sources": described,
        "inputs": _list_inputs(sources, staging),
        "records": {"read": sum(item["read"] for item in described), "kept": len(kept)},
        "dropped": ledger.as_json(),
        "split": proof,
        "splits": {
            side: _write_split(staging / f"{side}.jsonl", rows, data.system_prompt, proof["groups"][side])
            for side, rows in divided.parts.items()
        },
    }


def _converted(
    source: Source,
    tallies: dict[str, Tally],
    ledger: Ledger,
    progress: Callable[[int, int | None, str], None],
) -> Iterator[tuple[str, Record]]:
    """Yield part and record of every raw thing; what is dropped is counted, what is wrong is named at the end."""
    to_record: Callable[[Raw], Record] = import_module(SOURCES[source.word]).to_record
    wrong: list[str] = []
    places: dict[str, str] = {}
    for raw in source.reader.raws(progress):
        tally = tallies.setdefault(raw.part, Tally())
        tally.read += 1
        try:
            record = to_record(raw)
        except Dropped as drop:
            ledger.drop(drop.reason, drop.record_id)
            continue
        except BadRecordError as error:
            wrong.append(f"{raw.place}: {error}")
            continue
        earlier = places.setdefault(record["id"], raw.place)
        if earlier != raw.place:
            wrong.append(f"{raw.place}: the id {record['id']!r} is already that of {earlier}")
            continue
        tally.converted += 1
        yield raw.part, record
    if wrong:
        raise DataError(
            f"{len(wrong)} bad record{'' if len(wrong) == 1 else 's'} in {_place_of(source)}\n{named(wrong)}\n"
            "  mend or remove them; nothing was written"
        )


def _place_of(source: Source) -> str:
    for option in ("path", "root", "id"):
        if value := getattr(source.asked.options, option, None):
            return f"{source.asked.key}.{option} ({value})"
    return source.asked.key


def _share(source: Source, records: list[Record], seed: int, ledger: Ledger) -> list[Record]:
    if source.take is None:
        return records
    if source.take > len(records):
        raise DataError(
            f"{source.asked.key}.take is {source.take}, but only {len(records)} records are left there "
            f"after the filter{_dropped_so_far(ledger)}"
        )
    chosen, others = mixture.taken(records, source.take, seed)
    for record in others:
        ledger.drop(NOT_TAKEN, record["id"])
    return chosen


def _described(source: Source, tallies: Mapping[str, Tally]) -> dict[str, Any]:
    return {
        "name": source.name,
        "source": source.word,
        "read": sum(tally.read for tally in tallies.values()),
        "kept": sum(tally.kept for tally in tallies.values()),
        "parts": {part: asdict(tally) for part, tally in sorted(tallies.items())},
        **source.reader.report(),
    }


def _nothing_left(described: Sequence[Mapping[str, Any]], ledger: Ledger) -> str:
    read = sum(item["read"] for item in described)
    return f"the data set is empty: {read} records read, none kept{_dropped_so_far(ledger)}"


def _where_from(described: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each part of each source: what was read there, and what was kept."""
    lines = [
        f"{tally['kept']} kept of {tally['read']} read from {item['source']}, {part}"
        for item in described
        for part, tally in item["parts"].items()
    ]
    return f"\n{named(lines)}" if lines else ""


def _dropped_so_far(ledger: Ledger) -> str:
    return "".join(
        f"\n  {count} dropped before the split: {reason}" for reason, count in sorted(ledger.counts.items())
    )


def _proven(parts: split.Parts, data: DataCommon, events: EventWriter) -> dict[str, Any]:
    """Return the proof of the split; only a split that the source itself gives may cross."""
    proof = split.prove(parts, data.split)
    if data.split.by != "given" and (proof["crossing"] or proof["crossing_duplicates"]):
        raise RuntimeError(f"the split let a group cross, which it must never do: {proof}")
    if proof["crossing_duplicates"]:
        events.write(
            "note", text=f"{proof['crossing_duplicates']} records stand on two sides of the given split"
        )
    return proof


def _notes(
    described: Iterable[Mapping[str, Any]], ledger: Ledger, proof: Mapping[str, Any], events: EventWriter
) -> None:
    for item in described:
        if left := item.get("files_left_out"):
            events.write("note", text=f"{item['name']}: {len(left)} files left out, named in data/{MANIFEST}")
    for reason, count in sorted(ledger.counts.items()):
        events.write("note", text=f"{count} records dropped: {reason}")
    if features := proof.get("features"):
        for text in _about_features(features, proof["by"]):
            events.write("note", text=text)
    if proof["without_key"]:
        events.write(
            "note", text=f"{proof['without_key']} records have no {proof['by']}; kept together by group"
        )
    for pair, count in proof["shared_questions"].items():
        if count:
            events.write(
                "note",
                text=f"{count} questions stand in both of {pair}, with other answers or another {proof['by']}",
            )


def _about_features(features: Mapping[str, Any], by: str) -> Iterator[str]:
    if features["repeated"]:
        yield f"{features['repeated']} records have the features of an earlier one" + (
            ", and stand on its side" if by == "features" else ""
        )
    if features["with_several_labels"]:
        yield (
            f"{features['records_with_several_labels']} records share their features with one of another "
            f"label ({features['with_several_labels']} rows of features): nobody can tell these apart"
        )
    for pair, count in features["shared"].items():
        if count:
            yield f"{count} rows of features stand in both of {pair}"


# ----------------------------------------------------------------------------------------------- write


def _write_split(
    file: Path, rows: Sequence[Record], system_prompt: str | None, groups: int
) -> dict[str, Any]:
    write_text(
        file, "".join(json.dumps(_line(row, system_prompt), ensure_ascii=False) + "\n" for row in rows)
    )
    lengths = sorted(words(answer_of(row)) for row in rows)
    return {
        "file": f"data/{file.name}",
        "records": len(rows),
        "groups": groups,
        "answer_words": {
            "p50": _quantile(lengths, 0.5),
            "p90": _quantile(lengths, 0.9),
            "max": _quantile(lengths, 1),
        },
        "bytes": file.stat().st_size,
        "sha256": sha256_of(file),
    }


def _line(record: Record, system_prompt: str | None) -> dict[str, Any]:
    """Return the record as it is written: with the system prompt, without the source's own split."""
    line: dict[str, Any] = {key: value for key, value in record.items() if key != "split"}
    if system_prompt is not None and record["messages"][0]["role"] != "system":
        line["messages"] = [{"role": "system", "content": system_prompt}, *record["messages"]]
    return line


def _quantile(ordered: Sequence[int], share: float) -> int | None:
    """Return the smallest value that `share` of all values do not exceed; None of no values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _list_inputs(sources: Iterable[Source], staging: Path) -> dict[str, Any]:
    """Return the input files with their hashes, or where there are many, where these are listed."""
    rows = [{"source": source.name, **asdict(item)} for source in sources for item in source.reader.inputs]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    summary: dict[str, Any] = {
        "files": len(rows),
        "bytes": sum(row["bytes"] for row in rows),
        "sha256": sha256(text.encode()).hexdigest(),
    }
    if len(rows) <= INPUTS_IN_MANIFEST:
        return summary | {"list": rows}
    write_text(staging / INPUTS, text)
    return summary | {"list": f"data/{INPUTS}"}


class _staging:  # noqa: N801 - reads as a word: `with _staging(folder) as staging:`
    """A folder beside the finished files; gone at the end whatever happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for killed in self.folder.glob(".building-*"):
                shutil.rmtree(killed)
            self.path = Path(tempfile.mkdtemp(prefix=".building-", dir=self.folder))
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _cannot_write(folder: Path, error: OSError) -> MachineError:
    return MachineError(
        f"cannot write {folder}: {error.strerror or error}\n  make it writable, or give another folder with --runs"
    )


def _into_place(staging: Path, folder: Path, names: Iterable[str]) -> None:
    """Move the finished files: the old manifest goes first, the new one comes last."""
    try:
        (folder / MANIFEST).unlink(missing_ok=True)
        (folder / INPUTS).unlink(missing_ok=True)
        for name in sorted(names, key=lambda name: name == MANIFEST):
            (staging / name).chmod(0o644)
            (staging / name).replace(folder / name)
    except OSError as error:
        raise _cannot_write(folder, error) from error


# ----------------------------------------------------------------------------------------------- cache


def _from_cache(
    cache: DataCache | None, key: str, staging: Path, events: EventWriter
) -> tuple[str, ...] | None:
    if cache is None:
        return None
    try:
        names = cache.fetch(key, staging)
    except DamagedEntryError as error:
        events.write("note", text=f"the cached data {key[:12]} are damaged ({error}); built again")
        for file in staging.iterdir():
            file.unlink()
        return None
    if names is not None:
        events.write(
            "note",
            text=f"data taken from the cache, entry {key[:12]}: nothing that they are made from has changed",
        )
    return names


def _keep(
    cache: DataCache | None, key: str, staging: Path, names: Sequence[str], events: EventWriter
) -> None:
    if cache is None:
        return
    try:
        cache.store(key, staging, names)
    except MachineError as error:
        events.write("note", text=f"the data are not cached: {error}")


# -------------------------------------------------------------------------------------------- progress


def _throttled(events: EventWriter) -> Callable[[int, int | None, str], None]:
    """Return a function that writes progress events, at most four a second and always the last."""
    last = -math.inf

    def progress(done: int, total: int | None, unit: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY_S or done == total:
            last = now
            events.write("progress", done=done, total=total, unit=unit)

    return progress


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
