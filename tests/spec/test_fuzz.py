"""Random changes of a right spec: it loads, or it is refused with problems; nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runner.spec.load import Loaded, files_read
from runner.spec.problems import SpecError
from runner.spec.resolved import resolved_text
from runner.spec.yaml_text import read
from runner.validate import load_spec

TEXT = (Path(__file__).parent / "base.yaml").read_text(encoding="utf-8")
TREE, _ = read(TEXT, "base.yaml")


def plain(value: Any) -> Any:
    """Return a value as `yaml.safe_dump` takes it: lists for tuples."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


BASE: dict[str, Any] = plain(TREE.value) if TREE else {}
WORDS = (
    "spec", "name", "kind", "source", "task", "extends", "messages", "mixture", "components", "huggingface",
    "medquad", "lora", "full", "partial", "parameters", "modules", "include", "train", "epochs", "steps", "micro",
    "data", "split", "by", "axolotl", "deepspeed", "sweep", "axes", "arms", "seeds", "train.epochs", "method.rank",
    "zero2", "cuda", "datasets", "lora_alpha", "neftune_noise_alpha", "zero_optimization", "optimizer", "(", "[a-", "a{99999999999}", "${env:X}", "${env:X:-3}", "${", "~x/y", "./a", "\0", "é",
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 100)
    | st.sampled_from([10**30, 10**350, -(10**400), 0.5, 1e308, 1e-308, 5e-324, float("inf"), float("nan")])
    | st.sampled_from(WORDS)
    | st.text(max_size=6)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def paths(value: Any, under: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [under] if under else []
    entries = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for part, item in entries:
        found += paths(item, (*under, part))
    return found


PATHS = [*paths(BASE), *((name,) for name in ("axolotl", "deepspeed", "sweep", "extends", "report"))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return the value with `new` at `path`; where the path is gone after an earlier change, as it is."""
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(value, dict) and (head in value or not rest):
        return {**value, head: changed(value.get(head), rest, new)}
    if isinstance(value, list) and isinstance(head, int) and head < len(value):
        return [changed(item, rest, new) if n == head else item for n, item in enumerate(value)]
    return value


ECG_TREE, _ = read((Path(__file__).parent / "base_ecg.yaml").read_text(encoding="utf-8"), "base_ecg.yaml")
ECG: dict[str, Any] = plain(ECG_TREE.value) if ECG_TREE else {}
OF_ECG = (
    "ecg", "ptbxl", "code15", "synthetic_ecg", "fold", "record", "hybrid", "addax", "linear_probe", "constant",
    "linear", "resample", "samples", "fs_hz", "upstream", "compat", "xresnet1d101", "distill", "train_teacher",
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(paths(ECG)), VALUES | st.sampled_from(OF_ECG)), min_size=1, max_size=3)
)
@example(
    [(("data", "pipeline"), [{"step": "resample", "fs_hz": 1e-300}, {"step": "pad_or_crop", "samples": 64}])]
)
@example(
    [
        (
            ("data", "pipeline"),
            [{"step": "pad_or_crop", "samples": 10**300}, {"step": "resample", "fs_hz": 1e300}],
        )
    ]
)
@example([(("train", "batch"), 10**400), (("compute",), {"gpus": 10**300, "strategy": "ddp"})])
@example([(("data", "split"), {"by": "patient", "train": 5e-324, "validation": 0.5, "test": 0.5})])
def test_any_change_of_an_ecg_spec_loads_or_is_refused(
    folder: Path, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    value = ECG
    for path, new in changes:
        value = changed(value, path, new)
    load(yaml.safe_dump(value, allow_unicode=True, sort_keys=False), folder)


def test_the_base_is_right(folder: Path) -> None:
    assert isinstance(load(yaml.safe_dump(ECG), folder), Loaded)
    assert isinstance(load(yaml.safe_dump(BASE), folder), Loaded)


def load(text: str, folder: Path, sets: tuple[str, ...] = ()) -> Loaded | SpecError:
    file = folder / "spec.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert file in files_read(file) or not files_read(file)
    try:
        return load_spec(file, sets, {"X": "4"})
    except SpecError as error:
        refused = error
    assert refused.problems
    assert all(problem.message for problem in refused.problems)
    return refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


IN_ONE_FOLDER = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@IN_ONE_FOLDER
@given(st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=3))
@example([(("train", "save_every"), {"epochs": 1e308}), (("train", "evaluate_every"), {"epochs": 5e-324})])
@example([(("train", "save_every"), {"steps": 10**350}), (("train", "keep_best"), True)])
@example([(("method",), {"name": "partial", "parameters": ["a{99999999999}", "(" * 5000]})])
@example([(("train", "epochs"), 10**400)])
@example([(("method", "alpha"), 10**400), (("method", "rank"), -(10**350))])
@example([(("model", "base"), "./\0")])
@example([(("extends",), ["\0", "x" * 300])])
@example([(("sweep",), {"axes": {"train.epochs": [1, "\0"], "": [3], "a[0]": [1], "extends": ["x"]}})])
def test_any_change_loads_or_is_refused(folder: Path, changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    value = BASE
    for path, new in changes:
        value = changed(value, path, new)
    loaded = load(yaml.safe_dump(value, allow_unicode=True, sort_keys=False), folder)
    if isinstance(loaded, Loaded):
        tree, problems = read(resolved_text(loaded), "resolved.yaml")
        assert problems == ()
        assert tree is not None
        assert tree.value == loaded.spec.model_dump()


@IN_ONE_FOLDER
@given(st.text(max_size=300))
def test_any_text_loads_or_is_refused(folder: Path, text: str) -> None:
    assert isinstance(load(text, folder), SpecError)


@IN_ONE_FOLDER
@given(st.binary(max_size=200))
def test_any_bytes_load_or_are_refused(folder: Path, content: bytes) -> None:
    file = folder / "bytes.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError):
        load_spec(file, [], {})


@IN_ONE_FOLDER
@given(st.text("abcdefghij.[]0=\"'{}: \n", max_size=30) | st.text(max_size=20))
@example("train[99999999999999]=3")
@example("data=3")
@example("kind=[1]")
@example("spec={}")
@example("a=\ud800")
def test_any_set_loads_or_is_refused(folder: Path, change: str) -> None:
    load(yaml.safe_dump(BASE), folder, (change,))


@IN_ONE_FOLDER
@given(st.integers(0, 10**6), st.integers(1, 40), st.text("\t :-[]{}'\"#&*!|>%@`,\n", min_size=0, max_size=3))
def test_any_damage_to_the_text_loads_or_is_refused(folder: Path, place: int, length: int, new: str) -> None:
    start = place % len(TEXT)
    result = load(TEXT[:start] + new + TEXT[start + length :], folder)
    if isinstance(result, SpecError):
        lines = len(TEXT.split("\n")) + 3
        assert all(0 <= problem.line <= lines for problem in result.problems)


SWEEPS = st.fixed_dictionaries(
    {},
    optional={
        "axes": st.dictionaries(st.sampled_from(WORDS), st.lists(VALUES, max_size=3) | SCALARS, max_size=2),
        "arms": st.dictionaries(
            st.text(max_size=3),
            st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=2) | SCALARS,
            max_size=2,
        ),
        "seeds": st.lists(st.integers(0, 9), max_size=2) | SCALARS,
        "control": SCALARS,
        "controls": st.dictionaries(st.text(max_size=3), SCALARS, max_size=2) | SCALARS,
    },
)


@IN_ONE_FOLDER
@given(SWEEPS, st.sampled_from([None, *BASE]), st.sampled_from([*BASE, "sweep"]), VALUES)
def test_any_sweep_of_a_spec_that_lacks_a_key_or_has_one_twice(
    folder: Path, sweep: dict[str, Any], gone: str | None, twice: str, value: Any
) -> None:
    rest = {key: item for key, item in BASE.items() if key != gone} | {"sweep": sweep}
    text = yaml.safe_dump(rest, allow_unicode=True, sort_keys=False)
    load(text, folder)
    load(text + yaml.safe_dump({twice: value}, allow_unicode=True), folder)
