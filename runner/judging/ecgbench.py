"""Answers to the items of a set of ECGBench: of its own file, or of the run's records; reports graded by a judge."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.records.ecginstruct import Row, id_of, to_record
from converters.records.record import BadRecordError
from eval.ecgbench import SETS, BenchSet, grading_of
from eval.ecgbench.invented import question_and_answer
from eval.entities import vocabulary_sha256
from eval.label_sets import label_set_sha256
from runner.data_readers.common import Progress
from runner.data_readers.image_checks import all_ready
from runner.data_readers.image_files import ImageFiles, is_below, open_places
from runner.data_readers.images import ImageFault, ImageSetup, ReadyImage
from runner.files import sha256_of
from runner.judging.generation import Options, answers, reference_of
from runner.judging.in_training import IN_TRAINING, beside, require_apart, training_of
from runner.judging.judge import Line, Written, asking, locked
from runner.judging.lines import Lines
from runner.judging.run import Judging
from runner.spec.ecg_image import Render
from runner.spec.problems import DataError
from runner.spec.vlm_sources import ImageLimits
from runner.stages.common import expand_path

CACHE = Path("eval/images")
"""In the run: what was taken out of tar files or converted."""
SHOWN = 5
"""Names in a message, at most."""
MOST_BYTES = 256 * 1024**2
"""Of a set's file; the largest published one is far smaller."""

Record = Mapping[str, Any]


def lock(run: Judging, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must also be equal for two results to be comparable."""
    of, grading = SETS[task["set"]], grading_of(task)
    found: dict[str, Any] = {"label_set": label_set_sha256(of.label_set)} if of.label_set else {}
    if of.kind == "report":
        found["vocabulary"] = vocabulary_sha256()
    if grading is not None:
        found |= locked(grading["rubric"])
    if task["file"] is not None and task["items"] == "real":
        # By name, as of lm-eval's questions: a bare hash is that of a split of the run's own.
        found["records"] = {task["set"]: sha256_of(_place(task["file"]))}
    return found


def predict(run: Judging, task: Mapping[str, Any], place: Lines) -> None:
    """Write the answer to every item, and have it graded where the task names a judge.

    Raises:
        DataError: the file is missing or of another form, an item has no image that is there or shows what was trained
            on though that is refused, nothing is to judge, or nobody agreed that text leaves this machine.
        MachineError: the judge's key is not set or refused, or its endpoint does not answer; says what to do.
        StageError: the model has too few positions, or predicts what is no number.
    """
    records = _records(run, task)
    missing = [record for record in records if record["id"] not in place]
    with ExitStack() as stack:
        grading = grading_of(task)
        graded: Callable[[Written], Iterator[Line]] = _ungraded
        if grading is not None and missing:
            graded = stack.enter_context(asking(run, grading, f"{len(missing)} items of {task['set']}"))
        for line in graded(_written(run, task, missing)):
            place.add(line)
            run.progress(len(place), len(records), "answers" if grading is None else "answers judged")
    place.finish([record["id"] for record in records])


def _written(
    run: Judging, task: Mapping[str, Any], records: Sequence[Record]
) -> Iterator[tuple[Record, Record]]:
    """Yield the items as they are answered, each with what its line holds beside id and group."""
    wanted = SETS[task["set"]].label_set
    for record, answer in answers(run, records, Options(task["max_new_tokens"]), task["batch"]):
        labels = record.get("labels") or {}
        yield (
            record,
            {
                "question": record["messages"][-2]["content"],
                "labels": labels.get(wanted) if wanted else None,
                **answer,
                "reference": reference_of(record),
                **{key: record[key] for key in (IN_TRAINING,) if key in record},
            },
        )


def _ungraded(written: Written) -> Iterator[Line]:
    return ({"id": record["id"], "group": record["group"], **part} for record, part in written)


def _records(run: Judging, task: Mapping[str, Any]) -> Sequence[Record]:
    if task["file"] is None:
        return run.records(task["split"], task["records"])
    if task["items"] == "invented":
        return invented(run.records(task["split"], task["records"]), SETS[task["set"]])
    images = None if task["images"] is None else _place(task["images"])
    bench = Bench(_place(task["file"]), images, task["records"])
    if bench not in run.kept:  # the images are looked at once, not again for each ablation
        run.kept[bench] = items_of(bench, CACHE.resolve(), run.progress)
    if IN_TRAINING not in run.kept:
        run.kept[IN_TRAINING] = training_of(Path("data"), lambda text: run.events.write("note", text=text))
    items = beside(run.kept[bench], run.kept[IN_TRAINING])
    if task["overlap"] == "refuse":
        require_apart(items, bench.file)
    return run.shown(items)


def invented(records: Sequence[Record], of: BenchSet) -> list[dict[str, Any]]:
    """Return the records with a question in the form of the set and its answer, about the same images."""
    return [
        {**record, "asks": of.kind, "labels": None, "messages": _turns(*question_and_answer(of, number))}
        for number, record in enumerate(records)
    ]


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _place(written: str) -> Path:
    return Path(expand_path(written, os.environ, hub=False))


# ---------------------------------------------------------------------------------------------- the file


@dataclass(frozen=True)
class Bench:
    """A set's own file: JSON, a list of items in any of the published forms."""

    file: Path
    images: Path | None
    """What image names are relative to: a folder, which may hold tar files, or a tar; the file's folder without it."""
    most: int | None
    """Only the first so many items."""


def items_of(bench: Bench, cache: Path, progress: Progress) -> list[dict[str, Any]]:
    """Return the items as records, their images as absolute paths of files that training could have used.

    Images pass the checks of the data stage, at its default limit of pixels: what is transparent lies on white, and
    what it refuses is refused here. All are looked at before the first answer.

    Args:
        bench: the file and its images.
        cache: folder, absolute, of what is taken out of tar files or converted.
        progress: is told of tar files and images.

    Raises:
        DataError: no such file, no list of items, an item of no known form, or an image of no use; counts and
            names them.
    """
    records, wrong = _converted(bench)
    seen = _looked_at(bench, records, cache, progress)
    faults = [
        f"{record['id']}: the image {name!r}: {one.reason}"
        for record in records
        for name in record["images"]
        if isinstance(one := seen[name], ImageFault)
    ]
    if wrong or faults:
        absent = any(isinstance(one, ImageFault) and one.missing for one in seen.values())
        raise DataError(_refusal(bench, [*wrong, *faults], absent))
    if not records:
        raise DataError(f"{bench.file} holds no item: there is nothing to judge")
    return [
        {**record, "shows": record["images"], "images": [_path(seen[name]) for name in record["images"]]}
        for record in records
    ]


def _converted(bench: Bench) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the records that items become, and what is wrong with the others."""
    records: list[dict[str, Any]] = []
    wrong, seen = [], Counter[str]()
    for number, value in enumerate(_listed(bench.file)[: bench.most], start=1):
        try:
            name = id_of(value) if isinstance(value, Mapping) else None
            record = to_record(Row(bench.file.name, number, value, repeat=seen[name] if name else 0))
        except BadRecordError as error:
            wrong.append(f"{bench.file.name}, item {number}: {error}")
            continue
        seen[name or ""] += 1
        records.append(dict(record))
    return records, wrong


def _looked_at(
    bench: Bench, records: Sequence[Record], cache: Path, progress: Progress
) -> Mapping[str, ReadyImage | ImageFault]:
    """Return every image that the records name, or why it is of no use."""
    names = list(dict.fromkeys(name for record in records for name in record["images"]))
    inside = [name for name in names if is_below(name)]
    root = (bench.images or bench.file.parent).resolve()
    # The folder of the file itself may hold tar files that have nothing to do with it.
    files = open_places([root], cache) if bench.images else ImageFiles((root,), (), cache)
    # One process: the model may be loaded already, and a process with a GPU does not fork well.
    setup = ImageSetup(None, cache, ImageLimits(), Render(), (), workers=1)
    found = files.find(inside, progress)
    return {
        **{
            name: ImageFault(False, "leads out of its folder; it must be relative, without ..")
            for name in names
        },
        **{name: ImageFault(True, f"no such file below {root}") for name in inside},
        **all_ready(found, setup, progress),
    }


def _path(one: ReadyImage | ImageFault) -> str:
    assert isinstance(one, ReadyImage)  # faults were refused
    return one.path


def _refusal(bench: Bench, wrong: Sequence[str], absent: bool) -> str:
    count = f"{len(wrong)} item{'' if len(wrong) == 1 else 's'} cannot be judged"
    more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    shown = "\n  ".join(wrong[:SHOWN])
    advice = "\n  give `images`, what the names are relative to" if absent else ""
    return f"{bench.file}: {count}\n  {shown}{more}{advice}"


def _listed(file: Path) -> list[Any]:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise DataError(f"{file} is larger than {MOST_BYTES // 1024**2} MiB: is this a set of ECGBench?")
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{file} is no JSON: {error}") from error
    if not isinstance(found, list):
        raise DataError(f"{file}: expected a list of items, got {type(found).__name__}")
    return found
