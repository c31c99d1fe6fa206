"""Every value of a spec written out, with where it came from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runner.spec.kinds import KINDS
from runner.spec.load import Loaded
from runner.spec.model import LlmSpec
from runner.spec.resolved import resolved_text
from runner.spec.yaml_text import Tree, read
from runner.validate import load_spec
from tests.support.specs import specs_of_kind

ROOT = Path(__file__).parent.parent.parent
SPECS = specs_of_kind()
Load = Callable[..., Loaded]


def values_in(text: str) -> Any:
    tree, problems = read(text, "resolved.yaml")
    assert problems == ()
    assert tree is not None
    return tree.value


@pytest.mark.parametrize("file", SPECS, ids=[str(path.relative_to(ROOT)) for path in SPECS])
def test_it_reads_back_as_the_same_values(file: Path) -> None:
    loaded = load_spec(file, [], {})
    text = resolved_text(loaded)
    assert values_in(text) == loaded.spec.model_dump()
    assert KINDS[loaded.spec.kind].model_validate(values_in(text)) == loaded.spec


@pytest.mark.parametrize("file", SPECS, ids=[str(path.relative_to(ROOT)) for path in SPECS])
def test_it_is_a_spec_that_can_be_launched_again(file: Path, tmp_path: Path) -> None:
    """Written out, a default is no more than a default: no rule takes it for a key that nothing reads."""
    loaded = load_spec(file, [], {})
    again = tmp_path / "resolved.yaml"
    again.write_text(resolved_text(loaded), encoding="utf-8")
    assert load_spec(again, [], {}).spec == loaded.spec


@pytest.mark.parametrize("file", SPECS, ids=[str(path.relative_to(ROOT)) for path in SPECS])
def test_every_value_has_its_place(file: Path) -> None:
    for line in resolved_text(load_spec(file, [], {})).splitlines()[1:]:
        assert line.endswith(":") or re.search(r"  # (default|.+:\d+|--set .+)", line), line


@pytest.mark.parametrize("file", SPECS, ids=[str(path.relative_to(ROOT)) for path in SPECS])
def test_yaml_1_1_reads_the_same(file: Path) -> None:
    """Other tools read YAML 1.1, where 1e-05 is text and `no` is false."""
    loaded = load_spec(file, [], {})
    assert yaml.safe_load(resolved_text(loaded)) == loaded.spec.model_dump(mode="json")


def line_of(text: str, key: str) -> str:
    return next(line.strip() for line in text.splitlines() if line.strip().startswith(f"{key}:"))


def test_places_of_all_kinds(base_text: str, load_text: Load) -> None:
    text = base_text.replace("context: 128", "context: ${env:CONTEXT:-256}").replace(
        "./models/tiny", "/m/${env:PAGE:-x}"
    )
    loaded = load_text(
        "extends: base.yaml\ntrain:\n  seed: 3\n",
        files={"base.yaml": text},
        sets=["train.log_every=5", "compute={device: cpu, gpus: 1}", "train.weight_decay=${env:DECAY}"],
        environ={"DECAY": "1e-5"},
    )
    written = resolved_text(loaded)
    assert line_of(written, "rank") == "rank: 8  # base.yaml:19"
    assert line_of(written, "learning_rate") == "learning_rate: 0.0002  # base.yaml:24"
    assert line_of(written, "keep_best") == "keep_best: false  # default"
    assert line_of(written, "log_every") == "log_every: 5  # --set train.log_every=5"
    assert line_of(written, "gpus") == "gpus: 1  # --set compute={device: cpu, gpus: 1}"
    assert line_of(written, "nodes") == "nodes: 1  # default"
    assert line_of(written, "context") == "context: 256  # base.yaml:8, ${env:CONTEXT:-256}"
    assert line_of(written, "weight_decay") == (
        "weight_decay: 1.0e-05  # --set train.weight_decay=${env:DECAY}, ${env:DECAY}"
    )
    assert '  base: "/m/${env:PAGE:-x}"  # base.yaml:6' in written.splitlines()
    assert "  # spec.yaml:3" in next(line for line in written.splitlines() if line.startswith("  seed: 3"))


TEXTS = st.text(max_size=30) | st.sampled_from(
    (
        "no",
        "Yes",
        "null",
        "~",
        "1e5",
        "0x1",
        "a: b",
        "a #b",
        "- a",
        "*a",
        "&a",
        "!a",
        "${env:A:-b}",
        "\u2028",
        "\x85",
        "'",
    )
)
RAW = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(TEXTS.filter(lambda key: key not in ("", "<<")), RAW, max_size=4))
def test_any_value_reads_back(raw: dict[str, Any]) -> None:
    """The escape hatches hold any value: texts that look like numbers, line ends of every kind, empty lists."""
    base = {
        "spec": 1,
        "name": "any",
        "kind": "llm",
        "model": {"base": "a/b", "architecture": "llama", "context": 8},
        "data": {
            "source": "synthetic_medical_qa",
            "records": 10,
            "template": "chatml",
            "split": {"train": 8, "validation": 1, "test": 1, "by": "record"},
        },
        "method": {"name": "full"},
        "train": {
            "epochs": 1.0,
            "learning_rate": 1e-3,
            "batch": {"micro": 1, "effective": 1},
            "precision": "fp32",
        },
        "axolotl": {"raw": without_empty_keys(raw)},
    }
    spec = LlmSpec.model_validate(base)
    loaded = Loaded(spec, Path("x.yaml"), "", Tree(base, {}, {}))
    assert values_in(resolved_text(loaded)) == spec.model_dump()


def without_empty_keys(value: Any) -> Any:
    """Return the value without what no YAML file can say here: an empty key, a merge key."""
    if isinstance(value, dict):
        return {key: without_empty_keys(item) for key, item in value.items() if key not in ("", "<<")}
    return tuple(map(without_empty_keys, value)) if isinstance(value, tuple) else value
