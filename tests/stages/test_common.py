"""What all stages share: where a place lies that a variable gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.spec.problems import MachineError
from runner.stages.common import expand_path

USER = {"RUNNER_CWD": "/home/someone", "P": "data/mq", "DOT": "./data", "UP": "../data", "ABS": "/data/mq"}


@pytest.mark.parametrize(
    ("text", "path", "hub_or_path"),
    [
        ("${env:P}", "/home/someone/data/mq", "data/mq"),
        ("${env:P}/2_GARD_QA", "/home/someone/data/mq/2_GARD_QA", "data/mq/2_GARD_QA"),
        ("${env:DOT}", "/home/someone/data", "/home/someone/data"),
        ("${env:UP}", "/home/data", "/home/data"),
        ("${env:ABS}", "/data/mq", "/data/mq"),
        ("${env:NONE:-/default}", "/default", "/default"),
        ("model", "model", "model"),
        ("owner/name", "owner/name", "owner/name"),
    ],
)
def test_a_place_that_a_variable_gives_is_found_from_the_users_folder(
    text: str, path: str, hub_or_path: str
) -> None:
    assert expand_path(text, USER, hub=False) == path
    assert expand_path(text, USER, hub=True) == hub_or_path


def test_a_home_folder_is_that_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_path("${env:HOMELY}", USER | {"HOMELY": "~/x"}, hub=True) == str(tmp_path / "x")


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(MachineError, match="the environment variable NONE is not set"):
        expand_path("${env:NONE}", USER, hub=True)
