"""Tasks of lm-eval, loaded with their questions: from the hub, from a local folder, or invented.

A task keeps everything of its own file, prompt and scoring included; only where its questions come from
is changed. lm-eval and datasets are imported inside the functions: importing them takes seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from yaml import YAMLError

from converters.harness_names import OWN
from converters.lm_eval import BUILDERS, MMLU, QuestionsError, below, invented, mmlu_rows
from runner.judging.canonical import canonical
from runner.judging.walls import raise_walls, told_templates
from runner.spec.nearest import nearest
from runner.spec.problems import DataError, MachineError, UsageError
from runner.task_files import refuse_code

EXAMPLES = 5
"""Invented questions with their answers, for a prompt with examples; more where more are asked for."""
ANSWER = 24
"""Tokens that are written per answer at most, where questions may be invented: a tiny model holds few."""
SOURCE_KEYS = ("custom_dataset", "dataset_path", "dataset_name", "dataset_kwargs", "metadata")
"""Of a task's configuration: where its questions come from, and what does not change them."""


@dataclass(frozen=True)
class Leaf:
    """One task, without groups."""

    name: str
    task: Any
    """lm-eval's object; None where it could not be rehearsed."""
    few_shot: int
    count: int
    """Questions asked."""
    skipped: str = ""
    """Why there is no task."""
    invented: bool = False
    """The questions are made up."""

    @property
    def ids(self) -> list[str]:
        """One a question, `task/number`."""
        return [f"{self.name}/{number}" for number in range(self.count)]

    def facts(self) -> dict[str, Any]:
        """Return what must be equal for two results to compare: version, text of the task, its questions."""
        whole = self.task.config.to_dict(keep_callable=True)
        config = {key: value for key, value in whole.items() if key not in SOURCE_KEYS}
        questions = hashlib.sha256()
        for row in _first(self.task.eval_docs, self.count):
            questions.update(canonical(row))
        return {
            "version": self.task.VERSION,
            "few_shot": self.few_shot,
            "config": hashlib.sha256(canonical(config)).hexdigest(),
            "questions": questions.hexdigest(),
        }


def load_leaves(task: Mapping[str, Any]) -> list[Leaf]:
    """Return the tasks that a spec's `lm_eval` asks for, groups and tags taken apart, in their order.

    Args:
        task: as in the spec, with `data` and `include` as places on this machine, or empty.

    Raises:
        UsageError: a task is not known, a file in `include` would run code, or examples cannot be given.
        DataError: a file of questions is damaged.
        MachineError: questions cannot be found.
    """
    raise_walls()
    folders = [str(OWN)]
    if task["include"]:
        refuse_code(Path(task["include"]))
        folders.append(task["include"])
    manager = _manager(tuple(folders))
    found: dict[str, dict[str, Any]] = {}
    for name in task["tasks"]:
        if name not in manager.task_index:
            near = nearest(name, (other for other in manager.all_tasks if other[:1] == name[:1]))
            raise UsageError(f"lm-eval has no task {name!r}" + (f"\n  nearest: {near}" if near else ""))
        for leaf, changes in _leaves(manager, name, {}):
            if found.setdefault(leaf, changes) != changes:
                raise UsageError(f"{leaf!r} is asked for twice, in two forms; put them into two runs")
    return [_load(manager, name, changes, task) for name, changes in found.items()]


@cache
def _manager(folders: tuple[str, ...]) -> Any:
    """Return the harness's index of its 14,000 tasks and those in the folders, which takes seconds to make."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=list(folders))


def _leaves(manager: Any, name: str, changes: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tasks below a name, each with what its groups change in it."""
    entry = manager.task_index[name]
    if entry["type"] in ("task", "python_task"):
        yield name, dict(changes)
    elif entry["type"] == "tag":
        for member in entry["task"]:
            yield from _leaves(manager, member, changes)
    else:
        yield from _members(manager, _config(manager, name), changes)


def _members(
    manager: Any, group: Mapping[str, Any], changes: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tasks of a group; as in the harness, what the group says goes before a member's own."""
    from lm_eval.tasks import GROUP_ONLY_KEYS

    changes = {**{k: v for k, v in group.items() if k not in GROUP_ONLY_KEYS}, **changes}
    for member in group["task"]:
        if isinstance(member, str):
            yield from _leaves(manager, member, changes)
        elif isinstance(member["task"], list):
            yield from _members(manager, member, changes)
        else:
            own = {key: value for key, value in member.items() if key != "task"}
            yield from _leaves(manager, member["task"], {**own, **changes})


def _config(manager: Any, name: str) -> dict[str, Any]:
    from lm_eval.utils import load_yaml_config

    config: dict[str, Any] = load_yaml_config(manager.task_index[name]["yaml_path"], mode="full")
    return config


def _load(manager: Any, name: str, changes: Mapping[str, Any], wanted: Mapping[str, Any]) -> Leaf:
    config = {**_config(manager, name), **changes}
    _refuse_two_templates(config, name, wanted)
    source = _source(config, name, wanted)
    if isinstance(source, str):
        return Leaf(name, None, 0, 1, skipped=source)
    try:
        with told_templates(name):
            (task,) = manager.load_config({"task": name, **changes, **source}).values()
            available = len(task.eval_docs)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"the questions of {name!r} ({config.get('dataset_path')}) cannot be loaded: {reason}\n"
            "  give `data`, the folder in which they lie, or let the run reach the hub"
        ) from error
    except (
        TypeError,
        AttributeError,
        AssertionError,
        IndexError,
        NotImplementedError,
        YAMLError,
    ) as error:  # of YAML: a file of prompts
        raise UsageError(
            f"lm-eval cannot make a task of {name!r}: {type(error).__name__}: {error}"
        ) from error
    few_shot = _few_shot(task, name, wanted["few_shot"])
    if wanted["questions"] == "invented" and task.OUTPUT_TYPE == "generate_until":
        longest = min(task.config.generation_kwargs.get("max_gen_toks", ANSWER), ANSWER)
        task.set_config(key="generation_kwargs", value={"max_gen_toks": longest}, update=True)
    task.set_fewshot_seed(seed=wanted["seed"])
    made_up = "custom_dataset" in source and not wanted["data"]
    return Leaf(name, task, few_shot, min(available, wanted["limit"] or available), invented=made_up)


def _refuse_two_templates(config: Mapping[str, Any], name: str, wanted: Mapping[str, Any]) -> None:
    """Check that one of our own tasks is asked in the form that it has prompts for.

    Raises:
        UsageError: whole prompts would stand in a turn of a chat, or bare ones in none.
    """
    bare = (config.get("dataset_kwargs") or {}).get("bare")
    if bare is False and wanted["chat_template"]:
        raise UsageError(
            f"the prompts of {name!r} are whole and cannot stand in a chat template: take {name}_chat"
        )
    if bare and not wanted["chat_template"]:
        raise UsageError(f"the prompts of {name!r} are bare questions: write chat_template: true beside it")


def _few_shot(task: Any, name: str, wanted: int | None) -> int:
    """Set how many examples stand before each question, and return it.

    Raises:
        UsageError: the task takes none, or has not so many.
    """
    own = task.get_config("num_fewshot")
    if wanted is None or wanted == own:
        task.set_config(key="num_fewshot", value=own or 0)
        return own or 0
    if own == 0:
        raise UsageError(f"{name!r} is defined without examples; take few_shot out, or write 0")
    there = len(task.sampler.df) if hasattr(task, "sampler") else None
    if there is not None and wanted > there:
        raise UsageError(f"few_shot {wanted}, but {name!r} has {there} examples")
    task.set_config(key="num_fewshot", value=wanted)
    return wanted


# -------------------------------------------------------------------------- where questions come from


def _source(config: Mapping[str, Any], name: str, wanted: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return what to change in a task's configuration, or why it cannot be rehearsed."""
    dataset, kwargs = config.get("dataset_path"), dict(config.get("dataset_kwargs") or {})
    if dataset in BUILDERS:
        files = kwargs.get("data_files")
        if not wanted["data"] or files is None:
            return {}
        return {"dataset_kwargs": {**kwargs, "data_files": below(Path(wanted["data"]), files)}}
    if wanted["data"]:
        return _from_folder(config, name, Path(wanted["data"]))
    if wanted["questions"] == "real":
        return {}
    rows = None if dataset is None else _invented(config, dataset, wanted)
    return _in_memory(rows) if rows else f"no hub in a rehearsal, and none of {dataset} can be invented"


def _from_folder(config: Mapping[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """Return the change that takes the questions from a folder: MMLU's CSV files, or a clone of the hub's.

    Raises:
        DataError: a CSV file is damaged.
        MachineError: neither is there.
    """
    dataset, subject = config.get("dataset_path"), config.get("dataset_name")
    if dataset is None:
        raise MachineError(
            f"{name!r} gets its questions by Python code of its own; `data` cannot replace them"
        )
    if dataset == MMLU and (test := folder / "test" / f"{subject}_test.csv").is_file():
        places = {"test": test, "dev": folder / "dev" / f"{subject}_dev.csv"}
        if (validation := folder / "val" / f"{subject}_val.csv").is_file():
            places["validation"] = validation
        return _in_memory({split: _read_mmlu(place, subject) for split, place in places.items()})
    if (clone := folder / dataset).is_dir():
        return {"dataset_path": str(clone)}
    looked = [str(folder / "test" / f"{subject}_test.csv")] if dataset == MMLU else []
    raise MachineError(f"no questions for {name!r}: looked for {' and '.join([*looked, str(clone)])}")


def _read_mmlu(place: Path, subject: Any) -> list[dict[str, Any]]:
    try:
        with place.open(encoding="utf-8-sig", newline="") as lines:
            return mmlu_rows(list(lines), subject, str(place))
    except OSError as error:
        raise MachineError(f"cannot read {place}: {error.strerror or error}") from error
    except (QuestionsError, UnicodeDecodeError) as error:
        raise DataError(
            f"{place}: {error}" if isinstance(error, UnicodeDecodeError) else str(error)
        ) from error


def _invented(
    config: Mapping[str, Any], dataset: str, wanted: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]] | None:
    splits = (
        config.get("test_split"),
        config.get("validation_split"),
        config.get("training_split"),
        config.get("fewshot_split"),
    )
    count = max(wanted["limit"] or 0, wanted["few_shot"] or 0, EXAMPLES) + 1
    rows = {}
    for number, split in enumerate(dict.fromkeys(name for name in splits if name)):
        made = invented(dataset, config.get("dataset_name"), count, wanted["seed"] + number)
        if made is None:
            return None
        rows[split] = made
    return rows


def _in_memory(rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    from datasets import Dataset, DatasetDict

    held = DatasetDict({split: Dataset.from_list(part) for split, part in rows.items()})
    return {"custom_dataset": lambda **_: held, "dataset_kwargs": None}


def _first(rows: Any, count: int) -> Iterator[Any]:
    for number in range(count):
        yield rows[number]
