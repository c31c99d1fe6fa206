"""Raw things -> records that stay, each that does not counted with its reason; and what the manifest says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from converters.records import SOURCES, mixture, split
from converters.records.record import BadRecordError, Dropped, Ledger, Raw, Record
from runner.data_readers import MAX_NAMED, listed, named
from runner.events import EventWriter
from runner.spec.problems import DataError
from runner.stages.data_sources import AnyData, Source

NOT_TAKEN = "not among the component's take"
MANIFEST = "manifest.json"


@dataclass
class Tally:
    """What became of the raw things of one part of a source."""

    read: int = 0
    converted: int = 0
    """Records that the source's converter gave: those with an answer."""
    kept: int = 0
    """Records left after the filter and a component's take."""
    unread: Counter[str] = field(default_factory=Counter)
    """Keys of raw things that nothing reads -> of how many records."""
    meant: dict[str, str] = field(default_factory=dict)
    """Those of them that say, by another word, what some records lack -> our key for it."""

    def count_unread(self, keys: Mapping[str, str | None]) -> None:
        """Count the keys of one record that nothing reads."""
        self.unread.update(keys.keys())
        self.meant |= {key: ours for key, ours in keys.items() if ours is not None}

    def counts(self) -> dict[str, int]:
        """Return what the manifest says of the part."""
        return {"read": self.read, "converted": self.converted, "kept": self.kept}


def converted(
    source: Source,
    tallies: dict[str, Tally],
    ledger: Ledger,
    progress: Callable[[int, int | None, str], None],
) -> Iterator[tuple[str, Record]]:
    """Yield part and record of every raw thing; what is dropped is counted, what is wrong is named at the end."""
    to_record: Callable[[Raw], Record] = import_module(SOURCES[source.word]).to_record
    wrong: list[tuple[str, str]] = []
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
            wrong.append((raw.place, str(error)))
            continue
        earlier = places.setdefault(record["id"], raw.place)
        if earlier != raw.place:
            wrong.append((raw.place, f"the id {record['id']!r} is already that of {earlier}"))
            continue
        tally.converted += 1
        tally.count_unread(record.pop("unread", {}))
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


def share(source: Source, records: list[Record], seed: int, ledger: Ledger) -> list[Record]:
    """Return what a component takes of its records; the others are counted."""
    if source.take is None:
        return records
    if source.take > len(records):
        raise DataError(
            f"{source.asked.key}.take is {source.take}, but only {len(records)} records are left there "
            f"after the filter{dropped_so_far(ledger)}"
        )
    chosen, others = mixture.taken(records, source.take, seed)
    for record in others:
        ledger.drop(NOT_TAKEN, record["id"])
    return chosen


def described(source: Source, tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """Return what the manifest says of a source."""
    return {
        "name": source.name,
        "source": source.word,
        "read": sum(tally.read for tally in tallies.values()),
        "kept": sum(tally.kept for tally in tallies.values()),
        "parts": {part: tally.counts() for part, tally in sorted(tallies.items())},
        **({"unread_keys": unread} if (unread := _unread(tallies.values())) else {}),
        **({"stands_in": source.asked.key} if source.asked.stands_in else {}),
        **source.reader.report(),
    }


def _unread(tallies: Iterable[Tally]) -> dict[str, dict[str, Any]]:
    """Return each key that nothing reads: of how many records, and our key that may be meant."""
    whole = Tally()
    for tally in tallies:
        whole.unread += tally.unread
        whole.meant |= tally.meant
    return {
        key: {"count": count, "nearest": whole.meant.get(key)} for key, count in sorted(whole.unread.items())
    }


def _about_unread(keys: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the keys that nothing reads in a line: first those that may mean one of ours, then the frequent ones."""
    ordered = sorted(keys.items(), key=lambda item: (item[1]["nearest"] is None, -item[1]["count"], item[0]))
    told = [
        f"{key!r:.60} (of {one['count']} record{'' if one['count'] == 1 else 's'}"
        + (f"; nearest: {one['nearest']})" if one["nearest"] else ")")
        for key, one in ordered[:MAX_NAMED]
    ]
    more = f", and {len(keys) - len(told)} more, named in data/{MANIFEST}" if len(keys) > len(told) else ""
    return f"nothing reads the key{'' if len(keys) == 1 else 's'} {', '.join(told)}{more}"


def nothing_left(described: Sequence[Mapping[str, Any]], ledger: Ledger) -> str:
    """Return what to say where no record was kept."""
    read = sum(item["read"] for item in described)
    return f"the data set is empty: {read} records read, none kept{dropped_so_far(ledger)}"


def where_from(described: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each part of each source: what was read there, and what was kept."""
    lines = [
        f"{tally['kept']} kept of {tally['read']} read from {item['source']}, {part}"
        for item in described
        for part, tally in item["parts"].items()
    ]
    return f"\n{listed(lines)}" if lines else ""


def dropped_so_far(ledger: Ledger) -> str:
    """Return a line for each reason for which records were dropped."""
    return "".join(
        f"\n  {count} dropped before the split: {reason}" for reason, count in sorted(ledger.counts.items())
    )


def proven(parts: split.Parts, data: AnyData, events: EventWriter) -> dict[str, Any]:
    """Return the proof of the split; only a split that the source itself gives may cross."""
    proof = split.prove(parts, data.split)
    if data.split.by != "given" and (proof["crossing"] or proof["crossing_duplicates"]):
        raise RuntimeError(f"the split let a group cross, which it must never do: {proof}")
    if proof["crossing_duplicates"]:
        events.write(
            "note", text=f"{proof['crossing_duplicates']} records stand on two sides of the given split"
        )
    return proof


def note_all(
    described: Iterable[Mapping[str, Any]], ledger: Ledger, proof: Mapping[str, Any], events: EventWriter
) -> None:
    """Write what a person should know into the events."""
    for item in described:
        if key := item.get("stands_in"):
            events.write("note", text=f"{item['name']} is not at hand: its stand-in {key} was read")
        if left := item.get("files_left_out"):
            events.write(
                "note",
                text=f"{item['name']}: {len(left)} file{'' if len(left) == 1 else 's'} left out, named in data/{MANIFEST}",
            )
        if bare := item.get("files_without_pairs"):
            files = f"{len(bare)} file{'' if len(bare) == 1 else 's'}"
            events.write("note", text=f"{item['name']}: no pairs in {files}, named in data/{MANIFEST}")
        if keys := item.get("unread_keys"):
            events.write("note", text=f"{item['name']}: {_about_unread(keys)}")
    for reason, count in sorted(ledger.counts.items()):
        events.write("note", text=f"{count} records dropped: {reason}")
    if features := proof.get("features"):
        for text in _about_features(features, proof["by"]):
            events.write("note", text=text)
    if proof["without_key"]:
        events.write(
            "note", text=f"{proof['without_key']} records have no {proof['by']}; kept together by group"
        )
    if torn := proof.get("crossing_groups"):
        events.write("note", text=f"{torn} groups stand on two sides, for the split is by {proof['by']}")
    for pair, count in proof["shared_questions"].items():
        if count:
            events.write(
                "note",
                text=f"{count} questions stand in both of {pair}{' about images of the same name' if proof.get('images') else ''}"
                f", with other answers or another {proof['by']}",
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
