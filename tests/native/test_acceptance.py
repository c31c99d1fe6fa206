"""README.md beside this file names the tests of all 36 numbers; each of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMED = re.compile(r"`([\w./]+\.py)::([\w:]+)`")


def rows() -> dict[int, list[tuple[str, str]]]:
    lines = (HERE / "README.md").read_text(encoding="utf-8").splitlines()
    found = [re.match(r"\| (\d+) \|", line) for line in lines]
    return {
        int(match[1]): NAMED.findall(line)
        for match, line in zip(found, lines, strict=True)
        if match is not None
    }


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    plain = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return plain | {
        f"{made.name}::{node.name}"
        for made in classes
        for node in made.body
        if isinstance(node, ast.FunctionDef)
    }


def test_every_number_has_a_test() -> None:
    assert sorted(rows()) == list(range(1, 37))
    assert all(rows().values())


@pytest.mark.parametrize("file", sorted({file for named in rows().values() for file, _ in named}))
def test_every_named_test_is_there(file: str) -> None:
    wanted = {name for named in rows().values() for where, name in named if where == file}
    assert wanted <= functions(HERE / file)
