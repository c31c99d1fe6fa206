"""Fixtures shared by all tests: the real data where it is, and a small valid spec to change."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from runner.spec.kinds import KINDS
from runner.spec.model import LlmSpec

# What a newcomer runs is the same every time, however loaded the machine is.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"

Golden = Callable[[str, str], None]

SMALL: dict[str, Any] = {
    "spec": 1,
    "name": "small",
    "kind": "llm",
    "model": {"base": "./models/tiny", "architecture": "llama", "context": 64},
    "data": {
        "source": "synthetic_medical_qa",
        "records": 100,
        "template": "question_answer",
        "split": {"train": 64, "validation": 16, "test": 16, "by": "record"},
    },
    "method": {"name": "full"},
    "train": {
        "epochs": 2,
        "learning_rate": 1e-3,
        "batch": {"micro": 4, "effective": 8},
        "precision": "fp32",
    },
    "compute": {"device": "cpu"},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write the golden files anew.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that start the engine: the longest, so that no worker ends alone with one of them."""
    items.sort(key=lambda item: item.get_closest_marker("axolotl") is None)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Return a check of a text against `tests/golden/NAME`; `--update-golden` writes it instead.

    A missing file fails: a text that nobody has looked at proves nothing.
    """
    update = bool(request.config.getoption("--update-golden"))

    def check(name: str, text: str) -> None:
        file = GOLDEN / name
        if update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return
        advice = "look at the difference, then write it with `pytest --update-golden`"
        if not file.is_file():
            pytest.fail(f"no golden file {file}; {advice}\n\n{text}", pytrace=False)
        expected = file.read_text(encoding="utf-8")
        if text != expected:
            lines = difflib.unified_diff(
                expected.splitlines(), text.splitlines(), f"golden/{name}", "now", lineterm=""
            )
            pytest.fail("\n".join([f"golden/{name} differs; {advice}", *lines]), pytrace=False)

    return check


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real data; skip where there is none."""
    root = Path(os.environ.get("RUNNER_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set RUNNER_TEST_DATA")
    return root.resolve()


@pytest.fixture
def make_spec() -> Callable[..., LlmSpec]:
    """Return a function that makes a small spec, with values changed by dotted path.

    `make_spec({"method": {"name": "lora", "rank": 4, "alpha": 8}, "train.epochs": 1})`; None removes. Of another
    `kind` it is a spec of that kind.
    """

    def make(changes: dict[str, Any] | None = None) -> LlmSpec:
        data = _copy(SMALL)
        for path, value in (changes or {}).items():
            *parents, last = path.split(".")
            place = data
            for part in parents:
                place = place.setdefault(part, {})
            if value is None:
                place.pop(last, None)
            else:
                place[last] = value
        made: LlmSpec = KINDS[data["kind"]].model_validate(data)  # type: ignore[assignment]
        return made

    return make


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value
