"""The committed JSON Schema: the same as the code, and of one mind with the typed classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runner import docs
from runner.spec.fields import leaves
from runner.spec.kinds import KINDS
from runner.spec.problems import Problem, SpecError, UsageError
from runner.spec.yaml_text import read
from runner.spec_files import find_specs
from runner.validate import load_spec
from tests.spec.test_broken import CASES

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
SPECS = find_specs([ROOT / "specs"])
SCHEMA = json.loads((ROOT / "runner" / "spec" / "schema" / "llm.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
OF_KIND = {
    kind: Draft202012Validator(
        json.loads((ROOT / "runner" / "spec" / "schema" / f"{kind}.json").read_text(encoding="utf-8"))
    )
    for kind in KINDS
}
SHAPE = {"unknown-key", "missing-key", "wrong-type", "bad-value"}
BEYOND_JSON = {
    "float-for-int": "JSON Schema calls 8.0 an integer",
    "not-a-number": "JSON has no NaN",
    "env-wrong-type": "the value of a variable is not in the file",
    "env-bad-default": "the default of a placeholder is not read by the schema",
}


def plain(value: Any) -> Any:
    """Return a value as JSON has it: lists for tuples."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def values_of(text: str) -> Any:
    tree, _ = read(text, "spec.yaml")
    return None if tree is None else plain(tree.value)


def messages(value: Any, validator: Draft202012Validator = VALIDATOR) -> list[str]:
    return [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(value)]


# ------------------------------------------------------------------------------------------- drift


@pytest.mark.parametrize("name", docs.generated())
def test_committed_files_are_those_of_the_code(name: str) -> None:
    file = ROOT / name
    same = file.exists() and file.read_text(encoding="utf-8") == docs.generated()[name]
    assert same, f"{name} is out of date; run `{docs.COMMAND}`"


def test_there_is_a_schema_for_every_kind() -> None:
    assert {path.stem for path in (ROOT / "runner" / "spec" / "schema").glob("*.json")} == KINDS.keys()


def test_check_names_what_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    assert docs.main(["--check"]) == 1
    assert "docs/rules.md is out of date; run `python -m runner.docs`" in capsys.readouterr().err
    assert docs.main([]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(docs.generated())
    assert docs.main(["--check"]) == 0
    assert docs.main(["--wrong"]) == 2


# --------------------------------------------------------------------------------------- the schema


def test_it_is_a_schema_of_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def objects(schema: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if (
            schema.get("type") == "object"
            and "properties" in schema
            and not schema.keys() & {"allOf", "anyOf"}
        ):
            yield where, schema
        for key, value in schema.items():
            yield from objects(value, f"{where}/{key}")
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from objects(value, f"{where}/{number}")


def test_every_mapping_with_names_is_closed() -> None:
    found = list(objects(SCHEMA))
    assert len(found) > 40
    assert [where for where, schema in found if schema.get("additionalProperties") is not False] == []


def test_every_property_says_what_it_is() -> None:
    for where, schema in objects(SCHEMA["$defs"]):
        for name, item in schema["properties"].items():
            target = SCHEMA["$defs"][item["$ref"].rpartition("/")[2]] if "$ref" in item else item
            assert item.get("description") or target.get("description"), f"{where}/{name}"
    assert all(item["description"] for item in SCHEMA["properties"].values())


def test_no_word_is_unknown_to_json_schema() -> None:
    """A constraint that validators do not know is none: pydantic writes `gt` for a union of numbers."""
    known = {
        "$schema", "title", "description", "type", "properties", "additionalProperties", "if", "then", "else", "$defs",
        "$ref", "required", "items", "enum", "const", "pattern", "minLength", "minItems", "minimum", "maximum", "exclusiveMinimum",
        "exclusiveMaximum", "anyOf", "allOf", "not", "default", "x-unit", "x-form", "x-placeholder",
    }  # fmt: skip
    assert keywords(SCHEMA) <= known


def keywords(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(keywords, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    found = set(schema)
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            found |= set().union(*map(keywords, value.values()))
        elif key not in ("default", "enum", "const", "required"):
            found |= keywords(value)
    return found


def test_defaults_and_units_are_those_of_the_classes() -> None:
    train = SCHEMA["$defs"]["Train"]["properties"]
    assert train["beta2"]["default"] == 0.999
    assert train["loader"]["default"] == {"workers": 0, "prefetch": None, "pin_memory": False}
    assert train["steps"]["x-unit"] == "steps"
    assert "Unit: steps." in train["steps"]["description"]
    assert SCHEMA["$defs"]["spec"]["properties"]["compute"]["default"]["strategy"] == "none"
    assert SCHEMA["$defs"]["Lora"]["properties"]["include"]["default"] == [
        "language.attention",
        "language.mlp",
    ]


def test_every_default_passes_its_own_schema() -> None:
    for where, schema in objects(SCHEMA["$defs"]):
        for name, item in schema["properties"].items():
            if "default" in item:
                rules = {key: value for key, value in item.items() if key != "default"}
                validator = Draft202012Validator({**rules, "$defs": SCHEMA["$defs"]})
                assert validator.is_valid(item["default"]), f"{where}/{name}"


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UsageError, match="allowed: llm, vlm, ecg"):
        docs.schema_text("lmm")


# ---------------------------------------------------------------------------------------- agreement


@pytest.mark.parametrize("file", SPECS, ids=[str(path.relative_to(ROOT)) for path in SPECS])
def test_shipped_specs_pass(file: Path) -> None:
    validator = OF_KIND[load_spec(file, (), {}).spec.kind]
    assert messages(values_of(file.read_text(encoding="utf-8")), validator) == []


def in_one_file(case: Mapping[str, Any]) -> bool:
    return not case.keys() & {"sets", "files"} and case["code"] not in ("extends", "set")


@pytest.mark.parametrize("case", [c for c in CASES if in_one_file(c)], ids=lambda case: str(case["id"]))
def test_the_schema_refuses_what_the_classes_refuse(
    case: dict[str, Any],
    broken_text: Callable[[Mapping[str, Any]], str],
    problems_of_case: Callable[[Mapping[str, Any]], tuple[Problem, ...]],
) -> None:
    """Rules between keys, raw engine keys, arms of a sweep and secrets are beyond a schema: it accepts those."""
    value = values_of(broken_text(case))
    problems = problems_of_case(case)
    if value is None:
        assert problems[0].code in ("yaml", "alias")
        return
    validator = OF_KIND[case.get("kind", "llm")]
    shape = [p for p in problems if p.code in SHAPE and not p.path.startswith("sweep.")]
    if case["id"] in BEYOND_JSON:
        assert shape
        assert messages(value) == []
        return
    placeholder = [p for p in problems if p.code == "env" and "written out" in p.hint + p.message]
    broken_placeholder = case["id"] in (
        "env-without-env",
        "env-unclosed",
    )  # free text: the schema cannot tell
    said = messages(value, validator)
    assert bool(said) == bool(shape or placeholder), said
    assert not (broken_placeholder and said)


def test_the_place_is_the_same(
    broken_text: Callable[[Mapping[str, Any]], str],
) -> None:
    """check-jsonschema names the section of an unknown key, and the path of a wrong value."""
    by_id = {case["id"]: case for case in CASES}
    expected = {
        "quoted-number": "['train', 'learning_rate']: '2e-4' is not of type 'number'",
        "schedule-misspelt": "['train', 'schedule']: 'cosin' is not one of ['constant', 'cosine', 'linear']",
        "deep-misspelt": "['train', 'batch']: Additional properties are not allowed ('mirco' was unexpected)",
        "source-misspelt": "['data', 'source']: 'mesages' is not one of "
        "['cardio', 'huggingface', 'medquad', 'messages', 'mixture', 'synthetic_medical_qa', 'uci_heart']",
        "zero-micro": "['train', 'batch', 'micro']: 0 is less than the minimum of 1",
        "rank-of-full": "['method']: Additional properties are not allowed ('rank' was unexpected)",
    }
    for name, message in expected.items():
        assert message in messages(values_of(broken_text(by_id[name])))


NAMES = sorted({leaf.path.rpartition(".")[2] for cls in KINDS.values() for leaf in leaves(cls)})
BASES = {
    "llm": values_of((HERE / "base.yaml").read_text(encoding="utf-8")),
    "ecg": values_of((HERE / "base_ecg.yaml").read_text(encoding="utf-8")),
    "vlm": values_of((HERE / "base_vlm.yaml").read_text(encoding="utf-8")),
}
BASE = BASES["llm"]
SMALL = (
    st.none()
    | st.booleans()
    | st.integers(-2, 300)
    | st.sampled_from(
        [
            0.5,
            -0.5,
            1.5,
            "",
            "x",
            "lora",
            "full",
            "messages",
            "mixture",
            "cpu",
            "fp32",
            "test",
            "${env:A:-3}",
            "language.mlp",
        ]
    )
)
ANY = st.recursive(
    SMALL,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, under: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if under:
        yield under
    for part, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(item, (*under, part))


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [(kind, path) for kind, base in BASES.items() for path in places(base) if path != ("kind",)]
    ),
    ANY,
)
def test_any_value_anywhere_gets_the_same_answer(
    tmp_path: Path, at: tuple[str, tuple[Any, ...]], new: Any
) -> None:
    kind, path = at
    value = with_value(BASES[kind], path, new)
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    problems: tuple[Problem, ...] = ()
    try:
        load_spec(file, [], {})
    except SpecError as error:
        problems = error.problems
    if any(p.code == "wrong-type" and "'3'" not in p.message and "${" in str(new) for p in problems):
        return  # a placeholder whose default is of the wrong type
    chosen = [p for p in problems if p.code in SHAPE or (p.code == "env" and "written out" in p.hint)]
    said = messages(value, OF_KIND[kind])
    assert bool(said) == bool(chosen), (said, problems)


# ------------------------------------------------------------------------------------------ extends


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("extends: base.yaml\n", True),
        ("extends: [a.yaml, b.yaml]\ntrain: {epochs: 3}\n", True),
        ("extends: base.yaml\nmethod: {rank: 4}\n", True),
        ("extends: base.yaml\nmethod: {name: qlora}\ndata: {split: {train: 0.5}}\n", True),
        ("extends: base.yaml\nevaluate: [{split: test}]\n", True),
        ("extends: base.yaml\ntrain: {epoch: 3}\n", False),
        ("extends: base.yaml\ntrain: {epochs: many}\n", False),
        ("extends: base.yaml\nmethod: {name: full, rank: 4}\n", False),
        ("extends: base.yaml\ndata: {source: medquod}\n", False),
        ("extends: 3\n", False),
        ("extends: ''\n", False),
        ("train: {epochs: 3}\n", False),
    ],
)
def test_a_file_that_extends_another_may_leave_keys_out(text: str, right: bool) -> None:
    assert (messages(values_of(text)) == []) is right
