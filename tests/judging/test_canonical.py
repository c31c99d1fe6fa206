"""The text that hashes are made of: the same in each process, and never an address."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.judging.canonical import canonical

LOCK = """
import json
from runner.judging.harness import load_leaves

wanted = {"tasks": ["medmcqa", "pubmedqa", "medqa_4options"], "few_shot": None, "limit": 3, "seed": 1,
          "data": None, "include": None, "questions": "invented"}
print(json.dumps({leaf.name: leaf.facts() for leaf in load_leaves(wanted)}))
"""


def facts(seed: str) -> dict[str, Any]:
    """Return what a process of its own writes into the lock."""
    done = subprocess.run(
        [sys.executable, "-c", LOCK],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": seed},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_two_processes_lock_the_same_tasks_alike() -> None:
    """Their task files hold functions, whose addresses differ."""
    pytest.importorskip("lm_eval", reason="needs the eval extra")
    first = facts("1")
    assert first == facts("2")
    assert first.keys() == {"medmcqa", "pubmedqa", "medqa_4options"}


def write(folder: Path, text: str) -> Any:
    """Return `f` of a module of this text."""
    folder.mkdir()
    place = folder / "made.py"
    place.write_text(text)
    names: dict[str, Any] = {}
    exec(compile(text, str(place), "exec"), names)  # a module of the test's own
    return names["f"]


def test_a_function_is_the_text_of_its_file(tmp_path: Path) -> None:
    text = "def helper(x):\n    return x + 1\n\ndef f(x):\n    return helper(x)\n"
    one, moved = write(tmp_path / "a", text), write(tmp_path / "b", text)
    changed = write(tmp_path / "c", text.replace("+ 1", "+ 2"))  # in what it calls
    assert canonical({"f": one}) == canonical({"f": moved})
    assert canonical({"f": one}) != canonical({"f": changed})


def test_values_that_a_function_was_made_with_count(tmp_path: Path) -> None:
    f = write(tmp_path / "a", "def f(n):\n    def g(x):\n        return x + n\n    return g\n")
    assert canonical(f(1)) == canonical(f(1))
    assert canonical(f(1)) != canonical(f(2))
    assert canonical(functools.partial(f, 1)) != canonical(functools.partial(f, 2))


def test_what_rows_hold() -> None:
    assert canonical({"b": np.float64(0.5), "a": np.array([1, 2])}) == b'{"a": [1, 2], "b": 0.5}'
    assert canonical(date(2024, 2, 1)) == b'{"date": "2024-02-01"}'
    assert canonical({"x", "y", "z"}) == canonical({"z", "y", "x"})
    assert canonical(b"1") != canonical(b"2")


def test_a_picture_is_its_points() -> None:
    image = pytest.importorskip("PIL.Image", reason="needs the train extra")
    dark, light = (image.new("L", (3, 2), shade) for shade in (0, 255))
    assert canonical({"picture": dark}) == canonical({"picture": dark.copy()})
    assert canonical({"picture": dark}) != canonical({"picture": light})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "type builtins.object"),
        ({1: "a"}, "key 1"),
        (Path("x").exists, "Path.exists: a method of an object"),
        ("x".upper, "str.upper: a method of an object"),
    ],
)
def test_what_has_no_text_is_an_error(value: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        canonical([value])
