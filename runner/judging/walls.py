"""Walls around lm-eval in our process: templates are rendered in a sandbox, task files of others are data alone.

lm-eval loads every task file with a loader that makes any Python object, and renders templates without a sandbox.
`runner.task_files` refuses what would run code before a run exists; what it may have missed ends here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from converters.harness_names import OWN
from runner.file_systems import only_files_and_the_hub
from runner.spec.problems import UsageError

DATA = (str, bytes, bool, int, float, type(None), list, tuple, dict, set, date, datetime, time, timedelta)
"""Types of what a template may look into, exactly these: a number of NumPy is a float too, and has a method that writes
files, as an image has. Of anything else a template gets the text."""
OF_THE_LANGUAGE = ("jinja2.runtime", "jinja2.utils")
"""Where `loop`, `namespace` and `cycler` come from."""


class OnlyData(ImmutableSandboxedEnvironment):
    """Templates that read texts, numbers, lists and mappings, change none of them, and reach nothing else."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may have this attribute."""
        known = type(obj) in DATA or isinstance(obj, Undefined) or type(obj).__module__ in OF_THE_LANGUAGE
        return known and super().is_safe_attribute(obj, attr, value)


@cache
def raise_walls() -> None:
    """Put the walls up in lm-eval, once a process, before it reads a task file."""
    from lm_eval import utils

    only_files_and_the_hub()
    bare, as_published = utils.env, utils.load_yaml_config
    utils.env = OnlyData(
        loader=bare.loader, undefined=bare.undefined, keep_trailing_newline=bare.keep_trailing_newline
    )
    utils.env.filters.update(bare.filters)
    trusted = tuple(f"{folder}{os.sep}" for folder in (Path(utils.__file__).parent, OWN.absolute()))

    def load_yaml_config(
        yaml_path: Any = None, yaml_config: Any = None, yaml_dir: Any = None, mode: str = "full"
    ) -> Any:
        """Read a task file as lm-eval does, but one that is neither its own nor ours without any tag of Python."""
        if yaml_path is not None and yaml_config is None and not _abs(yaml_path).startswith(trusted):
            read = yaml.safe_load(Path(yaml_path).read_text(encoding="utf-8"))
            yaml_config = read if isinstance(read, dict) else {}
            yaml_dir = os.path.dirname(yaml_path) if yaml_dir is None else yaml_dir  # noqa: PTH120 as lm-eval does
        return as_published(yaml_path, yaml_config, yaml_dir, mode)

    utils.load_yaml_config = load_yaml_config


@contextmanager
def told_templates(task: str) -> Iterator[None]:
    """Say what a template of a task does wrong.

    Raises:
        UsageError: it cannot be rendered, or wanted more than a template may have; names the task.
    """
    try:
        yield
    except SecurityError as error:
        raise UsageError(f"a template of {task!r} reaches for what no template may have: {error}") from error
    except TemplateError as error:
        raise UsageError(f"a template of {task!r} cannot be rendered: {error}") from error


def _abs(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 without `..`, which Path.absolute keeps; links are not followed
