"""Fixtures of the spec tests: a file from a text, a broken spec from a line of the corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.spec.load import Loaded
from runner.spec.problems import Problem, SpecError
from runner.validate import load_spec

HERE = Path(__file__).parent

Check = Callable[..., tuple[Problem, ...]]


@pytest.fixture(scope="session")
def base_text() -> str:
    """Return a spec that is right, with every section."""
    return (HERE / "base.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def ecg_text() -> str:
    """Return an ECG spec that is right, with every section but a student's."""
    return (HERE / "base_ecg.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def vlm_text() -> str:
    """Return a spec of images that is right."""
    return (HERE / "base_vlm.yaml").read_text(encoding="utf-8")


@pytest.fixture
def load_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Loaded]:
    """Return a function that loads a text as `spec.yaml` of an empty folder, with other files beside it."""
    monkeypatch.chdir(tmp_path)

    def load(
        text: str,
        sets: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> Loaded:
        for name, content in {"spec.yaml": text, **(files or {})}.items():
            Path(name).write_text(content, encoding="utf-8")
        return load_spec(Path("spec.yaml"), sets, environ or {})

    return load


@pytest.fixture
def problems_of_text(load_text: Callable[..., Loaded]) -> Check:
    """Return a function that gives the problems of a text: none where it is right."""

    def check(text: str, **options: Any) -> tuple[Problem, ...]:
        try:
            load_text(text, **options)
        except SpecError as error:
            return error.problems
        return ()

    return check


@pytest.fixture
def broken_text(base_text: str, vlm_text: str, ecg_text: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that gives the text of a case of `broken.yaml`, `broken_vlm.yaml` or `broken_ecg.yaml`."""
    bases = {"llm": base_text, "vlm": vlm_text, "ecg": ecg_text}

    def text_of(case: Mapping[str, Any]) -> str:
        text: str = case.get("text", bases[case.get("kind", "llm")])
        for old, new in case.get("edit", {}).items():
            assert text.count(old) == 1, f"{case['id']}: {old!r} stands {text.count(old)} times"
            text = text.replace(old, new)
        return text

    return text_of


@pytest.fixture
def problems_of_case(
    broken_text: Callable[[Mapping[str, Any]], str], problems_of_text: Check
) -> Callable[[Mapping[str, Any]], tuple[Problem, ...]]:
    """Return a function that gives the problems of a case of `broken.yaml`."""

    def check(case: Mapping[str, Any]) -> tuple[Problem, ...]:
        return problems_of_text(
            broken_text(case),
            sets=case.get("sets", ()),
            environ=case.get("env", {}),
            files=case.get("files", {}),
        )

    return check
