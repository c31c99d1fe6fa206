"""YAML text -> values with places: YAML 1.2 core rules, and every kind of hostile file."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.spec import yaml_text
from runner.spec.yaml_text import MAX_ANCHORS, MAX_DEPTH, Mark, Tree, dotted, read, scalar

# YAML 1.2.2, section 10.3.2: the core schema's tag resolution.
CORE = {
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "0": 0,
    "-19": -19,
    "+12": 12,
    "007": 7,  # decimal: 1.2 has no octal without 0o
    "0o17": 15,
    "0x3A": 58,
    "0.": 0.0,
    "-0.0": -0.0,
    ".5": 0.5,
    "+12e03": 12000.0,
    "-2E+05": -200000.0,
    "2e-4": 0.0002,
    "1e5": 100000.0,
    ".inf": math.inf,
    "-.Inf": -math.inf,
    "+.INF": math.inf,
}
TEXT = (
    "no", "yes", "on", "off", "y", "n", "nULL", "tRUE", "1_000", "0b11", "12:30:45", "2025-10-11", "1.2.3",
    "e5", ".", "-", "--1", "+", "1e", "1e+", "0o8", "0xG", ".e5", "inf", "nan", "NaN", "-0x1", "+0o7", "1 2",
    "\u0661",  # an Arabic digit one: only 0-9 are digits
)  # fmt: skip


@pytest.mark.parametrize(("text", "value"), CORE.items())
def test_core_scalars(text: str, value: Any) -> None:
    result = scalar(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("text", TEXT)
def test_everything_else_is_text(text: str) -> None:
    assert scalar(text) == text


def test_nan_is_a_number() -> None:
    assert math.isnan(scalar(".nan"))


@given(st.integers())
def test_integers_come_back(value: int) -> None:
    text = str(value)
    assert scalar(text) == (value if len(text) <= 200 else text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back(value: float) -> None:
    assert scalar(repr(value)) == value


@given(st.from_regex(r"\A[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?\Z"))
def test_what_the_core_schema_calls_a_number_is_one(text: str) -> None:
    assert isinstance(scalar(text), (int, float))


def test_quoted_scalars_are_text() -> None:
    tree = read_right("a: '2e-4'\nb: \"true\"\nc: |\n  1\nd: !\n  'x'\n")
    assert tree.value == {"a": "2e-4", "b": "true", "c": "1\n", "d": "x"}


def read_right(text: str) -> Tree:
    tree, problems = read(text, "f.yaml")
    assert problems == ()
    assert tree is not None
    return tree


def code_and_line(text: str) -> tuple[str, int]:
    tree, problems = read(text, "f.yaml")
    assert tree is None
    return problems[-1].code, problems[-1].line


def test_every_value_and_key_has_its_place() -> None:
    tree = read_right("a:\n  b: [1, {c: 2}]\n  d:  'x'\n")
    assert tree.value == {"a": {"b": (1, {"c": 2}), "d": "x"}}
    assert tree.keys[("a", "b")] == Mark("f.yaml", 2, 3)
    assert tree.values[("a", "b")] == Mark("f.yaml", 2, 6)
    assert tree.values[("a", "b", 0)] == Mark("f.yaml", 2, 7)
    assert tree.keys[("a", "b", 1, "c")] == Mark("f.yaml", 2, 11)
    assert tree.values[("a", "d")] == Mark("f.yaml", 3, 7)
    assert tree.mark(("a", "x", "y")) == tree.keys[("a",)]
    assert tree.mark_of_section(("a",)) == Mark("f.yaml", 1, 1)


def test_columns_count_letters_and_not_bytes() -> None:
    tree = read_right("é: {ü: 1}\n")
    assert tree.values[("é", "ü")] == Mark("f.yaml", 1, 8)


KEY = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=8).filter(
    lambda word: isinstance(scalar(word), str)
)
NESTED = st.recursive(
    st.integers(0, 9) | st.booleans() | st.text("abc ", max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(KEY, NESTED, min_size=1, max_size=5), st.booleans())
def test_the_line_that_is_named_holds_the_key(value: dict[str, Any], flow: bool) -> None:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=flow, width=40, sort_keys=False)
    tree, problems = read(text, "f.yaml")
    assert problems == ()
    assert tree is not None
    assert plain(tree.value) == value
    lines = text.splitlines()
    for path, mark in tree.keys.items():
        key = str(path[-1])
        written = lines[mark.line - 1][mark.column - 1 :]
        assert written.startswith((key, f"'{key}'", f'"{key}"', f"? {key}")), (path, mark, text)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@given(st.text(max_size=200))
def test_no_text_is_too_strange(text: str) -> None:
    tree, problems = read(text, "f.yaml")
    assert tree is not None or problems


@given(st.text("ab:-[]{},&*!|>'\"%@`#? \n\t0", max_size=60))
def test_no_yaml_is_too_strange(text: str) -> None:
    tree, problems = read(text, "f.yaml")
    assert tree is not None or problems
    lines = text.split("\n")
    for problem in problems:
        assert problem.line <= len(lines) + 1


# ---------------------------------------------------------------------------------- hostile files


hangs = pytest.mark.timeout(120)  # what grows without bound takes longer on any machine; no measure of speed


@hangs
def test_a_billion_laughs() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert code_and_line("\n".join(lines)) == (
        "alias",
        5,
    )  # 11 + 111 + 1,111 + 11,111 values stand in four lines


@hangs
def test_many_anchors() -> None:
    lines = [f"a{n}: &a{n} 1" for n in range(MAX_ANCHORS + 1)]
    assert code_and_line("\n".join(lines)) == ("alias", MAX_ANCHORS + 1)


@hangs
def test_many_values() -> None:
    assert code_and_line("a: [" + "1," * 60_000 + "]") == ("alias", 1)


@hangs
def test_many_anchors_over_many_values() -> None:
    """The places below an anchor are copied once for each: this must not grow without bound."""
    text = "".join(f"k{n}: &a{n}\n  - 1\n" for n in range(MAX_ANCHORS)) + "z: [" + "1," * 40_000 + "]"
    read_right(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "a:\n"])
@hangs
def test_deep_nesting(opening: str) -> None:
    if opening == "a:\n":
        text = "".join(" " * n + "a:\n" for n in range(2_000))
        assert code_and_line(text) == ("yaml", MAX_DEPTH + 2)
    else:
        assert code_and_line("a:\n " + opening * 100_000)[0] == "yaml"


def test_a_depth_that_is_allowed() -> None:
    tree = read_right("a: " + "[" * (MAX_DEPTH - 2) + "1" + "]" * (MAX_DEPTH - 2))
    assert max(map(len, tree.values)) == MAX_DEPTH - 1


def test_a_number_of_a_million_digits_is_text() -> None:
    tree = read_right(f"a: {'1' * 500_000}\nb: {'1' * 200}\n")
    assert isinstance(tree.value["a"], str)
    assert tree.value["b"] == int("1" * 200)


def test_an_alias_is_a_copy() -> None:
    tree = read_right("a: &a {x: [1]}\nb: *a\n")
    tree.value["a"]["x"] = 2
    assert tree.value["b"] == {"x": (1,)}
    assert tree.values[("b", "x", 0)].line == 1


def test_a_later_anchor_of_the_same_name_holds_from_there() -> None:
    assert read_right("a: &x 1\nb: *x\nc: &x 2\nd: *x\n").value == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_duplicate_keys_leave_the_rest_readable() -> None:
    tree, problems = read("a: 1\nb: 2\na: 3\n", "f.yaml")
    assert tree is not None
    assert [(p.code, p.line, p.path) for p in problems] == [("duplicate-key", 3, "a")]


def test_the_python_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML comes without libyaml, the values and places are the same."""
    import yaml

    text = "a: &x {b: [1, 'two', 3e0]}\nc: *x\nd: |\n  text\n"
    fast = read_right(text)
    monkeypatch.setattr(yaml_text, "_LOADER", yaml.SafeLoader)
    slow = read_right(text)
    assert slow.value == fast.value
    assert slow.values == fast.values
    assert code_and_line("a: [1\n")[0] == "yaml"
    assert code_and_line("a: 'x\n")[0] == "yaml"
    assert code_and_line("\ta: 1\n")[0] == "yaml"


def test_dotted() -> None:
    assert dotted(()) == ""
    assert dotted((0, "a", 1, 2, "b")) == "[0].a[1][2].b"
