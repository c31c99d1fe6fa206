"""Task files of one's own for lm-eval: read before anything runs, since the harness would run code in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from stat import S_ISREG

import yaml

from converters.harness_names import CODE, harness_names
from converters.lm_eval import code_in, included, names_in
from runner.spec.environment import expand
from runner.spec.load import Loaded
from runner.spec.nearest import nearest
from runner.spec.problems import MachineError, Problem, UsageError
from runner.spec.tasks import LmEvalTask
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
        own = {name for file in _files(Path(folder)) for name in names_in(_text(file))}
        for place, name in enumerate(task.tasks):
            if name in own or name in harness_names():
                continue
            mark = loaded.tree.mark(path := ("evaluate", number, "tasks", place))
            near = nearest(name, sorted(own))
            hint = f"nearest: {near}" if near else f"the folder has {', '.join(sorted(own)) or 'none'}"
            message = f"neither lm-eval nor {folder} has a task {name!r}"
            yield Problem(mark.file, mark.line, mark.column, dotted(path), CODE, message, hint)


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


LARGEST = 1 << 20
"""Bytes of a task file; lm-eval's own have less than a tenth of it."""


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.yaml"))


def _text(file: Path) -> str:
    try:
        found = file.stat()
        if not S_ISREG(found.st_mode):
            raise UsageError(f"{file} is no task file: not a regular file")
        if found.st_size > LARGEST:
            raise UsageError(f"{file} is no task file: {found.st_size:,} bytes, more than {LARGEST:,}")
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # a name with NUL, bytes that are no UTF-8
        raise MachineError(f"cannot read {str(file)!r}: {error}") from error


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
