"""Problems as text, JSON and SARIF."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runner.spec.codes import CODES
from runner.spec.output import as_json, as_sarif, as_text
from runner.spec.problems import Problem

FILES = [Path("specs/a.yaml"), Path("specs/b c.yaml")]
PROBLEMS = (
    Problem("specs/a.yaml", 3, 5, "train.epoch", "unknown-key", "unknown key 'epoch'", "nearest: epochs"),
    Problem("specs/b c.yaml", 0, 0, "", "yaml", "the file is empty"),
    Problem("--set train.seed=x", 0, 0, "train.seed", "wrong-type", "expected a whole number", ""),
    Problem("/abs/dir/é.yaml", 1, 0, "", "R001", "neither", "keep one"),
)


def test_text() -> None:
    assert as_text(PROBLEMS[:2], FILES) == (
        "specs/a.yaml:3:5: train.epoch: unknown key 'epoch' [unknown-key]\n"
        "  nearest: epochs\n"
        "specs/b c.yaml: the file is empty [yaml]\n"
        "2 problems in 2 places (2 specs checked); nothing was started"
    )
    assert as_text(PROBLEMS[:1], FILES[:1]).endswith("\n1 problem in specs/a.yaml; nothing was started")


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 spec checked, no problems"), (2, "2 specs checked, no problems")]
)
def test_text_of_nothing_wrong(count: int, text: str) -> None:
    assert as_text((), FILES[:count]) == text


def test_json() -> None:
    value = as_json(PROBLEMS, FILES)
    assert json.loads(json.dumps(value)) == value
    assert value["files"] == 2
    assert value["problems"][0] == {
        "file": "specs/a.yaml",
        "line": 3,
        "column": 5,
        "path": "train.epoch",
        "code": "unknown-key",
        "message": "unknown key 'epoch'",
        "hint": "nearest: epochs",
    }
    assert as_json((), FILES) == {"files": 2, "problems": []}


def run_of(problems: tuple[Problem, ...]) -> dict[str, Any]:
    """Return the one run of a SARIF log, after checking what SARIF 2.1.0 requires of it (sections 3.13 to 3.52)."""
    log = json.loads(json.dumps(as_sarif(problems)))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "runner"
    assert re.fullmatch(r"\d+\.\d+\.\d+([-+.].*)?", driver["semanticVersion"])
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["help"]["text"]
        assert rule["help"]["markdown"]
        assert rule["defaultConfiguration"]["level"] == "error"
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] == "error"
        assert ids[result["ruleIndex"]] == result["ruleId"]
        for location in result["locations"]:
            assert location.keys() <= {"physicalLocation", "logicalLocations"}
            artifact = location.get("physicalLocation", {}).get("artifactLocation")
            if artifact:
                assert re.fullmatch(r"[A-Za-z0-9%/._~:-]+", artifact["uri"])
                assert artifact.get("uriBaseId", "%SRCROOT%") in run["originalUriBaseIds"]
            region = location.get("physicalLocation", {}).get("region")
            assert region is None or (region["startLine"] >= 1 and region["startColumn"] >= 1)
    assert run["columnKind"] in ("unicodeCodePoints", "utf16CodeUnits")
    return dict(run)


def test_sarif_has_what_the_standard_requires() -> None:
    run = run_of(PROBLEMS)
    assert len(run["results"]) == len(PROBLEMS)
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == CODES.keys()
    assert run_of(())["results"] == []


def test_sarif_places() -> None:
    of_line, of_file, of_set, elsewhere = (result["locations"][0] for result in run_of(PROBLEMS)["results"])
    assert of_line == {
        "physicalLocation": {
            "artifactLocation": {"uri": "specs/a.yaml", "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 3, "startColumn": 5},
        },
        "logicalLocations": [{"fullyQualifiedName": "train.epoch", "kind": "member"}],
    }
    assert of_file == {
        "physicalLocation": {"artifactLocation": {"uri": "specs/b%20c.yaml", "uriBaseId": "%SRCROOT%"}}
    }
    assert of_set == {"logicalLocations": [{"fullyQualifiedName": "train.seed", "kind": "member"}]}
    assert elsewhere["physicalLocation"]["artifactLocation"] == {"uri": "file:///abs/dir/%C3%A9.yaml"}
