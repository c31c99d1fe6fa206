"""One of a few answers: the labels' likelihoods at the place of the answer, written answers, floors.

The likelihood of a label is that of its first word's tokens right after the prompt, without the
token that would end the answer. Nothing that stands behind the answer's place is read, and the
record's own answer is not either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.floors_tabular import FloorError, tabular_floors
from runner.judging.continuations import Continuation, score_continuations
from runner.judging.exact import exact_output, precision_of_output
from runner.judging.generation import (
    Options,
    Prompt,
    by_length,
    left_padded,
    prompts_of,
    room_of,
    said_parts,
    whole_rows,
)
from runner.judging.lines import Lines
from runner.judging.run import Judging
from runner.spec.problems import DataError, StageError
from runner.tokens import IGNORED, end_ids, read_records

Record = Mapping[str, Any]

PROBED = 8
"""Records in which a label's word must be the same tokens."""
SHOWN = 5
"""Names in a message, at most."""


def lock(run: Judging, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be equal beside the common parts: an adapter on the output layer keeps its precision."""
    return {"likelihoods": precision_of_output(run.model)} if "likelihood" in task["scoring"] else {}


def predict(run: Judging, task: Mapping[str, Any], place: Lines) -> None:
    """Write what the model says of every judged record, and of the validation records where it is calibrated.

    Raises:
        DataError: nothing to judge; the records' labels are not the task's; an attribute or the
            features for a floor are lacking; two labels begin with the same tokens.
        StageError: the model has too few positions, or predicts what is no number.
    """
    judged = run.records(task["split"], task["records"])
    held = run.validation(task["records"]) if task["temperature_scaling"] else []
    check_labels(task["labels"], {"train": _train(), task["split"]: judged, "validation": held})
    check_attributes(task["subgroups"], judged)
    floors = floor_parts(task, judged)
    for split, records in ((task["split"], judged), ("validation", held)):
        missing = [record for record in records if record["id"] not in place]
        for record, said in predictions(run, task, missing, written=split == task["split"]):
            place.add(_line(task, record, split, said, floors))
            run.progress(len(place), len(judged) + len(held), "records")
    place.finish([record["id"] for record in [*judged, *held]])


def _line(
    task: Mapping[str, Any], record: Record, split: str, said: Mapping[str, Any], floors: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "id": record["id"],
        "group": record["group"],
        "split": split,
        "label": label_of(record, task["labels"]),
        "attributes": record.get("attributes") or {},
        **said,
        "floors": floors.get(record["id"], {}),
    }


def predictions(
    run: Judging, task: Mapping[str, Any], records: Sequence[Record], *, written: bool
) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Yield each record and what the model says of it, longest prompts first.

    With likelihoods: `log_likelihoods` in nats and `label_tokens`, by label. With generation, where
    `written`: `answer`, `n_tokens`, `ended`. Always: `prompt`, `reference`, `prompt_cut`.
    """
    if not records:
        return
    scored, generated = "likelihood" in task["scoring"], written and "generation" in task["scoring"]
    tokens = label_tokens(run, records, task["labels"]) if scored else {}
    after = max([len(ids) for ids in tokens.values()] + [task["max_new_tokens"]] * generated)
    prompts = prompts_of(run, records, room_of(run.model, after))
    options = Options(task["max_new_tokens"]) if generated else None
    for part in by_length(prompts, task["batch"]):
        asked, of = [prompts[place] for place in part], [records[place] for place in part]
        said = said_parts(run, asked, of, options)
        if scored:
            found = _scored(run, asked, of, tokens)
            said = [{**before, **_scores(tokens, nats)} for before, nats in zip(said, found, strict=True)]
            _check_numbers(of, said)
        yield from zip(of, said, strict=True)


def _scored(
    run: Judging, prompts: Sequence[Prompt], records: Sequence[Record], tokens: Mapping[str, Sequence[int]]
) -> list[list[float]]:
    """Return nats of each label's tokens after each prompt; behind an image that is read once a record."""
    if run.processor is None:
        return score_labels(run.model, prompts, tokens)
    asked = [[Continuation(prompt.ids, tuple(ids)) for ids in tokens.values()] for prompt in prompts]
    return score_continuations(run.model, asked, len(tokens), run.looking_at(records))


def _scores(tokens: Mapping[str, Sequence[int]], nats: Sequence[float]) -> dict[str, Any]:
    return {
        "log_likelihoods": dict(zip(tokens, nats, strict=True)),
        "label_tokens": {label: len(ids) for label, ids in tokens.items()},
    }


def _check_numbers(records: Sequence[Record], said: Sequence[Mapping[str, Any]]) -> None:
    for record, part in zip(records, said, strict=True):
        for label, value in part["log_likelihoods"].items():
            if not abs(value) < float("inf"):
                raise StageError(
                    f"the likelihood of {label!r} for record {record['id']!r} is {value}: the weights hold a "
                    "value that is no number, or the precision is too small for the model"
                )


# ---------------------------------------------------------------------------------------- likelihoods


def label_tokens(
    run: Judging, records: Sequence[Record], labels: Mapping[str, Sequence[str]]
) -> dict[str, tuple[int, ...]]:
    """Return label -> the tokens of its first word, as they follow a prompt in training.

    Raises:
        DataError: a word is no token of its own after the prompt, is other tokens after another
            prompt, or one label's tokens begin with another's, so that they cannot be told apart.
    """
    probed = records[:PROBED]
    prompts = prompts_of(run, probed, room_of(run.model, 0))
    ends = frozenset().union(*end_ids(run.tokenizer, run.settings["end_tokens"]))
    found: dict[str, tuple[int, ...]] = {}
    for label, words in labels.items():
        told = {"role": "assistant", "content": words[0]}
        rows = whole_rows(run, [{**r, "messages": [*r["messages"][:-1], told]} for r in probed])
        kinds = {
            _after(prompt, row.input_ids, row.labels, ends) for prompt, row in zip(prompts, rows, strict=True)
        }
        if len(kinds) != 1 or not (ids := kinds.pop()):
            raise DataError(
                f"the answer {words[0]!r} is not the same tokens after every prompt, so its likelihood cannot be "
                "read\n  take another word for the label, or scoring: [generation]"
            )
        found[label] = ids
    for one, ids in found.items():
        for other, more in found.items():
            if one != other and more[: len(ids)] == ids:
                raise DataError(
                    f"the answers {labels[one][0]!r} and {labels[other][0]!r} begin with the same tokens, so "
                    "the one's likelihood holds the other's\n  take words of which none begins with another"
                )
    return found


def _after(
    prompt: Prompt, ids: Sequence[int], labels: Sequence[int], ends: frozenset[int]
) -> tuple[int, ...]:
    """Return the answer's tokens behind the prompt, without those that end it; none where it begins elsewhere."""
    start = prompt.cut + len(prompt.ids)
    if tuple(ids[prompt.cut : start]) != prompt.ids:
        return ()
    stop = max(
        (n + 1 for n in range(start, len(ids)) if labels[n] != IGNORED and ids[n] not in ends), default=0
    )
    return tuple(ids[start:stop])


def score_labels(
    model: Any, prompts: Sequence[Prompt], tokens: Mapping[str, Sequence[int]]
) -> list[list[float]]:
    """Return nats of each label's tokens after each prompt, in the order of `tokens`; one forward pass.

    Labels of one token share their prompt's row; a longer one has a row of its own.
    """
    import torch

    longest = max(len(ids) for ids in tokens.values())
    rows: dict[tuple[int, ...], int] = {}
    wanted = []
    for number, prompt in enumerate(prompts):
        for ids in tokens.values():
            place = rows.setdefault((number, *prompt.ids, *ids[:-1]), len(rows))
            wanted.append((place, ids))
    inputs, mask, positions = left_padded([row[1:] for row in rows], model.device)
    with torch.inference_mode(), exact_output(model):
        logits = model(
            input_ids=inputs,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=longest,
        ).logits
        logs = torch.log_softmax(logits.float(), dim=-1)
    nats = [
        sum(float(logs[place, step - len(ids), token]) for step, token in enumerate(ids))
        for place, ids in wanted
    ]
    return [nats[start : start + len(tokens)] for start in range(0, len(nats), len(tokens))]


# -------------------------------------------------------------------------------------- what is judged


def _train() -> list[dict[str, Any]]:
    return list(read_records(Path("data/train.jsonl")))


def answer_of(record: Record) -> str:
    """Return the record's label as its source gives it: its own `label`, or else its answer."""
    return str(record.get("label") or record["messages"][-1]["content"])


def label_of(record: Record, labels: Mapping[str, Sequence[str]]) -> str | None:
    """Return the task's label of a record, None where it is none: by its name, or its first word."""
    answer = answer_of(record)
    if answer in labels:
        return answer
    return next((label for label, words in labels.items() if words[0] == answer), None)


def check_labels(labels: Mapping[str, Sequence[str]], splits: Mapping[str, Sequence[Record]]) -> None:
    """Check that the labels of the records are those of the task, and begin with what the records answer.

    Raises:
        DataError: a record's label is none of the task's, its label begins with another word than the
            record's answer, or no record has one of the task's.
    """
    seen: set[str] = set()
    for split, records in splits.items():
        wrong = [record for record in records if label_of(record, labels) is None]
        if wrong:
            names = sorted({answer_of(record) for record in wrong})
            raise DataError(
                f"data/{split}.jsonl: {len(wrong)} of {len(records)} records have a label that is none of the "
                f"task's: {_some(names)}; the task has {_some(list(labels))}\n  the first word of a label must be "
                "the answer that the records give"
            )
        check_first_words(labels, split, records)
        seen |= {str(label_of(record, labels)) for record in records}
    unused = [label for label in labels if label not in seen]
    if unused:
        raise DataError(
            f"no record has the label {_some(unused)} of the task; the records have {_some(sorted(seen))}"
        )


def check_first_words(labels: Mapping[str, Sequence[str]], split: str, records: Sequence[Record]) -> None:
    """Check that what is scored, the first word of a label, is what records with that label answer.

    Raises:
        DataError: they differ; names the label, its first word and the answers.
    """
    for label, words in labels.items():
        said = [record["messages"][-1]["content"] for record in records if label_of(record, labels) == label]
        other = [answer for answer in said if answer.strip() != words[0]]
        if other:
            raise DataError(
                f"data/{split}.jsonl: the label {label!r} begins with {words[0]!r}, but {len(other)} of "
                f"{len(said)} records with it answer {_some(sorted(set(other)))}\n  write the answer as the first "
                "word of the label: its likelihood is what is scored"
            )


def check_attributes(names: Sequence[str], records: Sequence[Record]) -> None:
    """Check that sub-groups are made by attributes that there are.

    Raises:
        DataError: no record has the attribute.
    """
    known = sorted({name for record in records for name in record.get("attributes") or {}})
    for name in names:
        if name not in known:
            raise DataError(
                f"no record has the attribute {name!r} of the task's subgroups; they have: {', '.join(known) or 'none'}"
            )


def floor_parts(task: Mapping[str, Any], records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Return record id -> floor -> `label`, `scores` by label and `words`: what the floor does.

    Raises:
        DataError: records lack the features that a floor is fitted on.
    """
    if not task["floors"]:
        return {}
    path = Path("data/validation.jsonl")
    held = list(read_records(path)) if path.exists() else []
    # The majority needs no features, and so no table.
    plain = set(task["floors"]) == {"majority"}
    try:
        floors = tabular_floors(
            [_labelled(record, task, plain) for record in _train()],
            [_labelled(record, task, plain) for record in records],
            classes=list(task["labels"]),
            names=task["floors"],
            validation=[_labelled(record, task, plain) for record in held],
        )
    except FloorError as error:
        raise DataError(
            f"the task's floors: {error}\n  take those that need features out of floors"
        ) from error
    labels = list(task["labels"])
    return {
        record["id"]: {
            name: {
                "label": labels[floor.y_pred[place]],
                "scores": dict(zip(labels, map(float, floor.y_score[place]), strict=True)),
                "words": floor.words,
            }
            for name, floor in floors.items()
        }
        for place, record in enumerate(records)
    }


def _labelled(record: Record, task: Mapping[str, Any], plain: bool) -> dict[str, Any]:
    label = label_of(record, task["labels"])
    return {**record, "label": label, **({"features": {"none": 0.0}} if plain else {})}


def _some(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
