"""The problems of some specs in the forms that people, programs and code hosts read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runner import __version__
from runner.spec.problems import Problem, counted, texts_of
from runner.spec.visible import on_one_line

if TYPE_CHECKING:
    from runner.spec.codes import Code

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_text(problems: Sequence[Problem], files: Sequence[Path]) -> str:
    """Return the problems as people read them, with a closing line that counts them."""
    specs = _count(len(files), "spec")
    if not problems:
        return f"{specs} checked, no problems"
    wrong = sorted({problem.file for problem in problems})
    place = on_one_line(wrong[0]) if len(wrong) == 1 else f"{len(wrong)} places"
    of = f" ({specs} checked)" if len(files) > 1 else ""
    closing = f"{counted(problems)} in {place}{of}; nothing was started"
    return "\n".join([*texts_of(problems), closing])


def as_json(problems: Sequence[Problem], files: Sequence[Path]) -> dict[str, Any]:
    """Return `{"files": n, "problems": [{"file", "line", "column", "path", "code", "message", "hint"}]}`.

    `line` and `column` count from 1; 0 means the file as a whole.
    """
    return {"files": len(files), "problems": [asdict(problem) for problem in problems]}


def as_sarif(problems: Sequence[Problem]) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log, as code hosts take it for remarks beside the lines.

    Every code is a rule with its help, whether it was broken or not. A problem of the file as a whole
    has no region; one of a `--set` has no file, and so a logical location alone.
    """
    from runner.spec.codes import CODES  # brings the rules of every kind: only where they are listed

    index = {code: number for number, code in enumerate(CODES)}
    run = {
        "tool": {
            "driver": {
                "name": "runner",
                "semanticVersion": __version__,
                "rules": [_rule(code) for code in CODES.values()],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The folder that was validated from."}}},
        "results": [_result(problem, index) for problem in problems],
    }
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: Code) -> dict[str, Any]:
    return {
        "id": code.code,
        "shortDescription": {"text": code.title},
        "fullDescription": {"text": code.reason},
        "help": {
            "text": f"{code.title}. {code.reason} To mend it: {code.fix}.",
            "markdown": f"**{code.title}**\n\n{code.reason}\n\nTo mend it: {code.fix}.",
        },
        "defaultConfiguration": {"level": "error"},
    }


def _result(problem: Problem, index: dict[str, int]) -> dict[str, Any]:
    hint = f"\n{problem.hint}" if problem.hint else ""
    head = f"{problem.path}: " if problem.path else ""
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "level": "error",
        "message": {"text": f"{head}{problem.message}{hint}"},
        "locations": [_location(problem)],
    }
    if problem.code in index:
        result["ruleIndex"] = index[problem.code]
    return result


def _location(problem: Problem) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if not problem.file.startswith("--set"):
        physical: dict[str, Any] = {"artifactLocation": _artifact(problem.file)}
        if problem.line > 0:
            region = {"startLine": problem.line, "startColumn": max(problem.column, 1)}
            physical["region"] = region
        location["physicalLocation"] = physical
    name = problem.path or (problem.file if problem.file.startswith("--set") else "")
    if name:
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "member"}]
    return location


def _artifact(file: str) -> dict[str, Any]:
    path = PurePosixPath(Path(file).as_posix())
    if path.is_absolute():
        return {"uri": f"file://{quote(str(path))}"}
    return {"uri": quote(str(path)), "uriBaseId": "%SRCROOT%"}


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
