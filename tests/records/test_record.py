from __future__ import annotations

from importlib import import_module
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.records import SOURCES
from converters.records.record import BadRecordError, Ledger, checked_messages, normalise, order, ranked
from runner.data_readers import OPENERS
from runner.spec.sources import Data
from runner.spec.vlm_sources import VlmData


def test_every_source_of_the_spec_has_a_converter_and_a_reader() -> None:
    kinds = [kind for data in (Data, VlmData) for kind in get_args(get_args(data)[0])]
    words = {get_args(kind.model_fields["source"].annotation)[0] for kind in kinds}
    assert words == SOURCES.keys() | {"mixture"}
    assert OPENERS.keys() == SOURCES.keys()


@pytest.mark.parametrize("module", SOURCES.values())
def test_every_converter_offers_to_record(module: str) -> None:
    assert callable(import_module(module).to_record)


USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
SYSTEM = {"role": "system", "content": "S"}


@pytest.mark.parametrize("good", [[USER, ANSWER], [SYSTEM, USER, ANSWER], [USER, ANSWER, USER, ANSWER]])
def test_conversations_that_are_right_come_back_as_they_are(good: list[dict[str, str]]) -> None:
    assert checked_messages(good) == good


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("Q", "messages: expected a list, got text"),
        ([], "messages: the list is empty"),
        ([USER], "messages: the last one is the user's; the answer to learn is missing"),
        ([SYSTEM], "messages: the last one is the system's; the answer to learn is missing"),
        ([ANSWER], "messages[0]: expected the role 'user' here, got 'assistant'"),
        ([USER, USER, ANSWER], "messages[1]: expected the role 'assistant' here, got 'user'"),
        ([USER, ANSWER, SYSTEM], "messages[2]: expected the role 'user' here, got 'system'"),
        ([SYSTEM, SYSTEM, USER, ANSWER], "messages[1]: expected the role 'user' here, got 'system'"),
        ([USER, ANSWER, ANSWER], "messages[2]: expected the role 'user' here, got 'assistant'"),
        (["Q", ANSWER], "messages[0]: expected an object with role and content, got text"),
        ([{"role": "user"}, ANSWER], "messages[0]: 'content' is missing"),
        ([{"content": "Q"}, ANSWER], "messages[0]: 'role' is missing"),
        (
            [{"from": "human", "value": "Q"}],
            "messages[0]: has 'from' and 'value'; write 'role' and 'content', with the role 'user' for 'human'",
        ),
        ([{"from": "x", "value": "Q"}], "messages[0]: has 'from' and 'value'; write 'role' and 'content'"),
        ([{"from": [], "value": "Q"}], "messages[0]: has 'from' and 'value'; write 'role' and 'content'"),
        (
            [{"role": "human", "content": "Q"}],
            "messages[0]: unknown role 'human'; allowed: system, user, assistant; nearest: user",
        ),
        (
            [USER, {"role": "GPT", "content": "A"}],
            "messages[1]: unknown role 'GPT'; allowed: system, user, assistant; nearest: assistant",
        ),
        (
            [{"role": "tool", "content": "A"}],
            "messages[0]: unknown role 'tool'; allowed: system, user, assistant",
        ),
        ([USER | {"weight": 1}, ANSWER], "messages[0]: unknown key 'weight'; a message has role and content"),
        (
            [{"role": "asistant", "content": "A"}],
            "messages[0]: unknown role 'asistant'; allowed: system, user, assistant; nearest: assistant",
        ),
        ([{"role": 1, "content": "A"}], "messages[0]: unknown role 1; allowed: system, user, assistant"),
        ([USER, {"role": "assistant", "content": " \n"}], "messages[1].content: the text is empty"),
        ([USER, {"role": "assistant", "content": None}], "messages[1].content: expected text, got null"),
        ([USER, {"role": "assistant", "content": [1]}], "messages[1].content: expected text, got a list"),
        (
            [USER, {"role": "assistant", "content": "\ud800"}],
            "messages[1].content: holds half of a surrogate pair, which UTF-8 cannot write",
        ),
    ],
)
def test_conversations_that_are_wrong_are_named(bad: Any, said: str) -> None:
    with pytest.raises(BadRecordError) as error:
        checked_messages(bad)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Asthma", "asthma "),
        ("What is (are) Asthma ?", "what is (are)  asthma?"),
        ("Straße", "STRASSE"),
        ("\ufb01brosis", "fibrosis"),
        ("Behcet\u00a0disease", "Behcet disease."),
    ],
)
def test_two_ways_to_write_a_name_compare_equal(a: str, b: str) -> None:
    assert normalise(a) == normalise(b)


def test_names_that_differ_stay_different() -> None:
    assert len({normalise(name) for name in ("Type 1 diabetes", "Type 2 diabetes", "Diabetes")}) == 3


@given(st.sets(st.text(), max_size=30), st.text(), st.integers(0, 9))
def test_a_new_name_does_not_move_the_others_in_the_shuffle(names: set[str], new: str, seed: int) -> None:
    before = ranked(names - {new}, seed)
    after = ranked(names | {new}, seed)
    assert [name for name in after if name != new] == before


def test_the_shuffle_of_a_seed_never_changes() -> None:
    r"""Worked out with `printf '7\0a' | sha256sum`."""
    assert order(7, "a").hex()[:8] == "04d8652d"


def test_a_ledger_counts_all_and_names_the_first_fifty() -> None:
    ledger = Ledger()
    for number in range(60):
        ledger.drop("too long", str(number))
    assert ledger.as_json() == {"too long": {"count": 60, "ids": [str(number) for number in range(50)]}}
