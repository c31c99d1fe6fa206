"""Any number of labels a record: their likelihoods, all behind one reading of the image, and written answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from eval.label_sets import label_set, label_set_sha256
from runner.judging.classification import check_attributes
from runner.judging.continuations import Continuation, score_continuations
from runner.judging.exact import precision_of_output
from runner.judging.generation import (
    Options,
    Prompt,
    by_length,
    prompts_of,
    room_of,
    said_parts,
)
from runner.judging.labels import EachLabel, NoLabelsError, asked_by, names_of, with_labels
from runner.judging.lines import Lines
from runner.judging.run import Judging
from runner.spec.problems import StageError

Record = Mapping[str, Any]


def lock(run: Judging, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must also be equal for two results to be comparable."""
    found: dict[str, Any] = {"label_set": label_set_sha256(task["label_set"])}
    if "likelihood" in task["scoring"]:
        found["likelihoods"] = precision_of_output(run.model)
        if task["thresholds"] == "validation":
            found["validation_records"] = run.records_sha256("validation")
    return found


def predict(run: Judging, task: Mapping[str, Any], place: Lines) -> None:
    """Write what the model says of every judged record, and of the validation records where thresholds are chosen.

    Where no record of the split has labels of the set there are no lines, which `eval.judges.multilabel` calls not
    judged: an arm of an ablation may leave out the one source with labels, and is to be judged by its other tasks.

    Raises:
        DataError: nothing to judge; no labelled record asks what is to be judged; thresholds are to be chosen, and no
            validation record has labels; an attribute is lacking; a name is not the same tokens after every prompt.
        StageError: the model has too few positions, or predicts what is no number.
    """
    choose = partial(with_labels, task=task)
    try:
        judged = run.records(task["split"], choose=choose)
    except NoLabelsError as error:
        run.events.write("note", text=f"{task['task']} of {task['label_set']} is not judged: {error}")
        place.finish([])
        return
    chosen = "likelihood" in task["scoring"] and task["thresholds"] == "validation"
    held = run.validation(choose=choose) if chosen else []
    check_attributes(task["subgroups"], judged)
    for split, records in ((task["split"], judged), ("validation", held)):
        missing = [record for record in records if record["id"] not in place]
        for record, said in predictions(run, task, missing, written=split == task["split"]):
            place.add(
                {
                    "id": record["id"],
                    "group": record["group"],
                    "split": split,
                    "labels": record["labels"][task["label_set"]],
                    "attributes": record.get("attributes") or {},
                    **said,
                }
            )
            run.progress(len(place), len(judged) + len(held), "records")
    place.finish([record["id"] for record in [*judged, *held]])


def predictions(
    run: Judging, task: Mapping[str, Any], records: Sequence[Record], *, written: bool
) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Yield each record and what the model says of it, longest prompts first.

    With likelihoods: `log_likelihoods` in nats and `label_tokens`. With generation, where `written`: `answer`,
    `n_tokens`, `ended`. Always: `prompt`, `reference`, `prompt_cut`.
    """
    if not records:
        return
    generated = written and "generation" in task["scoring"]
    of_set, question = label_set(task["label_set"]), task["prompt"]
    shown = [asked_by(record, question, of_set) for record in records]
    asking = _Asking(run, task, shown) if "likelihood" in task["scoring"] else None
    after = max(task["max_new_tokens"] if generated else 0, asking.after if asking else 0)
    prompts = prompts_of(run, shown, room_of(run.model, after))
    options = Options(task["max_new_tokens"]) if generated else None
    for part in by_length(prompts, task["batch"]):
        asked, of = [prompts[place] for place in part], [shown[place] for place in part]
        said = said_parts(run, asked, of, options)
        if asking:
            said = [{**one, **more} for one, more in zip(said, asking.likelihoods(asked, of), strict=True)]
        yield from zip([records[place] for place in part], said, strict=True)


class _Asking:
    """How likelihoods are asked for, by the task's `ask`."""

    def __init__(self, run: Judging, task: Mapping[str, Any], records: Sequence[Record]) -> None:
        of = label_set(task["label_set"])
        self._run, self._at_once = run, task["labels_at_once"]
        self._each = EachLabel(run, of, task["question"], records[:1]) if task["ask"] == "each" else None
        self._names = {} if self._each else names_of(run, of, records)
        self.after = max((len(ids) for names in self._names.values() for ids in names.values()), default=0)

    def likelihoods(self, prompts: Sequence[Prompt], records: Sequence[Record]) -> list[dict[str, Any]]:
        """Return what a line says of the likelihoods, for one batch.

        Raises:
            StageError: one is no number; names the record.
        """
        if self._each:
            asked = [self._each.continuations(record) for record in records]
        else:
            asked = [
                [Continuation(prompt.ids, ids) for ids in self._names[record.get("asks")].values()]
                for prompt, record in zip(prompts, records, strict=True)
            ]
        nats = score_continuations(self._run.model, asked, self._at_once, self._run.looking_at(records))
        for record, values in zip(records, nats, strict=True):
            if not all(abs(value) < float("inf") for value in values):
                raise StageError(
                    f"a label's likelihood for record {record['id']!r} is no number: the weights hold a value that is "
                    "none, or the precision is too small for the model"
                )
        return [self._said(record, values) for record, values in zip(records, nats, strict=True)]

    def _said(self, record: Record, nats: Sequence[float]) -> dict[str, Any]:
        if self._each:
            return self._each.said(nats)
        names = self._names[record.get("asks")]
        return {
            "log_likelihoods": dict(zip(names, nats, strict=True)),
            "label_tokens": {name: len(ids) for name, ids in names.items()},
        }
