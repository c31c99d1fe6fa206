"""Where the task files beside this one find their questions; plain lm-eval loads it, without `runner`.

A relative file of a task's `data_files` is looked for
1. below `folder`, where that is given: `--metadata '{"folder": "/where/they/are"}'`;
2. in the run that the weights (`pretrained=` or `peft=`) are part of;
3. below the current folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RUN = "plan.json"
"""The file that makes a folder the directory of a run."""

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
    """Return the questions of a task: split -> rows.

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

    places = {
        split: str(_place(file, [*_folders(folder, peft, pretrained)])) for split, file in data_files.items()
    }
    csv = {"column_names": column_names, "keep_default_na": keep_default_na}
    options = {name: value for name, value in csv.items() if value is not None}
    return load_dataset(BUILDERS[Path(next(iter(places.values()))).suffix], data_files=places, **options)


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
