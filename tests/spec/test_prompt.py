from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.spec.prompt import PromptError, fields_of, filled


@given(st.text())
def test_a_text_whose_braces_are_doubled_comes_back(text: str) -> None:
    prompt = text.replace("{", "{{").replace("}", "}}")
    assert fields_of(prompt) == ()
    assert filled(prompt, {}) == text


@given(st.text())
def test_any_text_is_read_or_refused_by_our_own_error(text: str) -> None:
    try:
        names = fields_of(text)
    except PromptError:
        return
    assert all(name.isidentifier() for name in names)
    filled(text, dict.fromkeys(names, "x"))


def test_a_value_is_put_in_as_it_is() -> None:
    assert filled("{a}{a}-{b}", {"a": "{b}", "b": "{{"}) == "{b}{b}-{{"


@pytest.mark.parametrize("prompt", ["{a!r}", "{a:>3}", "{a.b}", "{a[0]}", "{}", "{0}", "{a", "a}", "{a{b}}"])
def test_nothing_but_a_name_is_taken(prompt: str) -> None:
    with pytest.raises(PromptError):
        filled(prompt, {"a": "x", "b": "y"})
