"""Where the task files beside this one find what they ask; plain lm-eval loads it, without `runner`.

`found` takes files as they are. `records` takes the records of a run: those of the task's own sources, each
with the prompt that the model was trained on. A relative file of a task's `data_files` is looked for
1. below what `--metadata '{"SOURCE": "/a/run"}'` says of the task's source (it may name the file, too);
2. below `folder`, where that is given: `--metadata '{"folder": "/where/they/are"}'`;
3. in the run that the weights (`peft=` or `pretrained=`) are part of;
4. below the current folder.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RUN = "plan.json"
"""The file that makes a folder the directory of a run."""

TOKENIZER = "tokenizer_config.json"
"""The file that makes a folder of weights one with a tokenizer."""

BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv"}
"""Ending of a file -> what `datasets` reads it with."""


def found(
    data_files: Mapping[str, str],
    *,
    folder: str | None = None,
    pretrained: str | None = None,
    peft: str | None = None,
    column_names: list[str] | None = None,
    keep_default_na: bool | None = None,
    **_: Any,
) -> Any:
    """Return the rows of a task's files: split -> rows.

    Args:
        data_files: split -> file.
        folder: of `--metadata`.
        pretrained: of `--model_args`, a folder or a hub id.
        peft: the same of an adapter.
        column_names: of a CSV file without a header line.
        keep_default_na: whether `None` and `NA` in a CSV file are missing values.

    Raises:
        FileNotFoundError: a file is in none of the places; names them.
    """
    from datasets import load_dataset

    folders = [*_folders(folder, peft, pretrained)]
    places = {split: str(_place(file, folders)) for split, file in data_files.items()}
    csv = {"column_names": column_names, "keep_default_na": keep_default_na}
    options = {name: value for name, value in csv.items() if value is not None}
    return load_dataset(BUILDERS[Path(next(iter(places.values()))).suffix], data_files=places, **options)


def records(
    data_files: Mapping[str, str],
    *,
    sources: Sequence[str] = (),
    answers: Sequence[str] = (),
    bare: bool = False,
    folder: str | None = None,
    pretrained: str | None = None,
    peft: str | None = None,
    tokenizer: str | None = None,
    **metadata: Any,
) -> Any:
    """Return the records of a task: split -> rows of `id`, `prompt`, `reference`, and `choices` if there are `answers`.

    A file that has no record of the task's sources is passed over.

    Args:
        data_files: split -> file of JSON lines, as a run writes its records.
        sources: of the records to take, as the records name them; empty for all.
        answers: the only ones there can be, in any letter case; empty where they are free.
        bare: prompts are what the user says and nothing else, for `--apply_chat_template`. Otherwise they
            are whole: in the chat template of the adapter's tokenizer, else of the model's (so as they
            were in training), else `Question: ...`, a line break and `Answer:`.
        folder: of `--metadata`.
        pretrained: of `--model_args`, a folder or a hub id.
        peft: the same of an adapter.
        tokenizer: the same of a tokenizer.
        metadata: other keys of both; those named as a source say where its records are.

    Raises:
        FileNotFoundError: the records are in none of the places; names these and what is there.
        ValueError: a record is damaged, or has another answer; names file and line.
    """
    from datasets import Dataset, DatasetDict

    own = [str(metadata[name]) for name in sources if name in metadata]
    folders = [Path(place) for place in own] or [*_folders(folder, peft, pretrained)]
    adapter = peft if peft and Path(peft).is_dir() else None  # of the hub's, most have no tokenizer
    template = None if bare else _template(adapter, tokenizer, pretrained)
    rows = {}
    for split, file in data_files.items():
        place, taken = _taken(file, folders, sources)
        rows[split] = Dataset.from_list(
            [_row(record, f"{place}:{line}", answers, bare, template) for line, record in taken]
        )
    return DatasetDict(rows)


# ------------------------------------------------------------------------------------------- where


def _folders(folder: str | None, *weights: str | None) -> Iterator[Path]:
    if folder:
        yield Path(folder)
    for place in weights:
        if place and Path(place).is_dir():
            yield from (parent for parent in Path(place).resolve().parents if (parent / RUN).is_file())
    yield Path()


def _place(file: str, folders: list[Path]) -> Path:
    for folder in folders:
        if (folder / file).is_file():
            return (folder / file).resolve()
    looked = ", ".join(str(folder) for folder in folders)
    raise FileNotFoundError(
        f"no {file}: looked below {looked}\n"
        """  give the folder that it lies below: --metadata '{"folder": "/where/it/is"}'"""
    )


def _taken(file: str, folders: list[Path], sources: Sequence[str]) -> tuple[Path, list[tuple[int, Any]]]:
    """Return the first file with records of the sources, and these with their lines."""
    seen = []
    for folder in folders:
        place = folder if folder.is_file() else (folder / file).resolve()
        if not place.is_file():
            seen.append(f"no {place}")
            continue
        lines = [*_lines(place)]
        if taken := [(line, record) for line, record in lines if not sources or _source(record) in sources]:
            return place, taken
        counts = Counter(_source(record) or "no source" for _, record in lines)
        held = ", ".join(f"{count} of {name!r}" for name, count in counts.items())
        seen.append(f"{place} has {held or 'no record'}")
    wanted = " or ".join(repr(name) for name in sources) or "any source"
    key = sources[0] if sources else "folder"
    raise FileNotFoundError(
        f"no records of {wanted}: {'; '.join(dict.fromkeys(seen))}\n"
        f"""  name the run that has them: --metadata '{{"{key}": "/its/directory"}}', or leave this task out"""
    )


def _lines(place: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with place.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            try:
                record = json.loads(text)
            except ValueError as error:
                raise ValueError(f"{place}:{number}: not JSON: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"{place}:{number}: expected an object, got {text.strip()!r:.60}")
            yield number, record


def _source(record: Mapping[str, Any]) -> str:
    """Return a record's source; in a mixture the second of a kind is named `medquad-2`."""
    return re.sub(r"-\d+$", "", str(record.get("source") or ""))


# ----------------------------------------------------------------------------------------- prompts


def _row(
    record: Mapping[str, Any], where: str, answers: Sequence[str], bare: bool, template: Any
) -> dict[str, Any]:
    """Return what lm-eval asks of one record."""
    turns = _turns(record, where)
    *asked, answer = turns
    reference = answer["content"]
    if answers:
        reference = reference.strip().lower()
        if reference not in answers:
            raise ValueError(f"{where}: the answer {answer['content']!r:.60} is none of {', '.join(answers)}")
    if bare:
        if len(asked) > 1:
            raise ValueError(f"{where}: {len(asked)} turns before the answer; a bare prompt holds one")
        prompt, between = asked[0]["content"], ""
    elif template is None:
        prompt, between = _question_answer(asked), " "
    else:
        prompt = template.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        whole = template.apply_chat_template(turns, tokenize=False)
        between = " " if whole.startswith(f"{prompt} ") else ""
    row = {"id": record.get("id"), "prompt": prompt, "reference": reference}
    return {**row, "choices": [f"{between}{choice}" for choice in answers]} if answers else row


def _turns(record: Mapping[str, Any], where: str) -> list[dict[str, str]]:
    turns = record.get("messages")
    if not isinstance(turns, list) or len(turns) < 2:
        raise ValueError(f"{where}: expected `messages`, a question and its answer, got {turns!r:.60}")
    for turn in turns:
        if not isinstance(turn, dict) or not all(
            isinstance(turn.get(key), str) for key in ("role", "content")
        ):
            raise ValueError(f"{where}: expected a message with role and content, got {turn!r:.60}")
    if turns[-1]["role"] != "assistant":
        raise ValueError(f"{where}: the last message is no answer, but of {turns[-1]['role']!r}")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _question_answer(turns: Sequence[Mapping[str, str]]) -> str:
    """Return a prompt for a model without a template, as `template: question_answer` writes it."""
    words = {"system": "{}\n\n", "user": "Question: {}\n", "assistant": "Answer: {}\n\n"}
    return "".join(words[turn["role"]].format(turn["content"].strip()) for turn in turns) + "Answer:"


def _template(*weights: str | None) -> Any:
    """Return the first tokenizer that has a chat template, of an adapter, a tokenizer, a model; or none."""
    from transformers import AutoTokenizer

    for place in weights:
        if not place or (Path(place).is_dir() and not (Path(place) / TOKENIZER).is_file()):
            continue
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        if tokenizer.chat_template:
            return tokenizer
    return None
