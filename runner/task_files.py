"""Task files of one's own for lm-eval: read before anything runs, since the harness would run code in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from converters.harness_names import CODE, harness_names
from converters.lm_eval import code_in, included, names_in
from runner.spec.environment import expand
from runner.spec.load import Loaded
from runner.spec.nearest import nearest
from runner.spec.problems import MachineError, Problem, UsageError
from runner.spec.tasks import LmEvalTask
from runner.spec.text_file import MAX_BYTES, UnreadableError, read_text
from runner.spec.yaml_text import dotted


def unusable_tasks(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each task of lm-eval that neither the harness nor the given folder has.

    Raises:
        MachineError: the folder or a file in it cannot be read.
        UsageError: a file would run code, or is no YAML; names file and line.
    """
    for number, task in enumerate(loaded.spec.evaluate):
        if not isinstance(task, LmEvalTask) or not (folder := expand(task.include or "", environ)):
            continue
        refuse_code(Path(folder))
        texts = [_text(file) for file in _files(Path(folder))]
        own = {name for text in texts for name in names_in(text)}
        without_split = {name for text in texts if (name := _without_split(text))}
        for place, name in enumerate(task.tasks):
            if name in without_split:
                mark = loaded.tree.mark(path := ("evaluate", number, "tasks", place))
                message = f"the task file of {name!r} names no split whose questions are asked"
                hint = "write test_split (or validation_split) into it, with a name that its data_files have"
                yield Problem(mark.file, mark.line, mark.column, dotted(path), CODE, message, hint)
            if name in own or name in harness_names():
                continue
            mark = loaded.tree.mark(path := ("evaluate", number, "tasks", place))
            near = nearest(name, sorted(own))
            hint = f"nearest: {near}" if near else f"the folder has {', '.join(sorted(own)) or 'none'}"
            if other := _of_another_ending(name, Path(folder)):
                hint = f"{other} has it, but lm-eval reads files that end in .yaml; rename it"
            message = f"neither lm-eval nor {folder} has a task {name!r}"
            yield Problem(mark.file, mark.line, mark.column, dotted(path), CODE, message, hint)


def _without_split(text: str) -> str | None:
    """Return the name of a task whose file alone says all of it, and says no split to ask; None for any other file."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    known = {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}
    task = known.get("task")
    if not isinstance(task, yaml.ScalarNode) or not {"dataset_path", "output_type"} <= known.keys():
        return None
    silent = not {"include", "test_split", "validation_split"} & known.keys()
    return str(task.value) if silent else None


def _of_another_ending(name: str, folder: Path) -> Path | None:
    """Return the file in a folder that has a task, but not the ending that the harness looks for."""
    try:
        return next((file for file in sorted(folder.rglob("*.yml")) if name in names_in(_text(file))), None)
    except (MachineError, yaml.YAMLError):
        return None


def refuse_code(folder: Path) -> None:
    """Check that no task file in a folder, or that one of them includes, would run Python.

    Raises:
        MachineError: the folder or a file cannot be read.
        UsageError: a file would run code, or is no YAML; names file and line.
    """
    if not folder.is_dir():
        raise MachineError(f"no folder of task files at {folder}")
    pending, seen = _files(folder), set[Path]()
    while pending:
        file = pending.pop(0)
        if file.resolve() in seen:
            continue
        seen.add(file.resolve())
        text = _text(file)
        try:
            for code in code_in(text):
                raise UsageError(
                    f"{file}:{code.line}:{code.column}: this task file would run code: {code.what}\n"
                    "  task files are data here; write it as a template, or make the data ready beforehand"
                )
            pending += [_included(name, file, folder) for name in included(text)]
        except yaml.YAMLError as error:
            raise UsageError(f"{file} is no YAML: {str(error).splitlines()[0]}") from error
        except RecursionError:
            raise UsageError(f"{file} is nested too deeply to be a task file") from None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.yaml"))


def _text(file: Path) -> str:
    try:
        return read_text(file, MAX_BYTES)
    except UnreadableError as error:
        raise MachineError(
            f"cannot read {str(file)!r}: {str(error).removeprefix('cannot be read: ')}"
        ) from error


def _included(name: str, file: Path, folder: Path) -> Path:
    """Return the file that the harness would take: below the current folder first, then beside the other.

    Raises:
        MachineError: the name cannot be that of a file.
        UsageError: it lies outside the folder that the spec names.
    """
    try:
        found = Path(name) if Path(name).is_file() else file.parent / name
        inside = found.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise MachineError(f"{file}: cannot include {name!r}: {error}") from error
    if not inside:
        raise UsageError(
            f"{file}: include {name!r} leads out of {folder}, where nothing says that its files are task files\n"
            "  copy it into the folder, or name a folder that holds both"
        )
    return found
